"""Parcels over a Flower grid: who was asked, who answered, who is lost. The hub's one map to Flower's records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp.grid import Grid

from crypto.parcel import ARRAY_FORMAT, Parcel

_TEXTS, _ARRAYS = "texts", "arrays"


@dataclass(frozen=True)
class Lost:
    """A party that gave no usable reply, and why (for logs; never data)."""

    reason: str


LATE, AWAY = "no reply in time", "not connected"
"""Reasons of parties that may come back and answer."""
Reply = Parcel | Lost


def to_records(parcel: Parcel) -> RecordDict:
    """A parcel as Flower records: texts in a ConfigRecord, arrays in an ArrayRecord."""
    arrays = {name: Array(*fields[:2], ARRAY_FORMAT, fields[2]) for name, fields in parcel.fields().items()}
    return RecordDict({_TEXTS: ConfigRecord(dict(parcel.texts)), _ARRAYS: ArrayRecord(arrays, keep_input=False)})


def from_records(records: RecordDict) -> Parcel:
    """Flower records as a parcel; records of other names are ignored, as are values that are not texts."""
    texts, arrays = records.config_records.get(_TEXTS), records.array_records.get(_ARRAYS)
    fields = {name: (array.dtype, array.shape, array.data) for name, array in (arrays or {}).items()}
    return Parcel.of_fields(texts or {}, fields)


@dataclass(frozen=True)
class Channel:
    """A grid with the parties behind its node ids.

    Attributes:
        grid: any Flower grid.
        node_ids: party id → the grid's node id.
        timeout: seconds that a trip may take.
        wait_for: gives lost parties time to come back before they are asked again; it may raise to end the campaign.
            Where nobody can come back it does nothing.
    """

    grid: Grid
    node_ids: Mapping[str, int]
    timeout: float
    wait_for: Callable[[Collection[str]], None] = lambda parties: None

    def ask(self, step: str, parcels: Mapping[str, Parcel], group: str) -> dict[str, Reply]:
        """One trip: sends each party its parcel and collects what came back in time.

        Args:
            step: message type, e.g. ``train.accept``.
            parcels: party → parcel.
            group: the attempt's id, as Flower's group id.

        Returns:
            An entry for every party asked, in the same order.
        """
        return self.ask_each(dict.fromkeys(parcels, step), parcels, group)

    def ask_each(self, steps: Mapping[str, str], parcels: Mapping[str, Parcel], group: str) -> dict[str, Reply]:
        """One trip in which parties take different steps: party → message type, party → parcel; as `ask`."""
        return self.ask_made({party: steps[party] for party in parcels}, parcels.__getitem__, group)

    def ask_made(self, steps: Mapping[str, str], parcel_of: Callable[[str], Parcel], group: str) -> dict[str, Reply]:
        """As `ask_each`, with parcels that are made when they are sent.

        Args:
            steps: party → message type.
            parcel_of: makes a party's parcel, which is not kept once it is sent.
            group: as in `ask`.
        """
        parties: dict[int, str] = {}
        replies: dict[str, Reply] = {party: Lost(LATE) for party in steps}
        messages: list[Message] = []
        for party, step in steps.items():
            if party not in self.node_ids:
                replies[party] = Lost(AWAY)
                continue
            parties[self.node_ids[party]] = party
            content = to_records(parcel_of(party))
            messages.append(self.grid.create_message(content, step, self.node_ids[party], group))
        for message in self.grid.send_and_receive(messages, timeout=self.timeout):
            answered = parties.get(message.metadata.src_node_id)
            if answered is not None:
                replies[answered] = _reply(message)
        return replies

    def ask_one(self, step: str, party: str, parcel: Parcel, group: str) -> Reply:
        """One trip to one party."""
        return self.ask(step, {party: parcel}, group)[party]


def _reply(message: Message) -> Reply:
    if message.has_error():
        away = message.error.code == ErrorCode.NODE_UNAVAILABLE
        return Lost(AWAY if away else f"failed: error {message.error.code} of Flower; the node's own log says why")
    try:
        return from_records(message.content)
    except (ValueError, TypeError) as malformed:
        return Lost(f"an unreadable reply: {type(malformed).__name__}")
