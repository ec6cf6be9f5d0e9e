"""Lines of models: the models of all campaigns of one name, numbered from 1 as they are registered.

An encoder is a line of its own beside the scorecards that may use it. The current model of a line is what was released,
or rolled back to, last.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hub.tables.campaigns import CampaignRow
from hub.tables.models import ModelRow
from models.campaign_file import CampaignFile


def line_of(session: Session, campaign_id: str, model_type: str) -> str:
    """Name of the line that a campaign's model belongs to; that of the campaign where the hub has no order of it."""
    campaign = session.get(CampaignRow, campaign_id)
    name = campaign_id if campaign is None else CampaignFile.model_validate_json(campaign.order).name
    return f"{name}/encoder" if model_type == "encoder" else name


def next_version(session: Session, line: str) -> int:
    """The next number in a line. Two that are taken at once differ, or one of them is refused by the database."""
    return 1 + (session.scalar(select(func.max(ModelRow.version)).where(ModelRow.line == line)) or 0)
