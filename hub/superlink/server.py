"""A SuperLink that the hub runs itself: Flower's own, behind listeners that offer what each side needs.

Flower serves three APIs on one port: Fleet for the nodes, Control to submit apps (which then run here), Runtime for the
process that runs them. Whoever reaches Control could run code at the hub. So here:

* the outer listener, with TLS, offers the Fleet API alone; nodes show the keys that the hub registered;
* the inner one listens on a free port of loopback, asks for a token before Control, and for a shared secret before a
  process may take a run;
* where it is a service of its own, a third one offers Control to the hub's other processes, with TLS and that token.

Nothing goes out: no telemetry, no search for updates, no installing of packages.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvicorn

from hub.config import SuperLinkControl, SuperLinkListen, SuperLinkOptions, Tls
from hub.keys import read_secret
from hub.superlink import files

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

FLEET, CONTROL = "/v1/fleet/", "/v1/control/"
_LOOK_S = 0.5
_CLOSE_S = 3
_END_S = 1
_logger = structlog.get_logger("hub.superlink")


class Gate:
    """Lets through what a listener offers; all else is not there.

    Args:
        app: the SuperLink.
        passes: says so of a path and the request's ``Authorization``.
    """

    def __init__(self, app: ASGIApp, passes: Callable[[str, bytes], bool]) -> None:
        self._app = app
        self._passes = passes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or its refusal."""
        if scope["type"] != "lifespan":
            headers = dict(scope.get("headers", ()))
            if scope["type"] != "http" or not self._passes(scope["path"], headers.get(b"authorization", b"")):
                await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body", "body": b""})
                return
        await self._app(scope, receive, send)


def outer(path: str, _authorization: bytes) -> bool:
    """What nodes may ask."""
    return path.startswith(FLEET)


def inner(token: bytes) -> Callable[[str, bytes], bool]:
    """What processes of this machine may ask."""

    def passes(path: str, authorization: bytes) -> bool:
        return not path.startswith(CONTROL) or hmac.compare_digest(authorization, b"Bearer " + token)

    return passes


def control(token: bytes) -> Callable[[str, bytes], bool]:
    """What the hub's other processes may ask from other machines."""

    def passes(path: str, authorization: bytes) -> bool:
        return path.startswith(CONTROL) and hmac.compare_digest(authorization, b"Bearer " + token)

    return passes


def environment(options: SuperLinkOptions) -> dict[str, str]:
    """The surroundings of Flower's processes."""
    return {
        **os.environ,
        "FLWR_HOME": str(files.flower_home(options).absolute()),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        # Flower finds its own programs by name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def serve(options: SuperLinkOptions, stopping: Callable[[], bool]) -> int:
    """Serve until told to stop; return 1 where the executor of `ServerApp`s died.

    Raises:
        OSError: the outer address cannot be listened on.
        StateError: a secret file is not safe.
    """
    files.prepare(options)
    os.environ.update(environment(options))
    token = read_secret(files.token_file(options)).strip()
    with socket.create_server(("127.0.0.1", 0)) as inside:
        host, port = inside.getsockname()[:2]
        app = _superlink(options, host, port)
        # It writes down every poll of every node; its import sets the level.
        logging.getLogger("flwr").setLevel(logging.WARNING)
        address = files.address_file(options)
        address.write_text(f"{host}:{port}\n")
        tls = options.required_tls
        inside_only = uvicorn.Config(
            Gate(app, inner(token)), log_config=None, access_log=False, timeout_graceful_shutdown=_CLOSE_S
        )
        servers = [uvicorn.Server(inside_only), _with_tls(Gate(app, outer), options.listen, tls)]
        if options.control is not None:
            servers.append(_with_tls(Gate(app, control(token)), options.control, tls))
        return asyncio.run(_serve(servers, inside, _executor_command(options, f"{host}:{port}"), stopping))


def _with_tls(app: Gate, at: SuperLinkListen | SuperLinkControl, tls: Tls) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=at.host,
        port=at.port,
        ssl_certfile=str(tls.certificate),
        ssl_keyfile=str(tls.key),
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_CLOSE_S,
    )
    return uvicorn.Server(config)


async def _serve(
    servers: list[uvicorn.Server], inside: socket.socket, command: list[str], stopping: Callable[[], bool]
) -> int:
    tasks = [asyncio.create_task(servers[0].serve(sockets=[inside]))]
    tasks += [asyncio.create_task(server.serve()) for server in servers[1:]]
    executor: subprocess.Popen[bytes] | None = None
    code = 0
    try:
        while not stopping() and not any(task.done() for task in tasks):
            if executor is None and all(server.started for server in servers):
                executor = subprocess.Popen(command, start_new_session=True)  # noqa: S603
                _logger.info("superlink-serves")
            if executor is not None and executor.poll() is not None:
                _logger.error("superlink-executor-died", code=executor.returncode)
                code = 1
                break
            await asyncio.sleep(_LOOK_S)
    finally:
        if executor is not None:
            _signal_group(executor.pid, signal.SIGTERM)
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks, return_exceptions=True)
        if executor is not None:
            await _end_group(executor)
    return code


async def _end_group(executor: subprocess.Popen[bytes]) -> None:
    """Let the executor and the processes of runs end, then end what is left: runs go on from the hub's database."""
    for _ in range(int(_END_S / _LOOK_S)):
        executor.poll()
        if not _signal_group(executor.pid, 0):
            return
        await asyncio.sleep(_LOOK_S)
    _signal_group(executor.pid, signal.SIGKILL)
    executor.wait()


def _signal_group(leader: int, number: int) -> bool:
    """Signal all processes of the executor's session; False where none is left. 0 only asks."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return False
    return True


def _executor_command(options: SuperLinkOptions, address: str) -> list[str]:
    """Flower's program that starts a process for each submitted `ServerApp`; it ends with this process."""
    return [
        str(Path(sys.executable).parent / "flower-superexec"),
        "--insecure",
        "--runtime-api-address",
        address,
        "--parent-pid",
        str(os.getpid()),
        "--superexec-auth-secret-file",
        str(files.executor_secret_file(options).absolute()),
    ]


def _superlink(options: SuperLinkOptions, host: str, port: int) -> ASGIApp:
    # Flower reads its environment when it is imported.
    from flwr.common.constant import ISOLATION_MODE_PROCESS, TRANSPORT_TYPE_GRPC_RERE  # noqa: PLC0415
    from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin  # noqa: PLC0415
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan  # noqa: PLC0415
    from flwr.superlink.config_loader import SuperLinkLifespanConfig  # noqa: PLC0415
    from flwr.superlink.main import create_app  # noqa: PLC0415

    config = SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host=host,
        port=port,
        insecure=True,  # of the inner listener, on loopback; the outer one has TLS
        certificates=None,
        superexec_auth_secret=read_secret(files.executor_secret_file(options)),
        authn_plugin=NoOpControlAuthnPlugin(),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=None,
        ssl_certfile=None,
        ssl_keyfile=None,
        database=str(files.database_file(options).absolute()),
        isolation=ISOLATION_MODE_PROCESS,
        runtime_dependency_install=False,
    )
    return create_app(config, SuperLinkLifespan)
