"""A node put together: configuration, keys, store, trust and data, cross-checked before anything is sent.

Further services (consents, scoring, training, the witness's duties) hang themselves in by `feed.register` for items of
the feed and by `handlers` for requests over the link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crypto.keys import BoxKey, Signer
from crypto.wire.consent import FeedPage, Purpose
from crypto.wire.link import FrameType
from crypto.wire.party import Party
from models.schema import Schema
from nodes.attempts import AttemptStore
from nodes.campaign_rules import CampaignRules
from nodes.clock import Clock, system_clock
from nodes.config import NodeConfig
from nodes.datasets import Datasets
from nodes.errors import ConfigError, PeerError, PolicyRefusal
from nodes.feed import Feed
from nodes.frozen_counts import FrozenCounts
from nodes.hub_client import HubClient
from nodes.keys import NodeKeys, former_public_keys, load_keys
from nodes.ledger import Ledger
from nodes.link_session import Handler
from nodes.own_files import hold_alone, note_copy, open_store
from nodes.pseudonyms import PseudonymMap
from nodes.roster import RosterBook
from nodes.sources.table import NodeTable
from nodes.store import Store
from nodes.training_context import ConsentBook, Pseudonyms, TrainingContext, TrainingData
from nodes.witness_key import WitnessKey
from nodes.yearly_budget import YearlyBudget


class NoConsents:
    """A node that holds no consents: nobody's data may be used."""

    def sources(
        self, pseudonyms: Pseudonyms, schema: Schema, purpose: Purpose = "model-training"
    ) -> Mapping[str, Sequence[str | None]]:
        """Refuse whoever is asked about."""
        if len(pseudonyms):
            raise PolicyRefusal(
                "consent-unknown", "this node holds no consents", remedy="follow the hub's feed of consents first"
            )
        return {}


@dataclass
class NodeRuntime:
    """Everything of one node. Made by `open`; `close` gives its files back.

    Attributes:
        identity: what signs for it now.
    """

    config: NodeConfig
    keys: NodeKeys
    identity: Signer
    store: Store
    ledger: Ledger
    attempts: AttemptStore
    roster: RosterBook
    feed: Feed
    hub: HubClient
    pseudonyms: PseudonymMap
    datasets: Datasets
    clock: Clock
    consents: ConsentBook = field(default_factory=NoConsents)
    handlers: dict[FrameType, Handler] = field(default_factory=dict)
    closing: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def open(cls, config: NodeConfig, *, clock: Clock = system_clock, hub: HubClient | None = None) -> NodeRuntime:
        """Open an enrolled node.

        Args:
            config: from `nodes.config.load_node_config`.
            clock: the time.
            hub: another client than one to `config.hub`, for tests.

        Raises:
            ConfigError: not enrolled, or keys, store, roster and configuration do not belong together.
            KeyFormatError, SchemaError: a key or schema file cannot be read.
        """
        trust = config.require_trust()
        keys = load_keys(config.keys_dir, kind=config.kind)
        store = open_store(config)
        try:
            roster = RosterBook(store, trust)
            identity = WitnessKey(config.keys_dir, roster, clock=clock) if config.kind == "witness" else keys.identity
            client = hub or HubClient(config.hub, party_id=config.party_id, identity=identity, clock=clock)
            pseudonyms = PseudonymMap(store, roster, client)
            runtime = cls(
                config=config,
                keys=keys,
                identity=identity,
                store=store,
                ledger=Ledger(
                    store,
                    config.budget.epsilon,
                    config.budget.delta,
                    yearly=YearlyBudget(config.budget.statistics_epsilon_per_year, config.party_id),
                    clock=clock,
                ),
                attempts=AttemptStore(store, clock=clock),
                roster=roster,
                feed=Feed(store, roster, party_id=config.party_id, clock=clock),
                hub=client,
                pseudonyms=pseudonyms,
                datasets=Datasets(config.datasets, config.kind, pseudonyms, clock=clock),
                clock=clock,
            )
            runtime.check_own_entry()
            note_copy(store, int(clock().timestamp()))
        except BaseException:
            store.close()
            raise
        return runtime

    @property
    def box(self) -> BoxKey:
        """The node's X25519 key."""
        return self.keys.box

    @property
    def feed_seq(self) -> int:
        """The last feed item taken in."""
        return self.feed.seq

    def now(self) -> datetime:
        """The time by this node's clock."""
        return self.clock()

    def feed_age(self, now: datetime) -> timedelta:
        """How long ago the feed was known to be complete."""
        return self.feed.age(now)

    def require_fresh_feed(self) -> None:
        """Fail closed: refuse when a revocation might not have arrived.

        Raises:
            PolicyRefusal: `feed-stale`: the feed is older than `feed_limit_seconds`.
        """
        age = self.feed_age(self.now())
        if age > timedelta(seconds=self.config.feed_limit_seconds):
            raise PolicyRefusal(
                "feed-stale",
                f"the consent feed is older than {self.config.feed_limit_seconds} s",
                remedy="wait until the link to the hub is up again",
            )

    def apply_feed(self, page: FeedPage) -> int:
        """Take in a page of the feed; see `nodes.feed.Feed.apply`."""
        return self.feed.apply(page)

    def dataset(self, schema_sha256: str) -> NodeTable | None:
        """The node's table under a schema, by its hash (hex)."""
        return self.datasets.table(schema_sha256)

    def training_data(self, schema_sha256: str) -> TrainingData | None:
        """The node's table under a schema, with pseudonyms."""
        return self.datasets.training_data(schema_sha256)

    def training_context(self) -> TrainingContext:
        """What the stages of a campaign need of this node."""
        return TrainingContext(
            party_id=self.config.party_id,
            kind=self.config.kind,
            identity=self.identity,
            ledger=self.ledger,
            attempts=self.attempts,
            campaigns=CampaignRules(self.store),
            roster=self.roster,
            dataset=self.training_data,
            consents=self.consents,
            counts=FrozenCounts(self.store),
            clock=self.clock,
            min_t_collude=self.config.min_t_collude,
            insecure_noise_off=self.config.insecure_noise_off,
            noise_counts=None if self.config.noise_counts is None else frozenset(self.config.noise_counts),
            device=self.config.device,
        )

    def check_own_entry(self) -> Party | None:
        """Compare the roster's entry for this node with its own keys.

        Returns:
            The entry; None while there is none, or still the one from before a rotation of this node's keys.

        Raises:
            ConfigError: the roster has other keys or another kind.
        """
        try:
            party = self.roster.party(self.config.party_id)
        except PeerError:
            return None
        keys = (party.sign_key, party.box_key)
        if party.kind == "witness" and party.sign_key in self.identity.line.publics:
            keys = (self.identity.public, party.box_key)  # the roster may have the former or the next one for a while
        if party.kind == self.config.kind and keys == former_public_keys(self.config.keys_dir):
            return None
        if party.kind != self.config.kind or keys != (self.identity.public, self.box.public):
            raise ConfigError(
                f"the witness's roster has other keys or another kind for {self.config.party_id}",
                field="keys_dir",
                remedy="run digua-node rotate again where it was interrupted, or restore keys_dir from its backup",
            )
        return party

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the data folder alone: two running nodes on one feed and ledger would confuse each other.

        Raises:
            ConfigError: another process runs this node.
        """
        with hold_alone(self.config):
            yield

    def close(self) -> None:
        """Close the store and the connections."""
        for close in self.closing:
            close()
        self.hub.close()
        self.store.close()
