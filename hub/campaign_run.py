"""One campaign from order to model, in this process, over the engine it is given.

It can be taken up again after a restart of the hub: an encoder run goes on from its checkpoint, a table attempt that
was under way is voided first and a new one made, an opened table is fitted at once.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Collection
from dataclasses import replace

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError

from crypto.dated import verify_any
from crypto.errors import CryptoError
from crypto.wire.campaign import Terms
from crypto.wire.party import Party
from hub.campaign_book import Campaign, Status
from hub.campaign_errors import CampaignAbortedError, CampaignError, QuorumError
from hub.campaign_evaluation import CampaignEvaluation
from hub.campaign_plan import CampaignPlan, EncoderCheckpoint, Progress, ReleasedTable
from hub.campaign_record import CampaignRecord
from hub.campaign_services import CampaignServices
from hub.engines import Engine
from hub.errors import HubError, InternalError, PeerTimeout, PeerUnreachable
from hub.parties import Witness
from hub.peers import HubAwayError
from hub.problem_details import describe
from hub.recruiting import Recruits, invited, make_plan, order_spec, purpose_of, recruit, table_stage
from hub.scorecard_model import make_scorecard
from hub.server_app import CampaignJob, EncoderResult, LeftOver, run_server_app
from hub.training_consents import training_merchants
from hub.waiting import Waiting
from models.artefact import ModelArtefact
from models.errors import ModelsError

_LOOK_S = 0.2
_SETTLE_S = 1.0
_RELEASE_TRIES = 3
_REJOIN_S = 20.0
"""A node waits at most some 15 s before it tries to open its link again."""
_REOPEN_S = 5.0
"""A link that ended in good order is open again within two."""
_NO_WAY_BACK = frozenset({"release", "outcome", "open"})
"""Once the witness is asked for its term the attempt is carried through: it is paid for, and cannot be voided."""
_logger = structlog.get_logger("hub.campaigns")


class _HubStopping(Exception):  # noqa: N818  (not an error: the campaign goes on when the hub is back)
    """The hub shuts down; the campaign stays unfinished."""


class CampaignRun:
    """One campaign under way.

    Args:
        services: of the hub.
        campaign_id: an unfinished campaign.
        engine: the way to its nodes.
        resumed: a former process of the hub had begun it.
        stopping: set when the hub shuts down.
    """

    def __init__(
        self,
        services: CampaignServices,
        campaign_id: str,
        *,
        engine: Engine,
        resumed: bool,
        stopping: threading.Event,
    ) -> None:
        self._services = services
        self._book = services.book
        self._campaign_id = campaign_id
        self._engine = engine
        self._resumed = resumed
        self._stopping = stopping

    def run(self) -> bool:
        """Run to the end and write down how it ended; False where it was interrupted and stays unfinished.

        Raises:
            OperationalError, InterfaceError: the database is out of reach; the campaign stays unfinished.
        """
        try:
            self._run()
        except (_HubStopping, HubAwayError) as interrupted:
            _logger.info("campaign-interrupted", campaign=self._campaign_id, reason=str(interrupted))
            return False
        except (OperationalError, InterfaceError):
            raise
        except CampaignAbortedError as aborted:
            self._end("aborted", aborted)
        except (HubError, CryptoError, ModelsError) as failure:
            self._end("failed", failure)
        except Exception:
            if self._stopping.is_set():  # links and database close under it
                return False
            _logger.exception("campaign-failed", campaign=self._campaign_id)
            self._end("failed", InternalError("The hub failed.", remedy="Ask the operator to read the hub's log."))
        else:
            self._end("succeeded", None)
        return True

    def _end(self, status: Status, failure: HubError | CryptoError | ModelsError | None) -> None:
        problem = None if failure is None else describe(failure)
        self._book.end(self._campaign_id, status, failure=problem)
        code, reason = (None, None) if problem is None else (problem.code, problem.detail)
        _logger.info("campaign-ended", campaign=self._campaign_id, status=status, code=code, reason=reason)

    def _run(self) -> None:
        self._book.begin(self._campaign_id, f"{socket.gethostname()}:{os.getpid()}")
        self._check()
        campaign = self._book.get(self._campaign_id)
        recruits = self._recruit(campaign)
        self._note_missing(recruits)
        checkpoint = None if campaign.encoder_model else self._book.checkpoint(self._campaign_id)
        if checkpoint is not None:  # each round of an interrupted run needs all its nodes
            self._wait_for(_nodes_of(self._terms(checkpoint)))
        left = [
            self._terms(checkpoint),
            *(self._signed(each.terms) for each in self._book.undecided(self._campaign_id)),
        ]
        parties = [node.party_id for node in recruits.nodes] + [party for terms in left for party in _nodes_of(terms)]
        parties.append(recruits.witness.party_id)
        if not self._trained(campaign):
            released = self._record().released(table_stage(campaign.order)) or self._train(
                campaign, recruits, parties, checkpoint
            )
            if released is not None:
                self._check()
                if released.terms.statistics is None:  # the report is worked out from the opened counts when it is read
                    self._fit(released)
        if "evaluation" in campaign.order.stages:
            self._check()
            self._evaluate(recruits, parties)

    @staticmethod
    def _trained(campaign: Campaign) -> bool:
        """Whether nothing but the evaluation is left: a campaign ends with its model where it has none."""
        return "evaluation" in campaign.order.stages and campaign.model_id is not None

    def _evaluate(self, recruits: Recruits, parties: Collection[str]) -> None:
        """V0 to V4, from where they were left; the figures are kept beside the model."""
        campaign = self._book.get(self._campaign_id)
        kinds, label = campaign.schema.kinds_in_order(), campaign.schema.label.kind
        evaluation = CampaignEvaluation(
            self._services.models,
            self._services.evaluations,
            self._record(),
            self._attempt_terms,
            lambda: training_merchants(self._book.db, kinds, label, self._book.clock(), scoring=True),
        )
        opened = self._record().released("evaluation")
        if opened is None:
            task, plan = evaluation.task(campaign, self._plan(campaign, recruits), self._release_for_evaluation)
            job = CampaignJob(
                plan,
                self._tell,
                {},
                store=self._record(),
                timeout=self._services.trip_timeout_s,
                left=self._left_over(),
                evaluate=task,
                wait_for=self._wait_for,
            )
            with self._engine.open(parties) as lease:
                opened = run_server_app(lease.grid, replace(job, node_ids=lease.node_ids)).evaluated
        if opened is not None:
            evaluation.keep(campaign, opened)

    def _attempt_terms(self, attempt: str) -> Terms | None:
        token = self._book.terms(attempt)
        return None if token is None else self._signed(token)

    def _note_missing(self, recruits: Recruits) -> None:
        if recruits.missing:
            self._record().lost(f"{self._campaign_id}/start", recruits.missing)

    def _train(
        self, campaign: Campaign, recruits: Recruits, parties: Collection[str], checkpoint: EncoderCheckpoint | None
    ) -> ReleasedTable | None:
        """The stages that are left, over the engine's grid; None for a campaign that opens no table."""
        order = campaign.order
        known = campaign.encoder_model
        job = CampaignJob(
            self._plan(campaign, recruits),
            self._tell,
            {},
            store=self._record(),
            timeout=self._services.trip_timeout_s,
            spec=order_spec(order, campaign.schema) if "encoder" in order.stages else None,
            left=replace(
                self._left_over(),
                checkpoint=checkpoint,
                encoder=None if known is None else self._services.models.artefact(known, unreleased=True),
                encoder_terms=None if known is None else self._encoder_terms(known),
            ),
            keep_encoder=self._keep_encoder,
            release_encoder=self._release_for_evaluation,
            wait_for=self._wait_for,
        )
        with self._engine.open(parties) as lease:
            return run_server_app(lease.grid, replace(job, node_ids=lease.node_ids)).released

    def _left_over(self) -> LeftOver:
        """Attempts without a decision, of whatever stage; a table may be kept and its nodes not told yet."""
        undecided = self._book.undecided(self._campaign_id)
        return LeftOver(
            tuple((self._signed(each.terms), each.h) for each in undecided),
            frozenset(each.attempt for each in undecided if self._book.opened_counts(each.attempt) is not None),
            self._record().released("bins"),
        )

    def _keep_encoder(self, done: EncoderResult) -> None:
        model_id = self._services.models.register(
            done.artefact.to_bytes(), campaign_id=self._campaign_id, attempt=done.trained.terms.attempt
        )
        self._book.set_model(self._campaign_id, "encoder", model_id)

    def _release_for_evaluation(self, artefact: bytes) -> str:
        """The witness's release for evaluation: without it nodes use no encoder as a feature, nor evaluate a model."""
        model_id = ModelArtefact.from_bytes(artefact).model_id
        models, witness = self._services.models, self._services.parties.witness()
        for tried in range(_RELEASE_TRIES):
            try:
                if models.status(model_id) != "release":
                    models.release(model_id, "evaluation")
                break
            except (PeerUnreachable, PeerTimeout):
                if witness is None or tried == _RELEASE_TRIES - 1:
                    raise
                self._wait_for([witness.party_id])
        return models.release_token(model_id)

    def _encoder_terms(self, model_id: str) -> Terms | None:
        attempt = self._services.models.attempt_of(model_id)
        return None if attempt is None else self._attempt_terms(attempt)

    def _fit(self, released: ReleasedTable) -> None:
        # Made again after a kill the artefact is the same to the byte, and is registered once.
        before = self._services.earlier.load(released.terms.earlier)
        _, artefact = make_scorecard(released, released.terms.issued_at, earlier=before)
        model_id = self._services.models.register(
            artefact.to_bytes(),
            campaign_id=self._campaign_id,
            attempt=released.terms.attempt,
            shares=released.shares,
        )
        self._book.set_model(self._campaign_id, "scorecard", model_id)

    def _plan(self, campaign: Campaign, recruits: Recruits) -> CampaignPlan:
        kinds, label = campaign.schema.kinds_in_order(), campaign.schema.label.kind
        spec = order_spec(campaign.order, campaign.schema) if "encoder" in campaign.order.stages else None
        plan = make_plan(
            campaign,
            recruits,
            lambda: training_merchants(
                self._book.db, kinds, label, self._book.clock(), purpose=purpose_of(campaign.order)
            ),
            hub_id=self._book.hub_id,
            identity=self._services.identity,
            attempts_before=self._book.attempts_before(self._campaign_id),
            clock=self._book.clock,
            witness_keys=lambda: self._witness().keys,
        )
        # Once the encoder is trained nobody asks for its first parameters, and their model may be withdrawn.
        begun = spec is None or campaign.encoder_model or self._book.checkpoint(self._campaign_id)
        return plan if begun or spec is None else replace(plan, start=self._services.earlier.start(spec))

    def _record(self) -> CampaignRecord:
        return CampaignRecord(self._book, self._campaign_id, hub_key=self._services.identity)

    def _witness(self) -> Witness:
        witness = self._services.parties.witness()
        if witness is None:
            raise CampaignError("No witness is enrolled.", field="witness", remedy="Enrol the regulator's witness.")
        return witness

    def _recruit(self, campaign: Campaign) -> Recruits:
        """Who can take part now.

        A campaign that is taken up again gives the links time to come back: all of it to nodes that the quorum needs
        and to those that were in its last attempt, some seconds to others. One that begins gives a few seconds to
        the witness and to nodes that the quorum needs: a link may just be opening anew, with a rotated key for one.
        """
        began = time.monotonic()
        patience = self._services.reconnect_s if self._resumed else min(self._services.reconnect_s, _REOPEN_S)
        rejoin = min(patience, _REJOIN_S) if self._resumed else 0.0
        for_due, for_others = self._waiting(campaign, patience), self._waiting(campaign, rejoin)
        last = self._book.last_terms(self._campaign_id) if self._resumed else None
        due = frozenset() if last is None else frozenset(_nodes_of(self._signed(last)))
        while True:
            self._services.roster.reload()
            current = self._services.roster.current()
            passed = time.monotonic() - began
            connected = self._engine.connected()
            try:
                found = recruit(
                    campaign.order,
                    campaign.schema,
                    roster=None if current is None else current[1],
                    enrolled=self._enrolled(),
                    connected=connected,
                )
                waiting = for_others if due.isdisjoint(found.missing) else for_due
                if not found.missing or passed >= (patience if waiting is for_due else rejoin):
                    return found
            except (QuorumError, PeerUnreachable):
                if passed >= patience:
                    raise
                waiting = for_due
            wanted = [party.party_id for party in invited(campaign.order, campaign.schema, self._enrolled())]
            witness = self._services.parties.witness()
            waiting.note(wanted if witness is None else [*wanted, witness.party_id], connected)
            self._pause()

    def _waiting(self, campaign: Campaign, patience: float) -> Waiting:
        attempt = f"{self._campaign_id}/start"
        stage = campaign.order.stages[0]
        return Waiting(self._tell, self._book.clock, stage=stage, attempt=attempt, seconds=patience)

    def _wait_for(self, parties: Collection[str]) -> None:
        """Give lost parties time to come back. All are lost at once when the hub shuts down: then this raises."""
        began = time.monotonic()
        waiting = self._waiting(self._book.get(self._campaign_id), self._services.reconnect_s)
        while (passed := time.monotonic() - began) < self._services.reconnect_s:
            # A link that is just closing still counts as open for a moment.
            if passed >= _SETTLE_S:
                connected = self._engine.connected()
                if set(parties) <= connected:
                    return
                waiting.note(parties, connected)
            self._pause()

    def _terms(self, checkpoint: EncoderCheckpoint | None) -> Terms | None:
        return None if checkpoint is None else self._signed(checkpoint.terms)

    def _signed(self, token: str) -> Terms:
        return verify_any(token, self._services.identity.line, Terms, typ="terms", kid=self._book.hub_id)

    def _enrolled(self) -> Collection[Party]:
        return self._services.parties.all()

    def _tell(self, event: Progress) -> None:
        if event.step not in _NO_WAY_BACK:
            self._check()
        self._book.note(self._campaign_id, event)

    def _pause(self) -> None:
        self._check()
        self._stopping.wait(_LOOK_S)

    def _check(self) -> None:
        if self._stopping.is_set():
            raise _HubStopping
        if self._book.abort_asked(self._campaign_id):
            raise CampaignAbortedError(
                "The operator ended the campaign.", remedy="What was sent before stays charged unless it was voided."
            )


def _nodes_of(terms: Terms | None) -> list[str]:
    return [] if terms is None else [entry.party_id for entry in terms.roster]
