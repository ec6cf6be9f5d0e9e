"""One merchant of the demo at the counters of its own sources: each tells it its own part, from its own store."""

from __future__ import annotations

from hub.demo.federation import PLATFORM, Federation
from hub.demo.queries import Queries

Told = dict[str, dict[str, list[str]]]
"""Party → language → lines."""


def explain_one(federation: Federation, queries: Queries) -> Told:
    """What the sources of one scored merchant tell it; its own bank knows the score that it asked for.

    Args:
        federation: with its nodes running.
        queries: after they were asked; the first answer by a merchant's own bank is taken that is not in the best band.
    """
    by_banks = [(signed, found) for asker, signed, found in queries.answers if asker != PLATFORM.party_id]
    liftable = [each for each in by_banks if each[1]["band"] != "A"]
    told: Told = {}
    for signed, found in (liftable or by_banks)[:1]:
        for kind, party in signed.merchant.sources.items():
            arguments = ["merchants", "explain", "--id", signed.merchant.merchant_id, "--model-id", found["model_id"]]
            if kind == "bank":
                arguments += ["--score", str(found["score"])]
            told[party] = federation.node_command(party, *arguments)
    return told
