"""`python -m dia.server`: the API alone, by the flags of `fastapi_server.py`."""

import sys

from dia.server.main import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m dia.server"))
