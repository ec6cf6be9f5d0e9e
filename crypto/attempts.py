"""States of one attempt at the witness and at a node (docs/protocol.md, 3 and 4): pure, no I/O, no clock.

Every transition returns a new state (or the same one, when it only repeats what is already recorded).
**The caller persists the new state before anything that it permits leaves the machine**: before a cosignature,
an acceptance, rows, a term, a receipt, a `released` or a `void` is sent. States are pydantic models:
`model_dump_json` to store, `model_validate_json` to load.

What the rules buy:

* One h per attempt (T0): two manifests under one id would give two different sums under one set of masks.
* A matrix is frozen at acceptance (T1), and one seed masks it once (T2): rows masked twice under one seed
  subtract to the rows' difference; a table from another matrix than the masked one opens to single words.
* Blocks of positions go in order, each masked once and counted once (T2, T3), and no term is sent before the last is
  counted: an inbox left out, counted twice or put in another's place leaves uniform words in the total.
* A term is sent once (T3): asked again, a node repeats the bytes or refuses. Fresh noise under the old masks
  would subtract to the noise's difference.
* A try of an encoder round has one set of parameters: gradients at two points under one set of masks would
  subtract to their difference, and the hub could have the counted sum taken elsewhere than it says.
* Released or void, never both (T3′, T4): after a void, nodes take their charge back; a released term would
  make that a free query. In encoder rounds the witness's term travels without receipts, so it counts as
  released when sent and there is no void.

Sorts of attempt: `tables` (seeds and receipts), `sum` (receipts only, e.g. evaluation), `round` (one try of an
encoder round: neither).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError

from crypto.errors import AttemptError
from crypto.wire.base import Hash, Identifier, PartyId, WireModel

Sort = Literal["tables", "sum", "round"]
WitnessPhase = Literal["cosigned", "accepted", "seeded", "complete", "released", "void"]
NodePhase = Literal["accepted", "exchanged", "sent", "released", "void"]

_WITNESS_ORDER: tuple[str, ...] = ("cosigned", "accepted", "seeded", "complete", "released")
_NODE_ORDER: tuple[str, ...] = ("accepted", "exchanged", "sent", "released")


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

    def _same_parameters(self, recorded: bytes | None, parameters_sha256: bytes) -> None:
        if recorded != parameters_sha256:
            raise AttemptError(
                f"try {self.attempt} was ordered before with other parameters",
                field="parameters",
                remedy="a try is never used twice; order the next one",
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
        parameters_sha256: of a try of an encoder round, the parameters that its masks are bound to.
    """

    phase: WitnessPhase = "cosigned"
    nodes: tuple[PartyId, ...]
    acceptances: dict[PartyId, Hash] = {}
    seeds: dict[PartyId, Hash] = {}
    receipts: dict[PartyId, Hash] = {}
    term: bytes | None = None
    parameters_sha256: Hash | None = None

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
    def open_round(
        cls, run: WitnessAttempt, attempt: str, parameters_sha256: bytes, *, recorded: WitnessAttempt | None = None
    ) -> WitnessAttempt:
        """A try of an encoder round (section 5): keys and acceptances are those of its run.

        Args:
            run: the run's state.
            attempt: the try's id.
            parameters_sha256: of the parameters that its order names.
            recorded: what is stored under this id, if anything.

        Raises:
            AttemptError: the run is not of sort `round`, lacks acceptances, or the id is not within the run's; or the
                try was opened before on other parameters.
        """
        if recorded is not None:
            recorded._same_h(run.h)
            recorded._same_parameters(recorded.parameters_sha256, parameters_sha256)
            return recorded
        if run.sort != "round" or run.phase != "accepted" or not attempt.startswith(run.attempt + "/"):
            raise run._refuse("opening a round", run.phase)
        return run._next(attempt=attempt, parameters_sha256=parameters_sha256)

    @property
    def progress(self) -> int:
        """Always 0: within a phase only acceptances and receipts are added, all at once."""
        return 0

    @property
    def replaces(self) -> frozenset[str]:
        """Phases of a stored state that this one may be written over, as `_replaced`."""
        return _replaced(self.phase, _WITNESS_ORDER)

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
        charge: what the ledger is charged when the term is sent, in the ledger's unit; of an encoder run, by the first
            of its tries that is sent.
        witness_key: the witness's X25519 key in the cosignature.
        seed_sha256: hash of the one seed of this attempt.
        blocks: blocks of cohort positions that the exchange goes through, in order.
        rows_sha256: of each block whose rows were sent in T2, the hash of all of them.
        counted: blocks whose inbox is in the node's cells.
        sent: exact bytes of the term.
        parameters_sha256: of a try of an encoder round, the parameters at which its gradients are taken.
    """

    phase: NodePhase = "accepted"
    matrix_sha256: Hash
    charge: float
    witness_key: Hash
    blocks: Annotated[int, Field(ge=1)] = 1
    seed_sha256: Hash | None = None
    rows_sha256: tuple[Hash, ...] = ()
    counted: Annotated[int, Field(ge=0)] = 0
    sent: bytes | None = None
    parameters_sha256: Hash | None = None

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
        blocks: int = 1,
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
                "blocks": blocks,
            }
        )
        if recorded is None:
            return fresh
        recorded._same_h(h)
        frozen = {"attempt", "sort", "matrix_sha256", "charge", "witness_key", "blocks"}
        if recorded.model_dump(include=frozen) != fresh.model_dump(include=frozen):
            raise recorded._refuse("accepting with another matrix, charge or witness key", recorded.phase)
        return recorded

    @classmethod
    def open_round(
        cls,
        run: NodeAttempt,
        attempt: str,
        parameters_sha256: bytes,
        *,
        recorded: NodeAttempt | None = None,
    ) -> NodeAttempt:
        """A try of an encoder round (section 5), under the acceptance of its run.

        Args:
            run: the run's state.
            attempt: the try's id.
            parameters_sha256: of the parameters at which its gradients are taken.
            recorded: what is stored under this id, if anything; it goes on, and repeats its bytes.

        Raises:
            AttemptError: the run is not an accepted one of sort `round`, or the id is not within the run's; or the try
                was opened before on other parameters.
        """
        if recorded is not None:
            recorded._same_h(run.h)
            recorded._same_parameters(recorded.parameters_sha256, parameters_sha256)
            return recorded
        if run.sort != "round" or run.phase != "accepted" or not attempt.startswith(run.attempt + "/"):
            raise run._refuse("opening a round", run.phase)
        return run._next(attempt=attempt, parameters_sha256=parameters_sha256)

    @property
    def replaces(self) -> frozenset[str]:
        """Phases of a stored state that this one may be written over, as `_replaced`."""
        return _replaced(self.phase, _NODE_ORDER)

    @property
    def charged(self) -> bool:
        """Whether the ledger holds the charge: from sending on, unless the witness signed void."""
        return self.phase in ("sent", "released")

    @property
    def progress(self) -> int:
        """How far the exchange has gone within its phase: what is stored is only ever written over by what follows."""
        return len(self.rows_sha256) + self.counted

    def exchange(self, seed: bytes, *, matrix_sha256: bytes, rows_sha256: bytes, block: int = 0) -> NodeAttempt:
        """T2: masks a block of the frozen matrix under the attempt's one seed. Repeats give the same rows.

        Args:
            seed: the seed that the witness sealed to this node, 32 bytes.
            matrix_sha256: hash of the matrix about to be masked.
            rows_sha256: hash over all rows of the block about to be sent.
            block: the first, or the next one after a block whose inbox was counted.

        Raises:
            AttemptError: another seed, another matrix, or other rows than recorded; a block out of turn; or not a
                table attempt.
        """
        if matrix_sha256 != self.matrix_sha256:
            raise AttemptError(
                f"the matrix of attempt {self.attempt} is not the one frozen at acceptance",
                field="matrix_sha256",
                remedy="refuse this attempt; the next one freezes the new data",
            )
        seed_sha256, masked = hashlib.sha256(seed).digest(), len(self.rows_sha256)
        going_on = self.phase == "exchanged" and self.seed_sha256 == seed_sha256
        if going_on and block == masked - 1 and self.rows_sha256[block] == rows_sha256:
            return self
        due = block == masked == self.counted < self.blocks and (self.phase == "accepted" or going_on)
        if self.sort != "tables" or not due or len(seed) != 32:
            raise self._refuse(f"masking block {block} now, or again under another seed,", self.phase)
        return self._next(phase="exchanged", seed_sha256=seed_sha256, rows_sha256=(*self.rows_sha256, rows_sha256))

    def count(self, block: int) -> NodeAttempt:
        """T3: a block's inbox was exactly what the slice implies, and its products are in the node's cells.

        The caller stores the cells along with the returned state: a block counted twice, or not at all, would leave
        words in the total from which rows can be read.

        Args:
            block: the one that was masked last.

        Raises:
            AttemptError: it was counted before, is not the next one, or its own rows have not been sent.
        """
        if self.phase != "exchanged" or not block == self.counted == len(self.rows_sha256) - 1:
            raise self._refuse(f"counting block {block}", self.phase)
        return self._next(counted=block + 1)

    def send(self, term: bytes) -> NodeAttempt:
        """T3: records the exact term; charge the ledger in the same transaction, then send `repeat()`.

        Raises:
            AttemptError: a term was recorded already (use `repeat`), or a block has not been counted.
        """
        tables = self.sort == "tables"
        if self.phase != ("exchanged" if tables else "accepted") or (tables and self.counted != self.blocks):
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


def _replaced(phase: str, order: tuple[str, ...]) -> frozenset[str]:
    """Earlier phases; for `void` all but `released`. So neither of these two is ever written over."""
    return frozenset(order[:-1] if phase == "void" else order[: order.index(phase)])
