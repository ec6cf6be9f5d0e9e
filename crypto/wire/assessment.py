"""Impact assessments of models (PIPL 55, 56) as they cross boundaries (docs/consent.md, 3)."""

from __future__ import annotations

from datetime import date as Day  # noqa: N812  (a field is called date)
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from crypto.wire.base import Identifier, Sha256Hex, WireModel

Conclusion = Literal["acceptable", "acceptable-with-measures", "not-acceptable"]
DocumentType = Literal["text/markdown", "application/pdf"]
MAX_DOCUMENT_BYTES = 10 << 20
RETENTION_YEARS = 3
"""PIPL 56: reports are kept for at least three years."""


class _AssessmentFacts(WireModel):
    campaign_id: Identifier
    title: Annotated[str, Field(min_length=1, max_length=200)]
    date: Day
    assessor: Annotated[str, Field(min_length=1, max_length=200)]
    conclusion: Conclusion
    retained_until: Day

    @model_validator(mode="after")
    def _kept_long_enough(self) -> Self:
        due = (self.date.year + RETENTION_YEARS, self.date.month, self.date.day)
        if (self.retained_until.year, self.retained_until.month, self.retained_until.day) < due:
            raise ValueError(f"retained_until must lie at least {RETENTION_YEARS} years after date (PIPL 56)")
        return self


class ImpactAssessment(_AssessmentFacts):
    """What is known of a registered report: for the models of which campaign, by whom, with what result."""

    sha256: Sha256Hex
    """Of the exact document."""


class AssessmentSubmission(_AssessmentFacts):
    """Body of POST /v1/assessments: a report, Markdown or PDF, that never changes once it is registered."""

    media_type: DocumentType
    document: Annotated[bytes, Field(min_length=1, max_length=MAX_DOCUMENT_BYTES)]


class AssessmentList(WireModel):
    """Reply to GET /v1/assessments, the newest first."""

    assessments: tuple[ImpactAssessment, ...]
