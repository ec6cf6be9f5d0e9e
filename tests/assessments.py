"""Impact assessments for models of tests."""

from __future__ import annotations

from datetime import date

from crypto.wire.assessment import AssessmentSubmission, ImpactAssessment
from hub.services import Hub


def assessed(campaign_id: str, **changes: object) -> ImpactAssessment:
    """What a proposal of a release brings along."""
    fields: dict[str, object] = {
        "campaign_id": campaign_id,
        "title": "Assessment",
        "date": date(2026, 1, 31),
        "assessor": "Somebody",
        "conclusion": "acceptable",
        "retained_until": date(2029, 1, 31),
        "sha256": "ab" * 32,
    }
    return ImpactAssessment.model_validate(fields | changes)


def submission(campaign_id: str, **changes: object) -> AssessmentSubmission:
    """A report to register."""
    fields = assessed(campaign_id).model_dump(exclude={"sha256"})
    document = {"media_type": "text/markdown", "document": f"# 影响评估 {campaign_id}".encode()}
    return AssessmentSubmission.model_validate(fields | document | changes)


def assess(hub: Hub, campaign_id: str, **changes: object) -> ImpactAssessment:
    """Register a report on a campaign's models."""
    return hub.assessments.register(submission(campaign_id, **changes))
