"""What holds for all tests: examples of Hypothesis have no time limit of their own, as a busy machine proves nothing."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("digua", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("digua")
