"""Pseudonyms: two verifiable oblivious evaluations in a chain (section 1; RFC 9497 VOPRF, ristretto255-SHA512).

    p = VOPRF_witness(VOPRF_hub(type ‖ 0x00 ‖ normalise(id)))

P1  The node normalises the identifier and forms the input: `voprf_input(id_type, normalise(id_type, value))`.
P2  It blinds a batch of inputs and sends the elements to the hub, which evaluates them: `PseudonymKey.evaluate`.
P3  It checks the proof against the hub's pinned public key and unblinds: `BlindedBatch.finalize`, 64 bytes each.
P4  It blinds these 64 bytes afresh and sends the elements to the witness, which evaluates them under its own key.
P5  It checks the proof against the witness's pinned key, unblinds, and keeps the first 32 bytes: `pseudonym`.

Security. Blinded elements are uniform whatever the input, so neither key holder learns an identifier or recognises
one that comes again. Without both keys a pseudonym is a pseudorandom string: whoever stores pseudonyms and holds
one key cannot test candidates offline (one-more gap Diffie–Hellman in ristretto255, random oracles; RFC 9497,
section 7). A key holder who answers under another key is caught by the proof (DLEQ against the pinned key), so it
cannot tag parties by giving each its own pseudonyms. What remains is testing online, by an enrolled party: identifiers
are public, so quota, log and enrolment are the defence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from voprf import ristretto

from crypto.errors import PseudonymError
from crypto.identifiers import IdentifierType

MAX_BATCH = 65_535
MAX_INPUT_BYTES = 65_535
SEED_BYTES = 32
ELEMENT_BYTES = 32
OUTPUT_BYTES = 64
PSEUDONYM_BYTES = 32
_KEY_INFO = b"digua-1 pseudonym"


def voprf_input(id_type: IdentifierType, normalised: str) -> bytes:
    """P1: the input of the first evaluation, ``type ‖ 0x00 ‖ id`` in UTF-8."""
    return id_type.encode() + b"\x00" + normalised.encode()


def pseudonym(final_output: bytes) -> bytes:
    """P5: the pseudonym, the first 32 of the 64 bytes of the witness's evaluation.

    Raises:
        PseudonymError: the output has another length.
    """
    if len(final_output) != OUTPUT_BYTES:
        raise PseudonymError(
            f"An evaluation's output has {OUTPUT_BYTES} bytes, not {len(final_output)}.",
            field="final_output",
            remedy="Pass the output of the witness's evaluation.",
        )
    return final_output[:PSEUDONYM_BYTES]


def _check_batch(size: int, field: str) -> None:
    if not 1 <= size <= MAX_BATCH:
        raise PseudonymError(
            f"A batch has 1 to {MAX_BATCH} elements, not {size}.", field=field, remedy="Split the batch."
        )


class PseudonymKey:
    """The evaluator's key: one at the hub, another at the witness."""

    def __init__(self, evaluator: ristretto.Evaluator) -> None:
        self._evaluator = evaluator

    @classmethod
    def from_seed(cls, seed: bytes, *, info: bytes = _KEY_INFO) -> Self:
        """Derive the key from a secret seed of 32 bytes (RFC 9497, DeriveKeyPair).

        Raises:
            PseudonymError: the seed has another length.
        """
        if len(seed) != SEED_BYTES:
            raise PseudonymError(
                f"A seed has {SEED_BYTES} bytes, not {len(seed)}.",
                field="seed",
                remedy="Make it with 32 random bytes.",
            )
        return cls(ristretto.Evaluator.from_seed(seed, info))

    @property
    def public(self) -> bytes:
        """The public key that nodes pin: 32 bytes."""
        return self._evaluator.public_key.serialize()

    def evaluate(self, blinded: list[bytes]) -> bytes:
        """P2, P4: evaluate a batch of blinded elements (32 bytes each, 1 to 65,535) with one proof for all.

        Returns:
            The evaluated elements and the proof, for `BlindedBatch.finalize`.

        Raises:
            PseudonymError: an empty or too large batch, or an element that is none (the identity included).
        """
        _check_batch(len(blinded), "blinded")
        try:
            elements = [ristretto.BlindedInput.deserialize(element) for element in blinded]
            return self._evaluator.evaluate_batch(elements).serialize()
        except ValueError as error:
            raise PseudonymError(
                "The batch has an element that is not a group element.",
                field="blinded",
                remedy="Blind the inputs again and send the elements unaltered.",
            ) from error

    def __repr__(self) -> str:
        return f"PseudonymKey(public={self.public.hex()})"


class BlindedBatch:
    """A node's side of one batch: the blinds stay here, `elements` travel. Serves one evaluation."""

    def __init__(self, clients: list[ristretto.Client], elements: list[bytes]) -> None:
        self._clients = clients
        self.elements = elements

    @classmethod
    def blind(cls, inputs: Sequence[bytes]) -> Self:
        """P2, P4: blind a batch of inputs (1 to 65,535 bytes each) with fresh randomness.

        Raises:
            PseudonymError: an empty or too large batch, or an input that cannot be blinded.
        """
        _check_batch(len(inputs), "inputs")
        # The binding does not refuse a long input, yet RFC 9497 frames its length in two bytes.
        if any(not 1 <= len(value) <= MAX_INPUT_BYTES for value in inputs):
            raise PseudonymError(
                f"An input has 1 to {MAX_INPUT_BYTES} bytes.",
                field="inputs",
                remedy="Normalise the identifier first.",
            )
        try:
            pairs = [ristretto.Client.blind(value) for value in inputs]
        except ValueError as error:
            raise PseudonymError(
                "An input cannot be blinded.", field="inputs", remedy="Normalise the identifier first."
            ) from error
        return cls([client for client, _ in pairs], [element.serialize() for _, element in pairs])

    def finalize(self, evaluated: bytes, public: bytes) -> list[bytes]:
        """P3, P5: verify the proof against the evaluator's pinned key and unblind.

        Args:
            evaluated: what `PseudonymKey.evaluate` returned.
            public: the evaluator's pinned public key (32 bytes); never one that came with the answer.

        Returns:
            64 bytes per input, in the order of the inputs.

        Raises:
            PseudonymError: another key, another batch or order, or altered bytes.
        """
        try:
            key = ristretto.PublicKey.deserialize(public)
            output = ristretto.VerifiableBatchOutput.deserialize(evaluated)
            return ristretto.Client.finalize_batch(self._clients, output, key)
        except ValueError as error:
            raise _unverified() from error
        except BaseException as error:
            # The binding panics on a bad proof, and its PanicException is no Exception and cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            raise _unverified() from None


def _unverified() -> PseudonymError:
    return PseudonymError(
        "The evaluation's proof does not verify against the pinned key.",
        field="evaluated",
        remedy="Do not use the answer; compare the pinned public key with its holder's.",
    )
