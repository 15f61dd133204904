"""Dia's HTTP server: `python fastapi_server.py --help`."""

import sys

from dia.server.main import main

if __name__ == "__main__":
    sys.exit(main())
