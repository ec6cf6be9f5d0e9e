"""Successions of keys: what is followed from a pinned key, what is refused, and what counts when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crypto.checkpoint import Checkpoint, assemble, sign_note, verify_note
from crypto.dated import verify_any, verify_bytes, verify_dated, verify_signer
from crypto.errors import ProofError, SignatureError, SuccessionError
from crypto.jws import peek_payload, sign, sign_model
from crypto.key_line import TOLERANCE, HeldKey, KeyLine
from crypto.keys import IdentityKey
from crypto.succession import BOTH_TYPE, line_of, read_succession, sign_succession
from crypto.wire.base import SUITE
from crypto.wire.consent import FeedHead
from crypto.wire.succession import SignedSuccession, Succession

NOW = datetime(2026, 11, 1, 8, tzinfo=UTC)
DAY = timedelta(days=1)
LATER = TOLERANCE + timedelta(seconds=1)
A, B, C, X = (IdentityKey.generate() for _ in range(4))
AB = sign_succession("hub", A, B, holds_from=NOW, issued_at=NOW)
BC = sign_succession("hub", B, C, holds_from=NOW + DAY, issued_at=NOW + DAY)


def head(key: IdentityKey, time: datetime) -> str:
    return sign_model(FeedHead(suite=SUITE, party_id="bank-1", seq=1, time=time), key, typ="feed-head", kid="hub")


def read(token: str, line: KeyLine) -> FeedHead:
    return verify_dated(token, line, FeedHead, typ="feed-head", kid="hub", date=lambda signed: signed.time)


@pytest.mark.parametrize("pinned", [A, B, C])
def test_any_key_of_the_line_leads_to_all_others_in_any_order_of_statements(pinned: IdentityKey) -> None:
    for tokens in ([AB, BC], [BC, AB], [BC, AB, BC]):
        line = line_of(pinned.public, tokens, "hub")
        assert line.publics == (C.public, B.public, A.public)
        assert [(key.since, key.until) for key in line.keys] == [(None, NOW), (NOW, NOW + DAY), (NOW + DAY, None)]
    assert line_of(X.public, [AB, BC], "hub") == KeyLine.of(X.public)
    assert line_of(A.public, [AB, BC], "witness") == KeyLine.of(A.public)


def test_a_signature_counts_by_the_key_that_held_at_its_date() -> None:
    line = line_of(A.public, [AB, BC], "hub")
    for key, begin, end in ((A, NOW - 9 * DAY, NOW), (B, NOW, NOW + DAY), (C, NOW + DAY, NOW + 9 * DAY)):
        for inside in (begin, end, begin - TOLERANCE, end + TOLERANCE):
            assert read(head(key, inside), line).time == inside
        for outside in ([] if key is A else [begin - LATER]) + ([] if key is C else [end + LATER]):
            with pytest.raises(SignatureError, match="did not hold"):
                read(head(key, outside), line)
        assert line.at(begin) == key.public
        assert line.at(end - timedelta(seconds=1)) == key.public
        assert verify_any(head(key, NOW + 99 * DAY), line, FeedHead, typ="feed-head").seq == 1
        assert verify_signer(head(key, NOW), line, FeedHead, typ="feed-head")[1] == key.public
        seed = sign(b"{}", key, typ="seed", kid="w")
        assert verify_bytes(seed, line, typ="seed", moment=end) == b"{}"
        for outside in ([] if key is A else [begin - LATER]) + ([] if key is C else [end + LATER]):
            with pytest.raises(SignatureError, match="did not hold"):
                verify_bytes(seed, line, typ="seed", moment=outside)
    with pytest.raises(SignatureError):
        read(head(X, NOW), line)
    with pytest.raises(SignatureError):
        verify_bytes(sign(b"{}", X, typ="seed", kid="w"), line, typ="seed", moment=NOW)


def test_a_statement_that_the_old_key_did_not_sign_is_followed_backwards_only() -> None:
    alone = sign_succession("hub", A.public, B, holds_from=NOW, issued_at=NOW)
    assert not read_succession(alone).forward
    assert line_of(A.public, [alone], "hub") == KeyLine.of(A.public)
    assert line_of(B.public, [alone], "hub").publics == (B.public, A.public)
    # The inner half of a whole one is no more than that.
    outer = SignedSuccession.model_validate_json(peek_payload(AB))
    assert line_of(A.public, [outer.succession], "hub") == KeyLine.of(A.public)
    assert line_of(A.public, [outer.succession, AB], "hub").newest == B.public


def test_of_two_successors_none_is_followed() -> None:
    rival = sign_succession("hub", A, X, holds_from=NOW, issued_at=NOW)
    other_time = sign_succession("hub", A, B, holds_from=NOW + DAY, issued_at=NOW)
    for second in (rival, other_time):
        with pytest.raises(SuccessionError, match="different keys"):
            line_of(A.public, [AB, second], "hub")
    # Whoever pins a key after the fork, by hand, is not held up by it.
    assert line_of(B.public, [AB, rival], "hub").publics == (B.public, A.public)
    two_pasts = sign_succession("hub", X, B, holds_from=NOW, issued_at=NOW)
    with pytest.raises(SuccessionError, match="different keys"):
        line_of(B.public, [AB, two_pasts], "hub")


def test_forged_statements_are_refused() -> None:
    said = Succession(suite=SUITE, party_id="hub", old_key=A.public, new_key=X.public, holds_from=NOW, issued_at=NOW)
    inner = sign_model(said, X, typ="succeeding-key", kid="hub")
    by_stranger = sign_model(SignedSuccession(suite=SUITE, succession=inner), X, typ=BOTH_TYPE, kid="hub")
    not_agreed = sign_model(said, A, typ="succeeding-key", kid="hub")
    other_name = sign_model(SignedSuccession(suite=SUITE, succession=inner), A, typ=BOTH_TYPE, kid="hub-2")
    for token in (by_stranger, not_agreed, other_name, AB[:-4] + "AAAA", head(A, NOW), "a.b.c"):
        with pytest.raises(SignatureError):
            line_of(A.public, [token], "hub")


def test_times_go_forward_and_no_key_comes_back() -> None:
    with pytest.raises(SuccessionError, match="before it is announced"):
        sign_succession("hub", A, B, holds_from=NOW - DAY, issued_at=NOW)
    with pytest.raises(SuccessionError, match="itself"):
        sign_succession("hub", A, A, holds_from=NOW, issued_at=NOW)
    early = sign_succession("hub", B, C, holds_from=NOW - DAY, issued_at=NOW - DAY)
    with pytest.raises(SuccessionError, match="before the one"):
        line_of(A.public, [AB, early], "hub")
    back = sign_succession("hub", B, A, holds_from=NOW + DAY, issued_at=NOW + DAY)
    with pytest.raises(SuccessionError, match="comes back"):
        line_of(A.public, [AB, back], "hub")
    with pytest.raises(SuccessionError, match="More than"):
        line_of(A.public, [AB] * 257, "hub")


def test_a_note_counts_by_the_key_that_held_when_it_was_cosigned() -> None:
    line, witness = line_of(A.public, [AB], "hub"), IdentityKey.generate()
    body = Checkpoint("log", 3, bytes(32)).body()

    def note(key: IdentityKey, at: datetime | None) -> str:
        lines = [sign_note(body, "log", key)]
        if at is not None:
            lines.append(sign_note(body, "witness", witness, cosignature_time=int(at.timestamp())))
        return assemble(body, lines)

    keys = {"log": line, "witness": witness.public}
    for key, at in ((A, NOW - DAY), (A, NOW + TOLERANCE), (B, NOW), (B, NOW + DAY)):
        assert verify_note(note(key, at), keys, required={"log", "witness"}).size == 3
    for key, at in ((A, NOW + LATER), (B, NOW - LATER)):
        with pytest.raises(ProofError, match="did not hold"):
            verify_note(note(key, at), keys, required={"log", "witness"})
        with pytest.raises(ProofError, match="did not hold"):
            verify_note(note(key, None), keys, required={"log"}, moment=at)
    assert verify_note(note(A, None), keys, required={"log"}).size == 3
    with pytest.raises(ProofError, match="missing"):
        verify_note(note(X, NOW), keys, required={"log"})
    former = {"log": line, "witness": KeyLine((HeldKey(witness.public, until=NOW),))}
    with pytest.raises(ProofError, match="did not hold"):
        verify_note(note(B, NOW + LATER), former, required={"witness"})
