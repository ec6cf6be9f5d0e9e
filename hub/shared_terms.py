"""What the terms of every stage say alike: which campaign, which cohort, who takes part, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

from crypto.blocks import even_rows
from crypto.wire.base import SUITE
from crypto.wire.campaign import HoldoutRule, KindTerms, MechanismTerms, PairMembership, PrivacyTerms, RosterEntry
from hub.campaign_plan import CampaignPlan
from hub.cohort import Cohort


class SharedTerms(TypedDict):
    """Fields of `Terms` that do not depend on its stage."""

    suite: str
    campaign_id: str
    attempt: str
    cohort_size: int
    block_rows: int
    roster: tuple[RosterEntry, ...]
    witness: RosterEntry
    holdout: HoldoutRule
    issued_at: datetime
    deadline: datetime


class SchemaTerms(TypedDict):
    """The schema, as the plan has it."""

    schema_document: str
    schema_sha256: str


def shared_terms(plan: CampaignPlan, cohort: Cohort, attempt: str, *, block_rows: int | None = None) -> SharedTerms:
    """What does not depend on the stage.

    Args:
        block_rows: cohort positions per block; None cuts the cohort as the plan says.
    """
    now = plan.clock()
    return SharedTerms(
        suite=SUITE,
        campaign_id=plan.campaign_id,
        attempt=attempt,
        cohort_size=cohort.size,
        block_rows=even_rows(cohort.size, plan.block_rows) if block_rows is None else block_rows,
        roster=cohort.nodes,
        witness=plan.seat.now(),
        holdout=HoldoutRule(salt=plan.holdout_salt, fraction=plan.holdout_fraction),
        issued_at=now,
        deadline=now + plan.deadline,
    )


def schema_terms(plan: CampaignPlan) -> SchemaTerms:
    """The plan's schema, exactly, and its hash."""
    return SchemaTerms(schema_document=plan.schema.canonical_json().decode(), schema_sha256=plan.schema.hash())


def kinds_of(plan: CampaignPlan, cohort: Cohort) -> tuple[KindTerms, ...]:
    """The cohort's kinds with the schema's bins."""
    return tuple(
        KindTerms(kind=kind, widths=plan.schema.widths(kind), members=members)
        for kind, members in cohort.members().items()
    )


def pairs_of(cohort: Cohort) -> tuple[PairMembership, ...]:
    """How many merchants each two kinds have in common."""
    return tuple(
        PairMembership(first=first, second=second, members=members)
        for (first, second), members in cohort.pairs().items()
    )


def privacy_terms(
    plan: CampaignPlan, mechanisms: Sequence[MechanismTerms], delta_sum: float, epsilon_replace_one: float
) -> PrivacyTerms:
    """What the plan promises, by which mechanisms.

    Args:
        delta_sum: how far the nodes' summed noise is from its law.
        epsilon_replace_one: ε where one merchant's rows are replaced by any others.
    """
    return PrivacyTerms(
        epsilon=plan.epsilon,
        delta=plan.delta,
        delta_sum=delta_sum,
        t_collude=plan.t_collude,
        noise=plan.noise,
        mechanisms=tuple(mechanisms),
        epsilon_replace_one=epsilon_replace_one,
    )
