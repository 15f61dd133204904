"""Dia's HTTP server: `python fastapi_server.py --help`."""

import sys

from dia.cli.serve import serve_directly

if __name__ == "__main__":
    sys.exit(serve_directly())
