"""Records all bytes that each party receives, at the transport, as a reviewer at that party would see them.

A reviewer at a party may open what the party itself can open: its sealed boxes, with the keys that it holds at that
moment.
"""

from __future__ import annotations

import json
import re
import threading
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from crypto.parcel import Parcel
from hub.grids.channel import from_records
from hub.grids.local import LocalGrid

HUB = "hub"
_OF_PARTY = re.compile(r"\.(?:\d+|[a-z]+-\d+|bank|tax|utility)(?=\.|$)")


@dataclass(frozen=True)
class Seen:
    """One message that a party received.

    Attributes:
        by, sender: receiver and sender.
        message: its type; of a reply, the type of what it answers.
        size: bytes on the wire.
    """

    by: str
    sender: str
    message: str
    parcel: Parcel
    size: int

    def parts(self) -> dict[str, str]:
        """Name of each part, parties and numbers in it left out, and its form."""
        forms = {name: text_form(text) for name, text in self.parcel.texts.items()}
        forms |= {name: array.dtype.name for name, array in self.parcel.arrays.items()}
        return {plain_name(name): form for name, form in forms.items()}


def plain_name(name: str) -> str:
    """`to.bank-2` → `to.*`, `slice.3.positions` → `slice.*.positions`, `counterpart.tax` → `counterpart.*`."""
    return _OF_PARTY.sub(".*", name)


def text_form(text: str) -> str:
    """`JWS terms` of one or more signed documents of this type, else `text`."""
    types = set()
    for token in text.split():
        try:
            header = json.loads(urlsafe_b64decode(token.partition(".")[0] + "=="))
        except ValueError:
            return "text"
        types.add(str(header["typ"]) if isinstance(header, dict) and "typ" in header else "")
    kinds = {each.removeprefix("digua/").removesuffix("+json") for each in types}
    return f"JWS {kinds.pop()}" if len(kinds) == 1 and "" not in kinds else "text"


@dataclass
class Record:
    """What all parties received, in order."""

    seen: list[Seen] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, seen: Seen) -> None:
        with self._lock:
            self.seen.append(seen)

    def of(self, party: str, *messages: str) -> list[Seen]:
        """What a party received, of these types or of all."""
        return [each for each in self.seen if each.by == party and (not messages or each.message in messages)]


class RecordingGrid(LocalGrid):
    """A LocalGrid that notes every message at both ends.

    Args:
        apps: as a LocalGrid's.
        parties: node id → party.
        record: where messages are noted.
        before: told (party, message) just before a message is handed over: time to copy a key that is held now.
        workers: nodes that work at once; one makes a run the same every time.
    """

    def __init__(
        self,
        apps: Mapping[int, tuple[ClientApp, Context]],
        parties: Mapping[int, str],
        record: Record,
        before: Callable[[str, Seen], None] = lambda party, seen: None,
        workers: int = 2,
    ) -> None:
        super().__init__(apps, workers=workers)
        self._parties, self._record, self._before = dict(parties), record, before

    def deliver(self, node_id: int, wire: bytes, timeout: float | None) -> bytes:
        party = self._parties[node_id]
        asked = self._read(party, HUB, wire)
        self._record.add(asked)
        self._before(party, asked)
        reply = super().deliver(node_id, wire, timeout)
        answered = self._read(HUB, party, reply)
        self._record.add(Seen(HUB, party, asked.message, answered.parcel, answered.size))
        return reply

    @staticmethod
    def _read(by: str, sender: str, wire: bytes) -> Seen:
        message = message_from_proto(ProtoMessage.FromString(wire))
        return Seen(by, sender, message.metadata.message_type, from_records(message.content), len(wire))
