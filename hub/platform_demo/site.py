"""The platform as a process of its own beside a hub: made, loaded and served as its operator would, asked over HTTP."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from hub.demo.errors import DemoError
from hub.demo.federation import PLATFORM, Federation
from hub.demo.processes import executable, free_port, run_command
from hub.platform.config import load_platform_config
from hub.platform.installation import at_desk
from hub.platform.world.generator import World
from hub.platform.world.loading import Loaded, load_world

_START_S = 240.0


class PlatformSite:
    """A platform in a folder of its own.

    Args:
        folder: new.
        federation: the hub, and the platform's own node with its gateway.
    """

    def __init__(self, folder: Path, federation: Federation) -> None:
        self.folder, self._federation = folder, federation
        self.config = folder / "platform.yaml"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._keys: dict[str, str] = {}

    def make(self) -> None:
        """Make it, and let it use its node's gateway."""
        made = ["init", "--dir", str(self.folder), "--party", PLATFORM.party_id, "--port", str(self.port)]
        self._command(*made)
        gateway = self._federation.gateways[PLATFORM.party_id]
        text = self.config.read_text(encoding="utf-8").replace("http://127.0.0.1:8090", gateway.url)
        self.config.write_text(text, encoding="utf-8")
        token = self.folder / "gateway.token"
        shutil.copyfile(gateway.token, token)
        token.chmod(0o600)

    def load(self, world: World, progress: Callable[[str, int, int], None]) -> tuple[Loaded, int]:
        """Load a world; returns what was new, and how many audit entries there are. The chain is verified."""
        with at_desk(load_platform_config(self.config)) as desk:
            loaded = load_world(world, desk.register, desk.products, desk.financings, progress=progress)
            return loaded, desk.audit.verify()[0]

    def serve(self) -> None:
        """Start its process, with a key of the API for the programme office and the regulator."""
        for kind in ("government", "regulator"):
            key = self._command("key-make", kind, "synthetic-office", "--config", str(self.config))
            self._keys[kind] = key.strip().splitlines()[-1]
        serve = [executable("digua-hub"), "platform", "serve", "--config", str(self.config)]
        self._federation.group.start("two-small", serve)
        self._federation.group.wait_until("the platform's start", self._ready, _START_S)

    def get(self, path: str, kind: str = "government", **query: Any) -> Any:
        """GET of its API; DemoError where it is refused."""
        return self._answer(httpx.get(f"{self.url}{path}", params=query, headers=self._headers(kind), **_HTTP))

    def post(self, path: str, body: Any, kind: str = "government") -> Any:
        """POST of its API, with a fresh idempotency key; DemoError where it is refused."""
        headers = self._headers(kind) | {"Idempotency-Key": secrets.token_hex(16)}
        return self._answer(httpx.post(f"{self.url}{path}", json=body, headers=headers, **_HTTP))

    def _headers(self, kind: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._keys[kind]}"}

    def _answer(self, response: httpx.Response) -> Any:
        if response.is_error:
            raise DemoError(f"{response.request.method} {response.request.url.path} was refused: {response.text}")
        return response.json()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", **_HTTP).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _command(self, *arguments: str) -> str:
        command = [executable("digua-hub"), "platform", *arguments]
        return run_command(command, what=f"digua-hub platform {arguments[0]}")


_HTTP: dict[str, Any] = {"timeout": 120.0, "trust_env": False}
