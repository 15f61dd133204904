"""`python start_server.py`: look at the environment first, then serve, with presets for development and production.

Never asks anything on standard input, so it starts in containers too. Imports nothing but Python's own until the packages
are known to be there.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dia.errors import BadParameter
from dia.server.checks import Finding, check_environment, check_packages
from dia.server.flags import add_server_flags, export, resolve_gpus

if TYPE_CHECKING:
    from dia.service.settings import Settings

__all__ = ["main"]

APP = "dia.server.app:create_app"

_SIGNS = {"fine": "ok", "note": "note", "fault": "FAULT"}


def main(argv: Sequence[str] | None = None, *, app: str = APP) -> int:
    """Check, then serve `app` until stopped; returns the exit code. With `--check-only` 0 if all is well, else 1."""
    args = _parse(argv)
    export(args)
    if not _are_good(check_packages(), check_only=args.check_only):
        return 1
    from dia.server.main import serve
    from dia.service.settings import load_settings

    try:
        settings = load_settings()
    except BadParameter as error:
        sys.stderr.write(f"start_server.py: {error}\n")
        return 2
    if not _are_good(check_environment(settings), check_only=args.check_only):
        return 1
    if args.check_only:
        _say("everything needed is here")
        return 0
    _say(_hints(settings))
    return serve(app=app, reload=args.reload)


def _are_good(findings: Sequence[Finding], *, check_only: bool) -> bool:
    """Tell all findings; whether to go on. A check goes on only where there is no fault at all."""
    _say("\n".join(_line(finding) for finding in findings))
    faults = [finding for finding in findings if finding.kind == "fault"]
    named = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    if check_only and faults:
        _say(named)
        return False
    if any(finding.stops for finding in faults):
        sys.stderr.write(f"start_server.py: not started for the {named} above\n")
        return False
    return True


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="start_server.py", description="Check this machine and start Dia's server.")
    add_server_flags(parser)
    parser.add_argument("--check-only", action="store_true", help="check and exit: 0 all is well, 1 something is not")
    presets = parser.add_mutually_exclusive_group()
    presets.add_argument("--dev", action="store_true", help="--debug --save-outputs --show-prompts --reload")
    presets.add_argument("--production", action="store_true", help="none of these four, whatever the environment says")
    args = parser.parse_args(argv)
    resolve_gpus(parser, args)
    four = ("debug", "save_outputs", "show_prompts", "reload")
    if args.dev:
        for name in four:
            setattr(args, name, True)
    if args.production:
        given = [f"--{name.replace('_', '-')}" for name in four if getattr(args, name)]
        if given:
            parser.error(f"--production excludes {', '.join(given)}; leave one of them out")
        _switch_off()
    return args


def _switch_off() -> None:
    for name in ("DIA_DEBUG_MODE", "DIA_SAVE_OUTPUTS", "DIA_SHOW_PROMPTS"):
        os.environ[name] = "false"


def _line(finding: Finding) -> str:
    cure = f" -> {finding.cure}" if finding.cure else ""
    return f"[{_SIGNS[finding.kind]:>5}] {finding.text}{cure}"


def _hints(settings: "Settings") -> str:
    host = "localhost" if settings.is_loopback or settings.host in ("0.0.0.0", "::") else settings.host
    base = f"http://{host}:{settings.port or 'PORT'}"
    chosen = "" if settings.port else "PORT is chosen by the system; the log says which.\n"
    asks = ", which asks for a key" if settings.api_keys else ""
    page = f"Page            {base}/ui{asks}\n" if settings.page else ""
    return (
        f"\nServer          {base}  (health: {base}/health, documentation: {base}/docs)\n"
        f"{page}"
        f"SillyTavern     provider OpenAI Compatible, endpoint {base}/v1/audio/speech or {base}/generate\n"
        f"OpenAI clients  base_url {base}/v1\n"
        f"Voices          alloy, echo, fable, nova, onyx, shimmer: {base}/v1/voices\n"
        f"Queue           {base}/v1/queue/stats   Configuration {base}/v1/config   Logs {base}/v1/logs\n"
        f"{chosen}"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
