"""A node on Flower's deployment engine: it fetches the hub's messages from a SuperLink and answers them by itself.

Flower's own `flower-supernode` downloads the app that the hub submitted (a FAB) and runs it: whoever runs the hub could
run any code beside the node's rows. This client speaks the same Fleet API with the same library, and never asks for the
app or for the run: `GetFab` and `GetRun` are not called, so that no code can arrive, and each message goes to the
`ClientApp` that is installed with the node (`nodes.training`). See docs/adr/0002-code-at-nodes.md.

F1  Activate by the node's own P-384 key, which the hub registered from the cosigned roster; heartbeats from then on.
F2  Pull one message; pull its objects by their hashes, check each, put them together.
F3  The installed app answers.
F4  Push the reply and its objects.

A SuperLink that is away, or does not know the key, is tried again, waiting longer each time; a message that cannot be
read or answered is dropped, and the hub counts the node as lost in that attempt. Nothing here ends the process:
Flower's own connection helpers do, so they are not used.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Error, Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import HEARTBEAT_MIN_INTERVAL, ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_id,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    inflate_object_from_contents,
    pull_objects,
    push_objects,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from tenacity import Retrying, retry_if_exception_type, sleep_using_event, stop_when_event_set, wait_exponential_jitter

from nodes.errors import SuperLinkError

_LOG = structlog.get_logger("nodes.supernode")

POLL_SECONDS = 0.5
BEAT_SECONDS = 4.0
CALL_SECONDS = 30.0
STEADY_SECONDS = 30.0
MAX_OBJECTS = 100_000
_GONE = frozenset({httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND})
"""The run that a message belongs to has ended; the connection is well."""


class _VersionHeaders:
    """Tells the SuperLink which Flower this is. Flower's own interceptor ends the process on a word of the server."""

    def __init__(self) -> None:
        self._headers = dict(RuntimeVersionMetadata.from_local_component("SuperNode").as_metadata())

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Add the headers."""
        context.request.headers.update(self._headers)
        return call_next(context)


class _FleetClient(FleetHttpClient):
    """Flower's client; but it goes where the owner says, and never by a proxy that the environment names."""

    def go_by(self, root_certificates: Path, proxy: str | None) -> None:
        """Replace the HTTP client inside, which would ask the environment (see `nodes.proxy`)."""
        self._client.close()
        context = ssl.create_default_context(cafile=str(root_certificates))
        self._client = httpx.Client(verify=context, timeout=CALL_SECONDS, proxy=proxy, trust_env=False)


class SuperNode:
    """The node's presence at a SuperLink, kept until `stop`.

    Args:
        address: host and port of the SuperLink's Fleet API.
        root_certificates: PEM of the authority that signed the SuperLink's certificate; TLS is not optional.
        key: the node's own.
        reply: the installed app.
        poll_seconds: how often it asks for messages.
        proxy: address of a proxy that makes tunnels, if one is needed.
    """

    def __init__(
        self,
        address: str,
        root_certificates: Path,
        key: ec.EllipticCurvePrivateKey,
        reply: Callable[[Message], Message],
        *,
        poll_seconds: float = POLL_SECONDS,
        proxy: str | None = None,
    ) -> None:
        self._address = address
        self._root_certificates = root_certificates
        self._key = key
        self._reply = reply
        self._poll_seconds = poll_seconds
        self._proxy = proxy
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def connected(self) -> bool:
        """Whether the SuperLink has let this node in and answers it."""
        return self._up.is_set()

    def start(self) -> None:
        """Work in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="supernode", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Leave the SuperLink and end the thread that `start` made."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def run(self) -> None:
        """Stay at the SuperLink until `stop` is called."""
        while not self._stopping.is_set():
            retrying = Retrying(
                retry=retry_if_exception_type(SuperLinkError),
                wait=wait_exponential_jitter(multiplier=0.25, max=15.0, jitter=1.0),
                stop=stop_when_event_set(self._stopping),
                sleep=sleep_using_event(self._stopping),
                reraise=True,
            )
            try:
                retrying(self._session)
            except SuperLinkError:
                return  # stopping

    def _session(self) -> None:
        """F1 to F4 on one connection; returns only if it was steady."""
        started = time.monotonic()
        try:
            with _FleetClient.from_server_address(
                self._address,
                False,
                str(self._root_certificates),
                [_VersionHeaders(), NodeAuthHttpInterceptor(self._key, self._key.public_key())],
            ) as client:
                client.go_by(self._root_certificates, self._proxy)
                self._serve(client)
        except (httpx.HTTPError, OSError, ValueError) as problem:
            lost = _lost(self._address, problem)
            if not self._stopping.is_set():
                _LOG.warning("superlink-away", reason=lost.message, remedy=lost.remedy)
            if time.monotonic() - started < STEADY_SECONDS:
                raise lost from problem
        finally:
            self._up.clear()

    def _serve(self, client: FleetHttpClient) -> None:
        public = public_key_to_bytes(self._key.public_key())
        request = ActivateNodeRequest(public_key=public, heartbeat_interval=HEARTBEAT_MIN_INTERVAL)
        node = Node(node_id=client.ActivateNode(request).node_id)
        _LOG.info("superlink-up", at=self._address)
        ended = threading.Event()
        beats = threading.Thread(target=self._beat, args=(client, node, ended), name="supernode-beats", daemon=True)
        beats.start()
        self._up.set()
        try:
            while not self._stopping.is_set():
                pulled = client.PullMessages(PullMessagesRequest(node=node))
                if pulled.messages_list:
                    self._answer(client, node, message_from_proto(pulled.messages_list[0]), pulled)
                else:
                    self._stopping.wait(self._poll_seconds)
            client.DeactivateNode(DeactivateNodeRequest(node_id=node.node_id))
        finally:
            ended.set()
            beats.join()

    def _beat(self, client: FleetHttpClient, node: Node, ended: threading.Event) -> None:
        """A step may take longer than the SuperLink waits for a sign of life."""
        while not ended.wait(BEAT_SECONDS):
            try:
                client.SendNodeHeartbeat(SendNodeHeartbeatRequest(node=node, heartbeat_interval=HEARTBEAT_MIN_INTERVAL))
            except (httpx.HTTPError, ValueError) as problem:
                _LOG.debug("superlink-heartbeat-failed", reason=str(problem))  # the next poll finds out

    def _answer(self, client: FleetHttpClient, node: Node, head: Message, pulled: object) -> None:
        tree: ObjectTree = pulled.message_object_trees[0]  # type: ignore[attr-defined]
        try:
            message = _pull(client, node, head, tree)
            began = time.monotonic()
            reply = self._run(message)
            _push(client, node, reply, time.monotonic() - began)
        except (ObjectPullError, ObjectPushError) as problem:
            _LOG.warning("training-message-dropped", reason=str(problem))
        except httpx.HTTPStatusError as problem:
            if problem.response.status_code not in _GONE:
                raise
            _LOG.info("training-run-ended")

    def _run(self, message: Message) -> Message:
        """F3. What a step refuses is a signed record inside the reply; an exception carries no text away."""
        try:
            return self._reply(message)
        except Exception:
            _LOG.exception("training-message-failed", type=message.metadata.message_type)
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "the node failed"), reply_to=message)


def _pull(client: FleetHttpClient, node: Node, head: Message, tree: ObjectTree) -> Message:
    """F2."""
    run_id, message_id = head.metadata.run_id, head.metadata.message_id
    names = list(dict.fromkeys(each.object_id for each in iterate_object_tree(tree)))
    if len(names) > MAX_OBJECTS:
        raise ObjectPullError(message_id, "it has too many parts")
    contents = pull_objects(names, make_pull_object_fn_protobuf(client.PullObject, node, run_id))
    client.ConfirmMessageReceived(ConfirmMessageReceivedRequest(node=node, run_id=run_id, message_object_id=message_id))
    if any(get_object_id(content) != name for name, content in contents.items()):
        raise ObjectPullError(message_id, "a part is not what its hash says")
    try:
        message = inflate_object_from_contents(message_id, contents)
    except (KeyError, ValueError, TypeError, UnicodeDecodeError) as problem:
        raise ObjectPullError(message_id, f"it cannot be read ({type(problem).__name__})") from problem
    if not isinstance(message, Message):
        raise ObjectPullError(message_id, "it is no message")
    message.metadata.__dict__["_message_id"] = message_id
    return message


def _push(client: FleetHttpClient, node: Node, reply: Message, seconds: float) -> None:
    """F4."""
    with no_object_id_recompute():
        reply.metadata.__dict__["_message_id"] = reply.object_id
        objects = get_all_nested_objects(reply)
        bare = remove_content_from_message(reply) if reply.has_content() else reply
        pushed = client.PushMessages(
            PushMessagesRequest(
                node=node,
                messages_list=[message_to_proto(bare)],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[seconds],
            )
        )
        push_objects(
            objects,
            make_push_object_fn_protobuf(client.PushObject, node, reply.metadata.run_id, pushed.session_id),
            object_ids_to_push=set(pushed.objects_to_push),
        )


def _lost(address: str, problem: Exception) -> SuperLinkError:
    if isinstance(problem, httpx.HTTPStatusError):
        status = problem.response.status_code
        if status == httpx.codes.UNAUTHORIZED or problem.request.url.path.endswith("/activate-node"):
            return SuperLinkError(
                f"{address} does not know this node's training key",
                field="superlink",
                remedy="wait until the witness's owner has approved this node and the hub has registered its key",
            )
        return SuperLinkError(
            f"{address} answered {status}", field="superlink", remedy="compare the Flower versions of hub and node"
        )
    return SuperLinkError(
        f"{address} cannot be reached ({type(problem).__name__})",
        field="superlink",
        remedy="check address, root_certificates and the way there; it is tried again",
    )
