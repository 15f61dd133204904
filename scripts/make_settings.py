"""Write docs/settings.md from the settings themselves: `python scripts/make_settings.py`; a test compares the two."""

import sys
from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from dia.server.flags import flag_of
from dia.service.settings import Settings

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
HEAD = """# Settings of the server

Generated from the settings themselves by `python scripts/make_settings.py`.

Flag, environment variable, a line of a file `.env` in the working folder: they count in that order. Lists are written with
commas. What may change while the server runs is at [`PUT /config`](http-api.md#put-config).

| variable | flag | default | meaning |
|---|---|---|---|
"""


def render() -> str:
    """The page."""
    return HEAD + "\n".join(_row(name, field) for name, field in Settings.model_fields.items()) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [f"DIA_{name.upper()}"]
    flag = flag_of(names)
    meaning = (field.description or "").replace("|", "\\|")
    return f"| {', '.join(f'`{each}`' for each in names)} | {f'`{flag}`' if flag else ''} | {_default(field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    sys.exit(0)
