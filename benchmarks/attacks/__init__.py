"""Membership inference against everything that a campaign publishes; see `benchmarks.attacks.__main__`."""
