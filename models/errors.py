"""Errors of the model layer: one tree, each with a stable code, the field at fault and the remedy."""

from __future__ import annotations

from typing import ClassVar


class ModelsError(Exception):
    """Base of everything the model layer refuses.

    Attributes:
        code: stable, machine-readable, e.g. ``"schema-invalid"``.
        field: the input at fault, or ``None``.
        remedy: what the caller can do about it, or ``None``.
    """

    code: ClassVar[str] = "models-error"

    def __init__(self, message: str, *, field: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.remedy = remedy


class SchemaError(ModelsError):
    """A schema or campaign file is malformed; the message names file, line and field."""

    code = "schema-invalid"


class DataError(ModelsError):
    """Rows do not fit the schema; the message names row and column."""

    code = "data-invalid"


class BudgetError(ModelsError):
    """A privacy budget cannot be met or was exceeded; the message has the numbers."""

    code = "budget-exceeded"


class DeviceError(ModelsError):
    """The accelerator that was asked for is not there."""

    code = "device-unavailable"


class FitError(ModelsError):
    """A table cannot be fitted, e.g. no defaults in it."""

    code = "fit-impossible"


class ArtefactError(ModelsError):
    """A model artefact is malformed, altered, or its points break the published bounds."""

    code = "artefact-invalid"
