"""Flags of the server commands, and their way into DIA_* so that every process of a server reads the same settings."""

import argparse
import os
from collections.abc import Mapping, Sequence

import dia

__all__ = ["add_server_flags", "export", "flag_of", "resolve_gpus"]

# Flag to environment variable, for flags that take a value.
_VALUES: Mapping[str, str] = {
    "host": "DIA_HOST", "port": "DIA_PORT", "workers": "DIA_WORKERS", "model": "DIA_MODEL", "device": "DIA_DEVICE",
    "data_dir": "DIA_DATA_DIR", "retention_hours": "DIA_OUTPUT_RETENTION_HOURS",
}  # fmt: skip
_SWITCHES: Mapping[str, str] = {
    "debug": "DIA_DEBUG_MODE", "save_outputs": "DIA_SAVE_OUTPUTS", "show_prompts": "DIA_SHOW_PROMPTS",
    "no_torch_compile": "DIA_DISABLE_TORCH_COMPILE", "offline": "DIA_OFFLINE",
}  # fmt: skip
_SWITCHED_OFF: Mapping[str, str] = {"no_page": "DIA_PAGE"}


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that both server commands take. One that is not given leaves its setting to environment and file."""
    text = parser.add_argument
    text("--host", help="address to listen on (default 127.0.0.1; 0.0.0.0 is every network of this machine)")
    text("--port", type=int, help="port (default 7860)")
    text("--workers", type=int, metavar="N", help="requests in the engine at once, 1 to 64 (default 4)")
    text("--model", help="checkpoint folder, hub repository, or auto (default)")
    text("--device", help="auto (default), cpu, mps, cuda or cuda:N")
    text("--data-dir", help="folder for voices, prompts, jobs, logs and saved audio")
    text("--retention-hours", type=int, metavar="N", help="delete logs and saved audio after so long (default 24)")
    text("--debug", action="store_true", help="a log line for each speech, and its parameters in a header")
    text("--save-outputs", action="store_true", help="keep the audio of every request")
    text("--show-prompts", action="store_true", help="keep and show the texts of requests")
    text(
        "--no-torch-compile",
        action="store_true",
        help="launch each decode step anew, without captured graphs (CUDA; other devices have none)",
    )
    text("--offline", action="store_true", help="never ask the model hub")
    text("--no-page", action="store_true", help="serve the API alone, without the page at /ui")
    text("--reload", action="store_true", help="restart when the package's code changes, for development")
    text("--gpu-mode", choices=("single", "auto", "multi"), help="single and auto mean the same; multi is refused")
    text("--gpus", metavar="N", help="number of the GPU to use, the same as --device cuda:N")
    text("--version", action="version", version=f"dia {dia.__version__}")


def resolve_gpus(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Turn `--gpus`, or DIA_GPU_IDS of older servers, into a device; one process serves one device."""
    args.gpu_mode = args.gpu_mode or os.environ.get("DIA_GPU_MODE")
    args.gpus = args.gpus or os.environ.get("DIA_GPU_IDS") or None
    if args.gpu_mode == "multi" or (args.gpus is not None and not args.gpus.isdigit()):
        parser.error("one server uses one GPU; start one for each with --gpus N, --port and --data-dir of its own")
    if args.gpus is not None:
        if args.device is not None and args.device != f"cuda:{args.gpus}":
            parser.error(f"--gpus {args.gpus} and --device {args.device} differ; give one of them")
        args.device = f"cuda:{args.gpus}"


def flag_of(names: Sequence[str]) -> str | None:
    """The flag that sets one of these variables."""
    flags = (flag for table in (_VALUES, _SWITCHES, _SWITCHED_OFF) for flag, name in table.items() if name in names)
    return next((f"--{flag.replace('_', '-')}" for flag in flags), None)


def export(args: argparse.Namespace) -> None:
    """Write the given flags into the environment, where the factory of every process finds them."""
    for flag, name in _VALUES.items():
        value = getattr(args, flag)
        if value is not None:
            os.environ[name] = str(value)
    for switches, state in ((_SWITCHES, "true"), (_SWITCHED_OFF, "false")):
        for flag, name in switches.items():
            if getattr(args, flag):
                os.environ[name] = state
