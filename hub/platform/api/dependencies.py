"""What routes ask for: the platform, who calls, and a change that takes effect once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session
from starlette.responses import Response

from hub.errors import RequestSizeError
from hub.platform.callers import Caller
from hub.platform.calls import HEADER
from hub.platform.services import Platform
from hub.problems import request_error

M = TypeVar("M", bound=BaseModel)
MAX_BODY = 4 << 20


def platform_of(request: Request) -> Platform:
    """Return the platform that the application was made for."""
    return cast(Platform, request.app.state.platform)


PlatformOf = Annotated[Platform, Depends(platform_of)]


def caller_of(request: Request, platform: PlatformOf) -> Caller:
    """Return who calls; UnauthorisedError without a key."""
    return platform.callers.check(request.headers.get("authorization"))


CallerOf = Annotated[Caller, Depends(caller_of)]


def bank_of(caller: CallerOf) -> Caller:
    """Return the bank that calls; ForbiddenError for others."""
    return caller.one_of("bank")


BankOf = Annotated[Caller, Depends(bank_of)]


@dataclass(frozen=True)
class Change:
    """A call that changes something: exact bytes, and the key that makes it take effect once."""

    platform: Platform
    caller: Caller
    path: str
    key: str | None
    body: bytes

    def parsed(self, model: type[M]) -> M:
        """The body; RequestError names the first field at fault."""
        try:
            return model.model_validate_json(self.body)
        except ValidationError as error:
            raise request_error(error) from error

    def once(self, change: Callable[[Session], BaseModel], *, status: int = 200) -> Response:
        """Make the change, or give the answer that it got before."""
        found = self.platform.calls.once(self.caller, self.path, self.key, self.body, change, status=status)
        headers = {"Idempotent-Replayed": "true"} if found.replayed else None
        return Response(found.body, found.status, headers=headers, media_type="application/json")


async def read_body(request: Request) -> bytes:
    """Return the exact bytes; RequestSizeError beyond `MAX_BODY`."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise RequestSizeError(
                f"The body is larger than {MAX_BODY >> 20} MiB.", field="body", remedy="Send it in smaller parts."
            )
        chunks.append(chunk)
    return b"".join(chunks)


def change_of(
    request: Request, platform: PlatformOf, caller: CallerOf, body: Annotated[bytes, Depends(read_body)]
) -> Change:
    """Return the change that a request asks for; nothing is done yet."""
    return Change(platform, caller, request.url.path, request.headers.get(HEADER), body)


ChangeOf = Annotated[Change, Depends(change_of)]


def takes(model: type[BaseModel]) -> dict[str, object]:
    """What the OpenAPI document says of a body that is read as bytes, and of the key."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "parameters": [
            {"name": HEADER, "in": "header", "required": True, "schema": {"type": "string", "maxLength": 128}}
        ],
    }
