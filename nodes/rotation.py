"""A node's new keys in place of its old ones (docs/protocol.md, 0).

K0  A node whose last rotation the witness has not approved yet does not rotate again.
K1  New identity, training and box key are written beside the old ones, `*.new`, and used again if there are some.
K2  A `KeyRotation` signed by the old key brings the party with its new keys, which the new key signed as well.
K3  The hub takes it. Where it no longer knows the old key, a run before this one may have ended between K3 and K4: then
    the same statement by the new key shows that the hub has it.
K4  Only now the files are swapped, each atomically, identity first; the old ones stay as `*.old`.

Whatever the moment of a crash, running it again goes on from there. The new keys count once the witness's owner has
approved their fingerprint.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from crypto.dated import verify_dated
from crypto.jws import sign_model
from crypto.keys import BoxKey, IdentityKey, encode_pem
from crypto.succession import line_of
from crypto.training_key import TrainingKey
from crypto.wire.base import SUITE
from crypto.wire.party import KeyRotation, Party, Roster
from nodes.clock import Clock, system_clock
from nodes.config import NodeConfig
from nodes.errors import ConfigError, PeerError
from nodes.hub_client import HubClient
from nodes.keys import (
    BOX_FILE,
    IDENTITY_FILE,
    NEW,
    OLD,
    TRAINING_FILE,
    NodeKeys,
    half_swapped,
    load_keys,
    read_secret,
    write_secret,
)

_UNSIGNED = "signature-invalid"
_NO_ROSTER = "not-found"


def rotate(config: NodeConfig, hub: HubClient, *, clock: Clock = system_clock) -> NodeKeys:
    """K0 to K4; the caller holds the node alone. Returns the keys that are in place now.

    Raises:
        ConfigError: the node is not enrolled, or is the witness, or its last rotation is not approved, or key files
            cannot be read or written.
        PeerError: the hub refused, or is out of reach; the old keys stay in place.
        SignatureError: the hub's roster is not the pinned witness's.
    """
    if config.kind == "witness":
        raise ConfigError(
            "every node pins the witness's key: its successor is announced to all of them",
            field="kind",
            remedy="use digua-node witness rotate-key",
        )
    directory = config.keys_dir
    if not half_swapped(directory):
        old = load_keys(directory, kind=config.kind)
        new = _prepare(directory)
        _check_approved(config, hub, old, new)
        try:
            hub.rotate(_statement(config, old.identity, new, clock()))
        except PeerError as refusal:
            if refusal.peer_code != _UNSIGNED:
                raise
            try:
                hub.rotate(_statement(config, new.identity, new, clock()))
            except PeerError:
                raise refusal from None
    _swap(directory)
    return load_keys(directory, kind=config.kind)


def _prepare(directory: Path) -> NodeKeys:
    """K1."""
    identity, box = directory / (IDENTITY_FILE + NEW), directory / (BOX_FILE + NEW)
    if not identity.exists():
        write_secret(identity, encode_pem(IdentityKey.generate()))
    if not box.exists():
        write_secret(box, encode_pem(BoxKey.generate()))
    training = directory / (TRAINING_FILE + NEW)
    if (directory / TRAINING_FILE).exists() and not training.exists():
        write_secret(training, TrainingKey.generate().encode_openssh())
    _sync(directory)
    return NodeKeys(
        IdentityKey.from_pem(read_secret(identity)),
        BoxKey.from_pem(read_secret(box)),
        training=TrainingKey.from_openssh(read_secret(training)) if training.exists() else None,
    )


def _check_approved(config: NodeConfig, hub: HubClient, old: NodeKeys, new: NodeKeys) -> None:
    """K0."""
    trust = config.require_trust()
    try:
        token = hub.roster()
    except PeerError as refusal:
        if refusal.peer_code == _NO_ROSTER:
            return
        raise
    keys = line_of(trust.witness_sign_key, hub.info().successions, trust.witness_id)
    roster = verify_dated(token, keys, Roster, typ="roster", kid=trust.witness_id)
    entry = next((party for party in roster.parties if party.party_id == config.party_id), None)
    known = [(keys.identity.public, keys.box.public) for keys in (old, new)]
    if entry is not None and (entry.sign_key, entry.box_key) not in known:
        raise ConfigError(
            f"the witness's roster has other keys for {config.party_id} than those in {config.keys_dir}",
            field="keys_dir",
            remedy="wait until the witness's owner has approved the keys of the last rotation",
        )


def _statement(config: NodeConfig, signer: IdentityKey, new: NodeKeys, now: datetime) -> str:
    """K2."""
    party = Party(
        party_id=config.party_id,
        kind=config.kind,
        region=config.region,
        title=config.title,
        sign_key=new.identity.public,
        box_key=new.box.public,
        training_key=None if new.training is None else new.training.public,
    )
    inner = sign_model(party, new.identity, typ="rotated-party", kid=config.party_id)
    rotation = KeyRotation(suite=SUITE, party_id=config.party_id, new_party=inner, issued_at=now)
    return sign_model(rotation, signer, typ="key-rotation", kid=config.party_id)


def _swap(directory: Path) -> None:
    """K4."""
    for name in (IDENTITY_FILE, TRAINING_FILE, BOX_FILE):
        current, new, old = directory / name, directory / (name + NEW), directory / (name + OLD)
        if not new.exists():
            continue  # done by a run that was interrupted
        try:
            # A second name, so that there is a key under `name` at every moment.
            kept = directory / (name + ".keeping")
            kept.unlink(missing_ok=True)
            os.link(current, kept)
            os.replace(kept, old)
            os.replace(new, current)
        except OSError as problem:
            raise ConfigError(
                f"{current} cannot be swapped: {problem.strerror}",
                field="keys_dir",
                remedy="correct the folder's permissions and run digua-node rotate again",
            ) from problem
        _sync(directory)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
