"""What routes ask for: the service, the caller, and JSON bodies read whatever their content type."""

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import Request

from dia.door import Caller
from dia.service.build import Service

__all__ = ["CallerNow", "Pool", "RequestId", "ServiceNow", "json_body", "takes"]

Body = TypeVar("Body", bound=BaseModel)


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


def _pool(request: Request) -> ThreadPoolExecutor:
    return cast(ThreadPoolExecutor, request.app.state.pool)


def _caller(request: Request) -> Caller:
    return cast(Caller, request.scope.get("state", {}).get("caller") or Caller())


def _request_id(request: Request) -> str | None:
    return cast("str | None", request.scope.get("state", {}).get("request_id"))


ServiceNow = Annotated[Service, Depends(_service)]
Pool = Annotated[ThreadPoolExecutor, Depends(_pool)]
CallerNow = Annotated[Caller, Depends(_caller)]
RequestId = Annotated[str | None, Depends(_request_id)]


def json_body(model: type[Body], *, may_be_empty: bool = False) -> Callable[[Request], Awaitable[Body]]:
    """A dependency that reads a JSON object of that model; the content type is not looked at, for the documented
    command lines send none.

    The caller gets 400 for bytes that are no JSON object and 422 for wrong fields.
    """

    async def read(request: Request) -> Body:
        data = await request.body()
        value: Any = {}
        if data.strip() or not may_be_empty:
            try:
                value = from_json(data, allow_inf_nan=False)
            except ValueError as error:
                raise HTTPException(400, f"the body is not JSON: {str(error)[:200]}") from error
        if not isinstance(value, dict):
            raise HTTPException(400, f"the body must be a JSON object, not a {type(value).__name__}")
        try:
            return model.model_validate(value)
        except ValidationError as error:
            items = error.errors(include_url=False, include_input=False, include_context=False)
            raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in items]) from error

    return read


def takes(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The part of a route's OpenAPI that describes a body read by `json_body`."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}
