"""A group whose commands are imported when they are called: `dia --help` reads one table and imports none of them."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["Entry", "make_group"]

_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Entry:
    """One sub-command.

    Attributes:
        name: what is typed.
        target: `module:name` of a Typer app, or of a plain `main(argv) -> int`. An app that is a group with a command
            of this name gives that command, so that one app may serve several entries.
        help: one line for `dia --help`.
    """

    name: str
    target: str
    help: str

    @property
    def is_present(self) -> bool:
        """Whether the module is part of this installation; finds out without importing it."""
        path = _PACKAGE.joinpath(*self.target.split(":")[0].split(".")[1:])
        return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()

    def load(self) -> Any:
        """The command behind the entry; a missing optional package comes out as ModuleNotFoundError."""
        module, attribute = self.target.split(":")
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            return _around(found, self)
        command = typer.main.get_command(found)
        return getattr(command, "commands", {}).get(self.name, command)


def _around(main: Callable[[list[str]], int | None], entry: Entry) -> Any:
    """A command that hands all its arguments to a `main` with a parser of its own."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)

    @app.command(
        entry.name,
        help=entry.help,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    )
    def pass_on(context: typer.Context) -> None:
        code: object
        try:
            code = main(list(context.args))
        except SystemExit as stop:  # how argparse ends, after help too
            code = stop.code
        if code:
            raise typer.Exit(code if isinstance(code, int) else 1)

    return typer.main.get_command(app)


def make_group(entries: tuple[Entry, ...]) -> type[TyperGroup]:
    """A group class over a table of entries, in the table's order; entries that are not installed are not shown."""
    table = {entry.name: entry for entry in entries if entry.is_present}

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return list(table)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return table[cmd_name].load() if cmd_name in table else None

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(entry.name, entry.help) for entry in table.values()])

    return LazyGroup
