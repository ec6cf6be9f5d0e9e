"""A checkpoint that verified once is verified anew under any other key, and in any other bytes."""

from __future__ import annotations

import pytest

from crypto.checkpoint import Checkpoint, assemble, sign_note
from crypto.errors import ProofError
from crypto.keys import IdentityKey
from nodes.logged_entries import _cosigned

ORIGIN = "hub.example/log"
BODY = Checkpoint(ORIGIN, 7, bytes(32)).body()


@pytest.fixture
def keys() -> tuple[IdentityKey, IdentityKey]:
    return IdentityKey.generate(), IdentityKey.generate()


def note(hub: IdentityKey, witness: IdentityKey, body: bytes = BODY) -> str:
    return assemble(body, [sign_note(body, ORIGIN, hub), sign_note(body, "witness", witness, cosignature_time=5)])


def test_after_a_rotation_the_old_note_is_refused(keys: tuple[IdentityKey, IdentityKey]) -> None:
    hub, witness = keys
    text = note(hub, witness)
    assert _cosigned(text, hub.public, "witness", witness.public).size == 7
    with pytest.raises(ProofError):
        _cosigned(text, IdentityKey.generate().public, "witness", witness.public)
    with pytest.raises(ProofError):
        _cosigned(text, hub.public, "witness", IdentityKey.generate().public)
    with pytest.raises(ProofError):
        _cosigned(text, hub.public, "another", witness.public)


def test_an_altered_note_is_refused(keys: tuple[IdentityKey, IdentityKey]) -> None:
    hub, witness = keys
    text = note(hub, witness)
    assert _cosigned(text, hub.public, "witness", witness.public).size == 7
    with pytest.raises(ProofError):
        _cosigned(text.replace("\n7\n", "\n8\n"), hub.public, "witness", witness.public)
    with pytest.raises(ProofError):
        _cosigned(assemble(BODY, [sign_note(BODY, ORIGIN, hub)]), hub.public, "witness", witness.public)
