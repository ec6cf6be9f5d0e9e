"""Terms and manifests of table attempts: what the hub signs and the witness cosigns (docs/protocol.md, 4)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from crypto.blocks import Blocks, terms_blocks
from crypto.canonical import canonical_bytes
from crypto.histogram import histogram_delta
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
from crypto.slices import piece_sha256, slice_arrays, slice_bytes
from crypto.table_grid import table_delta, table_scale, terms_grid
from crypto.wire.campaign import (
    KindTerms,
    PrivacyTerms,
    TablesMechanism,
    TablesTerms,
    Terms,
)
from hub.campaign_plan import CampaignPlan, SettledBins
from hub.cohort import Cohort
from hub.evaluation_terms import campaign_mechanisms, largest_delta, with_evaluation
from hub.shared_terms import pairs_of, schema_terms, shared_terms
from models.accounting import TablesNoise, calibrate_tables, epsilon_of, usable_delta


@dataclass(frozen=True)
class Manifest:
    """Terms and slices of one attempt, with the root over them. Slices are cut when they are sent, block by block.

    Attributes:
        token: the signed terms.
        cohort: whose slices.
        salts: 32 random bytes per slice.
        bins: what the schema's bins came from, if they did from a stage of this campaign.
    """

    terms: Terms
    token: str
    cohort: Cohort
    salts: tuple[bytes, ...]
    bins: SettledBins | None = None

    @property
    def blocks(self) -> Blocks:
        """The cohort's blocks."""
        return terms_blocks(self.terms)

    @cached_property
    def _payload(self) -> bytes:
        return canonical_bytes(self.terms)

    @cached_property
    def _hashes(self) -> list[bytes]:
        pieces: list[list[bytes]] = [[] for _ in self.terms.roster]
        for block in range(self.blocks.count):
            for index, hashes in enumerate(pieces):
                hashes.append(piece_sha256(self.piece(index, block)))
        return [
            salted_slice_hash(salt, slice_bytes(entry.party_id, entry.kind, hashes))
            for entry, hashes, salt in zip(self.terms.roster, pieces, self.salts, strict=True)
        ]

    @cached_property
    def h(self) -> bytes:
        """The manifest's root, 32 bytes."""
        return manifest_root(self._payload, self._hashes)

    def piece(self, index: int, block: int) -> NodeSlice:
        """A block of the slice of the node at `index` in the roster."""
        return self.cohort.slice_of(index, self.blocks.span(block))

    def pieces_for_witness(self, block: int) -> Parcel:
        """Before T0: a block of all slices."""
        arrays: dict[str, Array] = {}
        for index in range(len(self.terms.roster)):
            arrays |= slice_arrays(self.piece(index, block), f"slice.{index}.")
        return Parcel({"terms": self.token, "block": str(block)}, arrays)

    def for_witness(self) -> Parcel:
        """T0: terms and the last block of all slices."""
        last = self.pieces_for_witness(self.blocks.count - 1)
        salts = np.stack([as_array(salt) for salt in self.salts])
        texts, arrays = self._bins()
        return Parcel({**last.texts, **texts}, {**last.arrays, **arrays, "salts": salts})

    def piece_for_party(self, party_id: str, block: int) -> Parcel:
        """Before T1: a block of the node's own slice."""
        index = next(at for at, entry in enumerate(self.terms.roster) if entry.party_id == party_id)
        return Parcel({"terms": self.token, "block": str(block)}, slice_arrays(self.piece(index, block)))

    def for_node(
        self,
        index: int,
        cosignature: str,
        encoders: Mapping[str, bytes] | None = None,
        releases: Sequence[str] = (),
    ) -> Parcel:
        """T1: terms, the witness's cosignature, the last block of the node's own slice with its proofs, and its kind's
        encoder if any.

        Args:
            index: of the node in the roster.
            cosignature: the witness's.
            encoders: kind → artefact of the encoder that the terms use.
            releases: the witness's releases of these encoders, which every node demands.
        """
        arrays = slice_arrays(self.piece(index, self.blocks.count - 1))
        encoder = (encoders or {}).get(self.terms.roster[index].kind)
        if encoder is not None:
            arrays["encoder"] = as_array(encoder)
        arrays["salt"] = as_array(self.salts[index])
        arrays["slice_proof"] = _rows(slice_proof(self._payload, self._hashes, index))
        arrays["terms_proof"] = _rows(terms_proof(self._payload, self._hashes))
        texts = {"terms": self.token, "cosignature": cosignature}
        if releases:
            texts["encoder_releases"] = " ".join(releases)
        of_bins, counts = self._bins()
        return Parcel({**texts, **of_bins}, {**arrays, **counts})

    def _bins(self) -> tuple[dict[str, str], dict[str, Array]]:
        """What witness and nodes make the schema's bins from again."""
        if self.bins is None:
            return {}, {}
        return {"bins_release": self.bins.release}, {"bins_counts": self.bins.counts}


def build_manifest(terms: Terms, cohort: Cohort, plan: CampaignPlan) -> Manifest:
    """Signs the terms and draws fresh salts for the cohort's slices."""
    token = sign_model(terms, plan.identity, typ="terms", kid=plan.hub_id)
    return Manifest(terms, token, cohort, tuple(secrets.token_bytes(SALT_BYTES) for _ in cohort.nodes), plan.bins)


def table_terms(
    plan: CampaignPlan,
    cohort: Cohort,
    attempt: str,
    *,
    encoder_widths: Mapping[str, int] | None = None,
    promised: PrivacyTerms | None = None,
) -> Terms:
    """Terms of a scorecard attempt on this cohort.

    Args:
        plan: the campaign.
        cohort: its training part, of the nodes that are left.
        attempt: `<campaign>/scorecard/<number>`.
        encoder_widths: kind → bins of its encoder feature, for kinds in `plan.encoders_used`.
        promised: the privacy that the terms of the campaign's stage before stated, if it has one: nodes accept no
            other in a later stage.

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
    tables, privacy = tables_privacy(plan, layout, len(cohort.nodes), promised)
    terms = Terms(
        **shared_terms(plan, cohort, attempt),
        stage="scorecard",
        **schema_terms(plan),
        label_kind=plan.schema.label.kind,
        kinds=kinds,
        pairs=pairs_of(cohort),
        privacy=privacy,
        tables=tables,
        bins_attempt=None if plan.bins is None else plan.bins.attempt,
        evaluation_due="evaluation" in plan.stages,
        encoders_used=dict(plan.encoders_used),
        earlier=plan.earlier,
    )
    terms_grid(terms)  # refuses, before anybody is asked, a sum that might wrap
    return terms


def tables_privacy(
    plan: CampaignPlan, layout: TableLayout, n_nodes: int, promised: PrivacyTerms | None = None
) -> tuple[TablesTerms, PrivacyTerms]:
    """σ of the tables and the whole campaign's privacy; raises as `table_terms`, save RangeError."""
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
    own = table_delta(n_nodes, layout.n_cells)
    if plan.bins is not None:  # the same merchants met that stage's noise
        own += histogram_delta(n_nodes, len(plan.bins.counts))
    delta_sum = largest_delta(plan, own, n_nodes)
    scale_of = partial(table_scale, n_nodes=n_nodes, t_collude=plan.t_collude)
    if promised is not None:
        return _promised(promised, max(delta_sum, promised.delta_sum), scale_of)
    noise = calibrate_tables(
        layout.n_features,
        plan.epsilon,
        plan.delta,
        pair_share=plan.pair_share,
        delta_sum=delta_sum,
        scale_of=scale_of,
    )
    privacy = PrivacyTerms(
        epsilon=plan.epsilon,
        delta=plan.delta,
        delta_sum=delta_sum,
        t_collude=plan.t_collude,
        noise="on",
        mechanisms=cells_terms(noise),
        epsilon_replace_one=noise.epsilon_replace_one,
    )
    tables = TablesTerms(sigma_class=noise.sigma_class, sigma_pair=noise.sigma_pair)
    return tables, with_evaluation(plan, privacy, n_nodes)


def _promised(
    privacy: PrivacyTerms, delta_sum: float, scale_of: Callable[[float], int]
) -> tuple[TablesTerms, PrivacyTerms]:
    """σ as an earlier stage's terms stated it, on the grid of the nodes that are left."""
    mechanisms = tuple(
        each.model_copy(update={"scale": scale_of(each.sigma)})
        if isinstance(each, TablesMechanism) and each.stage != "bins"  # released on the grid of its own nodes
        else each
        for each in privacy.mechanisms
    )
    sigmas = [each.sigma for each in mechanisms if isinstance(each, TablesMechanism) and each.stage == "scorecard"]
    usable = usable_delta(privacy.epsilon, privacy.delta, delta_sum)
    replace_one = epsilon_of(campaign_mechanisms(mechanisms), usable, adjacency="replace-one")
    changed = {"mechanisms": mechanisms, "delta_sum": delta_sum, "epsilon_replace_one": replace_one}
    return TablesTerms(sigma_class=sigmas[0], sigma_pair=sigmas[-1]), privacy.model_copy(update=changed)


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
