"""A whole federation in one process: nodes, witness and hub over a LocalGrid. Composition root: the only module of the
hub that imports the nodes'; simulations and tests use it, a served hub never does.

Real: each party's keys, store and ledger, the cosigned roster, every message and its bytes. Stood in for: pseudonyms
(the hash of an identifier instead of the VOPRF) and consents (`AssumedConsents`).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from crypto.canonical import canonical_bytes
from crypto.jws import sign_model
from crypto.keys import BoxKey, IdentityKey
from crypto.pseudonym import PseudonymKey
from crypto.wire.base import SUITE
from crypto.wire.campaign import RosterEntry, Stage
from crypto.wire.link import ReleaseProposal, RoundShares
from crypto.wire.party import Party, Roster
from hub.campaign_plan import CampaignPlan, EncoderCheckpoint, NoStore, ProgressCallback, ReleasedTable
from hub.clock import Clock, utc_now
from hub.cohort import Cohort
from hub.errors import SimulationError
from hub.grids.local import LocalGrid
from hub.server_app import TRIP_TIMEOUT_S, CampaignJob, CampaignResult, run_server_app
from hub.simulated_data import SplitTable
from models.encoder_spec import EncoderSpec
from models.schema import Schema
from nodes.attempts import AttemptStore
from nodes.campaign_rules import CampaignRules
from nodes.config import TrustConfig
from nodes.errors import SourceError
from nodes.journal import Journal
from nodes.ledger import Ledger, Spent
from nodes.roster import RosterBook
from nodes.sources.csv import CsvSource
from nodes.sources.table import NodeTable
from nodes.store import Store
from nodes.training import build_client_app
from nodes.training_context import AssumedConsents, TrainingContext, TrainingData
from nodes.witness.release import ReleaseDesk
from nodes.witness_attempts import WitnessAttemptStore
from nodes.witness_stage import WitnessContext

HUB_ID, WITNESS_ID = "hub", "witness"


@dataclass(frozen=True)
class NodeData:
    """A simulated node's table."""

    party_id: str
    kind: str
    data: TrainingData


@dataclass(frozen=True)
class Budget:
    """What every node's owner, and the programme at the witness, allows."""

    epsilon: float
    delta: float


class Federation:
    """Parties in one process.

    Attributes:
        identity: the hub's key.
        entries: nodes as the terms name them, in order of their ids.
        witness: the witness as the terms name it.
        contexts, witness_context: what each party's training is given.
        desk: where the witness releases models.
        grid: messages between them.
        node_ids: party id → node id of the grid.
    """

    def __init__(
        self,
        schema: Schema,
        nodes: Sequence[NodeData],
        sources: Mapping[str, Sequence[str | None]],
        pseudonyms: NDArray[np.uint8],
        state: Path,
        *,
        budget: Budget,
        insecure_noise_off: bool = False,
        clock: Clock = utc_now,
    ) -> None:
        """Builds all parties.

        Args:
            schema: of the campaign.
            nodes: tables.
            sources: kind → (n,) party id or None, for the merchants of `pseudonyms`.
            pseudonyms: (n, 32).
            state: folder of the parties' stores, new for every federation.
            budget: of every party.
            insecure_noise_off: nodes take part in campaigns without noise.
            clock: of every party.
        """
        self.schema = schema
        self.identity = IdentityKey.generate()
        self._sources, self._pseudonyms = sources, pseudonyms
        self._identities = {node.party_id: IdentityKey.generate() for node in nodes} | {
            WITNESS_ID: IdentityKey.generate()
        }
        kinds = {node.party_id: node.kind for node in nodes} | {WITNESS_ID: "witness"}
        self.parties = {party: self._party(party, kind) for party, kind in sorted(kinds.items())}
        self.entries = tuple(_entry(party) for party in self.parties.values() if party.kind != "witness")
        self.witness = _entry(self.parties[WITNESS_ID])
        trust = TrustConfig.model_construct(
            hub_id=HUB_ID,
            hub_sign_key=self.identity.public,
            witness_id=WITNESS_ID,
            witness_sign_key=self.witness.sign_key,
        )
        roster = self.cosigned_roster(list(self.parties.values()))
        consents = AssumedConsents(pseudonyms, sources)
        self.contexts: dict[str, TrainingContext] = {}
        self.stores: dict[str, Store] = {}
        for node in nodes:
            store = self._store(state, node.party_id)
            self.contexts[node.party_id] = TrainingContext(
                party_id=node.party_id,
                kind=node.kind,
                identity=self._identities[node.party_id],
                ledger=Ledger(store, budget.epsilon, budget.delta),
                attempts=AttemptStore(store),
                campaigns=CampaignRules(store),
                roster=_book(store, trust, roster),
                dataset={schema.hash(): node.data}.get,
                consents=consents,
                clock=clock,
                insecure_noise_off=insecure_noise_off,
            )
        store = self._store(state, WITNESS_ID)
        self.witness_context = WitnessContext(
            party_id=WITNESS_ID,
            identity=self._identities[WITNESS_ID],
            ledger=Ledger(store, budget.epsilon, budget.delta),
            attempts=WitnessAttemptStore(store),
            campaigns=CampaignRules(store),
            roster=_book(store, trust, roster),
            clock=clock,
            insecure_noise_off=insecure_noise_off,
        )
        self.desk = ReleaseDesk(store, self.witness_context, Journal(store, WITNESS_ID, clock=clock))
        self.node_ids = {party: number for number, party in enumerate(self.parties, start=2)}
        self.grid = LocalGrid(self.apps())

    def identity_of(self, party_id: str) -> IdentityKey:
        """A party's signing key."""
        return self._identities[party_id]

    def apps(self) -> dict[int, tuple[ClientApp, Context]]:
        """Every party's Flower app, by the grid's node id."""
        apps: dict[int, tuple[ClientApp, Context]] = {}
        for party, number in self.node_ids.items():
            context: TrainingContext | WitnessContext = (
                self.witness_context if party == WITNESS_ID else self.contexts[party]
            )
            flower = Context(run_id=1, node_id=number, node_config={}, state=RecordDict(), run_config={})
            apps[number] = (build_client_app(_always(context)), flower)
        return apps

    def cosigned_roster(self, parties: Sequence[Party]) -> str:
        """A roster of these parties, signed by the witness."""
        voprf = PseudonymKey.from_seed(hashlib.sha256(b"simulated").digest()).public
        roster = Roster(
            suite=SUITE,
            version=1,
            issued_at=utc_now(),
            hub_id=HUB_ID,
            hub_sign_key=self.identity.public,
            hub_voprf_key=voprf,
            witness_voprf_key=voprf,
            parties=tuple(sorted(parties, key=lambda party: party.party_id)),
        )
        return sign_model(roster, self._identities[WITNESS_ID], typ="roster", kid=WITNESS_ID)

    def cohort(self) -> Cohort:
        """All merchants that the label kind holds."""
        return Cohort.form(
            self.entries,
            self.schema.kinds_in_order(),
            self.schema.label.kind,
            self._pseudonyms,
            self._sources,
        )

    def plan(
        self,
        *,
        epsilon: float,
        delta: float,
        holdout_salt: bytes,
        holdout_fraction: float,
        noise_on: bool = True,
        stages: tuple[Stage, ...] = ("scorecard",),
        campaign_id: str | None = None,
    ) -> CampaignPlan:
        """A campaign over all nodes; change it with `dataclasses.replace`."""
        return CampaignPlan(
            campaign_id=campaign_id or f"sim-{secrets.token_hex(6)}",
            schema=self.schema,
            stages=stages,
            epsilon=epsilon,
            delta=delta,
            cohort=self.cohort(),
            witness=self.witness,
            hub_id=HUB_ID,
            identity=self.identity,
            holdout_salt=holdout_salt,
            holdout_fraction=holdout_fraction,
            noise="on" if noise_on else "off",
        )

    def run(self, plan: CampaignPlan, progress: ProgressCallback, *, timeout: float = TRIP_TIMEOUT_S) -> ReleasedTable:
        """Runs the plan over the federation's grid to its opened table."""
        return self.train(plan, progress, timeout=timeout).table()

    def train(
        self,
        plan: CampaignPlan,
        progress: ProgressCallback,
        *,
        timeout: float = TRIP_TIMEOUT_S,
        spec: EncoderSpec | None = None,
    ) -> CampaignResult:
        """Runs all of the plan's stages; `spec` is that of the encoder, the schema's default where not given."""
        rounds = EncoderRounds(self.desk)
        job = CampaignJob(
            plan,
            progress,
            self.node_ids,
            store=rounds,
            timeout=timeout,
            spec=spec,
            release_encoder=rounds.release,
        )
        return run_server_app(self.grid, job)

    def spent(self) -> dict[str, Spent]:
        """Every node's ledger."""
        return {party: context.ledger.spent() for party, context in self.contexts.items()}

    def traffic(self) -> dict[str, tuple[int, int, int]]:
        """Party → bytes sent to it, bytes received from it, trips."""
        counted = {party: self.grid.traffic[number] for party, number in self.node_ids.items()}
        return {party: (each.sent, each.received, each.trips) for party, each in counted.items()}

    def close(self) -> None:
        """Ends the grid's threads and closes the stores."""
        self.grid.close()
        for store in self.stores.values():
            store.close()

    def _party(self, party_id: str, kind: str) -> Party:
        return Party(
            party_id=party_id,
            kind=kind,
            region="simulated",
            sign_key=self._identities[party_id].public,
            box_key=BoxKey.generate().public,
        )

    def _store(self, state: Path, party_id: str) -> Store:
        self.stores[party_id] = Store.open(state / f"{party_id}.sqlite")
        return self.stores[party_id]


class EncoderRounds(NoStore):
    """What an encoder run was opened from, in memory, for the witness to make the encoder again."""

    def __init__(self, desk: ReleaseDesk) -> None:
        self._desk = desk
        self._run = ""
        self.rounds: list[RoundShares] = []

    def round_opened(self, checkpoint: EncoderCheckpoint, opened: RoundShares | None) -> None:
        """Keeps the round; a run that begins anew forgets the one before it."""
        if opened is None:
            self._run, self.rounds = checkpoint.attempt, []
        else:
            self.rounds.append(opened)

    def release(self, artefact: bytes) -> str:
        """The witness's release of the encoder for evaluation."""
        proposal = ReleaseProposal(
            artefact=artefact.decode(), attempt=self._run, scope="evaluation", rounds=tuple(self.rounds)
        )
        return self._desk.release(canonical_bytes(proposal)).decode()


def load_nodes(schema: Schema, split: SplitTable) -> list[NodeData]:
    """Reads every node's file as the node itself does.

    Raises:
        SimulationError: a file does not fit the schema; the sentence is the node's own.
    """
    try:
        return [
            NodeData(each.party_id, each.kind, _training_data(NodeTable.load(CsvSource(each.path), schema, each.kind)))
            for each in split.files
        ]
    except SourceError as refused:
        raise SimulationError(refused.message, field=refused.field, remedy=refused.remedy) from refused


def simulated_pseudonyms(ids: Sequence[str]) -> NDArray[np.uint8]:
    """(n, 32) SHA-256 of each identifier: a stand-in for the VOPRF that anyone could reverse by trying."""
    joined = b"".join(hashlib.sha256(each.encode()).digest() for each in ids)
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, 32)


def _training_data(table: NodeTable) -> TrainingData:
    return TrainingData(simulated_pseudonyms(table.ids), table.codes, table.outcome)


def _entry(party: Party) -> RosterEntry:
    return RosterEntry(party_id=party.party_id, kind=party.kind, sign_key=party.sign_key, box_key=party.box_key)


def _book(store: Store, trust: TrustConfig, token: str) -> RosterBook:
    book = RosterBook(store, trust)
    book.update(token)
    return book


def _always(context: TrainingContext | WitnessContext) -> _Always:
    return _Always(context)


@dataclass(frozen=True)
class _Always:
    """The same context for every message."""

    context: TrainingContext | WitnessContext

    def __call__(self, flower: Context) -> TrainingContext | WitnessContext:
        return self.context
