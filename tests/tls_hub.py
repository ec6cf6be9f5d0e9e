"""A hub's port with TLS, in a thread: enough of it for a node to find its way there."""

from __future__ import annotations

import ssl
import threading
from importlib.metadata import version

import trustme
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from crypto.frames import decode_frame, encode_frame
from crypto.wire.base import SUITE
from crypto.wire.link import Challenge, Frame, Welcome
from crypto.wire.service import HubInfo
from tests.node_world import SignerWorld

NAME = "hub.digua.example"
"""No name server knows it: whoever reaches the hub by it came through the proxy."""
LOCAL = "localhost"


class TlsHub:
    """A hub's port: `/v1/roster`, and a link that welcomes; TLS with a certificate of a private authority.

    Attributes:
        asked: paths of all requests; what is not served is answered with 404.
        elsewhere: where a redirect sends who opens the link, if anywhere.
    """

    def __init__(
        self, world: SignerWorld, authority: trustme.CA, *, certificate: trustme.LeafCert | None = None
    ) -> None:
        self.roster = world.roster(1)
        self.info = HubInfo(
            suite=SUITE,
            hub_id="hub",
            software=f"digua-hub/{version('digua')}",
            origin="digua/hub",
            sign_key=world.hub.public,
            voprf_key=world.hub_voprf.public,
            witness=None,
        )
        self.welcomed = threading.Event()
        self.fleet = threading.Event()
        routes = [
            Route("/v1/roster", self._roster),
            Route("/v1/info", self._info),
            WebSocketRoute("/v1/link", self._link),
            Route("/v1/fleet/{call}", self._fleet, methods=["POST"]),
        ]
        self.asked: set[str] = set()
        self.elsewhere: str | None = None
        self._app = Starlette(routes=routes)
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            port=0,
            ws="websockets-sansio",
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (certificate or authority.issue_cert(NAME, LOCAL)).configure_cert(config.ssl)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            self.thread.join(0.01)
        self.port = int(self.server.servers[0].sockets[0].getsockname()[1])

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.add(scope["path"])
        await self._app(scope, receive, send)

    async def _roster(self, _: Request) -> PlainTextResponse:
        return PlainTextResponse(self.roster)

    async def _info(self, _: Request) -> PlainTextResponse:
        return PlainTextResponse(self.info.model_dump_json())

    async def _fleet(self, _: Request) -> PlainTextResponse:
        self.fleet.set()
        return PlainTextResponse("", status_code=403)

    async def _link(self, socket: WebSocket) -> None:
        if self.elsewhere is not None:
            await socket.send_denial_response(RedirectResponse(self.elsewhere))
            return
        await socket.accept()
        challenge = Challenge(hub_id="hub", nonce=bytes(16)).model_dump_json().encode()
        await socket.send_bytes(encode_frame(Frame(type="challenge", id="c", body=challenge)))
        assert decode_frame(await socket.receive_bytes()).type == "hello"
        welcome = Welcome(party_id="bank-01", roster=self.roster).model_dump_json().encode()
        await socket.send_bytes(encode_frame(Frame(type="welcome", id="w", body=welcome)))
        self.welcomed.set()
        await socket.receive()
