"""The OpenAPI document, completed by what the framework cannot know."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

__all__ = ["describe_api"]


def describe_api(app: FastAPI) -> dict[str, Any]:
    """Speech from text: two speakers, laughs and sighs, cloned voices; whole, streamed or as jobs.

    Every path stands here without a prefix and is served under `/v1` too, where errors are OpenAI's `{"error": …}`
    alone. Bodies are JSON whatever content type they are sent with. Where API keys are in use, send one as
    `Authorization: Bearer KEY` or `X-API-Key: KEY`.
    """
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"header": []}, {}]
        for path in document["paths"].values():
            for operation in path.values():
                _hoist(operation, schemas)
        app.openapi_schema = document
    return app.openapi_schema


def _hoist(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Move the definitions inside a body's schema to where its references point."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schemas.update(content.get("schema", {}).pop("$defs", {}))
