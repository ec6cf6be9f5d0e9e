"""Merchants' keys: two signatures over the same bytes, one root, statements that verify elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import merkle
from crypto.canonical import canonical_bytes
from crypto.errors import SignatureError
from crypto.jws import generate_merchant_key, verify_model
from crypto.wire.party import MerchantKeyBatch, MerchantKeyLeaf, MerchantKeyStatement, MerchantKeySubmission
from hub.errors import NotFoundError, PartyUnknownError
from hub.merchant_errors import MerchantKeysError
from hub.merchant_keys import tree_with_proofs
from tests.hub_world import START, HubWorld, Member, merchant_batch, merchant_leaves


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path_factory.mktemp("hub"))
    world.join(world.witness)
    world.platform, world.bank = Member("platform", "client"), Member("bank-01", "bank")  # type: ignore[attr-defined]
    world.join(world.platform, world.bank)  # type: ignore[attr-defined]
    yield world
    world.hub.close()


def signers(world: HubWorld) -> tuple[Member, Member]:
    return world.platform, world.bank  # type: ignore[attr-defined]


def check(world: HubWorld, statement: MerchantKeyStatement) -> None:
    platform, bank = signers(world)
    batch = verify_model(statement.batch, platform.identity.public, MerchantKeyBatch, typ="merchant-keys")
    other = verify_model(
        statement.countersignature, bank.identity.public, MerchantKeyBatch, typ="merchant-keys-countersignature"
    )
    assert batch == other
    leaf = merkle.leaf_hash(canonical_bytes(statement.leaf))
    merkle.verify_inclusion(leaf, statement.index, batch.size, statement.proof, batch.root)


@given(count=st.integers(min_value=1, max_value=70))
def test_all_proofs_at_once_are_those_of_rfc_9162(count: int) -> None:
    leaves = [merkle.leaf_hash(bytes([index])) for index in range(count)]
    root, proofs = tree_with_proofs(leaves)
    assert root == merkle.root(leaves)
    assert proofs == [merkle.inclusion_proof(index, leaves) for index in range(count)]


def test_stored_keys_come_with_statements_that_verify(world: HubWorld) -> None:
    leaves = merchant_leaves(12, start=100) + merchant_leaves(1, start=200, alg="ES256")
    world.hub.merchant_keys.store(merchant_batch(leaves, *signers(world), batch_id="a" * 32))
    for leaf in leaves:
        statement = world.hub.merchant_keys.statement(leaf.pseudonym)
        assert statement.leaf == leaf
        check(world, statement)
    with pytest.raises(NotFoundError):
        world.hub.merchant_keys.statement(b"?" * 32)


def test_newest_key_counts(world: HubWorld) -> None:
    first, second = merchant_leaves(3, start=300), merchant_leaves(3, start=300)
    world.hub.merchant_keys.store(merchant_batch(first, *signers(world), batch_id="b" * 32))
    world.hub.merchant_keys.store(merchant_batch(second, *signers(world), batch_id="c" * 32))
    assert world.hub.merchant_keys.statement(first[0].pseudonym).leaf == second[0]
    with pytest.raises(MerchantKeysError, match="stored already"):
        world.hub.merchant_keys.store(merchant_batch(second, *signers(world), batch_id="c" * 32))
    earlier = {"issued_at": START - timedelta(seconds=1)}
    with pytest.raises(MerchantKeysError, match="issued later"):
        world.hub.merchant_keys.store(merchant_batch(first, *signers(world), batch_id="d" * 32, changed=earlier))
    assert world.hub.merchant_keys.statement(first[0].pseudonym).leaf == second[0]


@pytest.mark.parametrize("change", ["root", "size", "platform", "countersigner"])
def test_batch_that_does_not_fit_is_refused(world: HubWorld, change: str) -> None:
    changed = {"root": bytes(32), "size": 4, "platform": "platform-2", "countersigner": "bank-02"}
    batch = merchant_batch(merchant_leaves(3), *signers(world), changed={change: changed[change]})
    with pytest.raises(MerchantKeysError) as refused:
        world.hub.merchant_keys.store(batch)
    assert refused.value.field in (change, "platform")


def submission(world: HubWorld, **changed: object) -> MerchantKeySubmission:
    return merchant_batch(merchant_leaves(3), *signers(world)).model_copy(update=changed)


def test_signatures_over_different_bytes_are_refused(world: HubWorld) -> None:
    other = merchant_batch(merchant_leaves(3), *signers(world), batch_id="9" * 32)
    with pytest.raises(MerchantKeysError, match="same bytes"):
        world.hub.merchant_keys.store(submission(world, countersignature=other.countersignature))


def test_swapped_leaf_is_refused(world: HubWorld) -> None:
    good = submission(world)
    swapped = (*good.leaves[:2], merchant_leaves(1, start=2)[0])
    with pytest.raises(MerchantKeysError, match="root"):
        world.hub.merchant_keys.store(good.model_copy(update={"leaves": swapped}))


def test_wrong_signers_are_refused(world: HubWorld) -> None:
    platform, bank = signers(world)
    leaves = merchant_leaves(2)
    for pair in ((bank, bank), (platform, platform), (platform, world.witness)):
        with pytest.raises(MerchantKeysError):
            world.hub.merchant_keys.store(merchant_batch(leaves, *pair))
    with pytest.raises(PartyUnknownError):
        world.hub.merchant_keys.store(merchant_batch(leaves, platform, Member("bank-99", "bank")))
    with pytest.raises(SignatureError):
        world.hub.merchant_keys.store(merchant_batch(leaves, platform, Member("bank-01", "bank")))


def test_leaves_that_are_no_public_keys_are_refused(world: HubWorld) -> None:
    private = MerchantKeyLeaf(pseudonym=bytes(32), jwk=generate_merchant_key())
    extra = merchant_leaves(1)[0]
    extra = extra.model_copy(update={"jwk": {**extra.jwk, "use": "sig"}})
    other = MerchantKeyLeaf(pseudonym=bytes(32), jwk={"kty": "RSA", "n": "AQAB", "e": "AQAB"})
    for leaf in (private, extra, other):
        with pytest.raises(MerchantKeysError):
            world.hub.merchant_keys.store(merchant_batch([leaf], *signers(world)))
    twice = merchant_leaves(1) * 2
    with pytest.raises(MerchantKeysError, match="twice"):
        world.hub.merchant_keys.store(merchant_batch(twice, *signers(world)))


@pytest.mark.slow
def test_28000_keys_within_ten_seconds(world: HubWorld) -> None:
    # One key for all: making 28,000 is the merchants' work, and each leaf is checked just the same.
    jwk = merchant_leaves(1)[0].jwk
    bodies = []
    for number in range(28):
        leaves = [
            MerchantKeyLeaf(pseudonym=(10_000 + number * 1000 + i).to_bytes(32, "big"), jwk=jwk) for i in range(1000)
        ]
        bodies.append(merchant_batch(leaves, *signers(world), batch_id=f"{number + 1:032x}").model_dump_json())
    started = time.monotonic()
    for body in bodies:
        world.hub.merchant_keys.store(MerchantKeySubmission.model_validate_json(body))
    took = time.monotonic() - started
    print(f"{took:.1f} s")
    assert took < 10
    check(world, world.hub.merchant_keys.statement((10_000 + 27_999).to_bytes(32, "big")))
