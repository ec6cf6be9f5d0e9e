"""The VOPRF chain: the vectors of RFC 9497, blindness of what travels, refusal of bad proofs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crypto.errors import PseudonymError
from crypto.identifiers import normalise
from crypto.pseudonym import BlindedBatch, PseudonymKey, pseudonym, voprf_input

VECTORS = Path(__file__).parents[1] / "vectors" / "rfc9497_allVectors.json"
HUB, WITNESS = PseudonymKey.from_seed(b"\x01" * 32), PseudonymKey.from_seed(b"\x02" * 32)


def suite() -> dict[str, Any]:
    suites: list[dict[str, Any]] = json.loads(VECTORS.read_text())
    return next(s for s in suites if s["identifier"] == "ristretto255-SHA512" and s["mode"] == 1)


def evaluate(inputs: list[bytes], key: PseudonymKey) -> list[bytes]:
    batch = BlindedBatch.blind(inputs)
    return batch.finalize(key.evaluate(batch.elements), key.public)


def test_keys_and_outputs_are_those_of_rfc_9497() -> None:
    vectors = suite()
    key = PseudonymKey.from_seed(bytes.fromhex(vectors["seed"]), info=bytes.fromhex(vectors["keyInfo"]))
    assert key.public.hex() == vectors["pkSm"]
    checked = 0
    for vector in vectors["vectors"]:
        inputs = [bytes.fromhex(text) for text in vector["Input"].split(",")]
        outputs = [bytes.fromhex(text) for text in vector["Output"].split(",")]
        assert evaluate(inputs, key) == outputs
        checked += len(inputs)
    assert checked == 4


def test_evaluations_are_those_of_rfc_9497() -> None:
    vectors = suite()
    key = PseudonymKey.from_seed(bytes.fromhex(vectors["seed"]), info=bytes.fromhex(vectors["keyInfo"]))
    for vector in vectors["vectors"]:
        blinded = [bytes.fromhex(text) for text in vector["BlindedElement"].split(",")]
        evaluated = key.evaluate(blinded)
        for element in vector["EvaluationElement"].split(","):
            assert bytes.fromhex(element) in evaluated


def test_the_chain_gives_one_pseudonym_per_identifier() -> None:
    inputs = [
        voprf_input("uscc", normalise("uscc", value))
        for value in ("91350100M000100Y43", "91350100m000100y43", "91330100799655058B")
    ]
    finals = evaluate(evaluate(inputs, HUB), WITNESS)
    first, again, other = [pseudonym(final) for final in finals]
    assert first == again != other
    assert len(first) == 32
    assert first == pseudonym(evaluate(evaluate(inputs[:1], HUB), WITNESS)[0])
    # Both keys matter, and so does their order.
    swapped = pseudonym(evaluate(evaluate(inputs[:1], WITNESS), HUB)[0])
    assert swapped != first


def test_the_type_is_part_of_the_input() -> None:
    assert voprf_input("uscc", "X") == b"uscc\x00X"
    assert voprf_input("opaque", "X") != voprf_input("uscc", "X")


def test_what_travels_is_fresh_each_time() -> None:
    inputs = [b"same", b"same"]
    sent = BlindedBatch.blind(inputs).elements + BlindedBatch.blind(inputs).elements
    assert len(set(sent)) == 4


def test_bad_answers_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    batch = BlindedBatch.blind([b"a", b"b"])
    answer = HUB.evaluate(batch.elements)
    swapped = HUB.evaluate(batch.elements[::-1])
    foreign = HUB.evaluate(BlindedBatch.blind([b"a", b"b"]).elements)
    for evaluated, public in (
        (answer, WITNESS.public),
        (WITNESS.evaluate(batch.elements), HUB.public),
        (swapped, HUB.public),
        (foreign, HUB.public),
        (HUB.evaluate(batch.elements[:1]), HUB.public),
        (answer[:-1] + bytes([answer[-1] ^ 1]), HUB.public),
        (answer[:-1], HUB.public),
        (b"", HUB.public),
        (answer, bytes(32)),
        (answer, b""),
    ):
        with pytest.raises(PseudonymError):
            batch.finalize(evaluated, public)
    assert len(batch.finalize(answer, HUB.public)) == 2
    capfd.readouterr()


@pytest.mark.parametrize("element", [b"", bytes(32), b"\xff" * 32, bytes(31)])
def test_what_is_no_element_is_not_evaluated(element: bytes) -> None:
    good = BlindedBatch.blind([b"a"]).elements
    with pytest.raises(PseudonymError):
        HUB.evaluate([*good, element])


def test_batches_and_inputs_have_limits() -> None:
    element = BlindedBatch.blind([b"a"]).elements[0]
    for call in (
        lambda: HUB.evaluate([]),
        lambda: HUB.evaluate([element] * 65_536),
        lambda: BlindedBatch.blind([]),
        lambda: BlindedBatch.blind([b"a"] * 65_536),
        lambda: BlindedBatch.blind([b""]),
        lambda: BlindedBatch.blind([bytes(65_536)]),
        lambda: PseudonymKey.from_seed(bytes(31)),
        lambda: pseudonym(bytes(32)),
    ):
        with pytest.raises(PseudonymError):
            call()


def test_repr_shows_no_secret() -> None:
    assert HUB.public.hex() in repr(HUB)
