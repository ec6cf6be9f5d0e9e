"""What the models of a schema file share: closed and frozen, names, numbers, and titles in both languages."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _check_name(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise ValueError("must be printable, without spaces at its ends")
    return value


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_name)]
FiniteNumber = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Frozen(BaseModel):
    """A part of a schema: unknown fields are refused, values never change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )


class Title(Frozen):
    """A text for persons in both languages."""

    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)

    def text(self, lang: str) -> str:
        """The Chinese text for ``"zh"``, the English one for anything else."""
        return self.zh if lang == "zh" else self.en
