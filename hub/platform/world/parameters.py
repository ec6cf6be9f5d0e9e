"""What a synthetic world is made from, read from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hub.platform.products import Months
from models.yaml_file import load_yaml_model

YEARS = 3
Share = Annotated[float, Field(ge=0, le=1)]
Change = Annotated[float, Field(ge=-0.9, le=10)]


class WorldParameters(BaseModel):
    """Parameters of a world.

    Attributes:
        name: of the world.
        seed: the same seed and parameters give the same world.
        first_year: the baseline year; three calendar years follow one another.
        financings: paid out in each of the years; no merchant gets two in one year.
        baseline_credit_yuan, baseline_rate: averages over the financings paid out in the baseline year.
        credit_change, rate_change: of the second and third year's averages against the baseline year.
        late_share: of instalments that a middling merchant pays late.
        default_share: of the defaults that `models.lishui` foresees, how many come about.
        early_share: of financings that are paid back as a whole before their time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
    seed: Annotated[int, Field(ge=0)]
    first_year: Annotated[int, Field(ge=2000, le=2100)]
    merchants: Annotated[int, Field(ge=100, le=50_000)]
    banks: Annotated[int, Field(ge=1, le=99)]
    financings: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    baseline_credit_yuan: Annotated[int, Field(ge=10_000, le=10_000_000)]
    baseline_rate: Annotated[float, Field(gt=0, le=0.2)]
    credit_change: tuple[Change, Change]
    rate_change: tuple[Change, Change]
    terms: Annotated[tuple[Months, ...], Field(min_length=1)] = (12, 24, 36)
    late_share: Share
    default_share: Share
    early_share: Share


def read_world(path: Path) -> WorldParameters:
    """Read a world's parameters.

    Raises:
        SchemaError: the file is not such a file; file, line and field are named.
    """
    return load_yaml_model(path, WorldParameters)
