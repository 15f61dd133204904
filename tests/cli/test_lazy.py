"""Sub-commands are found by name, imported when called, and a missing extra says how to install it."""

import re
import sys
from pathlib import Path

import pytest
import typer

from dia.cli.lazy import Entry, make_group
from dia.cli.run import run
from dia.packages import EXTRAS, install_command, is_installed
from tests.cli.conftest import refused

PYPROJECT = (Path(__file__).parent.parent.parent / "pyproject.toml").read_text()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module `dia.extra_room` into a folder of its own that is searched first."""
    import dia
    from dia.cli import lazy

    folder = tmp_path / "dia"
    folder.mkdir()
    monkeypatch.setattr(dia, "__path__", [*dia.__path__, str(folder)])
    monkeypatch.setattr(lazy, "_PACKAGE", folder)

    def write(source: str) -> None:
        (folder / "extra_room.py").write_text(source)
        monkeypatch.delitem(sys.modules, "dia.extra_room", raising=False)

    yield write
    sys.modules.pop("dia.extra_room", None)


def app_of(*entries: Entry) -> typer.Typer:
    app = typer.Typer(cls=make_group(entries), no_args_is_help=True, rich_markup_mode=None)
    app.callback()(lambda: None)
    return app


def running(app):
    return lambda argv: run(app, argv, name="dia")


def test_one_app_serves_several_entries(module, type_in):
    module("""
import typer
app = typer.Typer()
inner = typer.Typer()
@inner.command("model")
def model(): print("a model")
@inner.command("codec")
def codec(): print("a codec")
@app.command("finetune")
def finetune(steps: int = 3): print("finetuned", steps)
app.add_typer(inner, name="train")
""")
    entries = [Entry(name, "dia.extra_room:app", f"{name} it.") for name in ("train", "finetune")]
    main = running(app_of(*entries))
    assert type_in("train", "codec", main=main).out == b"a codec\n"
    assert type_in("finetune", "--steps", 4, main=main).out == b"finetuned 4\n"
    assert "dia finetune" in type_in("finetune", "--help", main=main).out.decode()


def test_a_plain_main_gets_its_arguments_and_its_exit_code_counts(module, type_in):
    module("def main(argv):\n    print(argv)\n    return 3\n")
    answer = type_in(
        "serve", "--port", 80, "x", "--help", main=running(app_of(Entry("serve", "dia.extra_room:main", "Serve.")))
    )
    assert answer.code == 3 and answer.out == b"['--port', '80', 'x', '--help']\n"


def test_help_shows_what_is_there_without_importing_it(module, type_in):
    module("raise RuntimeError('imported')")
    app = app_of(Entry("here", "dia.extra_room:app", "Is here."), Entry("gone", "dia.nowhere:app", "Is not."))
    text = type_in("--help", main=running(app)).out.decode()
    assert "Is here." in text and "gone" not in text
    refused(type_in("gone", main=running(app)), 2, "No such command")


@pytest.mark.parametrize("where", ["at import", "inside the command"])
def test_a_missing_extra_says_how_to_install_it(module, type_in, where):
    fails = "raise ModuleNotFoundError(\"No module named 'gradio'\", name='gradio.blocks')"
    if where == "at import":
        module(fails)
    else:
        module(f"import typer\napp = typer.Typer()\n@app.command()\ndef ui():\n    {fails}\n")
    main = running(app_of(Entry("ui", "dia.extra_room:app", "Open.")))
    refused(type_in("ui", main=main), 1, "gradio is not installed", "pip install 'gradio<7,")


def test_a_bug_keeps_its_traceback(module, type_in):
    module("import dia.no_such_module")
    with pytest.raises(ModuleNotFoundError):
        type_in("ui", main=running(app_of(Entry("ui", "dia.extra_room:app", "Open."))))


def test_the_table_of_extras_is_that_of_the_package():
    """An extra is a list of its own, or a name for what a plain install brings."""
    plain = re.search(r"^dependencies = \[(.*?)^\]$", PYPROJECT, re.MULTILINE | re.DOTALL)
    assert plain is not None
    for extra, modules in EXTRAS.items():
        declared = re.search(rf"^{extra} = \[(.*?)\]$", PYPROJECT, re.MULTILINE | re.DOTALL)
        assert declared is not None, extra
        names = (declared.group(1) or plain.group(1)).lower().replace("-", "_")
        assert not [module for module in modules if module not in names], extra
    assert install_command("faster_whisper", "matplotlib") == "pip install 'faster-whisper>=1.1' 'matplotlib>=3.9'"
    assert install_command("some_module") == "pip install 'some-module'"
    assert is_installed("numpy") and not is_installed("no_such_package_at_all")
