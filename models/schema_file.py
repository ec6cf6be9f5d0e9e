"""Schema and campaign files."""

from __future__ import annotations

from pathlib import Path

from models.campaign_file import CampaignFile
from models.errors import SchemaError
from models.schema import Schema
from models.yaml_file import load_yaml_model


def load_schema(path: Path) -> Schema:
    """Read a schema file.

    Raises:
        SchemaError: ``FILE:LINE: field.path: what; remedy``, one line per problem.
    """
    return load_yaml_model(path, Schema)


def load_campaign(path: Path) -> tuple[CampaignFile, Schema]:
    """Read a campaign file and the schema it names, and check one against the other.

    Raises:
        SchemaError: either file is malformed, or they contradict each other.
    """
    campaign = load_yaml_model(path, CampaignFile)
    schema = load_schema(campaign.schema_path)
    problems = campaign.check_against(schema)
    if problems:
        remedy = f"use kinds of the schema: {', '.join(schema.kinds)}"
        lines = [f"{path}: {field}: {what}; {remedy}" for field, what in problems]
        raise SchemaError("\n".join(lines), field=problems[0][0], remedy=remedy)
    return campaign, schema
