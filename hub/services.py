"""The hub as one object: what belongs together is built here, cross-checked, started and stopped in order."""

from __future__ import annotations

import importlib.metadata
import secrets
from dataclasses import replace
from functools import cached_property, partial
from typing import Protocol

from sqlalchemy.orm import Session

from crypto.wire.base import SUITE
from crypto.wire.party import Party
from crypto.wire.service import HubInfo
from hub.alarms import Alarm, Alarms
from hub.assessments import Assessments
from hub.auth import MerchantAuth, PartyAuth
from hub.bearer import BearerAuth
from hub.campaign_book import CampaignBook
from hub.campaign_locks import campaign_locks
from hub.campaign_services import CampaignServices
from hub.campaigns import Campaigns
from hub.clock import Clock, seconds, utc_now
from hub.config import HubConfig, SuperLinkOptions
from hub.consent_receipts import ReceiptDesk
from hub.consent_requests import ConsentRequests
from hub.consents import Consents
from hub.cosigning import Cosigner
from hub.db import Database, open_database
from hub.decision_courier import DecisionCourier
from hub.deletions import Deletions
from hub.embedded_worker import EmbeddedSuperLink, EmbeddedWorker
from hub.enrolment import Enrolment
from hub.feed import Feed
from hub.idempotent_answers import IdempotencyStore
from hub.identity import check_identity
from hub.invitations import Invitations
from hub.keys import HubKeys, load_keys, read_secret
from hub.leadership import Leadership
from hub.links import Links, LinkView
from hub.log import AuditLog
from hub.log_reading import LogReader
from hub.log_search import LogSearch
from hub.merchant_keys import MerchantKeys
from hub.merchant_records import MerchantRecordBook
from hub.migrations.runner import check_schema
from hub.model_cards import ModelCards
from hub.model_evaluations import ModelEvaluations
from hub.model_rollbacks import ModelRollbacks
from hub.models import ModelRegistry
from hub.nonces import Nonces, SpentNonces
from hub.notices import Notices
from hub.parties import WITNESS, PartyBook
from hub.peers import PeerLinks
from hub.queries import Queries
from hub.rate_limits import RateLimit
from hub.record_receipts import RecordReceipts
from hub.replica_set import ReplicaSet
from hub.replicas import refuse_beside_replicas
from hub.restored_hub import move_feed, restored_log
from hub.restored_log import RestoredLog
from hub.retention import Retention
from hub.revocation import Revocation
from hub.roster import HubIdentity, RosterKeeper
from hub.signing_key import SigningKey
from hub.statistics_reports import StatisticsReports
from hub.tickets import Tickets
from hub.voprf import Evaluations
from hub.witness_rotation import WitnessRotation


class Part(Protocol):
    """Something that runs while the hub serves."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, within seconds."""


class Hub:
    """Everything the API and the command line work with.

    `links` are taken when they are needed, never kept by others. `signing` is whichever key of the hub's holds: one
    object, wherever the hub signs; `keys.identity` is the same.
    """

    links: PeerLinks
    link_view: LinkView

    def __init__(
        self,
        config: HubConfig,
        keys: HubKeys,
        db: Database,
        *,
        signing: SigningKey,
        admin_token: str,
        internal_token: str,
        clock: Clock,
    ) -> None:
        self.config = config
        self.keys, self.signing = keys, signing
        self.db = db
        self.clock = clock
        self.feed = Feed(db, keys.identity, hub_id=config.hub_id, clock=clock)
        self.instance = secrets.token_hex(8)
        """Of this process, so that others notice when it was started again."""
        self.opened_at = seconds(clock())
        self.replica_set = _replica_set(self, internal_token)
        """Where other processes serve the same database."""
        self.leadership: Leadership | None = None
        self.admin = BearerAuth(admin_token, whose="the administrator's token", where="admin_token_file")
        self.internal_auth = BearerAuth(internal_token, whose="the hub's internal token", where="internal_token_file")
        self.idempotency = _idempotency(self)
        self.parties = PartyBook(db)
        self.log_alarms = Alarms(db, clock=clock, limit_s=config.log.cosign_alarm_s)
        cosigner = Cosigner(
            db,
            config.log_origin,
            keys.identity,
            links=lambda: self.links,
            alarms=self.log_alarms,
            timeout_s=config.log.cosign_timeout_s,
            leads=self.leads,
            tell=self._tell_replicas,
        )
        self.log = AuditLog(
            db,
            keys.identity,
            config.log_origin,
            clock=clock,
            cosigner=cosigner,
            reader=LogReader(db, hub_id=config.hub_id, origin=config.log_origin),
            interval_s=config.log.interval_s,
            max_entries=config.log.max_entries,
        )
        self.log_search = LogSearch(db)
        self.roster = RosterKeeper(
            db,
            self.log,
            self.parties,
            identity=HubIdentity(config.hub_id, keys.identity, keys.voprf.public),
            clock=clock,
            links=lambda: self.links,
            feed=lambda: self.feed,
            timeout_s=config.log.cosign_timeout_s,
            tell=lambda: self._tell_replicas("roster"),
            shared=self.replica_set is not None,
        )
        self.party_auth = PartyAuth(self.roster, clock=clock, nonces=self._nonces("party"))
        self.merchant_auth = MerchantAuth(db, clock=clock, nonces=self._nonces("merchant"))
        self.merchant_keys = MerchantKeys(db, self.log, self.roster, clock=clock)
        self.invitations = Invitations(
            db,
            self.log,
            self.roster,
            hub_id=config.hub_id,
            join_url=self.merchant_page("join"),
            inviter_kinds=config.recipient_kinds,
            clock=clock,
            limit=RateLimit(
                "30/minute",
                what="invitations",
                storage=None if self.replica_set is None else self.replica_set.windows,
            ),
        )
        self.consent_requests = ConsentRequests(
            db,
            self.log,
            self.roster,
            self.parties,
            hub_id=config.hub_id,
            link=self.merchant_page("requests") + "#",
            recipient_kinds=config.recipient_kinds,
            clock=clock,
        )
        self.tickets = Tickets(db, self.log, self.roster, hub_id=config.hub_id, clock=clock)
        self.link_server = Links(
            self.parties,
            self.feed,
            hub_id=config.hub_id,
            roster=self._roster_token,
            clock=clock,
            heartbeat_s=config.feed_heartbeat_s,
            on_open=self._link_opened,
            places=None if self.replica_set is None else self.replica_set.places,
            move_feed=partial(move_feed, self),
            successions=lambda: self.signing.statements,
        )
        self.links, self.link_view = self._all_links(cosigner)
        desk = ReceiptDesk(self.log.reader, keys.identity, hub_id=config.hub_id, clock=clock)
        self.consents = Consents(
            db,
            self.log,
            self.parties,
            self.feed,
            hub_id=config.hub_id,
            clock=clock,
            receipts=desk,
            links=lambda: self.links,
            recipient_kinds=config.recipient_kinds,
        )
        self.notices = Notices(
            db,
            self.log,
            self.feed,
            self.parties,
            key=keys.identity,
            hub_id=config.hub_id,
            clock=clock,
            links=lambda: self.links,
        )
        self.deletions = Deletions(db, self.log, self.roster, clock=clock)
        self.record_receipts = RecordReceipts(
            db,
            self.consents,
            desk,
            self.log.reader,
            self.roster,
            key=keys.identity,
            hub_id=config.hub_id,
            clock=clock,
            successions=lambda: self.signing.statements,
        )
        self.merchant_records = MerchantRecordBook(
            self.consents, self.merchant_keys, self.notices, self.deletions, self.log.reader, clock=clock
        )
        self.voprf = Evaluations(
            db,
            self.log,
            self.roster,
            self.parties,
            key=keys.voprf,
            quota=config.voprf_quota,
            clock=clock,
            links=lambda: self.links,
        )
        self.assessments = Assessments(
            db, self.log, hub_id=config.hub_id, clock=clock, required=config.models.assessment == "required"
        )
        self.models = ModelRegistry(
            db,
            self.log,
            self.feed,
            self.parties,
            self.assessments,
            hub_id=config.hub_id,
            clock=clock,
            links=lambda: self.links,
        )
        self.enrolment = Enrolment(
            db,
            self.log,
            hub_id=config.hub_id,
            clock=clock,
            on_change=self.roster.changed,
            on_enrol=self._tell_newcomer,
        )
        self.rollbacks = ModelRollbacks(
            db, self.log, self.feed, self.parties, self.models, clock=clock, links=lambda: self.links
        )
        self.evaluations = ModelEvaluations(db, self.log, hub_id=config.hub_id, clock=clock)
        book = CampaignBook(db, self.log, hub_id=config.hub_id, clock=clock)
        self.cards = ModelCards(
            self.models, book, self.evaluations, self.parties, self.assessments, hub_key=keys.identity
        )
        self.queries = Queries(
            db,
            self.log,
            self.roster,
            self.consents,
            self.models,
            hub_id=config.hub_id,
            clock=clock,
            links=lambda: self.links,
            timeout_s=config.query_timeout_s,
        )
        self.campaign_services = CampaignServices(
            book=book,
            parties=self.parties,
            roster=self.roster,
            models=self.models,
            evaluations=self.evaluations,
            identity=keys.identity,
            links=lambda: self.links,
            engines=config.campaigns.engines,
            trip_timeout_s=config.campaigns.trip_timeout_s,
            reconnect_s=config.campaigns.reconnect_s,
        )
        self.campaigns = Campaigns(self.campaign_services, campaign_locks(db))
        self.courier = DecisionCourier(self.campaign_services)
        self.retention = _retention(self)
        self.parts = self._parts()
        """Started in this order, stopped in the opposite one."""
        self._running: list[Part] = []

    def _parts(self) -> list[Part]:
        retention: list[Part] = [] if self.retention is None else [self.retention]
        if self.replica_set is not None:
            self.leadership = Leadership(self.db, [self.roster, self.courier, *retention])
            return [self.restored_log, self.log, self.leadership, self.link_server]
        worker: list[Part] = [EmbeddedWorker(self.config)] if self.config.campaigns.worker == "embedded" else []
        return [self.restored_log, self.log, self.roster, self.link_server, self.courier, *worker, *retention]

    def _all_links(self, cosigner: Cosigner) -> tuple[PeerLinks, LinkView]:
        if self.replica_set is None:
            return self.link_server, self.link_server
        links = self.replica_set.join(self.link_server, cosigner, self.roster)
        return links, links

    @classmethod
    def open(cls, config: HubConfig, *, clock: Clock = utc_now, signing_key_lost: bool = False) -> Hub:
        """Open an initialised hub; nothing runs yet.

        Args:
            config, clock: the hub's.
            signing_key_lost: only to announce another: it signs nothing.

        Raises:
            StateError: keys, configuration and database do not belong together, or a secret file is not safe.
        """
        keys = load_keys(config.keys_dir, signing_key_lost=signing_key_lost)
        admin_token = read_secret(config.admin_token_file).decode().strip()
        internal_token = read_secret(config.internal_token_file).decode().strip()
        db = open_database(config)
        check_schema(db)
        check_identity(db, config, keys, signing_key_lost=signing_key_lost)
        signing = SigningKey(db, config.keys_dir, hub_id=config.hub_id, clock=clock)
        keys = replace(keys, identity=signing)
        return cls(
            config, keys, db, signing=signing, admin_token=admin_token, internal_token=internal_token, clock=clock
        )

    def _superlink_parts(self, options: SuperLinkOptions) -> list[Part]:
        # Flower is slow to import: only the hub that serves does.
        from hub.superlink.api import SuperLinkApi  # noqa: PLC0415
        from hub.superlink.roster import SuperLinkRoster  # noqa: PLC0415

        own = [EmbeddedSuperLink(self.config)] if options.managed and options.control is None else []
        return [*own, SuperLinkRoster(SuperLinkApi(options), self.roster.members, shared=not options.managed)]

    def _roster_token(self) -> str | None:
        current = self.roster.current()
        # A held hub's roster may be older than the one that parties have; they would take that for an attack.
        return None if current is None or self.log.guard.held() else current[0]

    def _tell_newcomer(self, session: Session, party_id: str) -> None:
        self.notices.tell(session, party_id)
        self.models.tell(session, party_id)

    @property
    def statistics(self) -> StatisticsReports:
        """Reports of programme statistics."""
        book = CampaignBook(self.db, self.log, hub_id=self.config.hub_id, clock=self.clock)
        return StatisticsReports(book, self.keys.identity, self.log_search, self.log.reader)

    @cached_property
    def restored_log(self) -> RestoredLog:
        """What compares the log with what the witness cosigned."""
        return restored_log(self)

    @property
    def revocation(self) -> Revocation:
        """Takes parties out, in this process and the others."""
        return Revocation(self.db, self.log, hub_id=self.config.hub_id, clock=self.clock, on_change=self._party_revoked)

    def _party_revoked(self, party_id: str) -> None:
        self.roster.revoked()
        self.link_server.end(party_id)

    def _link_opened(self, party: Party) -> None:
        if party.kind == WITNESS:
            self.restored_log.look_soon()
            self.roster.changed()  # what waits for its approval can be proposed now

    def start(self) -> None:
        """Start what runs in the background."""
        if self.replica_set is None:
            refuse_beside_replicas(self.db)
        else:
            self.replica_set.start()  # who is entered may judge the others
        self.signing.keep_statements()
        self.idempotency.release_unfinished()
        options = self.config.superlink
        superlink = [] if options is None else self._superlink_parts(options)
        if self.leadership is not None:
            self.leadership.tasks += superlink
            superlink = []
        self._running = [*self.parts, *superlink]
        for part in self._running:
            part.start()

    def stop(self) -> None:
        """Stop it, in the opposite order."""
        for part in reversed(self._running):
            part.stop()
        if self.replica_set is not None and self._running:
            self.replica_set.stop()
        self._running = []

    def close(self) -> None:
        """Close the database."""
        if self.replica_set is not None:
            self.replica_set.close()
        self.db.close()

    def leads(self) -> bool:
        """Say whether this process does what one does for all."""
        return self.replica_set is None or (self.leadership is not None and self.leadership.leads())

    def _tell_replicas(self, what: str) -> None:
        if self.replica_set is not None:
            self.replica_set.news.tell(what)

    def _nonces(self, use: str) -> Nonces:
        return SpentNonces() if self.replica_set is None else self.replica_set.nonces(use)

    def alarms(self) -> tuple[Alarm, ...]:
        """Return what every page says at its top: what is wrong now, since when, and what to do."""
        return self.log_alarms.now()

    @property
    def witness_rotation(self) -> WitnessRotation:
        """What takes in that the witness's key is followed by another."""
        heartbeat_s = self.config.feed_heartbeat_s
        return WitnessRotation(
            self.db, self.log, self.feed, heartbeat_s=heartbeat_s, clock=self.clock, links=lambda: self.links
        )

    def merchant_page(self, name: str) -> str:
        """Return the address of a merchant's page."""
        return f"{self.config.public_url.rstrip('/')}/merchant/{name}"

    def info(self) -> HubInfo:
        """Return what the hub says about itself."""
        return HubInfo(
            suite=SUITE,
            hub_id=self.config.hub_id,
            software=f"digua-hub/{importlib.metadata.version('digua')}",
            origin=self.config.log_origin,
            sign_key=self.keys.identity.public,
            voprf_key=self.keys.voprf.public,
            witness=self.parties.witness_info(),
            successions=self.signing.statements,
            former_keys=self.signing.former(),
        )


def _replica_set(hub: Hub, internal_token: str) -> ReplicaSet | None:
    options = hub.config.replicas
    if options is None:
        return None
    return ReplicaSet(hub.config, hub.db, options, instance=hub.instance, token=internal_token, clock=hub.clock)


def _idempotency(hub: Hub) -> IdempotencyStore:
    life_s = int(hub.config.idempotency_life.total_seconds())
    if hub.replica_set is None:
        return IdempotencyStore(hub.db, clock=hub.clock, life_s=life_s)
    gone = hub.replica_set.replicas.gone
    return IdempotencyStore(hub.db, clock=hub.clock, life_s=life_s, owner=hub.instance, gone=gone)


def _retention(hub: Hub) -> Retention | None:
    days = hub.config.audit.retain_salts_days
    if days is None:
        return None
    return Retention(hub.db, hub.log, hub_id=hub.config.hub_id, clock=hub.clock, days=days)
