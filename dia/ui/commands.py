"""`dia ui`: the same door as `python app.py`."""

from dia.ui.launch import main as app

__all__ = ["app"]
