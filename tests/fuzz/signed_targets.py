"""Signed artefacts, wire models, frames, and what the log proves."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from pydantic import TypeAdapter, ValidationError

from crypto import jws
from crypto.canonical import canonical_bytes
from crypto.checkpoint import parse_note, verify_note
from crypto.consent_receipts import check_acknowledgement
from crypto.deletions import check_deletion
from crypto.errors import CryptoError, KeyFormatError, ProofError, PseudonymError
from crypto.frames import decode_frame, encode_frame
from crypto.identifiers import normalise
from crypto.key_line import KeyLine
from crypto.keys import BoxKey, IdentityKey, encode_pem
from crypto.merkle import HASH_BYTES, consistency_proof, verify_consistency, verify_inclusion
from crypto.merkle import root as tree_root
from crypto.parcel import Parcel, array_from_fields
from crypto.pseudonym import BlindedBatch
from crypto.record_receipts import check_receipt
from crypto.sealed import context_bytes, open_sealed, seal
from crypto.slices import read_block, read_slice
from crypto.ticket_boxes import _SUITE as TICKET_SUITE
from crypto.ticket_boxes import open_text, seal_text, ticket_context
from crypto.tiles import consistency_from_tiles, inclusion_from_tiles, integrate, root_from_tiles
from crypto.training_key import TrainingKey
from crypto.wire.audit import InclusionProof
from crypto.wire.consent import Acknowledgement
from crypto.wire.deletion import DeletionReport
from crypto.wire.link import Frame
from crypto.wire.receipt import ReceiptFile
from tests.fuzz import signers
from tests.fuzz.examples import examples, wire_models
from tests.fuzz.target import Target, join, split

MODELS = wire_models()
_NAMES = list(MODELS)
_CONTEXT = context_bytes(purpose="fuzz")
_TICKET = ticket_context("0" * 32, bytes(32), "bank-1", "question")
_BATCH = BlindedBatch.blind([b"opaque\x00a", b"opaque\x00b"])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _token(data: bytes) -> None:
    token, refused = _text(data), 0
    for check in (
        lambda: jws.verify(token, signers.PARTY.public, typ=signers.TYP),
        lambda: jws.verify_merchant(token, jws.merchant_public(signers.MERCHANT), typ="consent"),
        lambda: jws.verify_merchant(token, jws.merchant_public(signers.MERCHANT_EC), typ="consent"),
        lambda: jws.peek_kid(token, typ=signers.TYP),
        lambda: jws.peek_payload(token),
    ):
        try:
            check()
        except CryptoError as error:
            refused, last = refused + 1, error
    if refused == 5:
        raise last


def _payload(data: bytes) -> None:
    """What an enrolled party signs may still be anything."""
    model = MODELS[_NAMES[data[0] % len(_NAMES)]] if data else MODELS["Terms"]
    token = jws.sign(data[1:], signers.PARTY, typ=signers.TYP, kid=signers.KID)
    read = jws.verify_model(token, signers.PARTY.public, model, typ=signers.TYP, kid=signers.KID)
    canonical_bytes(read)


def _payload_seeds() -> list[bytes]:
    made = {at: examples(model) for at, model in enumerate(MODELS.values())}
    return [bytes([at]) + canonical_bytes(MODELS[_NAMES[at]].model_validate_json(x)) for at in made for x in made[at]]


def _header(data: bytes) -> None:
    """A header that is signed, whatever it is."""
    head = base64.urlsafe_b64encode(data).rstrip(b"=") + b"." + base64.urlsafe_b64encode(b"{}").rstrip(b"=")
    signature = base64.urlsafe_b64encode(signers.PARTY.sign(head)).rstrip(b"=")
    jws.verify((head + b"." + signature).decode(), signers.PARTY.public, typ=signers.TYP)


def _merchant_key(data: bytes) -> None:
    try:
        jwk = TypeAdapter(dict[str, str]).validate_json(data)
    except ValidationError as error:
        raise KeyFormatError("no JWK") from error
    jws.merchant_public(jwk)


def _note(data: bytes) -> None:
    text = _text(data)
    parse_note(text)
    verify_note(text, signers.VERIFIERS, required=set(signers.VERIFIERS))


def _proofs(data: bytes) -> None:
    numbers, leaf, hashes = split(data, 3)
    index, size, old = (int.from_bytes(numbers[at : at + 8], "big") for at in (0, 8, 16))
    proof = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    root = tree_root(signers.HASHES)
    try:
        verify_consistency(old, leaf, size, root, proof)
    except CryptoError:
        verify_inclusion(leaf, index, size, proof, root)


def _proof_seeds() -> list[bytes]:
    size = len(signers.HASHES)
    inclusion = [
        join(b"".join(n.to_bytes(8, "big") for n in (at, size, 0)), signers.HASHES[at], b"".join(signers.proof(at)))
        for at in range(size)
    ]
    consistency = [
        join(
            b"".join(n.to_bytes(8, "big") for n in (0, size, old)),
            tree_root(signers.HASHES[:old]),
            b"".join(consistency_proof(old, signers.HASHES)),
        )
        for old in range(1, size + 1)
    ]
    return inclusion + consistency


class _Shelf:
    """Tiles that are all cut from the same bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, level: int, index: int, width: int) -> bytes:
        start = (level * 131 + index * 17) % (len(self._data) + 1)
        return (self._data[start:] + self._data[:start])[: width * HASH_BYTES]


def _tiles(data: bytes) -> None:
    numbers, shelf = split(data, 2)
    size, old, index = (int.from_bytes(numbers[at : at + 3], "big") for at in (0, 3, 6))
    tiles = _Shelf(shelf)
    integrate(size, [bytes(32)], tiles)
    root_from_tiles(size, tiles)
    inclusion_from_tiles(index, size, tiles)
    consistency_from_tiles(old, size, tiles)


def _sealed(data: bytes) -> None:
    for opened in (
        lambda: open_sealed(data, signers.BOX, context=_CONTEXT),
        lambda: open_text(data, signers.BOX, context=_TICKET),
    ):
        try:
            opened()
        except CryptoError as error:
            last = error
        else:
            return
    raise last


def _ticket_text(data: bytes) -> None:
    """What is in a box may be anything: its sealer is the merchant, whom nobody vouches for."""
    box = TICKET_SUITE.encrypt(data, X25519PublicKey.from_public_bytes(signers.BOX.public), info=_TICKET)
    open_text(box, signers.BOX, context=_TICKET)


def _voprf(data: bytes) -> None:
    elements = [data[at : at + 32] for at in range(0, len(data), 32)]
    try:
        _BATCH.finalize(data, signers.EVALUATOR.public)
    except PseudonymError:
        signers.EVALUATOR.evaluate(elements)


def _voprf_seeds() -> list[bytes]:
    return [b"".join(_BATCH.elements), signers.EVALUATOR.evaluate(_BATCH.elements)]


def _parcel(data: bytes) -> None:
    head, values = split(data, 2)
    dtype, _, shape = _text(head).partition(":")
    sizes = tuple(int(each) for each in shape.split(",") if each.isascii() and each.isdigit() and len(each) < 20)
    parcel = Parcel({"block": dtype}, {"x": array_from_fields(dtype, sizes, values)})
    arrays = dict.fromkeys(("positions", "pseudonyms", "counterpart.tax"), parcel.arrays["x"])
    try:
        read_block(Parcel({"block": _text(values)}))
        parcel.blob("x")
    except CryptoError:
        read_slice(Parcel(arrays=arrays), "bank", ["bank", "tax"])


def _proof_files(data: bytes) -> None:
    """Files that anybody checks: receipts, acknowledgements, statements of deletion."""
    public = signers.PARTY.public
    for model in (ReceiptFile, Acknowledgement, DeletionReport, InclusionProof):
        try:
            read = model.model_validate_json(data)
        except ValidationError:
            continue
        if isinstance(read, ReceiptFile):
            check_receipt(read, hub_key=public, witness_key=signers.WITNESS.public)
        elif isinstance(read, Acknowledgement):
            check_acknowledgement(read, KeyLine.of(public))
        elif isinstance(read, DeletionReport):
            check_deletion(read, public, party_id="bank-1")
        elif isinstance(read, InclusionProof):
            parse_note(read.checkpoint)
        return
    raise ProofError("no file of ours")


def _keys(data: bytes) -> None:
    refused = 0
    for read in (IdentityKey.from_pem, BoxKey.from_pem, TrainingKey.from_openssh):
        try:
            read(data)
        except CryptoError as error:
            refused, last = refused + 1, error
    if refused == 3:
        raise last


def _identifier(data: bytes) -> None:
    text, refused = _text(data), 0
    for sort in ("uscc", "resident-id", "opaque"):
        try:
            normalise(sort, text)
        except CryptoError as error:
            refused, last = refused + 1, error
    if refused == 3:
        raise last


def _frames() -> list[bytes]:
    body = b'{"seq":1}'
    return [encode_frame(Frame(type="feed-ack", id="a", reply_to=reply, body=body)) for reply in (None, "b")]


TARGETS: dict[str, Target] = {
    "jws": Target(_token, lambda: [each.encode() for each in (signers.token(), *signers.merchant_tokens())]),
    "jws-header": Target(_header, lambda: [b'{"alg":"Ed25519","kid":"bank-1","typ":"digua/acceptance+json"}'], 512),
    "wire": Target(_payload, _payload_seeds, 1 << 16),
    "merchant-key": Target(_merchant_key, lambda: [b'{"kty":"OKP","crv":"Ed25519","x":"%s"}' % (b"A" * 43)], 1024),
    "frame": Target(decode_frame, _frames),
    "checkpoint": Target(_note, lambda: [signers.note().encode()]),
    "proofs": Target(_proofs, _proof_seeds, 8192),
    "tiles": Target(_tiles, lambda: [join(bytes([0, 1, 1, 0, 0, 255, 0, 0, 3]), bytes(range(256)) * 32)], 1 << 15),
    "sealed": Target(
        _sealed,
        lambda: [
            seal(b"{}", signers.BOX.public, context=_CONTEXT),
            seal_text("为什么？", signers.BOX.public, context=_TICKET),
        ],
        16384,
    ),
    "ticket-text": Target(_ticket_text, lambda: [(b"\x00\x03" + b"why").ljust(8192, b"\x00"), b"\x00\x01a"], 16384),
    "voprf": Target(_voprf, _voprf_seeds),
    "parcel": Target(
        _parcel, lambda: [join(b"uint8:4", b"0123"), join(b"uint32:2,1", bytes(8)), join(b"int32:0", b"")]
    ),
    "proof-files": Target(
        _proof_files,
        lambda: [*examples(ReceiptFile), *examples(InclusionProof), signers.acknowledgement(), signers.deletion()],
        1 << 16,
    ),
    "keys": Target(
        _keys,
        lambda: [encode_pem(signers.PARTY), encode_pem(signers.BOX), TrainingKey.generate().encode_openssh()],
    ),
    "identifiers": Target(
        _identifier, lambda: [b"91350100M000100Y43", b"11010519491231002X", "商户 １".encode()], 1024
    ),
}
