"""The Merkle tree against Certificate Transparency's reference values, and forged proofs."""

from __future__ import annotations

import pytest

from crypto import merkle
from crypto.errors import ProofError

# Inputs and roots of the reference tests of certificate-transparency (RFC 6962, whose tree hash RFC 9162, 2.1
# keeps); see tests/vectors/README.md.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_reference_tree(size: int) -> None:
    assert merkle.root(HASHES[:size]).hex() == ROOTS[size]


def test_inclusion_paths_are_those_of_the_reference_tree() -> None:
    assert merkle.inclusion_proof(0, HASHES[:1]) == []
    assert [step.hex() for step in merkle.inclusion_proof(0, HASHES)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [step.hex() for step in merkle.inclusion_proof(5, HASHES)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_every_proof_of_small_trees_verifies() -> None:
    for size in range(1, 9):
        for index in range(size):
            proof = merkle.inclusion_proof(index, HASHES[:size])
            merkle.verify_inclusion(HASHES[index], index, size, proof, bytes.fromhex(ROOTS[size]))
        for old in range(size + 1):
            steps = merkle.consistency_proof(old, HASHES[:size])
            merkle.verify_consistency(old, bytes.fromhex(ROOTS[old]), size, bytes.fromhex(ROOTS[size]), steps)


def test_forged_inclusion_is_refused() -> None:
    root = merkle.root(HASHES)
    proof = merkle.inclusion_proof(5, HASHES)
    for index, size, steps, head in (
        (4, 8, proof, root),
        (5, 6, proof, root),
        (5, 9, proof, root),
        (8, 8, proof, root),
        (-1, 8, proof, root),
        (5, 8, proof[:-1], root),
        (5, 8, [*proof, proof[0]], root),
        (5, 8, proof[::-1], root),
        (5, 8, [proof[0][:31], *proof[1:]], root),
        (5, 8, proof, merkle.root(HASHES[:7])),
    ):
        with pytest.raises(ProofError):
            merkle.verify_inclusion(HASHES[5], index, size, steps, head)
    with pytest.raises(ProofError):
        merkle.verify_inclusion(HASHES[4], 5, 8, proof, root)


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    data = HASHES[0] + HASHES[1]
    assert merkle.leaf_hash(data) != merkle.node_hash(HASHES[0], HASHES[1])


def test_a_rewritten_history_is_not_consistent() -> None:
    altered = [merkle.leaf_hash(b"altered"), *HASHES[1:]]
    for old in range(1, 8):
        proof = merkle.consistency_proof(old, altered)
        with pytest.raises(ProofError):
            merkle.verify_consistency(old, merkle.root(HASHES[:old]), 8, merkle.root(altered), proof)


def test_forged_consistency_is_refused() -> None:
    old_root, new_root = merkle.root(HASHES[:3]), merkle.root(HASHES)
    proof = merkle.consistency_proof(3, HASHES)
    for old, old_head, new, new_head, steps in (
        (3, old_root, 8, new_root, proof[:-1]),
        (3, old_root, 8, new_root, [*proof, proof[0]]),
        (3, old_root, 8, new_root, []),
        (4, old_root, 8, new_root, proof),
        (3, old_root, 4, new_root, proof),
        (3, old_root, 9, new_root, proof),
        (9, old_root, 8, new_root, proof),
        (-1, old_root, 8, new_root, proof),
        (8, old_root, 8, new_root, []),
        (8, new_root, 8, new_root, proof),
        (0, old_root, 8, new_root, []),
        (0, merkle.EMPTY_ROOT, 8, new_root, proof),
        (0, merkle.EMPTY_ROOT, 0, new_root, []),
    ):
        with pytest.raises(ProofError):
            merkle.verify_consistency(old, old_head, new, new_head, steps)


def test_proofs_about_missing_leaves_are_refused() -> None:
    with pytest.raises(ProofError):
        merkle.inclusion_proof(8, HASHES)
    with pytest.raises(ProofError):
        merkle.consistency_proof(9, HASHES)
