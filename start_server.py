"""Check this machine and start Dia's HTTP server: `python start_server.py --help`."""

import sys

from dia.server.launch import main

if __name__ == "__main__":
    sys.exit(main())
