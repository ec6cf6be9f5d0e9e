"""The hub's side of a SuperLink's Control API: runs of campaigns and registered nodes, through Flower's own client."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from flwr.common.constant import Status, SubStatus
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.run_pb2 import Run
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from hub.campaign_errors import SuperLinkError
from hub.config import SuperLinkOptions
from hub.errors import StateError
from hub.keys import read_secret
from hub.superlink.bundle import CAMPAIGN, HUB, build_bundle
from hub.superlink.files import address_file, token_file

_UNREGISTERED = "unregistered"
_LOOK_BACK = 200
R = TypeVar("R")


@dataclass(frozen=True)
class CampaignRunState:
    """A run of a campaign at the SuperLink."""

    run_id: int
    campaign_id: str
    alive: bool
    detail: str


@dataclass(frozen=True)
class RegisteredNode:
    """A node as the SuperLink knows it, by the PEM of its public key."""

    node_id: int
    public_key: bytes
    online: bool


class _Bearer:
    """Shows the token that guards the Control API."""

    def __init__(self, token: str) -> None:
        self._token = token

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Add the header."""
        context.request.headers["authorization"] = f"Bearer {self._token}"
        return call_next(context)


class SuperLinkApi:
    """Runs and nodes of one SuperLink; every call raises SuperLinkError where it cannot be had.

    Args:
        options: section ``superlink`` of `hub.yaml`.
    """

    def __init__(self, options: SuperLinkOptions) -> None:
        self._options = options

    def submit(self, campaign_id: str, hub_yaml: Path) -> int:
        """Start a run of the campaign; return its id."""
        content = build_bundle()
        request = StartRunRequest(
            fab=fab_to_proto(Fab(hashlib.sha256(content).hexdigest(), content, {})),
            override_config=user_config_to_proto({CAMPAIGN: campaign_id, HUB: str(hub_yaml)}),
        )
        answer = self._call(lambda client: client.StartRun(request))
        if not answer.HasField("run_id"):
            raise SuperLinkError(
                "The SuperLink took no run.", field="superlink", remedy="Read its log; compare the Flower versions."
            )
        return int(answer.run_id)

    def runs(self, campaign_id: str) -> tuple[CampaignRunState, ...]:
        """Return the campaign's runs, the newest first, among the last that the SuperLink had."""
        answer = self._call(lambda client: client.ListRuns(ListRunsRequest(limit=_LOOK_BACK)))
        runs = sorted(answer.run_dict.values(), key=lambda run: str(run.pending_at), reverse=True)
        return tuple(_state(run) for run in runs if _campaign_of(run) == campaign_id)

    def stop(self, run_id: int) -> None:
        """End a run; its process notices within half a minute."""
        self._call(lambda client: client.StopRun(StopRunRequest(run_id=run_id)))

    def nodes(self) -> tuple[RegisteredNode, ...]:
        """Return the registered nodes."""
        answer = self._call(lambda client: client.ListNodes(ListNodesRequest()))
        return tuple(
            RegisteredNode(node.node_id, node.public_key, node.status == "online")
            for node in answer.nodes_info
            if node.status != _UNREGISTERED
        )

    def register(self, public_key: bytes) -> None:
        """Let a node in, by the PEM of its public key."""
        self._call(lambda client: client.RegisterNode(RegisterNodeRequest(public_key=public_key)))

    def unregister(self, node_id: int) -> None:
        """Let a node in no longer."""
        self._call(lambda client: client.UnregisterNode(UnregisterNodeRequest(node_id=node_id)))

    def _call(self, request: Callable[[ControlHttpClient], R]) -> R:
        try:
            with self._client() as client:
                return request(client)
        except httpx.HTTPStatusError as refusal:
            raise SuperLinkError(
                f"The SuperLink refused with status {refusal.response.status_code}.",
                field="superlink",
                remedy="Compare its Flower version with the hub's, and its token file.",
            ) from refusal
        except (httpx.HTTPError, OSError, ValueError, StateError) as gone:
            raise SuperLinkAwayError(
                f"The SuperLink cannot be reached ({type(gone).__name__}).",
                field="superlink",
                remedy="Start it, or correct its address in hub.yaml.",
            ) from gone

    @contextmanager
    def _client(self) -> Iterator[ControlHttpClient]:
        options, root = self._options, None
        if options.managed:
            token = read_secret(token_file(options)).decode().strip()
            if options.control is None:
                address = address_file(options).read_text().strip()
            else:
                address, root = f"{options.control.host}:{options.control.port}", options.control.root_certificates
        else:
            address, root = options.address or "", options.root_certificates
            token = "" if options.token_file is None else read_secret(options.token_file).decode().strip()
        with ControlHttpClient.from_server_address(
            address, root is None, None if root is None else str(root), [_Bearer(token)] if token else []
        ) as client:
            yield client


class SuperLinkAwayError(SuperLinkError):
    """It gives no answer at all: down, or on its way up again."""


def _campaign_of(run: Run) -> str:
    config = run.override_config
    return str(config[CAMPAIGN].string) if CAMPAIGN in config else ""


def _state(run: Run) -> CampaignRunState:
    alive = run.status.status != Status.FINISHED
    completed = run.status.sub_status == SubStatus.COMPLETED
    detail = "" if alive or completed else f"{run.status.sub_status}: {run.status.details}"
    return CampaignRunState(run.run_id, _campaign_of(run), alive, detail)
