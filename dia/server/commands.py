"""`dia serve`: the same as `python fastapi_server.py`."""

from dia.server.main import main as app

__all__ = ["app"]
