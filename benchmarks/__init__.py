"""Measured accuracy and speed; `python -m benchmarks` runs all at small settings."""
