"""Write docs/http-api.md from the server's own OpenAPI document: `python scripts/make_http_api.py`."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from dia.server.app import create_app
from dia.service.build import build
from dia.service.settings import load_settings

PAGE = Path(__file__).parent.parent / "docs" / "http-api.md"
HEAD = """# HTTP API

Generated from the server's OpenAPI document by `python scripts/make_http_api.py`; a running server shows it at `/docs`.

Every path is served with and without the prefix `/v1`; the three shown with it have a shape of their own there. Bodies
are JSON whatever content type they are sent with. Errors are `{"error": {"message", "type", "param", "code",
"request_id"}}`, and outside `/v1` there is `detail` beside it. Any route may answer 400, 401, 403, 413, 421, 422, 429,
500 or 503; what else a route may answer stands with it. How to stream, clone and
queue is shown in [Programs that speak through the server](clients.md).
"""
ALWAYS = {"200", "400", "401", "403", "413", "421", "422", "429", "500", "503"}


def document() -> dict[str, Any]:
    """The OpenAPI document of a server without a model."""
    with tempfile.TemporaryDirectory() as folder:
        service = build(load_settings(data_dir=folder, offline=True))
        try:
            found: dict[str, Any] = create_app(service=service).openapi()
        finally:
            service.close(0)
    return found


def render(api: dict[str, Any]) -> str:
    """The page."""
    groups: dict[str, list[str]] = {}
    shown: dict[str, str] = {}
    for path, operations in api["paths"].items():
        if f"/v1{path}" in api["paths"]:
            continue  # the same under its other name
        for method, operation in operations.items():
            group = operation.get("tags", ["other"])[0]
            groups.setdefault(group, []).append(_operation(method.upper(), path, operation, shown))
    parts = [f"## {group[0].upper()}{group[1:]}\n\n" + "\n".join(entries) for group, entries in groups.items()]
    return HEAD + "\n" + "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any], shown: dict[str, str]) -> str:
    """One operation; `shown` tells where a body that several take was shown first."""
    lines = [f"### {method} {path}", "", operation.get("description", operation.get("summary", "")), ""]
    rows = [_row(item["name"], item["schema"], item.get("description", "")) for item in _queries(operation)]
    if rows:
        lines += ["| query | type | |", "|---|---|---|", *rows, ""]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        fields = content["schema"].get("properties", {})
        needed = content["schema"].get("required", [])
        title = content["schema"].get("title", path)
        if title in shown:
            lines += [f"The body is that of `{shown[title]}`.", ""]
            continue
        shown[title] = f"{method} {path}"
        rows = [
            _row(name, schema, ("Required. " if name in needed else "") + schema.get("description", ""))
            for name, schema in fields.items()
        ]
        lines += [f"| body ({kind}) | type | |", "|---|---|---|", *rows, ""]
    types = sorted(operation["responses"].get("200", {}).get("content", {}))
    if types and types != ["application/json"]:
        lines += [f"Answers: {', '.join(types)}.", ""]
    others = sorted(set(operation["responses"]) - ALWAYS)
    if others:
        told = "; ".join(f"{status} {operation['responses'][status]['description']}" for status in others)
        lines += [f"Also: {told}.", ""]
    return "\n".join(lines)


def _queries(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in operation.get("parameters", []) if item["in"] in ("query", "header")]


def _row(name: str, schema: dict[str, Any], text: str) -> str:
    default = schema.get("default")
    shown = f" Default {default}." if default not in (None, False, "") else ""
    return f"| `{name}` | {_type(schema)} | {text}{shown} |".replace("\n", " ")


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"] if option.get("type") != "null")
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    if "$ref" in schema:
        return "object"
    low, high = schema.get("minimum"), schema.get("maximum")
    span = f" {low} to {high}" if low is not None and high is not None else ""
    return f"{schema.get('type', 'any')}{span}"


if __name__ == "__main__":
    PAGE.write_text(render(document()), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
