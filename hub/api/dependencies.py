"""What routes ask for: the hub, the exact body, the administrator, the party that signed the request."""

from __future__ import annotations

from typing import Annotated, TypeVar, cast

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.requests import HTTPConnection
from starlette.responses import Response

from crypto.wire.party import Party
from hub.errors import RequestError
from hub.problems import request_error
from hub.services import Hub

M = TypeVar("M", bound=BaseModel)


def hub_of(connection: HTTPConnection) -> Hub:
    """Return the hub that the application was made for."""
    return cast(Hub, connection.app.state.hub)


HubOf = Annotated[Hub, Depends(hub_of)]


async def read_body(request: Request) -> bytes:
    """Return the exact bytes; signed bodies are verified before they are parsed."""
    return await request.body()


RawBody = Annotated[bytes, Depends(read_body)]


async def read_token(request: Request) -> str:
    """Return the body as a compact JWS; RequestError where it is not ASCII."""
    try:
        return (await request.body()).decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise RequestError("The body is not a compact JWS.", field="body", remedy="Send the token alone.") from error


TokenBody = Annotated[str, Depends(read_token)]


def admin_only(request: Request, hub: HubOf) -> None:
    """Let the administrator pass."""
    hub.admin.check(request.headers.get("authorization"))


AdminOnly = Depends(admin_only)


def signed_party(request: Request, hub: HubOf) -> Party:
    """Return the party whose signature the request carries."""
    raw_path: bytes = request.scope.get("raw_path") or request.url.path.encode()
    query: bytes = request.scope["query_string"]
    path = raw_path.split(b"?", 1)[0] + (b"?" + query if query else b"")
    return hub.party_auth.check(request.headers.get("authorization"), method=request.method, path=path.decode())


SignedParty = Annotated[Party, Depends(signed_party)]


def parse(body: bytes, model: type[M]) -> M:
    """Parse an unsigned body; RequestError names the first field at fault."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise request_error(error) from error


def answer(model: BaseModel, status: int = 200) -> Response:
    """Return a wire model as JSON, bytes as base64url."""
    return Response(model.model_dump_json(), status_code=status, media_type="application/json")
