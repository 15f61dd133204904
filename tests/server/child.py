"""A server with the tone generator as its model, for tests that send signals: `python -m tests.server.child`."""

import argparse
import os
import sys
from pathlib import Path

from fastapi import FastAPI

from dia.server import app as application
from dia.server.flags import add_server_flags, export, resolve_gpus
from dia.server.main import serve
from dia.service import bundled
from dia.service.build import build
from dia.service.settings import load_settings
from tests.service.tone import ToneModel


def create_app() -> FastAPI:
    """The application of `dia.server.app`, with tones, and without the package's recordings, as in tests/conftest.py."""
    bundled.FOLDER = Path("no shipped prompts")
    service = build(
        load_settings(), model=ToneModel(frames_per_char=1.0, step_s=float(os.environ.get("TONE_STEP_S", "0")))
    )
    app = application.create_app(service=service)
    app.state.owns_service = True
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    add_server_flags(parser)
    args = parser.parse_args()
    resolve_gpus(parser, args)
    export(args)
    sys.exit(serve(app="tests.server.child:create_app", reload=args.reload))
