"""States of one attempt at the witness and at a node (docs/protocol.md, 3 and 4): pure, no I/O, no clock.

Every transition returns a new state (or the same one, when it only repeats what is already recorded).
**The caller persists the new state before anything that it permits leaves the machine**: before a cosignature,
an acceptance, rows, a term, a receipt, a `released` or a `void` is sent. States are pydantic models:
`model_dump_json` to store, `model_validate_json` to load.

What the rules buy:

* One h per attempt (T0): two manifests under one id would give two different sums under one set of masks.
* A matrix is frozen at acceptance (T1), and one seed masks it once (T2): rows masked twice under one seed
  subtract to the rows' difference; a table from another matrix than the masked one opens to single words.
* A term is sent once (T3): asked again, a node repeats the bytes or refuses. Fresh noise under the old masks
  would subtract to the noise's difference.
* Released or void, never both (T3′, T4): after a void, nodes take their charge back; a released term would
  make that a free query. In encoder rounds the witness's term travels without receipts, so it counts as
  released when sent and there is no void.

Sorts of attempt: `tables` (seeds and receipts), `sum` (receipts only, e.g. evaluation), `round` (one try of an
encoder round: neither).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import ValidationError

from crypto.errors import AttemptError
from crypto.wire.base import Hash, Identifier, PartyId, WireModel

Sort = Literal["tables", "sum", "round"]
WitnessPhase = Literal["cosigned", "accepted", "seeded", "complete", "released", "void"]
NodePhase = Literal["accepted", "exchanged", "sent", "released", "void"]


class _State(WireModel):
    """What both sides share: identity of the attempt and the refusals."""

    attempt: Identifier
    h: Hash
    sort: Sort

    @classmethod
    def _made(cls, fields: Mapping[str, Any]) -> Self:
        """A validated state: what cannot be loaded again is never stored."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            at = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise AttemptError(
                f"an attempt's record is malformed at {at}",
                field=at,
                remedy="give ids and 32-byte hashes as on the wire",
            ) from error

    def _next(self, **changes: Any) -> Self:
        return self._made({**dict(self), **changes})

    def _same_h(self, h: bytes) -> None:
        if h != self.h:
            raise AttemptError(
                f"another manifest for attempt {self.attempt}",
                field="h",
                remedy="one attempt has one manifest; start a new attempt",
            )

    def _refuse(self, step: str, phase: str) -> AttemptError:
        return AttemptError(
            f"{step} is not possible: attempt {self.attempt} is {phase}",
            field="phase",
            remedy="follow the order of the protocol, or start a new attempt",
        )


class WitnessAttempt(_State):
    """The witness's record of one attempt.

    Attributes:
        phase: cosigned → accepted → seeded → complete → released, or void from any but released.
        nodes: ids of the roster.
        acceptances: SHA-256 of each node's signed acceptance.
        seeds: a seed per node (`tables`); secret, so the stored state is.
        receipts: SHA-256 that each node's receipt names.
        term: the released term's exact bytes.
    """

    phase: WitnessPhase = "cosigned"
    nodes: tuple[PartyId, ...]
    acceptances: dict[PartyId, Hash] = {}
    seeds: dict[PartyId, Hash] = {}
    receipts: dict[PartyId, Hash] = {}
    term: bytes | None = None

    @classmethod
    def cosign(
        cls,
        attempt: str,
        h: bytes,
        nodes: Iterable[str],
        *,
        sort: Sort = "tables",
        recorded: WitnessAttempt | None = None,
    ) -> WitnessAttempt:
        """T0: a manifest for this attempt's id, after `crypto.manifest.check_slices`.

        Args:
            attempt: the attempt's id.
            h: the manifest's root.
            nodes: ids of its roster.
            sort: which trips follow.
            recorded: what is stored under this id, if anything.

        Raises:
            AttemptError: another manifest, roster or sort is recorded under this id, or fewer than two nodes.
        """
        fresh = cls._made({"attempt": attempt, "h": h, "sort": sort, "nodes": tuple(sorted(set(nodes)))})
        if len(fresh.nodes) < 2:
            raise AttemptError(
                f"attempt {attempt} has fewer than two nodes", field="nodes", remedy="take in more nodes"
            )
        if recorded is None:
            return fresh
        recorded._same_h(h)
        if (recorded.attempt, recorded.sort, recorded.nodes) != (attempt, sort, fresh.nodes):
            raise recorded._refuse("cosigning another roster", recorded.phase)
        return recorded

    @classmethod
    def open_round(cls, run: WitnessAttempt, attempt: str) -> WitnessAttempt:
        """A try of an encoder round (section 5): keys and acceptances are those of its run.

        Only for an id under which nothing is stored; else the stored state goes on.

        Raises:
            AttemptError: the run is not of sort `round`, lacks acceptances, or the id is not within the run's.
        """
        if run.sort != "round" or run.phase != "accepted" or not attempt.startswith(run.attempt + "/"):
            raise run._refuse("opening a round", run.phase)
        return run._next(attempt=attempt)

    def accept(self, node: str, h: bytes, acceptance_sha256: bytes) -> WitnessAttempt:
        """T1: a node's signed acceptance, verified by the caller. The last one makes the phase `accepted`.

        Raises:
            AttemptError: a stranger, another h, or a second, different acceptance.
        """
        self._same_h(h)
        if self.acceptances.get(node) == acceptance_sha256:
            return self
        if self.phase != "cosigned" or node not in self.nodes or node in self.acceptances:
            raise self._refuse(f"an acceptance by {node}", self.phase)
        acceptances = {**self.acceptances, node: acceptance_sha256}
        done = len(acceptances) == len(self.nodes)
        return self._next(acceptances=acceptances, phase="accepted" if done else "cosigned")

    def seed(self, seeds: Mapping[str, bytes]) -> WitnessAttempt:
        """T1′: one seed per node, picked by the caller from the operating system's randomness, 32 bytes each.

        Raises:
            AttemptError: not accepted by all, not exactly the roster's nodes, seeds repeat, or others are recorded.
        """
        if self.seeds and self.seeds == dict(seeds):
            return self
        if self.sort != "tables" or self.phase != "accepted":
            raise self._refuse("seeding", self.phase)
        if set(seeds) != set(self.nodes) or len(set(seeds.values())) != len(self.nodes):
            raise AttemptError(
                f"attempt {self.attempt} needs one seed of its own for every node",
                field="seeds",
                remedy="draw a fresh 32-byte seed per node",
            )
        if any(len(seed) != 32 for seed in seeds.values()):
            raise AttemptError("a seed is not 32 bytes", field="seeds", remedy="draw 32 bytes per node")
        return self._next(seeds=dict(seeds), phase="seeded")

    def receive(self, node: str, h: bytes, sha256: bytes) -> WitnessAttempt:
        """T3: a node's signed receipt, verified by the caller. The last one makes the phase `complete`.

        Raises:
            AttemptError: a stranger, another h, a second, different receipt, or too early or late.
        """
        self._same_h(h)
        if self.receipts.get(node) == sha256:
            return self
        ready = "seeded" if self.sort == "tables" else "accepted"
        if self.sort == "round" or self.phase != ready or node not in self.nodes or node in self.receipts:
            raise self._refuse(f"a receipt of {node}", self.phase)
        receipts = {**self.receipts, node: sha256}
        done = len(receipts) == len(self.nodes)
        return self._next(receipts=receipts, phase="complete" if done else ready)

    def release(self, term: bytes) -> WitnessAttempt:
        """T3′: the term may leave, once the returned state is stored. Asked again, send `term` of the state.

        Raises:
            AttemptError: receipts are missing, the attempt is void, or another term was released.
        """
        if self.phase == "released" and self.term == term:
            return self
        if self.phase != ("accepted" if self.sort == "round" else "complete"):
            raise self._refuse("releasing", self.phase)
        return self._next(phase="released", term=term)

    def void(self) -> WitnessAttempt:
        """T4: never a term for this attempt. Seeds are forgotten.

        Raises:
            AttemptError: it was released, or is an encoder round, which has no void.
        """
        if self.phase == "void":
            return self
        if self.phase == "released" or self.sort == "round":
            raise self._refuse("voiding", self.phase)
        return self._next(phase="void", seeds={})


class NodeAttempt(_State):
    """A node's record of one attempt.

    Attributes:
        phase: accepted → exchanged (`tables`) → sent → released or void.
        matrix_sha256: hash of the matrix frozen at acceptance.
        charge: what the ledger is charged when the term is sent, in the ledger's unit.
        witness_key: the witness's X25519 key in the cosignature.
        seed_sha256: hash of the one seed of this attempt.
        rows_sha256: hash of everything sent in T2.
        sent: exact bytes of the term.
    """

    phase: NodePhase = "accepted"
    matrix_sha256: Hash
    charge: float
    witness_key: Hash
    seed_sha256: Hash | None = None
    rows_sha256: Hash | None = None
    sent: bytes | None = None

    @classmethod
    def accept(
        cls,
        attempt: str,
        h: bytes,
        *,
        matrix_sha256: bytes,
        charge: float,
        witness_key: bytes,
        sort: Sort = "tables",
        recorded: NodeAttempt | None = None,
    ) -> NodeAttempt:
        """T1: accepts one manifest for this id and freezes the matrix.

        Raises:
            AttemptError: something else is recorded under this id.
        """
        fresh = cls._made(
            {
                "attempt": attempt,
                "h": h,
                "sort": sort,
                "matrix_sha256": matrix_sha256,
                "charge": charge,
                "witness_key": witness_key,
            }
        )
        if recorded is None:
            return fresh
        recorded._same_h(h)
        frozen = {"attempt", "sort", "matrix_sha256", "charge", "witness_key"}
        if recorded.model_dump(include=frozen) != fresh.model_dump(include=frozen):
            raise recorded._refuse("accepting with another matrix, charge or witness key", recorded.phase)
        return recorded

    @classmethod
    def open_round(cls, run: NodeAttempt, attempt: str, *, charge: float) -> NodeAttempt:
        """A try of an encoder round (section 5), under the acceptance of its run.

        Only for an id under which nothing is stored; else the stored state goes on (and repeats its bytes).

        Raises:
            AttemptError: the run is not an accepted one of sort `round`, or the id is not within the run's.
        """
        if run.sort != "round" or run.phase != "accepted" or not attempt.startswith(run.attempt + "/"):
            raise run._refuse("opening a round", run.phase)
        return run._next(attempt=attempt, charge=charge)

    @property
    def charged(self) -> bool:
        """Whether the ledger holds the charge: from sending on, unless the witness signed void."""
        return self.phase in ("sent", "released")

    def exchange(self, seed: bytes, *, matrix_sha256: bytes, rows_sha256: bytes) -> NodeAttempt:
        """T2: masks the frozen matrix under the attempt's one seed. Repeats give the same rows.

        Args:
            seed: the seed that the witness sealed to this node, 32 bytes.
            matrix_sha256: hash of the matrix about to be masked.
            rows_sha256: hash over all rows about to be sent.

        Raises:
            AttemptError: another seed, another matrix, or other rows than recorded; or not a table attempt.
        """
        if matrix_sha256 != self.matrix_sha256:
            raise AttemptError(
                f"the matrix of attempt {self.attempt} is not the one frozen at acceptance",
                field="matrix_sha256",
                remedy="refuse this attempt; the next one freezes the new data",
            )
        seed_sha256 = hashlib.sha256(seed).digest()
        if self.phase == "exchanged" and (self.seed_sha256, self.rows_sha256) == (seed_sha256, rows_sha256):
            return self
        if self.sort != "tables" or self.phase != "accepted" or len(seed) != 32:
            raise self._refuse("masking rows again under another seed", self.phase)
        return self._next(phase="exchanged", seed_sha256=seed_sha256, rows_sha256=rows_sha256)

    def send(self, term: bytes) -> NodeAttempt:
        """T3: records the exact term; charge the ledger in the same transaction, then send `repeat()`.

        Raises:
            AttemptError: a term was recorded already (use `repeat`), or the exchange is missing.
        """
        if self.phase != ("exchanged" if self.sort == "tables" else "accepted"):
            raise self._refuse("sending a term", self.phase)
        return self._next(phase="sent", sent=term)

    def repeat(self, h: bytes) -> bytes:
        """The recorded term, the same bytes however often it is asked for.

        Raises:
            AttemptError: another h, nothing sent yet, or the attempt is void.
        """
        self._same_h(h)
        if self.sent is None or self.phase not in ("sent", "released"):
            raise self._refuse("repeating a term", self.phase)
        return self.sent

    def receipt_sha256(self) -> bytes:
        """SHA-256 of the recorded term, for the receipt."""
        return hashlib.sha256(self.repeat(self.h)).digest()

    def release(self, h: bytes) -> NodeAttempt:
        """T4: the witness's signed `released`, verified by the caller.

        Raises:
            AttemptError: another h, or nothing was sent, or it is void.
        """
        self._same_h(h)
        if self.phase == "released":
            return self
        if self.phase != "sent":
            raise self._refuse("a release", self.phase)
        return self._next(phase="released")

    def void(self, h: bytes) -> NodeAttempt:
        """T4: the witness's signed `void`, verified by the caller: the charge is refunded, the term forgotten.

        Raises:
            AttemptError: another h, an encoder round, or it was released.
        """
        self._same_h(h)
        if self.phase == "void":
            return self
        if self.phase == "released" or self.sort == "round":
            raise self._refuse("voiding", self.phase)
        return self._next(phase="void", sent=None)
