"""The register of merchants: accounts, their changes and history, and who an identifier belongs to.

The platform knows plain identifiers and no pseudonyms. It keeps them sealed, and finds one by a digest under a key of
its own: under the hub's pseudonym it would hold the other half of what the privacy hub knows.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from hub.clock import Clock, moment, seconds
from hub.db import Database
from hub.platform.audit import AuditRecord
from hub.platform.batches import batches
from hub.platform.financing_scores import Borrower
from hub.platform.merchant_errors import (
    MerchantChangedError,
    MerchantFactsError,
    MerchantKnownError,
    MerchantStateError,
    MerchantUnknownError,
)
from hub.platform.merchants import (
    Facts,
    Fault,
    IdType,
    Industries,
    Merchant,
    State,
    canonical_identifier,
    differences,
    facts_of,
    faults_in,
)
from hub.platform.tables.merchants import MerchantRow, MerchantVersionRow
from models.web.errors import AccessStateError
from models.web.vault import Vault

MAX_PAGE = 500
RECORDED = ("merchant-register", "merchant-change", "merchant-close", "merchant-merge")
"""Actions of the record, one for each version of an account."""


@dataclass(frozen=True)
class Entrant:
    """A merchant that is to be registered; all of it was checked.

    Attributes:
        identifier: canonical.
        account_id: where it is decided already, as in a synthetic world; else 32 hex digits are drawn.
    """

    id_type: IdType
    identifier: str
    facts: Facts
    account_id: str | None = None


@dataclass(frozen=True)
class PastVersion:
    """An account as it stood after a change."""

    merchant: Merchant
    at: datetime
    actor: str


class MerchantBook:
    """All accounts; what `hub.platform.directory.MerchantDirectory` asks, and more.

    Args:
        vault: seals identifiers and digests them.
        industries: that are eligible.
    """

    def __init__(self, db: Database, audit: AuditRecord, clock: Clock, vault: Vault, industries: Industries) -> None:
        self.db = db
        self.industries = industries
        self._audit = audit
        self._clock = clock
        self._vault = vault

    def checked(self, id_type: str, identifier: str, facts: Facts) -> Entrant:
        """Return who is to be registered; MerchantFactsError names the first thing that is wrong."""
        canonical = canonical_identifier(id_type, identifier)
        faults = faults_in(facts, self.industries)
        if isinstance(canonical, Fault):
            raise _refusal(canonical)
        if faults:
            raise _refusal(faults[0])
        return Entrant(cast(IdType, id_type), canonical, facts)

    def faults(self, id_type: str, identifier: str, facts: Facts) -> list[Fault]:
        """Return everything that is wrong with who is to be registered; nothing if all of it holds."""
        canonical = canonical_identifier(id_type, identifier)
        return [*([canonical] if isinstance(canonical, Fault) else []), *faults_in(facts, self.industries)]

    def register_in(self, session: Session, actor: str, entrant: Entrant) -> Merchant:
        """Make an account.

        Raises:
            MerchantKnownError: the identifier has one, also where that is closed.
        """
        known = self.known_in(session, [entrant]).get(entrant.identifier)
        if known is not None:
            raise MerchantKnownError(
                f"The identifier belongs to account {known.account_id}, which is {known.state}.",
                field="identifier",
                remedy="Change that account; the same merchant under another identifier is merged into it.",
            )
        return self.add_in(session, actor, [entrant])[0]

    def add_in(self, session: Session, actor: str, entrants: Iterable[Entrant]) -> list[Merchant]:
        """Make accounts for merchants that are known to have none."""
        now, made = self._clock().replace(microsecond=0), []
        for some in batches(entrants):
            merchants = [
                Merchant(each.account_id or secrets.token_hex(16), each.facts, "active", now, 1) for each in some
            ]
            session.execute(
                insert(MerchantRow),
                [
                    {
                        "account_id": merchant.account_id,
                        "id_type": entrant.id_type,
                        "identifier_digest": self._digest(entrant.identifier),
                        "identifier_sealed": self._vault.seal(entrant.identifier.encode(), merchant.account_id),
                        **asdict(merchant.facts),
                        "state": merchant.state,
                        "merged_into": None,
                        "registered_at": seconds(now),
                        "version": 1,
                    }
                    for merchant, entrant in zip(merchants, some, strict=True)
                ],
            )
            for merchant in merchants:
                self._record(session, actor, "merchant-register", merchant, sorted(asdict(merchant.facts)))
            made += merchants
        return made

    def change_in(self, session: Session, actor: str, account_id: str, facts: Facts, *, version: int) -> Merchant:
        """Change an account's facts; nothing is written where nothing differs.

        Args:
            version: that the caller has read.

        Raises:
            MerchantUnknownError, MerchantStateError, MerchantChangedError: there is none, it is not active, or has
                another version by now.
            MerchantFactsError: the new facts do not hold.
        """
        row = self._row(session, account_id)
        before = merchant_of(row)
        _require_active(before)
        _require_version(before, version)
        faults = faults_in(facts, self.industries)
        if faults:
            raise _refusal(faults[0])
        changed = differences(before.facts, facts)
        if not changed:
            return before
        for name, (_, value) in changed.items():
            setattr(row, name, value)
        row.version += 1
        after = merchant_of(row)
        session.flush()
        self._record(session, actor, "merchant-change", after, sorted(changed))
        return after

    def close_in(
        self, session: Session, actor: str, account_id: str, *, version: int, merged_into: str | None = None
    ) -> Merchant:
        """End an account: it gets nothing new; its financings and history stay. Where named, another takes its place.

        Raises:
            MerchantUnknownError, MerchantStateError, MerchantChangedError: as of `change_in`; of the other, too.
        """
        row = self._row(session, account_id)
        before = merchant_of(row)
        _require_active(before)
        _require_version(before, version)
        if merged_into is not None:
            if merged_into == account_id:
                raise MerchantStateError(
                    "An account cannot be merged into itself.",
                    field="merged_into",
                    remedy="Name the account that stays.",
                )
            _require_active(merchant_of(self._row(session, merged_into)))
        row.state = "closed" if merged_into is None else "merged"
        row.merged_into = merged_into
        row.version += 1
        after = merchant_of(row)
        session.flush()
        self._record(session, actor, "merchant-close" if merged_into is None else "merchant-merge", after, ["state"])
        return after

    def known_in(self, session: Session, entrants: Collection[Entrant]) -> dict[str, Merchant]:
        """Return the accounts of those identifiers that have one, by identifier."""
        found: dict[str, Merchant] = {}
        for some in batches(entrants):
            digests = {self._digest(each.identifier): each.identifier for each in some}
            query = select(MerchantRow).where(MerchantRow.identifier_digest.in_(list(digests)))
            for row in session.scalars(query):
                found[digests[bytes(row.identifier_digest)]] = merchant_of(row)
        return found

    def merchant(self, account_id: str) -> Merchant:
        """Return an account; MerchantUnknownError where there is none."""
        with self.db.reading() as session:
            return merchant_of(self._row(session, account_id))

    def find(self, id_type: str, identifier: str) -> Merchant:
        """Return the account of an identifier.

        Raises:
            MerchantFactsError: it is none.
            MerchantUnknownError: it has no account.
        """
        canonical = canonical_identifier(id_type, identifier)
        if isinstance(canonical, Fault):
            raise _refusal(canonical)
        with self.db.reading() as session:
            query = select(MerchantRow).where(MerchantRow.identifier_digest == self._digest(canonical))
            row = session.scalars(query).first()
        if row is None:
            raise MerchantUnknownError(
                "No account has this identifier.", field="identifier", remedy="Register the merchant."
            )
        return merchant_of(row)

    def listed(self, *, after: str = "", origin: str | None = None, kind: str | None = None) -> list[Merchant]:
        """Return up to `MAX_PAGE` accounts in order of their ids, those after one."""
        query = select(MerchantRow).where(MerchantRow.account_id > after)
        if origin is not None:
            query = query.where(MerchantRow.origin == origin)
        if kind is not None:
            query = query.where(MerchantRow.kind == kind)
        with self.db.reading() as session:
            rows = session.scalars(query.order_by(MerchantRow.account_id).limit(MAX_PAGE)).all()
        return [merchant_of(row) for row in rows]

    def history(self, account_id: str) -> list[PastVersion]:
        """Return an account as it stood after each change, the oldest first; MerchantUnknownError where none is."""
        query = select(MerchantVersionRow).where(MerchantVersionRow.account_id == account_id)
        with self.db.reading() as session:
            self._row(session, account_id)
            rows = session.scalars(query.order_by(MerchantVersionRow.version)).all()
        return list(map(past_of, rows))

    def applicant(self, session: Session, account_id: str) -> Merchant:
        """Return an active account; MerchantUnknownError or MerchantStateError where there is none."""
        found = merchant_of(self._row(session, account_id))
        _require_active(found)
        return found

    def borrower(self, session: Session, account_id: str) -> Borrower:
        """Return an active account's identifier, as the gateway takes it; raises as `applicant`."""
        row = self._row(session, account_id)
        _require_active(merchant_of(row))
        return Borrower(self._opened(row), "uscc" if row.id_type == "uscc" else "resident-id")

    def identifiers(self, session: Session, account_ids: Collection[str]) -> Mapping[str, str]:
        """Return identifiers of accounts, whatever their state; those that are unknown are left out."""
        return {row.account_id: self._opened(row) for row in self._rows(session, account_ids)}

    def accounts(self, session: Session) -> frozenset[str]:
        """Return the ids of all accounts, whatever their state."""
        return frozenset(session.scalars(select(MerchantRow.account_id)))

    def sealed_well(self, row: MerchantRow) -> bool:
        """Whether an account's identifier opens under the key file, and is what the account is found by."""
        try:
            return self._digest(self._opened(row)) == bytes(row.identifier_digest)
        except AccessStateError:
            return False

    def _rows(self, session: Session, account_ids: Collection[str]) -> Iterator[MerchantRow]:
        for some in batches(account_ids):
            yield from session.scalars(select(MerchantRow).where(MerchantRow.account_id.in_(some)))

    def _row(self, session: Session, account_id: str) -> MerchantRow:
        row = session.get(MerchantRow, account_id)
        if row is None:
            raise MerchantUnknownError(
                "There is no account of this id.", field="account_id", remedy="Register the merchant, or find its id."
            )
        return row

    def _digest(self, identifier: str) -> bytes:
        return self._vault.blur(b"merchant\x00" + identifier.encode())

    def _opened(self, row: MerchantRow) -> str:
        return self._vault.open(bytes(row.identifier_sealed), row.account_id).decode()

    def _record(self, session: Session, actor: str, action: str, merchant: Merchant, changed: list[str]) -> None:
        """History has the facts; the record, of which nothing is ever deleted, has neither name nor identifier."""
        at = self._clock()
        account = {**asdict(merchant), "registered_at": seconds(merchant.registered_at)}
        session.add(
            MerchantVersionRow(
                account_id=merchant.account_id,
                version=merchant.version,
                at=seconds(at),
                actor=actor,
                account=json.dumps(account, ensure_ascii=False, sort_keys=True),
            )
        )
        what = {name: value for name, value in asdict(merchant.facts).items() if name != "name"}
        self._audit.write(
            session,
            actor,
            action,
            f"merchant:{merchant.account_id}",
            {
                **what,
                "state": merchant.state,
                "version": merchant.version,
                "changed": list(changed),
                "merged_into": merchant.merged_into,
            },
        )


def _require_active(merchant: Merchant) -> None:
    if merchant.state == "merged":
        raise MerchantStateError(
            f"The account was merged into {merchant.merged_into}.",
            field="account_id",
            remedy=f"Use account {merchant.merged_into}.",
        )
    if merchant.state != "active":
        raise MerchantStateError(
            "The account is closed.", field="account_id", remedy="A closed account stays closed; ask the operator."
        )


def _require_version(merchant: Merchant, version: int) -> None:
    if merchant.version != version:
        raise MerchantChangedError(
            f"The account has version {merchant.version} by now, not {version}.",
            field="version",
            remedy="Read it again, and repeat the change on what it is now.",
        )


def _refusal(fault: Fault) -> MerchantFactsError:
    return MerchantFactsError(str(fault.what), field=fault.field, remedy=str(fault.remedy))


def _state(name: str) -> State:
    states: dict[str, State] = {"active": "active", "closed": "closed", "merged": "merged"}
    return states[name]


def merchant_of(row: MerchantRow) -> Merchant:
    """A row as an account."""
    return Merchant(
        account_id=row.account_id,
        facts=Facts(row.kind, row.name, row.industry, row.origin, row.place),
        state=_state(row.state),
        registered_at=moment(row.registered_at),
        version=row.version,
        merged_into=row.merged_into,
    )


def past_of(row: MerchantVersionRow) -> PastVersion:
    """A row as an account that was."""
    kept = json.loads(row.account)
    merchant = Merchant(
        account_id=row.account_id,
        facts=facts_of(kept["facts"]),
        state=_state(kept["state"]),
        registered_at=moment(kept["registered_at"]),
        version=row.version,
        merged_into=kept["merged_into"],
    )
    return PastVersion(merchant, moment(row.at), row.actor)
