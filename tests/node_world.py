"""A hub and a witness as keys alone, to test a node against: they sign what a test tells them to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from crypto.jws import sign_model
from crypto.keys import BoxKey, IdentityKey
from crypto.pseudonym import PseudonymKey
from crypto.wire.base import SUITE
from crypto.wire.consent import FeedHead, FeedItem, FeedPage
from crypto.wire.party import Party, Roster
from nodes.config import BudgetConfig, HubAddress, NodeConfig, TrustConfig
from nodes.keys import NodeKeys, create_keys

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@dataclass
class SignerWorld:
    """Hub, witness and one bank node, with files below `base`."""

    base: Path
    hub: IdentityKey = field(default_factory=IdentityKey.generate)
    witness: IdentityKey = field(default_factory=IdentityKey.generate)
    witness_box: BoxKey = field(default_factory=BoxKey.generate)
    hub_voprf: PseudonymKey = field(default_factory=lambda: PseudonymKey.from_seed(bytes(32)))
    witness_voprf: PseudonymKey = field(default_factory=lambda: PseudonymKey.from_seed(b"\x01" * 32))
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.trust = TrustConfig(
            hub_id="hub", hub_sign_key=self.hub.public, witness_id="witness", witness_sign_key=self.witness.public
        )
        self.keys: NodeKeys = create_keys(self.base / "keys", kind="bank")

    def clock(self) -> datetime:
        return self.now

    def config(self, *, url: str = "http://127.0.0.1:1", **changes: object) -> NodeConfig:
        values: dict[str, object] = {
            "party_id": "bank-01",
            "kind": "bank",
            "region": "Shanghai",
            "hub": HubAddress(url=url),
            "trust": self.trust,
            "data_dir": self.base / "data",
            "keys_dir": self.base / "keys",
            "budget": BudgetConfig(epsilon=3, delta=1e-5),
        }
        return NodeConfig.model_validate({**values, **changes})

    def bank(self, party_id: str = "bank-01") -> Party:
        return Party(
            party_id=party_id,
            kind="bank",
            region="Shanghai",
            sign_key=self.keys.identity.public,
            box_key=self.keys.box.public,
        )

    def roster(self, version: int = 1, parties: tuple[Party, ...] | None = None, **changes: object) -> str:
        """A roster with the witness behind `parties`; `changes` replace whole fields."""
        witness = Party(
            party_id="witness",
            kind="witness",
            region="Lishui",
            sign_key=self.witness.public,
            box_key=self.witness_box.public,
        )
        values: dict[str, object] = {
            "suite": SUITE,
            "version": version,
            "issued_at": self.now,
            "hub_id": "hub",
            "hub_sign_key": self.hub.public,
            "hub_voprf_key": self.hub_voprf.public,
            "witness_voprf_key": self.witness_voprf.public,
            "parties": (*(parties if parties is not None else (self.bank(),)), witness),
        }
        roster = Roster.model_validate({**values, **changes})
        return sign_model(roster, self.witness, typ="roster", kid="witness")

    def page(
        self, *items: FeedItem, seq: int, party_id: str = "bank-01", signer: IdentityKey | None = None
    ) -> FeedPage:
        head = FeedHead(suite=SUITE, party_id=party_id, seq=seq, time=self.now)
        return FeedPage(items=items, head=sign_model(head, signer or self.hub, typ="feed-head", kid="hub"))
