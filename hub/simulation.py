"""A whole federation in one process: nodes, witness and hub over a LocalGrid. Composition root: the only module of the
hub that imports the nodes'; simulations and tests use it, a served hub never does.

Real: each party's keys, store and ledger, the cosigned roster, every message and its bytes. Stood in for: pseudonyms
(the hash of an identifier instead of the VOPRF) and consents (`AssumedConsents`).
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from sqlalchemy import URL

from crypto.canonical import canonical_bytes
from crypto.jws import sign_model
from crypto.keys import BoxKey, IdentityKey
from crypto.manifest import ascending
from crypto.pseudonym import PseudonymKey
from crypto.pseudonym_index import PseudonymIndex, SharedRows
from crypto.wire.base import SUITE
from crypto.wire.campaign import RosterEntry, Stage
from crypto.wire.link import ReleaseProposal, RoundShares
from crypto.wire.party import Party, Roster
from hub.campaign_errors import SimulationError
from hub.campaign_plan import CampaignPlan, EncoderCheckpoint, NoStore, ProgressCallback, ReleasedTable
from hub.clock import Clock, utc_now
from hub.cohort import Cohort, Holding
from hub.evaluation_cohort import evaluation_cohort
from hub.evaluation_model import make_evaluation, score_bands
from hub.evaluation_stage import EvaluationTask
from hub.grids.local import LocalGrid
from hub.open_files import allow_stores
from hub.server_app import TRIP_TIMEOUT_S, CampaignJob, CampaignResult, LeftOver, run_server_app
from hub.simulated_data import NodeFile, distinct, simulated_pseudonyms
from hub.synthetic_files import SQL_QUERY
from models.artefact import ModelArtefact
from models.encoder_spec import EncoderSpec
from models.evaluation_result import EvaluationResult
from models.schema import Schema, unsettled
from nodes.attempts import AttemptStore
from nodes.campaign_rules import CampaignRules
from nodes.config import TrustConfig
from nodes.errors import SourceError
from nodes.journal import Journal
from nodes.ledger import Ledger, Spent
from nodes.points_book import AssumedUses
from nodes.roster import RosterBook
from nodes.sources.base import Source
from nodes.sources.csv import CsvSource
from nodes.sources.parquet import ParquetSource
from nodes.sources.sql import SqlSource
from nodes.sources.table import NodeTable
from nodes.store import Store
from nodes.training import build_client_app
from nodes.training_context import AssumedConsents, TrainingContext, TrainingData
from nodes.witness.release import ReleaseDesk
from nodes.witness_attempts import WitnessAttemptStore
from nodes.witness_stage import WitnessContext
from nodes.yearly_budget import YearlyBudget

HUB_ID, WITNESS_ID = "hub", "witness"


@dataclass(frozen=True)
class NodeData:
    """A simulated node's table."""

    party_id: str
    kind: str
    data: TrainingData


class SimulatedNodes(NamedTuple):
    """Simulated nodes' tables, and what they say of the cohort.

    Attributes:
        nodes: in order of the files.
        pseudonyms: (n, 32) of all merchants that the label's kind holds, ascending.
        sources: kind → who holds them.
    """

    nodes: list[NodeData]
    pseudonyms: NDArray[np.uint8]
    sources: Mapping[str, Holding]


@dataclass(frozen=True)
class Budget:
    """What every node's owner, and the programme at the witness, allows."""

    epsilon: float
    delta: float
    statistics_per_year: float | None = None

    def ledger(self, store: Store, owner: str, clock: Clock = utc_now) -> Ledger:
        """A party's ledger under this budget."""
        yearly = None if self.statistics_per_year is None else YearlyBudget(self.statistics_per_year, owner)
        return Ledger(store, self.epsilon, self.delta, yearly=yearly, clock=clock)


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
        sources: Mapping[str, Holding],
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
            sources: kind → who holds the merchants of `pseudonyms`.
            pseudonyms: (n, 32).
            state: folder of the parties' stores, new for every federation.
            budget: of every party.
            insecure_noise_off: nodes take part in campaigns without noise.
            clock: of every party.
        """
        self.schema = schema
        self.identity = IdentityKey.generate()
        if not ascending(pseudonyms).all():  # in their order once, so that cohort and consents share one array
            order = np.argsort(np.ascontiguousarray(pseudonyms).view("V32").ravel())
            pseudonyms = pseudonyms[order]
            sources = {kind: Holding(held.parties, held.holders[order]) for kind, held in sources.items()}
        self._pseudonyms, self._sources = pseudonyms, sources
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
        allow_stores(len(self.parties))
        for node in nodes:
            store = self._store(state, node.party_id)
            self.contexts[node.party_id] = TrainingContext(
                party_id=node.party_id,
                kind=node.kind,
                identity=self._identities[node.party_id],
                ledger=budget.ledger(store, node.party_id, clock),
                attempts=AttemptStore(store),
                campaigns=CampaignRules(store),
                roster=_book(store, trust, roster),
                dataset={schema.hash(): node.data}.get,
                consents=consents,
                points=AssumedUses(AttemptStore(store)),
                clock=clock,
                insecure_noise_off=insecure_noise_off,
            )
        store = self._store(state, WITNESS_ID)
        self.witness_context = WitnessContext(
            party_id=WITNESS_ID,
            identity=self._identities[WITNESS_ID],
            ledger=budget.ledger(store, WITNESS_ID, clock),
            attempts=WitnessAttemptStore(store),
            campaigns=CampaignRules(store),
            roster=_book(store, trust, roster),
            clock=clock,
            insecure_noise_off=insecure_noise_off,
        )
        self.desk = ReleaseDesk(store, self.witness_context, Journal(store, WITNESS_ID, clock=clock))
        self._rounds = EncoderRounds(self.desk)
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
            stages=("bins", *stages) if unsettled(self.schema) and "bins" not in stages else stages,
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
        self._rounds = rounds = EncoderRounds(self.desk)
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

    def evaluate(
        self,
        plan: CampaignPlan,
        result: CampaignResult,
        artefact: ModelArtefact,
        progress: ProgressCallback,
        *,
        timeout: float = TRIP_TIMEOUT_S,
    ) -> EvaluationResult:
        """Runs the evaluation stage of the model that `result` of this plan gave.

        Args:
            plan: as given to `train`, evaluation among its stages.
            result: of `train`.
            artefact: the model.
            progress: told every step.
            timeout: of a trip.
        """
        bands = score_bands(artefact, result.released, plan.bands)
        job = CampaignJob(
            self._with_encoder(plan, result),
            progress,
            self.node_ids,
            timeout=timeout,
            left=LeftOver(bins=result.bins),
            evaluate=self.evaluation_task(plan, result, artefact, bands.edges),
        )
        opened = run_server_app(self.grid, job).evaluated
        if opened is None:
            raise SimulationError("the evaluation opened nothing", field="stages", remedy="report this")
        return make_evaluation(opened, bands.pds)

    def evaluation_task(
        self, plan: CampaignPlan, result: CampaignResult, artefact: ModelArtefact, edges: tuple[int, ...]
    ) -> EvaluationTask:
        """What the evaluation stage is told; the witness releases the model for it."""
        data, table = artefact.to_bytes(), result.released
        if table is None:
            release = self._rounds.release(data)
            trained = None if result.encoder is None else result.encoder.trained.terms
        else:
            proposal = ReleaseProposal(
                artefact=data.decode(), attempt=table.terms.attempt, scope="evaluation", shares=dict(table.shares)
            )
            release, trained = self.desk.release(canonical_bytes(proposal)).decode(), table.terms
        if trained is None:
            raise SimulationError("no stage was run", field="stages", remedy="name encoder, scorecard, or both")

        def form(lost: Collection[str]) -> Cohort:
            return evaluation_cohort(
                [entry for entry in trained.roster if entry.party_id not in lost],
                tuple(each.kind for each in trained.kinds),
                trained.label_kind,
                self._pseudonyms,
                self._sources,
                salt=plan.holdout_salt,
                fraction=plan.holdout_fraction,
            )

        return EvaluationTask(data, release, trained, edges, form)

    def _with_encoder(self, plan: CampaignPlan, result: CampaignResult) -> CampaignPlan:
        """The plan with the encoder that its scorecard uses, as nodes get it in every attempt."""
        if result.encoder is None or result.released is None:
            return plan
        encoder = result.encoder.artefact.to_bytes()
        return replace(
            plan,
            encoders={plan.schema.label.kind: encoder},
            encoder_releases=(self._rounds.release(encoder),),
        )

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
        path = state / f"{party_id}.sqlite"
        if (empty := state / "empty.sqlite").exists():  # hundreds of nodes: tables are made once, then copied
            shutil.copy(empty, path)
        else:
            Store.open(empty, outlives_process=False).close()
        self.stores[party_id] = Store.open(path, outlives_process=False)
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


def load_nodes(schema: Schema, files: Sequence[NodeFile]) -> SimulatedNodes:
    """Reads every node's file as the node itself does, one after the other.

    Rows of merchants whom no node of the label's kind holds are dropped: nobody asks for them.

    Raises:
        SimulationError: a file does not fit the schema; the sentence is the node's own.
    """
    label = schema.label.kind
    tables = {each.party_id: _read(schema, each) for each in files if each.kind == label}
    merchants = distinct(np.concatenate([table.pseudonyms for table in tables.values()]))
    index = PseudonymIndex(merchants)
    parties = {kind: [each.party_id for each in files if each.kind == kind] for kind in schema.kinds_in_order()}
    sources = {kind: Holding(tuple(ids), np.full(len(merchants), -1, dtype=np.int32)) for kind, ids in parties.items()}
    nodes: list[NodeData] = []
    for each in files:
        table = tables.pop(each.party_id, None) or _read(schema, each)
        places = index.find(table.pseudonyms)
        kept = places >= 0
        outcome = None if table.outcome is None else table.outcome[kept]
        data = TrainingData(SharedRows(index, places[kept]), table.codes[kept], outcome)
        nodes.append(NodeData(each.party_id, each.kind, data))
        sources[each.kind].holders[places[kept]] = parties[each.kind].index(each.party_id)
    return SimulatedNodes(nodes, merchants, sources)


def _read(schema: Schema, file: NodeFile) -> _Table:
    try:
        table = NodeTable.load(_source(file.path), schema, file.kind)
    except SourceError as refused:
        raise SimulationError(refused.message, field=refused.field, remedy=refused.remedy) from refused
    return _Table(simulated_pseudonyms(table.ids), table.codes, table.outcome)


def _source(path: Path) -> Source:
    """By the file's name; a database has the one table that `hub.synthetic_files` writes."""
    if path.suffix == ".sqlite":
        return SqlSource(URL.create("sqlite", database=str(path)), SQL_QUERY)
    return ParquetSource(path) if path.suffix == ".parquet" else CsvSource(path)


@dataclass(frozen=True)
class _Table:
    """A node's table, with pseudonyms in the place of identifiers."""

    pseudonyms: NDArray[np.uint8]
    codes: NDArray[np.uint8]
    outcome: NDArray[np.uint8] | None


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
