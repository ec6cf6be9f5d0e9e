"""What all parts of a node's configuration share: they are closed, and their paths lie beside the file."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationInfo


class ClosedConfig(BaseModel):
    """A part of the configuration; keys that it does not know are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, val_json_bytes="base64", ser_json_bytes="base64", allow_inf_nan=False
    )


def resolved(path: Path, info: ValidationInfo) -> Path:
    """A path relative to the file that is read, where one is."""
    base = (info.context or {}).get("base")
    return path if base is None else Path(base) / path
