"""A small in-process federation, a grid that a test can disturb, and an attempt driven step by step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from numpy.typing import NDArray

from crypto.jws import sign_model
from crypto.manifest import holdout_mask
from crypto.parcel import Parcel
from crypto.wire.base import SUITE
from crypto.wire.campaign import Cosignature, Terms
from hub.campaign_plan import CampaignPlan, CampaignStore, NoStore, Progress, ReleasedTable
from hub.clock import Clock, utc_now
from hub.cohort import Cohort, Holding
from hub.grids.base import UnansweredError
from hub.grids.channel import Channel, from_records, to_records
from hub.grids.local import LocalGrid
from hub.manifests import Manifest, build_manifest, table_terms
from hub.scorecard_stage import run_scorecard_stage
from hub.simulation import WITNESS_ID, Budget, Federation, NodeData
from models.codes import ABSENT, UNLABELLED
from models.quantile_bins import on_grid
from models.schema import Schema
from models.tables import feature_bins, from_codes
from nodes import table_stage, witness_stage
from nodes.training_context import TrainingData

KINDS = {"bank": 3, "tax": 2, "utility": 2}
SALT = b"hold-out salt 16"
Codes = NDArray[np.uint8]
Hook = Callable[[str, str, Parcel], Parcel | None]
"""(party, step, parcel) → the parcel to go on with, or None: it is lost."""


def small_schema() -> Schema:
    title = {"zh": "特征", "en": "feature"}
    ordinal = {"title": title, "class": "C2", "bins": [0, 1]}
    nominal = {"title": title, "class": "C2", "categories": ["a", "b", "c"]}
    return Schema.model_validate(
        {
            "name": "small",
            "id": {"column": "id", "type": "opaque"},
            "as_of": date(2026, 1, 1),
            "label": {
                "column": "bad",
                "kind": "bank",
                "performance_months": 12,
                "title": {"zh": "违约", "en": "default"},
            },
            "kinds": {
                "bank": {"features": {"b1": ordinal, "b2": nominal}},
                "tax": {"features": {"t1": ordinal, "t2": ordinal}},
                "utility": {"features": {"u1": nominal}},
            },
        }
    )


@dataclass
class World:
    """A federation and the joined rows behind it, in order of `pseudonyms`."""

    federation: Federation
    pseudonyms: NDArray[np.uint8]
    codes: dict[str, Codes]
    outcome: Codes
    events: list[Progress] = field(default_factory=list)

    def plan(self, **changes: Any) -> CampaignPlan:
        plan = self.federation.plan(
            epsilon=3.0, delta=1e-5, holdout_salt=SALT, holdout_fraction=0.2, noise_on=False, campaign_id="c1"
        )
        return replace(plan, **changes)

    def noisy_plan(self, epsilon: float = 3.0, **changes: Any) -> CampaignPlan:
        return self.plan(noise="on", epsilon=epsilon, **changes)

    def exact(self, cohort: Cohort) -> NDArray[np.int64]:
        """The joined table of a cohort, with rows only at the kinds where the cohort has a node."""
        place = {row.tobytes(): index for index, row in enumerate(self.pseudonyms)}
        order = np.array([place[row.tobytes()] for row in cohort.pseudonyms], dtype=np.intp)
        codes = {
            kind: np.where(cohort.holders[kind][:, None] >= 0, self.codes[kind][order], np.uint8(ABSENT))
            for kind in cohort.kinds
        }
        return from_codes(feature_bins(self.federation.schema), codes, self.outcome[order]).to_vector()

    def disturb(self, *, before: Hook | None = None, after: Hook | None = None) -> None:
        """Puts hooks on everything that the hub sends and receives."""
        self.federation.grid.close()
        self.federation.grid = DisturbedGrid(self.federation, before or _pass, after or _pass)


def make_world(
    state: Path,
    *,
    seed: int = 0,
    merchants: int = 90,
    nodes: Mapping[str, int] | None = None,
    absent: float = 0.3,
    unlabelled: float = 0.2,
    budget: Budget | None = None,
    noise_off: bool = True,
    schema: Schema | None = None,
    clock: Clock = utc_now,
) -> World:
    """Uneven nodes; every merchant has a bank, and with probability `absent` no node of another kind."""
    rng = np.random.default_rng(seed)
    schema = schema or small_schema()
    pseudonyms = np.frombuffer(rng.bytes(32 * merchants), dtype=np.uint8).reshape(-1, 32)
    outcome = rng.choice(np.array([0, 1, UNLABELLED], dtype=np.uint8), merchants, p=[0.2, 0.8 - unlabelled, unlabelled])
    tables: list[NodeData] = []
    sources: dict[str, Holding] = {}
    joined: dict[str, Codes] = {}
    for kind, count in (nodes or KINDS).items():
        parties = [f"{kind}-{number}" for number in range(1, count + 1)]
        holder = rng.choice(count, merchants, p=rng.dirichlet(np.full(count, 2.0)))
        if kind != "bank":
            holder[rng.random(merchants) < absent] = -1
        widths = on_grid(schema).widths(kind)
        codes = np.stack([rng.integers(0, width, merchants) for width in widths], axis=1).astype(np.uint8)
        if kind == "bank":  # something to learn
            codes[(outcome == 0) & (rng.random(merchants) < 0.7), 0] = 0
        joined[kind] = np.where(holder[:, None] >= 0, codes, np.uint8(ABSENT))
        sources[kind] = Holding(tuple(parties), holder.astype(np.int32))
        for index, party in enumerate(parties):
            own = holder == index
            data = TrainingData(pseudonyms[own], codes[own], outcome[own] if kind == "bank" else None)
            tables.append(NodeData(party, kind, data))
    federation = Federation(
        schema,
        tables,
        sources,
        pseudonyms,
        state,
        budget=budget or Budget(10.0, 1e-5),
        insecure_noise_off=noise_off,
        clock=clock,
    )
    return World(federation, pseudonyms, joined, outcome)


class DisturbedGrid(LocalGrid):
    """A LocalGrid whose messages pass through hooks."""

    def __init__(self, federation: Federation, before: Hook, after: Hook) -> None:
        super().__init__(federation.apps())
        self._parties = {number: party for party, number in federation.node_ids.items()}
        self._before, self._after = before, after

    def deliver(self, node_id: int, wire: bytes, timeout: float | None) -> bytes:
        party = self._parties[node_id]
        reply = super().deliver(node_id, self._hook(self._before, party, wire), timeout)
        return self._hook(self._after, party, reply)

    @staticmethod
    def _hook(hook: Hook, party: str, wire: bytes) -> bytes:
        message = message_from_proto(ProtoMessage.FromString(wire))
        parcel = hook(party, message.metadata.message_type, from_records(message.content))
        if parcel is None:
            raise UnansweredError(party)
        changed = Message(content=to_records(parcel), metadata=message.metadata)  # type: ignore[call-overload]
        return message_to_proto(changed).SerializeToString()


def run_scorecard(
    world: World, plan: CampaignPlan | None = None, store: CampaignStore | None = None, timeout: float = 30.0
) -> ReleasedTable:
    """The scorecard stage over the world's grid."""
    federation = world.federation
    channel = Channel(federation.grid, federation.node_ids, timeout)
    return run_scorecard_stage(channel, plan or world.plan(), world.events.append, store or NoStore())


def lose(party: str, step: str) -> Hook:
    """A hook that loses a party's message at a step and, once it is lost, everything after it."""
    gone: set[str] = set()

    def hook(who: str, what: str, parcel: Parcel) -> Parcel | None:
        if who == party and (what == step or party in gone):
            gone.add(party)
            return None
        return parcel

    return hook


@dataclass
class Drive:
    """One attempt by hand, with a hub that does what the test wants."""

    world: World
    plan: CampaignPlan
    cohort: Cohort
    manifest: Manifest
    cosignature: str = ""
    acceptances: str = ""
    seeds: Parcel = field(default_factory=Parcel)
    boxes: dict[str, Parcel] = field(default_factory=dict)

    @classmethod
    def start(
        cls,
        world: World,
        plan: CampaignPlan | None = None,
        *,
        number: int = 1,
        honest: Terms | None = None,
        **terms: Any,
    ) -> Drive:
        """Terms (`honest` ones or new, changed by `terms`) and manifest, not yet shown to anybody."""
        plan = plan or world.plan()
        cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
        attempt = f"{plan.campaign_id}/scorecard/{number}"
        honest = honest or table_terms(plan, cohort, attempt)
        changed = Terms.model_validate(honest.model_dump() | {"attempt": attempt} | terms)
        return cls(world, plan, cohort, build_manifest(changed, cohort, plan))

    @property
    def attempt(self) -> str:
        return self.manifest.terms.attempt

    @property
    def blocks(self) -> int:
        return self.manifest.blocks.count

    @property
    def parties(self) -> list[str]:
        return [entry.party_id for entry in self.manifest.terms.roster]

    def cosign(self) -> Drive:
        witness = self.world.federation.witness_context
        for block in range(self.blocks - 1):
            witness_stage.take_pieces(witness, self.manifest.pieces_for_witness(block))
        reply = witness_stage.cosign(witness, self.manifest.for_witness())
        self.cosignature = reply.text("cosignature")
        return self

    def forge_cosignature(self) -> Drive:
        """What a fooled witness would sign: nodes must look for themselves."""
        cosignature = Cosignature(suite=SUITE, attempt=self.attempt, h=self.manifest.h, witness_key=bytes(range(32)))
        key = self.world.federation.identity_of(WITNESS_ID)
        self.cosignature = sign_model(cosignature, key, typ="cosignature", kid=WITNESS_ID)
        return self

    def accept(self, party: str, parcel: Parcel | None = None) -> str:
        for block in range(self.blocks - 1):
            table_stage.take_piece(self.world.federation.contexts[party], self.manifest.piece_for_party(party, block))
        given = parcel or self.manifest.for_node(self.parties.index(party), self.cosignature)
        return table_stage.accept(self.world.federation.contexts[party], given).text("acceptance")

    def accept_all(self) -> Drive:
        self.acceptances = " ".join(self.accept(party) for party in self.parties)
        return self

    def seed(self) -> Drive:
        parcel = Parcel({"attempt": self.attempt, "acceptances": self.acceptances})
        self.seeds = witness_stage.seed(self.world.federation.witness_context, parcel)
        return self

    def exchange_parcel(self, party: str, seeds: Parcel | None = None) -> Parcel:
        sealed = (seeds or self.seeds).array(f"seed.{party}", np.uint8, 1)
        return Parcel({"attempt": self.attempt, "acceptances": self.acceptances}, {"seed": sealed})

    def exchange_all(self) -> Drive:
        for party in self.parties:
            context = self.world.federation.contexts[party]
            self.boxes[party] = table_stage.exchange(context, self.exchange_parcel(party))
        return self

    def inbox(self, party: str) -> dict[str, NDArray[np.uint8]]:
        return {
            f"from.{sender}": reply.arrays[f"to.{party}"]
            for sender, reply in self.boxes.items()
            if f"to.{party}" in reply.arrays
        }

    def share(self, party: str, inbox: Mapping[str, NDArray[np.uint8]] | None = None, block: int = 0) -> Parcel:
        texts = {"attempt": self.attempt, "block": str(block)}
        parcel = Parcel(texts, self.inbox(party) if inbox is None else inbox)
        return table_stage.share(self.world.federation.contexts[party], parcel)

    def share_all(self, block: int = 0) -> dict[str, Parcel]:
        return {party: self.share(party, block=block) for party in self.parties}

    def share_until(self, block: int) -> Drive:
        """All blocks before this one; its own rows are in the boxes then."""
        for each in range(block):
            self.boxes = self.share_all(each)
        return self

    def release(self, receipts: list[str]) -> Parcel:
        texts = {"attempt": self.attempt, "acceptances": self.acceptances, "receipts": " ".join(receipts)}
        return witness_stage.release(self.world.federation.witness_context, Parcel(texts))

    def abort(self) -> str:
        parcel = Parcel({"attempt": self.attempt})
        return witness_stage.abort(self.world.federation.witness_context, parcel).text("decision")

    def until_exchange(self) -> Drive:
        return self.cosign().accept_all().seed().exchange_all()


def held_out(world: World) -> NDArray[np.bool_]:
    return holdout_mask(world.pseudonyms, SALT, 0.2)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _pass(party: str, step: str, parcel: Parcel) -> Parcel:
    return parcel
