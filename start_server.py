"""Check this machine and start Dia's HTTP server: `python start_server.py --help`."""

import sys

from dia.cli.serve import check_and_serve

if __name__ == "__main__":
    sys.exit(check_and_serve())
