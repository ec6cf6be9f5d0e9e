"""A plan without a hub: of an order, its schema, and numbers of merchants and nodes that somebody supposes.

The very functions that make a campaign's terms are asked, with nodes that have names and keys of the moment and hold
nobody: noise depends on how many nodes there are, not on who they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from crypto.keys import BoxKey, IdentityKey
from crypto.wire.campaign import RosterEntry
from hub.budget_plan import BudgetPlan, budgets, fewest_allowed, privacy_of, unstored, with_limit
from hub.campaign_errors import CampaignOrderError
from hub.campaign_forecast import Audience, Wishes, forecast
from hub.clock import seconds, utc_now
from hub.cohort import Cohort
from hub.recruiting import needed_kinds, plan_of
from models.campaign_file import CampaignFile
from models.schema import Schema

_NAME = "plan"


def offline_plan(
    order: CampaignFile,
    schema: Schema,
    merchants: Mapping[str, int],
    nodes: Mapping[str, int],
    wishes: Wishes | None = None,
) -> BudgetPlan:
    """Plan an order for supposed merchants and nodes; nothing is known of budgets spent before.

    Args:
        order, schema: what would be ordered.
        merchants: kind → merchants with a record there who would consent; the label's kind is needed, and kinds that
            are left out hold all of its merchants.
        nodes: kind → nodes; kinds left out have what the order's quorum asks, and at least one.
        wishes: further figures.

    Raises:
        CampaignOrderError: numbers do not fit the schema.
        BudgetError, NoiseError, RangeError: its (ε, δ) cannot be met with these nodes.
    """
    wishes = wishes or Wishes()
    cohort, here = _supposed(order, schema, merchants, nodes)
    plan = plan_of(
        unstored(order, schema, seconds(utc_now())),
        cohort,
        witness=_entry("witness", "witness"),
        hub_id=_NAME,
        identity=IdentityKey.generate(),
        clock=utc_now,
    )
    everyone = merchants[schema.label.kind]
    trained = round(everyone * (1 - order.held_out))
    privacy = privacy_of(plan, order, schema, trained)
    audience = Audience(
        trained=trained,
        held_out=everyone - trained,
        present={kind: merchants.get(kind, everyone) / everyone for kind in schema.kinds_in_order()},
        nodes=here,
    )
    allowed = fewest_allowed(budgets(cohort.nodes[:1], privacy, frozenset(), (), wishes))
    return BudgetPlan(
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        epsilon_replace_one=privacy.epsilon_replace_one,
        audience=audience,
        forecast=with_limit(forecast(order, schema, privacy, audience, wishes=wishes), allowed, wishes),
        limit=wishes.limit,
        allowed=allowed,
        nodes=(),
        missing={},
        hindrance=None,
    )


def _supposed(
    order: CampaignFile, schema: Schema, merchants: Mapping[str, int], nodes: Mapping[str, int]
) -> tuple[Cohort, dict[str, int]]:
    """An empty cohort of so many nodes, and their number by kind."""
    kinds, label = schema.kinds_in_order(), schema.label.kind
    for field, given in (("merchants", merchants), ("nodes", nodes)):
        for kind, number in given.items():
            if kind not in kinds or number < 1:
                raise CampaignOrderError(
                    f"{kind}={number} is not possible; the schema has {', '.join(kinds)}.",
                    field=field,
                    remedy=f"Give a number from 1 on for kinds of the schema, e.g. {field} {label}=12.",
                )
    if merchants.get(label, 0) < max(merchants.values(), default=1):
        raise CampaignOrderError(
            f"Merchants are counted at kind {label}, which holds the label; no kind has more of them.",
            field="merchants",
            remedy=f"Give the number for {label}, and no larger one for the others.",
        )
    here = {kind: nodes.get(kind, max(1, order.quorum.get(kind, 1))) for kind in needed_kinds(order, schema)}
    entries = tuple(_entry(f"{kind}-{number}", kind) for kind, count in here.items() for number in range(1, count + 1))
    nobody = {kind: np.empty(0, dtype=np.int32) for kind in kinds}
    return Cohort(entries, kinds, label, np.empty((0, 32), dtype=np.uint8), nobody), here


def _entry(party_id: str, kind: str) -> RosterEntry:
    return RosterEntry(
        party_id=party_id,
        kind=kind,
        sign_key=IdentityKey.generate().public,
        box_key=BoxKey.generate().public,
    )
