"""Published programme statistics, fetched from the hub and verified (S7 of docs/programme-statistics.md).

What is passed on was opened from an attempt that the witness released, under terms that the hub signed; terms, counts
and choice are those that the audit log names. Neither the hub nor who stands between can tell other figures later.
"""

from __future__ import annotations

from urllib.parse import quote

import numpy as np
from pydantic import ValidationError

from crypto.canonical import digest
from crypto.dated import verify_any, verify_dated
from crypto.errors import CryptoError, ProofError, SignatureError
from crypto.table_grid import whole_sigma
from crypto.wire.audit import InclusionProof, LogEntry
from crypto.wire.campaign import Decision, Terms
from crypto.wire.statistics_release import StatisticsLine, StatisticsList, StatisticsRelease
from models.errors import ModelsError
from models.schema import Schema
from models.statistics.choice import StatisticsChoice
from models.statistics.published import PublishedStatistics
from nodes.errors import PeerError
from nodes.hub_client import HubClient, parsed
from nodes.logged_entries import proved_entry
from nodes.roster import RosterBook

_PATH = "/v1/programme-statistics"
_CELL = 8
_REMEDY = "do not use these figures; report it to the owners of hub and witness"


class StatisticsReader:
    """Reads what the hub has published.

    Args:
        hub: carries.
        roster: whose keys count.
    """

    def __init__(self, hub: HubClient, roster: RosterBook) -> None:
        self._hub = hub
        self._roster = roster

    def list(self) -> tuple[StatisticsLine, ...]:
        """Which reports the hub says there are, the oldest first; PeerError where it is out of reach."""
        return parsed(StatisticsList, self._hub.request("GET", _PATH)).reports

    def read(self, campaign_id: str) -> PublishedStatistics:
        """One report, verified.

        Raises:
            PeerError: the hub has no such report, is out of reach, or gave one that does not verify.
        """
        body = self._hub.request("GET", f"{_PATH}/{quote(campaign_id, safe='')}")
        try:
            return verified(parsed(StatisticsRelease, body), campaign_id, self._roster)
        except (CryptoError, ModelsError) as error:
            raise PeerError(
                self._roster.hub_id, error.message, peer_code=error.code, field=error.field, remedy=_REMEDY
            ) from error


def verified(release: StatisticsRelease, campaign_id: str, roster: RosterBook) -> PublishedStatistics:
    """Check a release and give what a report is made of.

    Raises:
        ProofError, SignatureError, CheckpointError: it is not what hub and witness signed and logged.
        SchemaError: terms and choice are of another schema.
    """
    terms = verify_dated(release.terms, roster.hub_keys, Terms, typ="terms", kid=roster.hub_id)
    if (release.campaign_id, terms.campaign_id, terms.stage) != (campaign_id, campaign_id, "statistics"):
        raise _other("terms", "are those of another campaign or stage")
    if terms.statistics is None or terms.tables is None or terms.privacy.noise != "on":
        raise _other("terms", "are of counts without noise")
    if len(release.counts) % _CELL:
        raise _other("counts", "are cut off")
    h = _released(release, terms, roster)
    _entry(
        release.manifest,
        "manifest",
        {"attempt": terms.attempt, "h": h.hex(), "terms_sha256": digest(release.terms.encode()).hex()},
        roster,
    )
    named = {
        "attempt": terms.attempt,
        "counts_sha256": digest(release.counts).hex(),
        "choice_sha256": digest(release.choice.encode()).hex(),
    }
    opened = _entry(release.opened, "opened", named, roster)
    return _published(release, terms, opened)


def _released(release: StatisticsRelease, terms: Terms, roster: RosterBook) -> bytes:
    """The root that the witness released; a decision has no date, and the cosigned log says that it was opened."""
    witness = terms.witness
    if witness.party_id != roster.witness_id or not roster.witness_keys.holds(witness.sign_key, terms.issued_at):
        raise SignatureError("the terms name another witness or key", field="terms.witness", remedy=_REMEDY)
    decision = verify_any(release.decision, roster.witness_keys, Decision, typ="decision", kid=witness.party_id)
    if (decision.attempt, decision.decision) != (terms.attempt, "released"):
        raise _other("decision", "is no release of this attempt")
    return decision.h


def _entry(proof: InclusionProof, field: str, named: dict[str, str], roster: RosterBook) -> LogEntry:
    entry = proved_entry(proof, roster)
    kind = "manifest" if field == "manifest" else "table-opened"
    if (entry.type, entry.actor) != (kind, roster.hub_id) or any(entry.facts.get(k) != v for k, v in named.items()):
        raise _other(field, "is a log entry of something else")
    return entry


def _published(release: StatisticsRelease, terms: Terms, opened: LogEntry) -> PublishedStatistics:
    """Terms and choice must fit each other; they are the hub's own, so this is a fault of its own."""
    stated, privacy = terms.statistics, terms.privacy
    try:
        choice = StatisticsChoice.model_validate_json(release.choice)
        numbers = choice.numbers(Schema.from_json(terms.schema_document))
        if stated is None or (choice.year, *numbers) != (stated.year, stated.classes, stated.pairs):
            raise _other("choice", "is of other cells than the terms")
        return PublishedStatistics(
            campaign_id=terms.campaign_id,
            attempt=terms.attempt,
            schema_document=terms.schema_document,
            choice=choice,
            members={each.kind: each.members for each in terms.kinds},
            cohort_size=terms.cohort_size,
            sigma=whole_sigma(terms),
            epsilon=privacy.epsilon,
            delta=privacy.delta,
            t_collude=privacy.t_collude,
            counts=tuple(np.frombuffer(release.counts, dtype="<f8").tolist()),
            opened_at=opened.time,
            log_index=release.opened.index,
        )
    except ValidationError as error:
        raise _other("choice", f"makes no report: {error.errors()[0]['msg']}") from error


def _other(field: str, what: str) -> ProofError:
    return ProofError(f"the published statistics' {field} {what}", field=field, remedy=_REMEDY)
