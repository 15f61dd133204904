"""`dia doctor`: does everything stand that speech needs, and what to do about it if not."""

from typing import Annotated

import typer

import dia as package
from dia.cli import options
from dia.cli.loading import ModelFlags
from dia.cli.terminal import printable

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def doctor(
    model: options.ModelFlag = None,
    repo_id: options.RepoFlag = None,
    local_paths: options.LocalPathsFlag = False,
    config: options.ConfigFlag = None,
    checkpoint: options.CheckpointFlag = None,
    revision: options.RevisionFlag = None,
    codec: options.CodecFlag = None,
    family: options.FamilyFlag = None,
    device: options.DeviceFlag = None,
    compute_dtype: options.DtypeFlag = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    debug: options.DebugFlag = False,
) -> None:
    """Check this machine and installation; each finding with its cure. Exit code 1 if something needed is missing."""
    del debug
    from dia.cli.checks import Finding, examine, to_json

    flags = ModelFlags(
        model=model,
        repo_id=repo_id,
        local_paths=local_paths,
        config=config,
        checkpoint=checkpoint,
        revision=revision,
        codec=codec,
        family=family,
        device=device,
        compute_dtype=compute_dtype,
        offline=True,
    )
    findings: list[Finding] = []
    for finding in examine(flags):
        findings.append(finding)
        if not as_json:
            _show(finding.status, finding.name, finding.detail, finding.cure)
    if as_json:
        print(to_json(findings, package.__version__))
    problems = sum(finding.status == "problem" for finding in findings)
    if not as_json:
        print(
            f"\n{problems} problem{'s' if problems > 1 else ''}"
            if problems
            else "\neverything that speech needs is here"
        )
    if problems:
        raise typer.Exit(1)


def _show(status: str, name: str, detail: str, cure: str) -> None:
    print(f"{status:<8} {name:<14} {printable(detail)}", flush=True)
    if cure:
        print(f"{'':<8} {'':<14} -> {cure}", flush=True)
