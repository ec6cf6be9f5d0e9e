"""The common shape of everything that crosses a boundary: frozen, closed, bytes as base64url in JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SUITE: Literal["digua-1"] = "digua-1"
_FIRST_YEAR, _LAST_YEAR = 1970, 2999
Suite = Literal["digua-1"]


class WireModel(BaseModel):
    """Unknown fields are refused; `bytes` are base64url strings in JSON and raw in Python."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False
    )


def _whole_seconds_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset, e.g. 2026-01-31T08:00:00Z")
    # At the ends of the calendar another offset, or a day more, is no date: that would be an error of Python's own.
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"a time lies in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return moment.astimezone(UTC).replace(microsecond=0)


PartyId = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
KindName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,63}$")]
Hash = Annotated[bytes, Field(min_length=32, max_length=32)]
Key = Annotated[bytes, Field(min_length=32, max_length=32)]
TrainingPoint = Annotated[bytes, Field(min_length=97, max_length=97)]
Pseudonym = Annotated[bytes, Field(min_length=32, max_length=32)]
Nonce = Annotated[bytes, Field(min_length=16, max_length=16)]
Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ModelId = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$")]
Moment = Annotated[datetime, AfterValidator(_whole_seconds_utc)]
