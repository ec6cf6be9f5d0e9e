"""Impact assessments of models (PIPL 55, 56): registered, kept, demanded before a release (docs/consent.md, 3).

I1  A report is registered for the models of one campaign, with its exact bytes; it never changes and is never deleted
    here. Of several the newest counts: a later one replaces the conclusion of an earlier one.
I2  Where the hub demands one, no model is proposed for release without a report whose conclusion lets it out. The
    witness demands the same by its own configuration, and signs the report's hash with the release.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import select

from crypto.canonical import canonical_bytes
from crypto.wire.assessment import AssessmentSubmission, ImpactAssessment
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import NotFoundError
from hub.log import AuditLog, Fact
from hub.model_errors import AssessmentError, AssessmentMissingError
from hub.tables.assessments import AssessmentRow


@dataclass(frozen=True)
class Report:
    """An exact document."""

    media_type: str
    document: bytes


class Assessments:
    """The hub's impact assessments.

    Args:
        db, log, clock: the hub's.
        hub_id: the actor of registrations in the log.
        required: no release without one.
    """

    def __init__(self, db: Database, log: AuditLog, *, hub_id: str, clock: Clock, required: bool) -> None:
        self._db = db
        self._log = log
        self._hub_id = hub_id
        self._clock = clock
        self._required = required

    def register(self, submission: AssessmentSubmission) -> ImpactAssessment:
        """I1: keep a report; the same one again changes nothing.

        Raises:
            AssessmentError: the document is not what it is said to be, is dated in the future, or is registered for
                this campaign with other facts.
        """
        _check_document(submission)
        now = self._clock()
        if submission.date > now.date():
            raise AssessmentError("The assessment is dated in the future.", field="date", remedy="Correct its date.")
        sha256 = hashlib.sha256(submission.document).hexdigest()
        facts = submission.model_dump(exclude={"media_type", "document"})
        made = ImpactAssessment.model_validate({**facts, "sha256": sha256})
        with self._db.session() as session:
            query = select(AssessmentRow).where(
                AssessmentRow.campaign_id == submission.campaign_id, AssessmentRow.sha256 == sha256
            )
            known = session.scalar(query)
            if known is not None:
                if known.facts != canonical_bytes(made).decode():
                    raise AssessmentError(
                        "This document is registered for the campaign with other facts.",
                        field="document",
                        remedy="A registered assessment never changes: give a new version of the document.",
                    )
                return made
            session.add(
                AssessmentRow(
                    campaign_id=made.campaign_id,
                    sha256=sha256,
                    facts=canonical_bytes(made).decode(),
                    media_type=submission.media_type,
                    document=submission.document,
                    registered_at=seconds(now),
                )
            )
            logged: dict[str, Fact] = {
                "campaign_id": made.campaign_id,
                "sha256": sha256,
                "date": made.date.isoformat(),
                "conclusion": made.conclusion,
                "retained_until": made.retained_until.isoformat(),
            }
            self._log.append(session, "assessment", self._hub_id, facts=logged)
        return made

    def newest(self, campaign_id: str) -> ImpactAssessment | None:
        """Return the assessment that counts for a campaign's models, or None."""
        query = select(AssessmentRow.facts).where(AssessmentRow.campaign_id == campaign_id)
        with self._db.reading() as session:
            facts = session.scalar(query.order_by(AssessmentRow.id.desc()).limit(1))
        return None if facts is None else ImpactAssessment.model_validate_json(facts)

    def all(self) -> tuple[ImpactAssessment, ...]:
        """Return all assessments, the newest first."""
        with self._db.reading() as session:
            rows = session.scalars(select(AssessmentRow.facts).order_by(AssessmentRow.id.desc())).all()
        return tuple(ImpactAssessment.model_validate_json(facts) for facts in rows)

    def report(self, sha256: str) -> Report:
        """Return the exact document of this SHA-256 (hex); NotFoundError where there is none."""
        columns = (AssessmentRow.media_type, AssessmentRow.document)
        with self._db.reading() as session:
            row = session.execute(select(*columns).where(AssessmentRow.sha256 == sha256).limit(1)).first()
        if row is None:
            raise NotFoundError(
                "No such impact assessment is registered.", field="sha256", remedy="Take the hash from a model's card."
            )
        return Report(row.media_type, row.document)

    def for_release(self, campaign_id: str) -> ImpactAssessment | None:
        """I2: return what goes with the proposal of a release.

        Raises:
            AssessmentMissingError: one is demanded, and there is none, or its conclusion keeps the model in.
        """
        found = self.newest(campaign_id)
        if found is not None and found.conclusion == "not-acceptable":
            raise AssessmentMissingError(
                f"The impact assessment of campaign {campaign_id} found its models not acceptable.",
                field="assessment",
                remedy="Take measures, assess again, and register the new report.",
            )
        if found is None and self._required:
            raise AssessmentMissingError(
                f"No impact assessment is registered for the models of campaign {campaign_id}.",
                field="assessment",
                remedy="Register one with `digua-hub assessment add`; configs/impact-assessment.md is a template.",
            )
        return found


def _check_document(submission: AssessmentSubmission) -> None:
    if submission.media_type == "application/pdf":
        if not submission.document.startswith(b"%PDF-"):
            raise AssessmentError("The document is no PDF.", field="document", remedy="Correct media_type.")
        return
    try:
        submission.document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AssessmentError(
            "The document is not UTF-8 text.", field="document", remedy="Save it as UTF-8, or register it as PDF."
        ) from error
