"""What the witness hands out so that others can check it: proofs from its own mirror under checkpoints it cosigned."""

from __future__ import annotations

from dataclasses import dataclass

from crypto.errors import ProofError
from crypto.merkle import verify_consistency
from crypto.tiles import consistency_from_tiles, inclusion_from_tiles, root_from_tiles
from crypto.wire.audit import ConsistencyProof, InclusionProof
from nodes.errors import MirrorBroken, NodeError
from nodes.witness.checkpoints import Cosigned, CosignedCheckpoints
from nodes.witness.mirror import Mirror, MirrorTiles
from nodes.witness.mirror_search import MirroredEntry, MirrorSearch


class EvidenceMissing(NodeError):  # noqa: N818
    """The mirror has no such entry, or no cosigned checkpoint over it."""

    code = "evidence-missing"


@dataclass(frozen=True)
class ProvedEntry:
    """An entry with its proof under a cosigned checkpoint."""

    found: MirroredEntry
    proof: InclusionProof
    checkpoint: Cosigned


class Evidence:
    """Proofs over the mirror."""

    def __init__(self, mirror: Mirror, checkpoints: CosignedCheckpoints) -> None:
        self._mirror = mirror
        self._checkpoints = checkpoints
        self._search = MirrorSearch(mirror.store)

    def covering(self) -> Cosigned:
        """The largest cosigned checkpoint that the mirror covers; EvidenceMissing where there is none."""
        found = self._checkpoints.up_to(self._mirror.progress().verified)
        if found is None or not found.size:
            raise EvidenceMissing(
                "no cosigned checkpoint is covered by the mirror yet",
                field="checkpoint",
                remedy="wait until the mirror has caught up with the hub's log",
            )
        return found

    def entry(self, index: int, *, under: Cosigned | None = None) -> ProvedEntry:
        """One entry and its proof, under a given checkpoint or the newest that the mirror covers.

        Raises:
            EvidenceMissing: there is no such entry, or the checkpoint does not cover it.
        """
        checkpoint = under or self.covering()
        found = self._search.entry(index) if 0 <= index < checkpoint.size else None
        if found is None:
            raise EvidenceMissing(
                f"the mirror has no entry {index} under a checkpoint that the witness cosigned",
                field="index",
                remedy=f"give a number from 0 to {checkpoint.size - 1}",
            )
        with self._mirror.store.reading() as session:
            hashes = inclusion_from_tiles(index, checkpoint.size, MirrorTiles(session))
        proof = InclusionProof(
            index=index,
            entry=found.leaf.decode(),
            hashes=tuple(hashes),
            checkpoint=checkpoint.note,
        )
        return ProvedEntry(found, proof, checkpoint)

    def consistency(self, old: int, new: int) -> ConsistencyProof:
        """The proof between two cosigned checkpoints, made from the mirror's own tree and checked before it is given.

        Raises:
            EvidenceMissing: a size has no cosigned checkpoint, or the mirror does not reach as far.
            MirrorBroken: the mirror's tree does not lead to both roots.
        """
        first, second = (self._checkpoints.of(size) for size in (old, new))
        verified = self._mirror.progress().verified
        if first is None or second is None or not 0 < old <= new <= verified:
            raise EvidenceMissing(
                f"there are no cosigned checkpoints of {old} and {new} entries within the mirror",
                field="size",
                remedy="choose two sizes of the list, the smaller one first",
            )
        try:
            with self._mirror.store.reading() as session:
                tiles = MirrorTiles(session)
                hashes = tuple(consistency_from_tiles(old, new, tiles))
                if root_from_tiles(old, tiles) != first.root:
                    raise _apart(old)
            verify_consistency(old, first.root, new, second.root, hashes)
        except ProofError as problem:
            raise _apart(new) from problem
        return ConsistencyProof(old=first.note, new=second.note, hashes=hashes)


def _apart(size: int) -> MirrorBroken:
    return MirrorBroken(
        f"the mirror's tree of {size} entries does not have the root that was cosigned",
        field="data_dir",
        remedy="remove mirror.db: the mirror is made again from the hub's log",
    )
