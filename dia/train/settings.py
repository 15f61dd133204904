"""Settings of a run from the command line: `name=value` over the defaults of a configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from dia.errors import BadParameter

Config = TypeVar("Config")


def override(config: Config, settings: Sequence[str]) -> Config:
    """The configuration with some fields replaced; `shape.decoder_hidden=320` reaches into a nested one.

    Values are JSON (`3`, `0.5`, `true`, `[8,4,4,4]`) or plain words.

    Raises:
        BadParameter: no such field, no `=`, or a value of another kind; the message lists the fields.
    """
    for setting in settings:
        name, equals, raw = setting.partition("=")
        if not equals:
            raise BadParameter(f"{setting!r} is no setting; write name=value")
        config = _set(config, name.strip().split("."), _read(raw.strip()), setting)
    return config


def _read(raw: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw


def _set(config: Any, path: list[str], value: Any, setting: str) -> Any:
    names = [field.name for field in fields(config)]
    if path[0] not in names:
        raise BadParameter(f"{setting!r}: no setting {path[0]!r}; there are {', '.join(names)}")
    present = getattr(config, path[0])
    if len(path) > 1:
        if not is_dataclass(present):
            raise BadParameter(f"{setting!r}: {path[0]} has no parts")
        return replace(config, **{path[0]: _set(present, path[1:], value, setting)})
    return replace(config, **{path[0]: _fitted(present, value, setting)})


def _fitted(present: Any, value: Any, setting: str) -> Any:
    if isinstance(present, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(present, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(present) is not type(value):
        raise BadParameter(f"{setting!r}: expected a {type(present).__name__} such as {present!r}")
    return value
