"""Signed notes against Go's sumdb/note vector, cosignatures, and everything that must be refused."""

from __future__ import annotations

import base64

import pytest

from crypto.checkpoint import Checkpoint, assemble, key_id, parse_note, sign_note, verify_note
from crypto.errors import ProofError
from crypto.keys import IdentityKey
from crypto.merkle import leaf_hash

LOG, WITNESS, OTHER = (IdentityKey.from_bytes(bytes([n]) * 32) for n in (1, 2, 3))
ORIGIN, WITNESS_NAME = "hub.example/audit", "witness.example"
POINT = Checkpoint(ORIGIN, 42, leaf_hash(b"root"))
VERIFIERS = {ORIGIN: LOG.public, WITNESS_NAME: WITNESS.public}
BOTH = {ORIGIN, WITNESS_NAME}
LOG_LINE = sign_note(POINT.body(), ORIGIN, LOG)
WITNESS_LINE = sign_note(POINT.body(), WITNESS_NAME, WITNESS, cosignature_time=1_790_000_000)
NOTE = assemble(POINT.body(), [LOG_LINE, WITNESS_LINE])


def test_signature_line_is_that_of_the_go_implementation() -> None:
    # golang.org/x/mod/sumdb/note, example keys of its tests.
    secret = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")
    key = IdentityKey.from_bytes(secret[1:])
    text = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    assert key_id("PeterNeumann", key.public, 1).hex() == "c74f20a3"
    assert sign_note(text, "PeterNeumann", key) == (
        "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6"
        "RyyBwJnAM="
    )


def test_example_of_the_cosignature_specification_is_parsed() -> None:
    text = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9"
        "nTo+zyWE+xeMcTOAYQ8=\n"
        "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5"
        "nNo0xUe+mbIUBkBIfZ+qnA==\n"
    )
    checkpoint, signatures = parse_note(text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert [len(signature.blob) for signature in signatures] == [64, 72]
    assert int.from_bytes(signatures[1].blob[:8], "big") == 1679315147


def test_a_note_with_both_signatures_verifies_and_tells_the_time() -> None:
    assert verify_note(NOTE, VERIFIERS, required=BOTH) == POINT
    _, (log, witness) = parse_note(NOTE)
    assert log.verify(POINT.body(), LOG.public) is None
    assert witness.verify(POINT.body(), WITNESS.public) == 1_790_000_000


def test_a_missing_signature_is_named() -> None:
    with pytest.raises(ProofError, match="missing") as caught:
        verify_note(assemble(POINT.body(), [LOG_LINE]), VERIFIERS, required=BOTH)
    assert caught.value.field == WITNESS_NAME


def test_a_wrong_signature_is_named() -> None:
    foreign = Checkpoint(ORIGIN, 43, POINT.root)
    line = sign_note(foreign.body(), WITNESS_NAME, WITNESS, cosignature_time=1_790_000_000)
    with pytest.raises(ProofError, match="wrong") as caught:
        verify_note(assemble(POINT.body(), [LOG_LINE, line]), VERIFIERS, required=BOTH)
    assert caught.value.field == WITNESS_NAME


def test_another_key_under_a_known_name_does_not_count() -> None:
    line = sign_note(POINT.body(), WITNESS_NAME, OTHER, cosignature_time=1)
    with pytest.raises(ProofError, match="missing"):
        verify_note(assemble(POINT.body(), [LOG_LINE, line]), VERIFIERS, required=BOTH)


def test_the_time_of_a_cosignature_is_signed() -> None:
    signed = bytearray(base64.b64decode(WITNESS_LINE.split(" ")[2]))
    signed[11] ^= 1
    line = f"\u2014 {WITNESS_NAME} {base64.b64encode(signed).decode()}"
    with pytest.raises(ProofError, match="wrong"):
        verify_note(assemble(POINT.body(), [LOG_LINE, line]), VERIFIERS, required=BOTH)


def test_a_plain_signature_relabelled_as_cosignature_is_refused() -> None:
    blob = key_id(ORIGIN, LOG.public, 4) + bytes(8) + LOG.sign(POINT.body())
    line = f"\u2014 {ORIGIN} {base64.b64encode(blob).decode()}"
    with pytest.raises(ProofError, match="wrong"):
        verify_note(assemble(POINT.body(), [line]), VERIFIERS, required={ORIGIN})


def test_unknown_signers_are_ignored_but_nobody_required_is_refused() -> None:
    stranger = sign_note(POINT.body(), "stranger.example", OTHER)
    assert verify_note(assemble(POINT.body(), [stranger, LOG_LINE]), VERIFIERS, required={ORIGIN}) == POINT
    with pytest.raises(ProofError):
        verify_note(NOTE, VERIFIERS, required=set())


@pytest.mark.parametrize(
    "text",
    [
        "",
        POINT.body().decode(),
        NOTE.rstrip("\n"),
        NOTE.replace("\n42\n", "\n042\n"),
        NOTE.replace("\n42\n", "\n-1\n"),
        NOTE.replace("\n42\n", "\n42\nextension\n"),
        NOTE.replace("\u2014", "-"),
        NOTE.replace("=\n\n", "\n\n"),
        NOTE.replace(ORIGIN, "hub example"),
        NOTE + "\n",
        NOTE + "\u2014 x AAAA\n",
        assemble(POINT.body(), []),
        assemble(POINT.body(), [LOG_LINE] * 65),
    ],
)
def test_malformed_notes_are_refused(text: str) -> None:
    with pytest.raises(ProofError):
        parse_note(text)


def test_malformed_checkpoints_and_names_are_refused() -> None:
    for origin, size, root in (
        ("", 1, POINT.root),
        ("a b", 1, POINT.root),
        ("a+b", 1, POINT.root),
        ("a\nb", 1, POINT.root),
        ("cosignature/v1", 1, POINT.root),
        ("log", -1, POINT.root),
        ("log", 1 << 63, POINT.root),
        ("log", 1, b"short"),
    ):
        with pytest.raises(ProofError):
            Checkpoint(origin, size, root)
    with pytest.raises(ProofError):
        sign_note(POINT.body(), "a b", LOG)
    with pytest.raises(ProofError):
        sign_note(POINT.body(), "a", LOG, cosignature_time=-1)
    with pytest.raises(ProofError):
        sign_note(b"no newline", "a", LOG)
