"""The register of privacy notices: immutable, public, logged, and in every party's feed (docs/consent.md, 1).

G1  A version of a notice comes in both languages. Its texts and its name are new: a text is registered once.
G2  The hub signs a statement with the next serial; text, log entry and feed items are committed together.
G3  A consent names a registered text that was not superseded when the merchant signed.
G4  Where a later version asks again, a merchant's consents to earlier ones are open requests until it has answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.jws import peek_payload, sign_model
from crypto.keys import Signer
from crypto.notices import NOTICE_TYPE, NoticeRegister
from crypto.wire.base import SUITE
from crypto.wire.consent import ConsentRecord, ConsentTerms
from crypto.wire.notice import NoticeLanguage, NoticeReceipt, NoticeStatement, NoticeSubmission
from crypto.wire.service import ReconsentRequest
from hub.clock import Clock, seconds
from hub.consent_checks import CLOCK_SKEW_S, FINAL
from hub.db import Database
from hub.errors import ConsentRefusedError, NotFoundError
from hub.feed import Feed
from hub.log import AuditLog, Fact
from hub.merchant_errors import NoticeError
from hub.parties import PartyBook
from hub.peers import PeerLinks
from hub.tables.feed import FeedItemRow
from hub.tables.notices import NoticeRow


@dataclass(frozen=True)
class StoredNotice:
    """One text of a registered notice."""

    statement: NoticeStatement
    language: NoticeLanguage
    text: str


@dataclass(frozen=True)
class HeldRecord:
    """A consent and its state, as far as open requests are concerned."""

    record: ConsentRecord
    state: str


class Notices:
    """The hub's notices.

    Args:
        db, log, feed, parties, clock: the hub's.
        key: signs statements.
        hub_id: the actor of registrations in the log.
        links: gives the links when they are needed.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        feed: Feed,
        parties: PartyBook,
        *,
        key: Signer,
        hub_id: str,
        clock: Clock,
        links: Callable[[], PeerLinks],
    ) -> None:
        self._db = db
        self._log = log
        self._feed = feed
        self._parties = parties
        self._key = key
        self._hub_id = hub_id
        self._clock = clock
        self._links = links

    def register(self, submission: NoticeSubmission) -> NoticeReceipt:
        """G1, G2: register a version of a notice; the very same one again changes nothing.

        Raises:
            NoticeError: version or text is registered already with other contents, both texts are one, there is no
                earlier version to end, or the end lies in the past.
        """
        now = self._clock()
        hashes: dict[NoticeLanguage, str] = {"zh": _sha256(submission.zh), "en": _sha256(submission.en)}
        if hashes["zh"] == hashes["en"]:
            raise NoticeError(
                "Both languages have the same text.", field="en", remedy="Give the English text of the notice."
            )
        everybody = [party.party_id for party in self._parties.all()]
        with self._db.session() as session:
            known = self._known(session, submission, hashes)
            if known is not None:
                return NoticeReceipt(serial=known.serial, sha256=hashes, statement=known.token)
            self._check_end(session, submission, now)
            statement = NoticeStatement(
                suite=SUITE,
                serial=(session.scalar(select(func.max(NoticeRow.serial))) or 0) + 1,
                notice=submission.notice,
                version=submission.version,
                purposes=submission.purposes,
                reconsent=submission.reconsent,
                ends_at=submission.ends_at,
                texts=hashes,
                issued_at=now,
            )
            token = sign_model(statement, self._key, typ=NOTICE_TYPE, kid=self._hub_id)
            session.add(
                NoticeRow(
                    serial=statement.serial,
                    notice=submission.notice,
                    version=submission.version,
                    zh=submission.zh,
                    en=submission.en,
                    zh_sha256=hashes["zh"],
                    en_sha256=hashes["en"],
                    token=token,
                    issued_at=seconds(now),
                )
            )
            self._log.append(session, "notice", self._hub_id, facts=_facts(statement))
            self._feed.publish(session, everybody, NOTICE_TYPE, token=token)
        self._links().notify_feed(everybody)
        return NoticeReceipt(serial=statement.serial, sha256=hashes, statement=token)

    def _known(
        self, session: Session, submission: NoticeSubmission, hashes: dict[NoticeLanguage, str]
    ) -> NoticeRow | None:
        """G1; the row of the very same submission."""
        same = (NoticeRow.notice == submission.notice) & (NoticeRow.version == submission.version)
        texts = tuple(hashes.values())
        taken = or_(same, NoticeRow.zh_sha256.in_(texts), NoticeRow.en_sha256.in_(texts))
        for row in session.scalars(select(NoticeRow).where(taken)):
            held = statement_of(row.token)
            asked = (submission.notice, submission.version, submission.purposes, submission.ends_at, hashes)
            if (held.notice, held.version, held.purposes, held.ends_at, held.texts) == asked:
                return row
            raise NoticeError(
                f"Version {row.version} of the notice {row.notice} is registered with this text or under this name.",
                field="version",
                remedy="A registered notice never changes: give a new version with new texts in both languages.",
            )
        return None

    def _check_end(self, session: Session, submission: NoticeSubmission, now: datetime) -> None:
        if submission.ends_at is None:
            return
        if session.scalar(select(func.count()).where(NoticeRow.notice == submission.notice)) == 0:
            raise NoticeError(
                f"There is no earlier version of the notice {submission.notice}.",
                field="reconsent",
                remedy="Register the first version without reconsent.",
            )
        if submission.ends_at < now.replace(microsecond=0):
            raise NoticeError(
                "The end of earlier consents lies in the past.",
                field="ends_at",
                remedy="Leave merchants time to answer: name a later date.",
            )

    def tokens(self) -> tuple[str, ...]:
        """Return all statements as they were signed, the oldest first."""
        with self._db.reading() as session:
            return tuple(session.scalars(select(NoticeRow.token).order_by(NoticeRow.serial)))

    def text(self, sha256: str) -> StoredNotice:
        """Return the registered text of this SHA-256 (hex); NotFoundError where there is none."""
        with self._db.reading() as session:
            query = select(NoticeRow).where(or_(NoticeRow.zh_sha256 == sha256, NoticeRow.en_sha256 == sha256))
            row = session.scalar(query)
        if row is None:
            raise NotFoundError(
                "No notice with this text is registered.",
                field="sha256",
                remedy="Take the hash from a consent, or from GET /v1/notices.",
            )
        chinese = row.zh_sha256 == sha256
        return StoredNotice(statement_of(row.token), "zh" if chinese else "en", row.zh if chinese else row.en)

    def shown(self, sha256: str) -> StoredNotice | None:
        """Return the registered text of this SHA-256 (hex), or None."""
        try:
            return self.text(sha256)
        except NotFoundError:
            return None

    def current(self, notice: str) -> NoticeStatement | None:
        """Return the newest version of a notice, or None."""
        with self._db.reading() as session:
            query = select(NoticeRow.token).where(NoticeRow.notice == notice).order_by(NoticeRow.serial.desc()).limit(1)
            token = session.scalar(query)
        return None if token is None else statement_of(token)

    def tell(self, session: Session, party_id: str) -> None:
        """G2, for a party that joined later: put all statements that it was not told into its feed."""
        told = select(FeedItemRow.token).where(FeedItemRow.party_id == party_id, FeedItemRow.kind == NOTICE_TYPE)
        known = set(session.scalars(told))
        for token in session.scalars(select(NoticeRow.token).order_by(NoticeRow.serial)):
            if token not in known:
                self._feed.publish(session, [party_id], NOTICE_TYPE, token=token)

    def open_requests(self, consents: Sequence[HeldRecord]) -> tuple[ReconsentRequest, ...]:
        """G4: the consents of one merchant that a later version of their notice asks about again.

        A request is open until the merchant revokes the consent, lets it expire, or signs a later one under the newest
        version with the same purposes and recipients.
        """
        now = self._clock()
        with self._db.reading() as session:
            register = register_of(session)
        found: list[ReconsentRequest] = []
        for each in consents:
            standing = register.standing(each.record.privacy_notice)
            if standing is None or standing.ends_at is None or each.state in FINAL or each.record.valid_until <= now:
                continue
            newest = standing.newest
            if any(_answers(other, each.record, newest) for other in consents):
                continue
            found.append(
                ReconsentRequest(
                    record_id=each.record.record_id,
                    notice=newest.notice,
                    version=newest.version,
                    texts=newest.texts,
                    ends_at=standing.ends_at,
                )
            )
        return tuple(found)


def check_notice(register: NoticeRegister, terms: ConsentTerms, signed: datetime, now: datetime) -> None:
    """G3, of a consent signed at a time, or of what a merchant would be asked to sign.

    Raises:
        ConsentRefusedError: the notice is not registered so, does not explain a purpose, or was superseded before the
            merchant signed.
    """
    notice = terms.privacy_notice
    standing = register.standing(notice)
    if standing is None:
        raise ConsentRefusedError(
            f"No notice is registered as version {notice.version} in {notice.language} with this SHA-256.",
            field="privacy_notice",
            remedy="Show the merchant a notice of GET /v1/notices, in the language that the consent names.",
        )
    beyond = sorted(set(terms.purposes) - set(standing.statement.purposes))
    if beyond:
        raise ConsentRefusedError(
            f"The notice {standing.statement.notice} does not explain the purpose {', '.join(beyond)}.",
            field="purposes",
            remedy="Show a notice that explains every purpose; the merchant signs again.",
        )
    newest = standing.newest
    signed_late = signed > newest.issued_at + timedelta(seconds=CLOCK_SKEW_S)
    ended = standing.ends_at is not None and standing.ends_at <= now
    if newest is not standing.statement and (signed_late or ended):
        raise ConsentRefusedError(
            f"Version {notice.version} of the notice was superseded by {newest.version}.",
            field="privacy_notice",
            remedy=f"Show the merchant version {newest.version}; it signs again.",
        )


def register_of(session: Session) -> NoticeRegister:
    """Return the register as a transaction sees it."""
    return NoticeRegister(statement_of(token) for token in session.scalars(select(NoticeRow.token)))


def statement_of(token: str) -> NoticeStatement:
    """Parse a statement that this hub signed and stored."""
    return NoticeStatement.model_validate_json(peek_payload(token))


def _answers(other: HeldRecord, asked: ConsentRecord, newest: NoticeStatement) -> bool:
    record = other.record
    same = set(asked.purposes) <= set(record.purposes) and set(asked.recipients) <= set(record.recipients)
    shown = (record.privacy_notice.version, record.privacy_notice.sha256)
    return same and shown in {(newest.version, sha256) for sha256 in newest.texts.values()}


def _facts(statement: NoticeStatement) -> dict[str, Fact]:
    return {
        "sha256": hashlib.sha256(canonical_bytes(statement)).hexdigest(),
        "serial": statement.serial,
        "notice": statement.notice,
        "version": statement.version,
        "zh": statement.texts["zh"],
        "en": statement.texts["en"],
        "reconsent": statement.reconsent,
        "ends_at": None if statement.ends_at is None else seconds(statement.ends_at),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
