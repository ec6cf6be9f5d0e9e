"""What holds for all tests: no property has a time limit of its own, as a busy machine proves nothing."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("digua", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("digua")
