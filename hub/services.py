"""The hub as one object: what belongs together is built here, cross-checked, started and stopped in order."""

from __future__ import annotations

import importlib.metadata
import secrets
from datetime import datetime
from typing import Protocol

from sqlalchemy.orm import Session

from crypto.wire.base import SUITE
from crypto.wire.party import Party
from crypto.wire.service import HubInfo
from hub.alarms import Alarm, Alarms
from hub.assessments import Assessments
from hub.auth import BearerAuth, MerchantAuth, PartyAuth
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
from hub.errors import StateError
from hub.feed import Feed
from hub.idempotency import IdempotencyStore
from hub.invitations import Invitations
from hub.keys import HubKeys, load_keys, read_secret
from hub.links import Links
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
from hub.notices import Notices
from hub.parties import WITNESS, PartyBook
from hub.peers import NoLinks, PeerLinks
from hub.queries import Queries
from hub.rate_limits import RateLimit
from hub.record_receipts import RecordReceipts
from hub.retention import Retention
from hub.roster import HubIdentity, RosterKeeper
from hub.tables.parties import HubIdentityRow
from hub.tickets import Tickets
from hub.voprf import Evaluations


class Part(Protocol):
    """Something that runs while the hub serves."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, within seconds."""


class Hub:
    """Everything the API and the command line work with.

    `links` are taken when they are needed, never kept by others.
    """

    def __init__(
        self,
        config: HubConfig,
        keys: HubKeys,
        db: Database,
        *,
        admin_token: str,
        internal_token: str,
        clock: Clock,
    ) -> None:
        self.config = config
        self.keys = keys
        self.db = db
        self.clock = clock
        self.feed = Feed(db, keys.identity, hub_id=config.hub_id, clock=clock)
        self.instance = secrets.token_hex(8)
        """Of this process, so that others notice when it was started again."""
        self.opened_at = seconds(clock())
        self.admin = BearerAuth(admin_token, whose="the administrator's token", where="admin_token_file")
        self.internal_auth = BearerAuth(internal_token, whose="the hub's internal token", where="internal_token_file")
        self.idempotency = IdempotencyStore(db, clock=clock, life_s=int(config.idempotency_life.total_seconds()))
        self.parties = PartyBook(db)
        self.log_alarms = Alarms(db, clock=clock, limit_s=config.log.cosign_alarm_s)
        self.log = AuditLog(
            db,
            keys.identity,
            config.log_origin,
            clock=clock,
            cosigner=Cosigner(
                db,
                config.log_origin,
                keys.identity.public,
                witness=self.parties.witness,
                links=lambda: self.links,
                alarms=self.log_alarms,
                timeout_s=config.log.cosign_timeout_s,
            ),
            reader=LogReader(db, hub_id=config.hub_id, origin=config.log_origin),
            interval_s=config.log.interval_s,
            max_entries=config.log.max_entries,
        )
        self.log_search = LogSearch(db)
        self.roster = RosterKeeper(
            db,
            self.log,
            self.parties,
            identity=HubIdentity(config.hub_id, keys.identity.public, keys.voprf.public),
            clock=clock,
            links=lambda: self.links,
            feed=lambda: self.feed,
            timeout_s=config.log.cosign_timeout_s,
        )
        self.party_auth = PartyAuth(self.roster, clock=clock)
        self.merchant_auth = MerchantAuth(db, clock=clock)
        self.merchant_keys = MerchantKeys(db, self.log, self.roster, clock=clock)
        self.invitations = Invitations(
            db,
            self.log,
            self.roster,
            hub_id=config.hub_id,
            join_url=self.merchant_page("join"),
            inviter_kinds=config.recipient_kinds,
            clock=clock,
            limit=RateLimit("30/minute", what="invitations"),
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
        )
        self.links: PeerLinks = self.link_server
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
            self.models, book, self.evaluations, self.parties, self.assessments, hub_key=keys.identity.public
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
        self.parts: list[Part] = [self.log, self.roster, self.link_server, self.courier]
        """Started in this order, stopped in the opposite one."""
        if config.campaigns.worker == "embedded":
            self.parts.append(EmbeddedWorker(config))
        self.retention = _retention(self)
        if self.retention is not None:
            self.parts.append(self.retention)
        self._running: list[Part] = []

    @classmethod
    def open(cls, config: HubConfig, *, clock: Clock = utc_now) -> Hub:
        """Open an initialised hub; nothing runs yet.

        Raises:
            StateError: keys, configuration and database do not belong together, or a secret file is not safe.
        """
        keys = load_keys(config.keys_dir)
        admin_token = read_secret(config.admin_token_file).decode().strip()
        internal_token = read_secret(config.internal_token_file).decode().strip()
        db = open_database(config)
        check_schema(db)
        _check_identity(db, config, keys)
        return cls(config, keys, db, admin_token=admin_token, internal_token=internal_token, clock=clock)

    def _superlink_parts(self, options: SuperLinkOptions) -> list[Part]:
        # Flower is slow to import: only the hub that serves does.
        from hub.superlink.api import SuperLinkApi  # noqa: PLC0415
        from hub.superlink.roster import SuperLinkRoster  # noqa: PLC0415

        own = [EmbeddedSuperLink(self.config)] if options.managed and options.control is None else []
        return [*own, SuperLinkRoster(SuperLinkApi(options), self._roster_parties, shared=not options.managed)]

    def _roster_parties(self) -> tuple[Party, ...]:
        current = self.roster.current()
        return () if current is None else current[1].parties

    def _roster_token(self) -> str | None:
        current = self.roster.current()
        return None if current is None else current[0]

    def _tell_newcomer(self, session: Session, party_id: str) -> None:
        self.notices.tell(session, party_id)
        self.models.tell(session, party_id)

    def _link_opened(self, party: Party) -> None:
        if party.kind == WITNESS:
            self.roster.changed()  # what waits for its approval can be proposed now

    def start(self) -> None:
        """Start what runs in the background."""
        self.idempotency.release_unfinished()
        superlink = self.config.superlink
        self._running = [*self.parts, *([] if superlink is None else self._superlink_parts(superlink))]
        for part in self._running:
            part.start()

    def stop(self) -> None:
        """Stop it, in the opposite order."""
        for part in reversed(self._running):
            part.stop()
        self._running = []

    def close(self) -> None:
        """Close the database."""
        self.db.close()

    def alarms(self) -> tuple[Alarm, ...]:
        """Return what every page says at its top: what is wrong now, since when, and what to do."""
        return self.log_alarms.now()

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
        )


def _retention(hub: Hub) -> Retention | None:
    days = hub.config.audit.retain_salts_days
    if days is None:
        return None
    return Retention(hub.db, hub.log, hub_id=hub.config.hub_id, clock=hub.clock, days=days)


def record_identity(db: Database, config: HubConfig, keys: HubKeys, now: datetime) -> None:
    """Write into a fresh database whose it is, with the log's first entry; StateError where it is somebody's."""
    reader = LogReader(db, hub_id=config.hub_id, origin=config.log_origin)
    parties = PartyBook(db)
    alarms = Alarms(db, clock=lambda: now, limit_s=config.log.cosign_alarm_s)
    cosigner = Cosigner(
        db, config.log_origin, keys.identity.public, witness=parties.witness, links=NoLinks, alarms=alarms
    )
    log = AuditLog(db, keys.identity, config.log_origin, clock=lambda: now, cosigner=cosigner, reader=reader)
    with db.session() as session:
        if session.get(HubIdentityRow, 1) is not None:
            raise StateError(
                "The database belongs to a hub already.", field="database", remedy="Name another database."
            )
        session.add(
            HubIdentityRow(
                id=1,
                hub_id=config.hub_id,
                origin=config.log_origin,
                sign_key=keys.identity.public,
                voprf_key=keys.voprf.public,
            )
        )
        log.append(session, "hub-initialised", config.hub_id, facts={"at": seconds(now), "origin": config.log_origin})
    log.sequence()


def _check_identity(db: Database, config: HubConfig, keys: HubKeys) -> None:
    with db.reading() as session:
        row = session.get(HubIdentityRow, 1)
    if row is None:
        raise StateError(
            "The database belongs to no hub yet.", field="database", remedy="Run `digua-hub init` for a new hub."
        )
    pairs = (
        ("hub_id", row.hub_id, config.hub_id),
        ("origin", row.origin, config.log_origin),
        ("keys_dir (signing key)", row.sign_key, keys.identity.public),
        ("keys_dir (VOPRF seed)", row.voprf_key, keys.voprf.public),
    )
    for name, stored, present in pairs:
        if stored != present:
            raise StateError(
                f"{name} is not the one that the database was made with.",
                field=name,
                remedy="Restore configuration, keys and database of the same hub; pseudonyms and log depend on them.",
            )


def sample_config(hub_id: str, port: int) -> str:
    """Return the text of a new `hub.yaml` with its comments."""
    return f"""\
# digua hub 枢纽配置. Paths are relative to this file. 路径相对于本文件。
hub_id: {hub_id}
listen:
  host: 127.0.0.1
  port: {port}
public_url: http://127.0.0.1:{port}
# Pages for people, as they type it; passkeys need a name. 页面地址；通行密钥要求使用域名。
pages: {{origin: http://localhost:{port}}}
# SQLite file, or postgresql+psycopg://user:password@host/name
database: sqlite:///hub.sqlite
# Secret files, mode 0600. 密钥文件，权限 0600。
keys_dir: keys
admin_token_file: admin.token
# Beyond loopback TLS is required. 非本机访问必须启用 TLS。
# tls: {{certificate: tls/hub.pem, key: tls/hub.key}}
# Identifiers a party may have pseudonymised in all. 各方假名化总配额。
voprf_quota:
  default: 100000
# Checkpoints of the audit log. 审计日志检查点。
log:
  interval_s: 1.0
  max_entries: 1000
# A model is released only with an impact assessment (PIPL 55): required, or optional. 模型发布须有影响评估。
# models: {{assessment: required}}
# Campaigns: on the agents' own connections, and on Flower's SuperLink where it is named below.
# 训练任务：经节点自有连接；如在下方配置，也可经 Flower SuperLink。
# campaigns: {{engines: [agent, superlink]}}
# A SuperLink that `digua-hub serve` starts and watches: nodes reach `listen` with TLS and their training keys.
# 由枢纽启动并看护的 SuperLink：节点凭训练密钥经 TLS 连接 listen。
# superlink:
#   managed: true
#   listen: {{host: 0.0.0.0, port: 9092}}
#   tls: {{certificate: tls/superlink.pem, key: tls/superlink.key}}
#   directory: superlink
# Or one that runs elsewhere. 或使用已有的 SuperLink。
# superlink:
#   address: superlink.example.org:9093
#   root_certificates: tls/ca.pem
#   token_file: superlink.token
"""
