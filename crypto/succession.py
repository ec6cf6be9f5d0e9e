"""One key of a party followed by the next (**composed**; docs/protocol.md, 0).

S1  The new key signs whom it follows and from when it holds, never before the day of signing; the old key signs around
    that. Both signatures together are a succession.
S2  From the key that is pinned, verifiers go on to the keys after it by both signatures, and back to those before it by
    the newer key's alone: whoever is trusted to sign now is trusted to say who signed before.
S3  A signature counts by the key that held when its artefact is dated (`crypto.key_line`).
S4  A key has one successor. Of two, none is taken by a verifier that knows neither; one that follows the first already
    stays with it.

*Why it holds.* To be followed, a forged key needs a signature of the key that is pinned; that key's owner signs once.
Who stole the old key *before* its end can name a successor to verifiers that have not heard of the true one: against
that the verifiers meet the true one as a second (S4), the witness's roster names the hub's key, and a pinned key is
changed by hand. Who stole it *after* its end can only write what is dated before: what must be fresh is judged by the
verifier's own clock. Where the old key is lost, the new one's statement alone (S2, backwards) keeps old artefacts
verifiable for everybody who pins the new key by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from crypto.errors import SignatureError, SuccessionError
from crypto.jws import parse_canonical, peek_kid, peek_payload, sign_model, verify_model
from crypto.key_line import HeldKey, KeyLine
from crypto.keys import Signer
from crypto.wire.base import SUITE
from crypto.wire.succession import SignedSuccession, Succession

NEW_TYPE = "succeeding-key"
BOTH_TYPE = "key-succession"
MAX_SUCCESSIONS = 256


@dataclass(frozen=True)
class ReadSuccession:
    """A statement whose signatures were verified; `forward` where the old key's is among them."""

    token: str
    said: Succession
    forward: bool


def sign_succession(
    party_id: str, old: Signer | bytes, new: Signer, *, holds_from: datetime, issued_at: datetime
) -> str:
    """S1: sign that one key follows another.

    Args:
        party_id: whose keys they are.
        old: the old key; only its public half (32 bytes) where the secret one is lost: then nobody follows the
            statement forwards.
        new: the new key.
        holds_from: from when the new key signs.
        issued_at: the time.

    Raises:
        SuccessionError: it would hold before it is signed, or both keys are one.
    """
    former = old if isinstance(old, bytes) else old.public
    said = Succession(
        suite=SUITE, party_id=party_id, old_key=former, new_key=new.public, holds_from=holds_from, issued_at=issued_at
    )
    _check(said)
    inner = sign_model(said, new, typ=NEW_TYPE, kid=party_id)
    if isinstance(old, bytes):
        return inner
    return sign_model(SignedSuccession(suite=SUITE, succession=inner), old, typ=BOTH_TYPE, kid=party_id)


def read_succession(token: str) -> ReadSuccession:
    """Verify a statement by the very keys that it names; whether one of them is trusted is `line_of`'s matter.

    Raises:
        SignatureError: it is none, or a signature is wrong.
        SuccessionError: it contradicts itself.
    """
    outer = _outer(token)
    inner = token if outer is None else outer.succession
    said = parse_canonical(peek_payload(inner), Succession)
    verify_model(inner, said.new_key, Succession, typ=NEW_TYPE, kid=said.party_id)
    if outer is not None:
        verify_model(token, said.old_key, SignedSuccession, typ=BOTH_TYPE, kid=said.party_id)
    _check(said)
    return ReadSuccession(token, said, outer is not None)


def line_of(pinned: bytes, tokens: Sequence[str], party_id: str) -> KeyLine:
    """S2: the line of keys through the pinned one; statements of other parties are passed over.

    Args:
        pinned: the key that is trusted, 32 bytes.
        tokens: statements in any order.
        party_id: whose line it is.

    Raises:
        SignatureError: a statement is not signed by the keys that it names.
        SuccessionError: on the way two keys follow one (S4), or a key comes back, or times go back.
    """
    if len(tokens) > MAX_SUCCESSIONS:
        raise _refused(f"More than {MAX_SUCCESSIONS} statements came.", "successions")
    read = [each for each in map(read_succession, tokens) if each.said.party_id == party_id]
    before = _walk(pinned, [(each.said.new_key, each.said.old_key, each.said) for each in read])
    after = _walk(pinned, [(each.said.old_key, each.said.new_key, each.said) for each in read if each.forward])
    steps = [*reversed(before), *after]
    publics = [steps[0].old_key, *(step.new_key for step in steps)] if steps else [pinned]
    if len(set(publics)) != len(publics):
        raise _refused("A former key comes back.", "new_key")
    moments = [step.holds_from for step in steps]
    if moments != sorted(set(moments)):
        raise _refused("A key holds before the one that it follows.", "holds_from")
    ends: list[datetime | None] = [None, *moments, None]
    return KeyLine(tuple(HeldKey(key, ends[place], ends[place + 1]) for place, key in enumerate(publics)))


def _walk(start: bytes, steps: Iterable[tuple[bytes, bytes, Succession]]) -> list[Succession]:
    """The statements met when going from key to key; two ways from one are none (S4)."""
    ways: dict[bytes, tuple[bytes, Succession]] = {}
    rivals: set[bytes] = set()
    for here, there, said in steps:
        if ways.setdefault(here, (there, said))[1] != said:
            rivals.add(here)
    walked: list[Succession] = []
    seen = {start}
    while start in ways:
        if start in rivals:
            raise _refused("Two statements name different keys or times for one key.", "successions")
        start, said = ways[start]
        if start in seen:
            raise _refused("A former key comes back.", "new_key")
        seen.add(start)
        walked.append(said)
    return walked


def _outer(token: str) -> SignedSuccession | None:
    try:
        peek_kid(token, typ=BOTH_TYPE)
    except SignatureError:
        return None
    return parse_canonical(peek_payload(token), SignedSuccession)


def _check(said: Succession) -> None:
    if said.new_key == said.old_key:
        raise _refused("A key cannot follow itself.", "new_key")
    if said.holds_from < said.issued_at:
        raise _refused("A key cannot hold before it is announced.", "holds_from")


def _refused(message: str, field: str) -> SuccessionError:
    return SuccessionError(
        message, field=field, remedy="Keep the statements, and telephone the key's owner: somebody else may have it."
    )
