"""`dia jobs`: list, look at, cancel and fetch the jobs of a server."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from dia.cli import options
from dia.cli.outputs import check_path, save_bytes
from dia.cli.remote import Remote, ServerFlag, connected, segment
from dia.cli.tables import print_json, print_table
from dia.cli.terminal import Terminal, printable
from dia.errors import BadParameter

__all__ = ["app"]

app = typer.Typer(
    help="List, watch, cancel and fetch the jobs of a server.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_HELP = {"help_option_names": ["-h", "--help"]}
_POLL_S = 0.5
_ENDED = ("completed", "failed", "cancelled")
JobArgument = Annotated[str, typer.Argument(help="Its id, as dia jobs list shows it.", metavar="JOB")]


@app.command("list", context_settings=_HELP)
def list_jobs(
    status: Annotated[
        str | None, typer.Option("--status", help="pending, processing, completed, failed or cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="How many at most, 1 to 500.")] = 50,
    server: ServerFlag = None,
    json: options.JsonFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Show jobs, newest first."""
    del debug
    wanted = {"limit": limit, **({"status": status} if status else {})}
    with connected(server) as remote:
        page = remote.json("GET", "/jobs", params=wanted)
    if json:
        print_json(page)
        return
    rows = [
        (job["id"], job["status"], job["created_at"], job["voice_id"], job["response_format"], _sound(job))
        for job in page["jobs"]
    ]
    print_table(("job", "status", "made at", "voice", "format", "sound"), rows)


@app.command("show", context_settings=_HELP)
def show(
    job: JobArgument, server: ServerFlag = None, json: options.JsonFlag = False, debug: options.DebugFlag = False
) -> None:
    """Show one job."""
    del debug
    with connected(server) as remote:
        found = remote.json("GET", f"/jobs/{segment(job)}")
    if json:
        print_json(found)
        return
    for name, value in found.items():
        if value is not None and not isinstance(value, dict):
            print(f"{name:<16} {printable(str(value))}")
    print(f"{'progress':<16} {found['progress']['percent']} %")


@app.command("cancel", context_settings=_HELP)
def cancel(
    job: JobArgument, server: ServerFlag = None, quiet: options.QuietFlag = False, debug: options.DebugFlag = False
) -> None:
    """Cancel a job: a waiting one at once, a running one at the next step of the model."""
    del debug
    with connected(server) as remote:
        done = remote.json("DELETE", f"/jobs/{segment(job)}")
    Terminal(quiet).note(f"job {job}: {done['status']}")


@app.command("result", context_settings=_HELP)
def result(
    job: JobArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write its sound.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended.")] = False,
    server: ServerFlag = None,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> None:
    """Fetch the sound of a completed job."""
    del debug
    check_path(output)
    with connected(server) as remote:
        found = _ended(remote, job) if wait else remote.json("GET", f"/jobs/{segment(job)}")
        ending = f".{found['response_format']}"
        if output.suffix.lower() != ending and ending != ".pcm":
            raise BadParameter(f"the sound of this job is {ending[1:]}; name the file {output.stem}{ending}")
        data = remote.request("GET", f"/jobs/{segment(job)}/result").content
    save_bytes(output, data)
    Terminal(quiet).note(f"{output}: {len(data):,} bytes, seed {found['seed']}")


def _ended(remote: Remote, job: str) -> dict[str, Any]:
    while True:
        found = remote.json("GET", f"/jobs/{segment(job)}")
        if found["status"] in _ENDED:
            return found
        time.sleep(_POLL_S)


def _sound(job: dict[str, Any]) -> str:
    if job["duration"] is not None:
        return f"{job['duration']:.1f} s"
    return f"{job['progress']['percent']} %" if job["status"] == "processing" else ""
