"""A campaign's order as two uploaded files: checked field by field; the path that it names is never followed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from crypto.errors import CryptoError
from hub.errors import HubError
from models.campaign_file import CampaignFile
from models.errors import ModelsError
from models.schema import Schema
from models.yaml_file import FileProblem, load_yaml_model, problems_of

CAMPAIGN, SCHEMA = "campaign", "schema"
CORRECT = "correct the file"
MAX_BYTES = 1 << 20
"""Of each of the two files."""


@dataclass(frozen=True)
class UploadProblem:
    """What is wrong with which of the two files, ``campaign`` or ``schema``."""

    file: str
    problem: FileProblem


class UploadRefused(Exception):  # noqa: N818
    """The files are no order; `problems` says why, one by one."""

    def __init__(self, problems: tuple[UploadProblem, ...]) -> None:
        super().__init__("; ".join(str(each.problem.what) for each in problems))
        self.problems = problems

    @classmethod
    def because(cls, file: str, what: str, remedy: str) -> UploadRefused:
        """One thing is wrong with a whole file."""
        return cls((UploadProblem(file, FileProblem(0, "", what, remedy)),))


def read_order(campaign_text: str, schema_text: str) -> tuple[CampaignFile, Schema]:
    """Read an order from the texts of its two files.

    Raises:
        UploadRefused: what is wrong with either.
    """
    problems: list[UploadProblem] = []
    campaign: CampaignFile | None = None
    schema: Schema | None = None
    with tempfile.TemporaryDirectory(prefix="digua-order-") as folder:
        files = {name: Path(folder) / f"{name}.yaml" for name in (CAMPAIGN, SCHEMA)}
        files[CAMPAIGN].write_text(campaign_text, encoding="utf-8")
        files[SCHEMA].write_text(schema_text, encoding="utf-8")
        try:
            campaign = load_yaml_model(files[CAMPAIGN], CampaignFile)
        except ModelsError as error:
            problems += _problems(CAMPAIGN, error)
        try:
            schema = load_yaml_model(files[SCHEMA], Schema)
        except ModelsError as error:
            problems += _problems(SCHEMA, error)
    if campaign is None or schema is None:
        raise UploadRefused(tuple(problems))
    # What the file calls its schema is a path on the machine where it was written; here the schema came beside it.
    return campaign.model_copy(update={"schema_path": Path(schema.name)}), schema


def refused_order(error: HubError | ModelsError | CryptoError) -> UploadRefused:
    """Return a contradiction between order, schema and hub as what is wrong with the campaign file."""
    remedy = error.remedy or CORRECT
    return UploadRefused((UploadProblem(CAMPAIGN, FileProblem(0, error.field or "", error.message, remedy)),))


def _problems(file: str, error: ModelsError) -> list[UploadProblem]:
    found = problems_of(error) or (FileProblem(0, error.field or "", error.message, error.remedy or CORRECT),)
    return [UploadProblem(file, each) for each in found]
