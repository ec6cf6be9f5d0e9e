"""The impact assessment that goes with the demo's models: the shipped template, which is about no real programme."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from crypto.wire.assessment import AssessmentSubmission

TEMPLATE = Path(__file__).resolve().parents[2] / "configs" / "impact-assessment.md"
TITLE, ASSESSOR = "演示用影响评估 (demo)", "演示程序 demo"


def submission(campaign_id: str, now: datetime | None = None) -> AssessmentSubmission:
    """The template, registered for a campaign as of a day, kept for three years and more."""
    day = (now or datetime.now(UTC)).date()
    return AssessmentSubmission(
        campaign_id=campaign_id,
        title=TITLE,
        date=day,
        assessor=ASSESSOR,
        conclusion="acceptable-with-measures",
        retained_until=day.replace(year=day.year + 4, day=min(day.day, 28)),
        media_type="text/markdown",
        document=TEMPLATE.read_bytes(),
    )
