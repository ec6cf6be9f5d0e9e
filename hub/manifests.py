"""Terms and manifests of table attempts: what the hub signs and the witness cosigns (docs/protocol.md, 4)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from crypto.canonical import canonical_bytes
from crypto.jws import sign_model
from crypto.layout import KindBlocks, TableLayout
from crypto.manifest import (
    SALT_BYTES,
    NodeSlice,
    manifest_root,
    salted_slice_hash,
    slice_proof,
    terms_proof,
)
from crypto.parcel import Array, Parcel, as_array
from crypto.slices import slice_arrays, slice_bytes
from crypto.table_grid import table_delta, table_scale, terms_grid
from crypto.wire.base import SUITE
from crypto.wire.campaign import (
    HoldoutRule,
    KindTerms,
    MechanismTerms,
    PairMembership,
    PrivacyTerms,
    RoundsMechanism,
    TablesMechanism,
    TablesTerms,
    Terms,
)
from hub.campaign_plan import CampaignPlan
from hub.cohort import Cohort
from models.accounting import (
    Adjacency,
    GaussianRounds,
    Mechanism,
    TablesNoise,
    calibrate_tables,
    epsilon_of,
    usable_delta,
)


@dataclass(frozen=True)
class EncoderCharge:
    """What an encoder stage of the same campaign charges: its rounds, and the μ that is left to the tables."""

    mechanism: RoundsMechanism
    mu_tables: float


@dataclass(frozen=True)
class Manifest:
    """Terms and slices of one attempt, with the root over them.

    Attributes:
        token: the signed terms.
        slices: in order of the roster.
        salts: 32 random bytes per slice.
    """

    terms: Terms
    token: str
    slices: tuple[NodeSlice, ...]
    salts: tuple[bytes, ...]

    @cached_property
    def _payload(self) -> bytes:
        return canonical_bytes(self.terms)

    @cached_property
    def _hashes(self) -> list[bytes]:
        parties = [entry.party_id for entry in self.terms.roster]
        return [
            salted_slice_hash(salt, slice_bytes(party, own))
            for party, own, salt in zip(parties, self.slices, self.salts, strict=True)
        ]

    @cached_property
    def h(self) -> bytes:
        """The manifest's root, 32 bytes."""
        return manifest_root(self._payload, self._hashes)

    def for_witness(self) -> Parcel:
        """T0: terms and all slices."""
        arrays: dict[str, Array] = {"salts": np.stack([as_array(salt) for salt in self.salts])}
        for index, own in enumerate(self.slices):
            arrays |= slice_arrays(own, f"slice.{index}.")
        return Parcel({"terms": self.token}, arrays)

    def for_node(self, index: int, cosignature: str, encoders: Mapping[str, bytes] | None = None) -> Parcel:
        """T1: terms, the witness's cosignature, the node's own slice with its proofs, and its kind's encoder if any."""
        arrays = slice_arrays(self.slices[index])
        encoder = (encoders or {}).get(self.slices[index].kind)
        if encoder is not None:
            arrays["encoder"] = as_array(encoder)
        arrays["salt"] = as_array(self.salts[index])
        arrays["slice_proof"] = _rows(slice_proof(self._payload, self._hashes, index))
        arrays["terms_proof"] = _rows(terms_proof(self._payload, self._hashes))
        return Parcel({"terms": self.token, "cosignature": cosignature}, arrays)


def build_manifest(terms: Terms, cohort: Cohort, plan: CampaignPlan) -> Manifest:
    """Signs the terms and cuts the cohort into slices, with fresh salts."""
    token = sign_model(terms, plan.identity, typ="terms", kid=plan.hub_id)
    slices = tuple(cohort.slice_of(index) for index in range(len(cohort.nodes)))
    return Manifest(terms, token, slices, tuple(secrets.token_bytes(SALT_BYTES) for _ in slices))


def table_terms(
    plan: CampaignPlan,
    cohort: Cohort,
    attempt: str,
    *,
    encoder_widths: Mapping[str, int] | None = None,
    encoder: EncoderCharge | None = None,
) -> Terms:
    """Terms of a scorecard attempt on this cohort.

    Args:
        plan: the campaign.
        cohort: its training part, of the nodes that are left.
        attempt: `<campaign>/scorecard/<number>`.
        encoder_widths: kind → bins of its encoder feature, for kinds in `plan.encoders_used`.
        encoder: what the campaign's encoder stage charges, if it has one.

    Raises:
        BudgetError: the budget cannot be met.
        NoiseError, RangeError: too few nodes for t_collude, or the sum might wrap.
    """
    further = encoder_widths or {}
    kinds = tuple(
        KindTerms(
            kind=kind,
            widths=(*plan.schema.widths(kind), *((further[kind],) if kind in further else ())),
            members=members,
        )
        for kind, members in cohort.members().items()
    )
    layout = TableLayout(tuple(KindBlocks(each.kind, each.widths) for each in kinds), plan.schema.label.kind)
    tables, privacy = _privacy(plan, layout, len(cohort.nodes), encoder)
    now = plan.clock()
    terms = Terms(
        suite=SUITE,
        campaign_id=plan.campaign_id,
        attempt=attempt,
        stage="scorecard",
        schema_document=plan.schema.canonical_json().decode(),
        schema_sha256=plan.schema.hash(),
        label_kind=plan.schema.label.kind,
        kinds=kinds,
        pairs=tuple(
            PairMembership(first=first, second=second, members=members)
            for (first, second), members in cohort.pairs().items()
        ),
        cohort_size=cohort.size,
        roster=cohort.nodes,
        witness=plan.witness,
        holdout=HoldoutRule(salt=plan.holdout_salt, fraction=plan.holdout_fraction),
        privacy=privacy,
        tables=tables,
        encoders_used=dict(plan.encoders_used),
        issued_at=now,
        deadline=now + plan.deadline,
    )
    terms_grid(terms)  # refuses, before anybody is asked, a sum that might wrap
    return terms


def _privacy(
    plan: CampaignPlan, layout: TableLayout, n_nodes: int, encoder: EncoderCharge | None
) -> tuple[TablesTerms, PrivacyTerms]:
    """σ of the tables and the whole campaign's privacy."""
    if plan.noise == "off":
        silent = PrivacyTerms(
            epsilon=plan.epsilon,
            delta=plan.delta,
            delta_sum=0.0,
            t_collude=plan.t_collude,
            noise="off",
            mechanisms=(),
            epsilon_replace_one=plan.epsilon,
        )
        return TablesTerms(sigma_class=0.0, sigma_pair=0.0), silent
    delta_sum = table_delta(n_nodes, layout.n_cells)
    noise = calibrate_tables(
        layout.n_features,
        plan.epsilon,
        plan.delta,
        pair_share=plan.pair_share,
        mu_budget=None if encoder is None else encoder.mu_tables,
        delta_sum=delta_sum,
        scale_of=partial(table_scale, n_nodes=n_nodes, t_collude=plan.t_collude),
    )
    mechanisms: list[MechanismTerms] = [*cells_terms(noise)]
    accounted: list[Mechanism] = list(noise.mechanisms)
    replace_one = noise.epsilon_replace_one
    if encoder is not None:
        mechanisms.insert(0, encoder.mechanism)
        accounted.append(GaussianRounds(encoder.mechanism.sigma_over_sensitivity, encoder.mechanism.rounds))
        usable = usable_delta(plan.epsilon, plan.delta, delta_sum)
        adjacency: Adjacency = "replace-one"
        replace_one = epsilon_of(accounted, usable, adjacency=adjacency)
    privacy = PrivacyTerms(
        epsilon=plan.epsilon,
        delta=plan.delta,
        delta_sum=delta_sum,
        t_collude=plan.t_collude,
        noise="on",
        mechanisms=tuple(mechanisms),
        epsilon_replace_one=replace_one,
    )
    return TablesTerms(sigma_class=noise.sigma_class, sigma_pair=noise.sigma_pair), privacy


def cells_terms(noise: TablesNoise) -> tuple[TablesMechanism, ...]:
    """The table's mechanisms as terms name them."""
    return tuple(
        TablesMechanism(
            mechanism="discrete-gaussian-cells",
            stage="scorecard",
            sigma=each.sigma,
            count=each.count,
            scale=each.scale,
        )
        for each in noise.mechanisms
    )


def _rows(hashes: list[bytes]) -> Array:
    return np.array([list(each) for each in hashes], dtype=np.uint8).reshape(-1, 32)
