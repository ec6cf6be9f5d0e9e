"""One campaign from order to model, in its own thread of the serving process.

It can be taken up again after a restart of the hub: an encoder run goes on from its checkpoint, a table attempt that
was under way is voided first and a new one made, an opened table is fitted at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping

import structlog

from crypto.errors import CryptoError
from crypto.jws import verify_model
from crypto.wire.campaign import Terms
from crypto.wire.party import Party
from hub.campaign_book import Campaign, Status
from hub.campaign_plan import CampaignPlan, EncoderCheckpoint, Progress, ReleasedTable
from hub.campaign_record import CampaignRecord
from hub.campaign_services import CampaignServices
from hub.errors import (
    CampaignAbortedError,
    CampaignError,
    HubError,
    InternalError,
    PeerTimeout,
    PeerUnreachable,
    QuorumError,
)
from hub.grids.agent import AgentGrid
from hub.problems import describe
from hub.recruiting import Recruits, make_plan, order_spec, recruit
from hub.scorecard_model import make_scorecard
from hub.server_app import CampaignJob, EncoderResult, LeftOver, run_server_app
from hub.training_consents import training_merchants
from models.artefact import ModelArtefact
from models.errors import ModelsError

_LOOK_S = 0.2
_SETTLE_S = 1.0
_RELEASE_TRIES = 3
_REJOIN_S = 20.0
"""A node waits at most some 15 s before it tries to open its link again."""
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
        resumed: a former process of the hub had begun it.
        stopping: set when the hub shuts down.
    """

    def __init__(
        self, services: CampaignServices, campaign_id: str, *, resumed: bool, stopping: threading.Event
    ) -> None:
        self._services = services
        self._book = services.book
        self._campaign_id = campaign_id
        self._resumed = resumed
        self._stopping = stopping
        self._aborted = threading.Event()

    def abort(self) -> None:
        """End the campaign at its next step."""
        self._aborted.set()

    def run(self) -> None:
        """Run to the end and write down how it ended; never raises."""
        try:
            self._run()
        except _HubStopping:
            _logger.info("campaign-interrupted", campaign=self._campaign_id)
        except CampaignAbortedError as aborted:
            self._end("aborted", aborted)
        except (HubError, CryptoError, ModelsError) as failure:
            self._end("failed", failure)
        except Exception:
            if self._stopping.is_set():  # links and database close under it
                return
            _logger.exception("campaign-failed", campaign=self._campaign_id)
            self._end("failed", InternalError("The hub failed.", remedy="Ask the operator to read the hub's log."))
        else:
            self._end("succeeded", None)

    def _end(self, status: Status, failure: HubError | CryptoError | ModelsError | None) -> None:
        problem = None if failure is None else describe(failure)
        self._book.end(self._campaign_id, status, failure=problem)
        _logger.info("campaign-ended", campaign=self._campaign_id, status=status, code=problem and problem.code)

    def _run(self) -> None:
        self._book.begin(self._campaign_id)
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
        number = dict(enumerate(sorted({*parties, recruits.witness.party_id}), start=2))
        released = self._record().released() or self._train(campaign, recruits, number, checkpoint)
        if released is not None:
            self._check()
            self._fit(released)

    def _note_missing(self, recruits: Recruits) -> None:
        if recruits.missing:
            self._record().lost(f"{self._campaign_id}/start", recruits.missing)

    def _train(
        self, campaign: Campaign, recruits: Recruits, parties: Mapping[int, str], checkpoint: EncoderCheckpoint | None
    ) -> ReleasedTable | None:
        """The stages that are left, over the parties' links; None for a campaign that opens no table."""
        order = campaign.order
        known = campaign.encoder_model
        undecided = self._book.undecided(self._campaign_id)
        job = CampaignJob(
            self._plan(campaign, recruits),
            self._tell,
            {party: node for node, party in parties.items()},
            store=self._record(),
            timeout=self._services.trip_timeout_s,
            spec=order_spec(order, campaign.schema) if "encoder" in order.stages else None,
            left=LeftOver(
                undecided=tuple((self._signed(each.terms), each.h) for each in undecided),
                checkpoint=checkpoint,
                encoder=None if known is None else self._services.models.artefact(known, unreleased=True),
                encoder_terms=None if known is None else self._encoder_terms(known),
            ),
            keep_encoder=self._keep_encoder,
            release_encoder=self._release_encoder,
            wait_for=self._wait_for,
        )
        grid = AgentGrid(self._services.links(), parties)
        try:
            return run_server_app(grid, job).released
        finally:
            grid.close()

    def _keep_encoder(self, done: EncoderResult) -> None:
        model_id = self._services.models.register(
            done.artefact.to_bytes(), campaign_id=self._campaign_id, attempt=done.trained.terms.attempt
        )
        self._book.set_model(self._campaign_id, "encoder", model_id)

    def _release_encoder(self, artefact: bytes) -> str:
        """The witness's release for evaluation, without which no node takes the encoder as a feature."""
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
        token = None if attempt is None else self._book.terms(attempt)
        return None if token is None else self._signed(token)

    def _fit(self, released: ReleasedTable) -> None:
        _, artefact = make_scorecard(released, self._book.clock())
        model_id = self._services.models.register(
            artefact.to_bytes(),
            campaign_id=self._campaign_id,
            attempt=released.terms.attempt,
            shares=released.shares,
        )
        self._book.set_model(self._campaign_id, "scorecard", model_id)

    def _plan(self, campaign: Campaign, recruits: Recruits) -> CampaignPlan:
        kinds, label = campaign.schema.kinds_in_order(), campaign.schema.label.kind
        return make_plan(
            campaign,
            recruits,
            lambda: training_merchants(self._book.db, kinds, label, self._book.clock()),
            hub_id=self._book.hub_id,
            identity=self._services.identity,
            attempts_before=self._book.attempts_before(self._campaign_id),
            clock=self._book.clock,
        )

    def _record(self) -> CampaignRecord:
        witness = self._services.parties.witness()
        if witness is None:
            raise CampaignError("No witness is enrolled.", field="witness", remedy="Enrol the regulator's witness.")
        return CampaignRecord(self._book, self._campaign_id, hub_key=self._services.identity.public, witness=witness)

    def _recruit(self, campaign: Campaign) -> Recruits:
        """Who can take part now; a campaign that is taken up again gives the links time to come back."""
        began = time.monotonic()
        patience = self._services.reconnect_s if self._resumed else 0.0
        while True:
            current = self._services.roster.current()
            passed = time.monotonic() - began
            try:
                found = recruit(
                    campaign.order,
                    campaign.schema,
                    roster=None if current is None else current[1],
                    enrolled=self._enrolled(),
                    connected=self._services.links().connected(),
                )
                if not found.missing or passed >= min(patience, _REJOIN_S):
                    return found
            except (QuorumError, PeerUnreachable):
                if passed >= patience:
                    raise
            self._pause()

    def _wait_for(self, parties: Collection[str]) -> None:
        """Give lost parties time to come back. All are lost at once when the hub shuts down: then this raises."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < self._services.reconnect_s:
            # A link that is just closing still counts as open for a moment.
            if passed >= _SETTLE_S and set(parties) <= self._services.links().connected():
                return
            self._pause()

    def _terms(self, checkpoint: EncoderCheckpoint | None) -> Terms | None:
        return None if checkpoint is None else self._signed(checkpoint.terms)

    def _signed(self, token: str) -> Terms:
        return verify_model(token, self._services.identity.public, Terms, typ="terms", kid=self._book.hub_id)

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
        if self._aborted.is_set():
            raise CampaignAbortedError(
                "The operator ended the campaign.", remedy="What was sent before stays charged unless it was voided."
            )


def _nodes_of(terms: Terms | None) -> list[str]:
    return [] if terms is None else [entry.party_id for entry in terms.roster]
