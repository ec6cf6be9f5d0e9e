"""All fuzz targets by name."""

from __future__ import annotations

from tests.fuzz import file_targets, signed_targets
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = signed_targets.TARGETS | file_targets.TARGETS
