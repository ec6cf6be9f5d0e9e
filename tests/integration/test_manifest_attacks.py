"""A lying hub, or a fooled witness, before anything is masked: manifests, slices, rosters and consents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crypto.errors import (
    AttemptError,
    CryptoError,
    ManifestError,
)
from crypto.keys import BoxKey, IdentityKey
from crypto.manifest import holdout_mask
from crypto.parcel import Parcel
from crypto.wire.campaign import RosterEntry
from hub.cohort import Cohort
from hub.manifests import build_manifest
from nodes import witness_stage
from nodes.errors import PeerError, PolicyRefusal
from nodes.training import refusal_code
from tests.federation import SALT, Drive, World, make_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.federation.close()


def test_the_witness_cosigns_one_manifest_per_attempt(world: World) -> None:
    first = Drive.start(world).cosign()
    assert first.cosign().cosignature  # the same one again
    second = Drive.start(world)  # other salts, hence another root
    with pytest.raises(AttemptError, match="another manifest"):
        second.cosign()


def test_a_node_refuses_a_manifest_that_the_witness_did_not_cosign(world: World) -> None:
    honest, other = Drive.start(world).cosign(), Drive.start(world)
    other.cosignature = honest.cosignature
    with pytest.raises(ManifestError):
        other.accept("bank-1")


def test_a_node_refuses_a_slice_with_one_merchant_altered(world: World) -> None:
    drive = Drive.start(world).cosign()
    parcel = drive.manifest.for_node(0, drive.cosignature)
    pseudonyms = parcel.arrays["pseudonyms"].copy()
    pseudonyms[0, 0] ^= 1
    with pytest.raises(ManifestError, match="slice"):
        drive.accept(drive.parties[0], Parcel(parcel.texts, {**parcel.arrays, "pseudonyms": pseudonyms}))


def test_a_node_refuses_another_nodes_slice(world: World) -> None:
    drive = Drive.start(world).cosign()
    with pytest.raises(CryptoError):
        drive.accept("bank-1", drive.manifest.for_node(drive.parties.index("bank-2"), drive.cosignature))


def test_an_attempt_is_accepted_under_one_manifest_only(world: World) -> None:
    first = Drive.start(world).cosign().accept_all()
    other = Drive.start(world).forge_cosignature()
    with pytest.raises(AttemptError):
        other.accept("bank-1")
    assert first.accept("bank-1") == first.acceptances.split()[first.parties.index("bank-1")]


def test_the_witness_refuses_one_merchant_at_two_banks(world: World) -> None:
    drive = Drive.start(world)
    cohort = drive.cohort
    pseudonyms = cohort.pseudonyms.copy()
    banks = cohort.holders["bank"]
    twin = int(np.flatnonzero(banks != banks[0])[0])
    pseudonyms[twin] = pseudonyms[0]
    forged = Cohort(cohort.nodes, cohort.kinds, cohort.label_kind, pseudonyms, cohort.holders)
    drive.manifest = build_manifest(drive.manifest.terms, forged, drive.plan)
    with pytest.raises(ManifestError, match="one pseudonym at two positions"):
        drive.cosign()


def test_the_witness_refuses_counterparts_that_are_not_symmetric(world: World) -> None:
    drive = Drive.start(world)
    parcel = drive.manifest.for_witness()
    named = np.full_like(parcel.arrays["slice.0.counterpart.tax"], -1)
    lying = Parcel(parcel.texts, {**parcel.arrays, "slice.0.counterpart.tax": named})
    with pytest.raises(ManifestError, match="symmetric"):
        witness_stage.cosign(world.federation.witness_context, lying)


def test_witness_and_nodes_refuse_a_node_that_nobody_approved(world: World) -> None:
    federation = world.federation
    sybil = RosterEntry(
        party_id="bank-9", kind="bank", sign_key=IdentityKey.generate().public, box_key=BoxKey.generate().public
    )
    plan = world.plan()
    cohort = Cohort((*plan.cohort.nodes, sybil), plan.cohort.kinds, "bank", plan.cohort.pseudonyms, plan.cohort.holders)
    drive = Drive.start(world, replace(plan, cohort=cohort))
    with pytest.raises(PeerError) as caught:
        drive.cosign()
    assert (refusal_code(caught.value), caught.value.party) == ("party-unknown", "bank-9")
    with pytest.raises(PeerError):
        drive.forge_cosignature().accept("bank-1")
    assert federation.contexts["bank-1"].attempts.load(drive.attempt) is None


@pytest.mark.parametrize("field", ["sign_key", "box_key"])
def test_keys_that_the_roster_does_not_have_are_refused(world: World, field: str) -> None:
    terms = Drive.start(world).manifest.terms
    swapped = (terms.roster[0].model_copy(update={field: BoxKey.generate().public}), *terms.roster[1:])
    drive = Drive.start(world, roster=[entry.model_dump() for entry in swapped])
    with pytest.raises(ManifestError, match="keys"):
        drive.cosign()
    with pytest.raises(ManifestError, match="keys"):
        drive.forge_cosignature().accept("tax-1")


def test_held_out_merchants_are_refused_in_training(world: World) -> None:
    drive = Drive.start(world, world.plan(holdout_fraction=0.0), holdout={"salt": SALT, "fraction": 0.2})
    with pytest.raises(ManifestError, match="held-out"):
        drive.cosign()
    drive.forge_cosignature()
    refused = 0
    for index, party in enumerate(drive.parties):
        if holdout_mask(drive.manifest.piece(index, 0).pseudonyms, SALT, 0.2).any():
            refused += 1
            with pytest.raises(ManifestError, match="hold out"):
                drive.accept(party)
    assert refused >= 3


def test_a_cohort_of_another_size_than_its_slices_is_refused(world: World) -> None:
    terms = Drive.start(world).manifest.terms
    kinds = [each.model_dump() | {"members": each.members - (each.kind == "tax")} for each in terms.kinds]
    with pytest.raises(ManifestError, match="membership"):
        Drive.start(world, kinds=kinds).cosign()


def test_a_source_that_the_consent_does_not_name_is_refused(world: World) -> None:
    federation = world.federation
    plan = world.plan()
    holders = dict(plan.cohort.holders)
    taxes = [index for index, entry in enumerate(plan.cohort.nodes) if entry.kind == "tax"]
    holders["tax"] = np.where(holders["tax"] == taxes[0], taxes[1], holders["tax"]).astype(np.int32)
    moved = Cohort(plan.cohort.nodes, plan.cohort.kinds, "bank", plan.cohort.pseudonyms, holders)
    drive = Drive.start(world, replace(plan, cohort=moved)).cosign()
    reasons = set()
    for party in drive.parties:
        try:
            drive.accept(party)
        except PolicyRefusal as refused:
            reasons.add(refused.reason)
    assert reasons == {"source-not-consented"}
    assert federation.contexts["bank-1"].attempts.load(drive.attempt) is None
