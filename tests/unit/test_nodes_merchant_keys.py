"""Merchants' keys: platform and bank both sign, and a node trusts nothing less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from crypto.canonical import canonical_bytes
from crypto.errors import CryptoError, ProofError, SignatureError
from crypto.jws import generate_merchant_key, merchant_public, sign_model
from crypto.wire.party import MerchantKeyBatch, MerchantKeyLeaf, MerchantKeyStatement, MerchantKeySubmission
from nodes.errors import PeerError, PolicyRefusal
from nodes.merchant_keys import (
    MerchantKeyDraft,
    MerchantKeyVerifier,
    check_submission,
    countersign,
    draft_batch,
)
from tests.relay_hub import payload_of
from tests.scoring_world import Merchant, ScoringWorld


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    yield world
    world.close()


def draft(world: ScoringWorld, leaves: list[MerchantKeyLeaf], countersigner: str = "bank-01") -> MerchantKeyDraft:
    platform = world.nodes["platform"].runtime
    return draft_batch(
        leaves,
        identity=platform.identity,
        platform="platform",
        countersigner=world.parties[countersigner],
        batch_id="a" * 32,
        now=world.now,
    )


def by_bank(world: ScoringWorld, drafted: MerchantKeyDraft, bank: str = "bank-01") -> MerchantKeySubmission:
    runtime = world.nodes[bank].runtime
    return countersign(
        drafted, identity=runtime.identity, party=world.parties[bank], roster=runtime.roster, store=runtime.store
    )


def statement(world: ScoringWorld, name: str = "M001") -> MerchantKeyStatement:
    found = world.merchants[name].statement
    assert found is not None
    return found


def resigned(world: ScoringWorld, party: str, typ: str, **changes: object) -> str:
    """A signature of a party over its own version of the batch."""
    batch = MerchantKeyBatch.model_validate_json(payload_of(statement(world).batch))
    changed = batch.model_copy(update=changes)
    return sign_model(changed, world.nodes[party].runtime.identity, typ=typ, kid=party)


def test_a_statement_gives_the_key_and_when_it_was_issued(world: ScoringWorld) -> None:
    verifier = MerchantKeyVerifier(world.nodes["tax-01"].runtime.roster)
    for name in ("M001", "M003", "C001"):
        found = verifier.verify(statement(world, name))
        assert found.pseudonym == world.merchants[name].pseudonym
        assert found.jwk == merchant_public(world.merchants[name].jwk)
        assert found.issued_at <= world.now


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda w: {"leaf": w.merchants["M002"].leaf}, ProofError),
        (lambda w: {"index": 1}, ProofError),
        (lambda w: {"proof": ()}, ProofError),
        (lambda w: {"countersignature": resigned(w, "bank-01", "merchant-keys")}, SignatureError),
        (lambda w: {"countersignature": resigned(w, "platform", "merchant-keys-countersignature")}, PolicyRefusal),
        (
            lambda w: {"countersignature": resigned(w, "bank-01", "merchant-keys-countersignature", size=9)},
            SignatureError,
        ),
        (lambda w: {"countersignature": resigned(w, "bank-02", "merchant-keys-countersignature")}, PolicyRefusal),
        (lambda w: {"batch": resigned(w, "bank-01", "merchant-keys")}, PolicyRefusal),
        (
            lambda w: {
                "batch": resigned(w, "platform", "merchant-keys", countersigner="lender"),
                "countersignature": resigned(w, "lender", "merchant-keys-countersignature", countersigner="lender"),
            },
            PolicyRefusal,
        ),
        (
            lambda w: {
                "batch": resigned(w, "lender", "merchant-keys"),
                "countersignature": resigned(w, "bank-01", "merchant-keys-countersignature"),
            },
            PolicyRefusal,
        ),
    ],
)
def test_statements_that_are_not_both_signed_are_refused(
    world: ScoringWorld, change: Callable[[ScoringWorld], dict[str, object]], error: type[Exception]
) -> None:
    verifier = MerchantKeyVerifier(world.nodes["tax-01"].runtime.roster)
    changed = statement(world).model_copy(update=change(world))
    with pytest.raises(error):
        verifier.verify(changed)
    assert verifier.verify(statement(world)).pseudonym == world.merchants["M001"].pseudonym


def test_what_was_verified_is_not_trusted_under_a_new_roster(tmp_path_factory: pytest.TempPathFactory) -> None:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    verifier = MerchantKeyVerifier(world.nodes["tax-01"].runtime.roster)
    verifier.verify(statement(world))
    world.publish_roster(without=["bank-01"])
    with pytest.raises(PeerError):
        verifier.verify(statement(world))
    world.close()


def test_a_bank_countersigns_its_own_customers_only(world: ScoringWorld) -> None:
    own = [world.merchants[name].leaf for name in ("M001", "M002")]
    signed = by_bank(world, draft(world, own))
    assert check_submission(signed, world.nodes["platform"].runtime.roster).size == 2
    stranger = Merchant("S", bytes(32))
    with pytest.raises(PolicyRefusal, match="1 of 3") as caught:
        by_bank(world, draft(world, [*own, stranger.leaf]))
    assert caught.value.reason == "merchant-not-customer"
    with pytest.raises(PolicyRefusal, match="may not countersign"):
        by_bank(world, draft(world, own), "bank-02")


def test_altered_batches_are_not_countersigned(world: ScoringWorld) -> None:
    own = [world.merchants[name].leaf for name in ("M001", "M002")]
    drafted = draft(world, own)
    swapped = own[0].model_copy(update={"jwk": merchant_public(generate_merchant_key())})
    for leaves in ((swapped, own[1]), tuple(own[:1]), (own[1], own[0])):
        with pytest.raises(ProofError):
            by_bank(world, drafted.model_copy(update={"leaves": leaves}))


@pytest.mark.parametrize("case", ["empty", "twice", "private", "client"])
def test_batches_that_make_no_sense_are_not_signed(world: ScoringWorld, case: str) -> None:
    leaf = world.merchants["M001"].leaf
    leaves = {
        "empty": [],
        "twice": [leaf, leaf],
        "private": [leaf.model_copy(update={"jwk": world.merchants["M001"].jwk})],
        "client": [leaf],
    }[case]
    with pytest.raises((PolicyRefusal, CryptoError)):
        draft(world, leaves, "lender" if case == "client" else "bank-01")


def test_a_submission_is_checked_before_it_goes_to_the_hub(world: ScoringWorld) -> None:
    signed = by_bank(world, draft(world, [world.merchants["M001"].leaf]))
    other = by_bank(world, draft(world, [world.merchants["M002"].leaf]))
    roster = world.nodes["platform"].runtime.roster
    for changes in ({"leaves": other.leaves}, {"countersignature": other.countersignature}):
        with pytest.raises(ProofError):
            check_submission(signed.model_copy(update=changes), roster)


def test_newer_batches_carry_later_times(world: ScoringWorld) -> None:
    world.now += timedelta(seconds=5)
    world.enrol_keys([world.merchants["M004"]])
    verifier = MerchantKeyVerifier(world.nodes["tax-01"].runtime.roster)
    assert verifier.verify(statement(world, "M004")).issued_at > verifier.verify(statement(world)).issued_at
    assert canonical_bytes(statement(world, "M004").leaf) == canonical_bytes(world.merchants["M004"].leaf)
