"""Masks of a scoring answer (section 7, step 2; **composed**): the requester learns the sum of the points only.

Source i answers ``u_i + Σ_{j>i} m_ij − Σ_{j<i} m_ij`` in Z_2^32 over the other sources j of the item, in the
lexicographic order of their ids, with ``m_ij`` word ``item`` of
``ChaCha20(HKDF(X25519(i, j), {score-mask, request hash, i, j}))``. Each m_ij is added once and taken off once, so all
masks cancel in the sum over the item's sources.

Security, against a requester, a hub and any set of sources that collude, as long as two sources i and j do not:
their answers are uniform given their sum, since m_ij is known to them alone (gap Diffie–Hellman for X25519 with
HKDF as a random oracle, ChaCha20 a PRG). Assumptions and their upkeep:

* *One mask, one value.* The mask depends on the request's hash and the item; two different values under one mask
  would show their difference. So a node stores the exact sealed answer before it sends, and answers the same hash
  with the same bytes or not at all; the request's nonce makes hashes of different requests differ.
* *One set of sources.* The request lists the sources, so its hash fixes them. A source that masked for another set
  leaves a uniform residue in the sum: the requester gets nothing, at worst (chance 2^-11) a wrong score.
* *Honest points.* A source can shift the sum by what it adds to its points, as it could with its points themselves.
* Masks hide points, not who answered: answers have one size, and a merchant without a record gets points as well.

The sum of m points of which the requester knows m − 1 is the last one: that is arithmetic, and why there are at
least two sources besides the requester. With no peer there is no mask: that is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crypto.errors import RangeError
from crypto.keys import BoxKey
from crypto.prg import derive_key, words32
from crypto.sealed import context_bytes

MODULUS = 1 << 32
MAX_POINTS = 1 << 20


def _check_item(item: int) -> None:
    if not 0 <= item < MODULUS:
        raise RangeError(
            "An item's position is 0 to 2^32 - 1.", field="item", remedy="Pass its position in the request."
        )


class RequestMasks:
    """One source's masks for one request: agrees with each peer once, whatever the number of items.

    Args:
        box: this source's X25519 key.
        request_hash: of the signed request, which lists the sources.
        me: this source's id.
        items: so many items' words are made at once where one of them is asked for.
    """

    def __init__(self, box: BoxKey, *, request_hash: bytes, me: str, items: int = 0) -> None:
        self._box = box
        self._request_hash = request_hash
        self._me = me
        self._items = items
        self._keys: dict[tuple[str, bytes], bytes] = {}
        self._words: dict[tuple[str, bytes], list[int]] = {}

    def _pair_key(self, peer: str, peer_public: bytes) -> bytes:
        if peer == self._me:
            raise RangeError(
                "A source is not its own peer.", field="peer", remedy="Leave this source out of its peers."
            )
        if (peer, peer_public) not in self._keys:
            first, second = sorted((self._me, peer))
            info = context_bytes(use="score-mask", request=self._request_hash, first=first, second=second)
            self._keys[peer, peer_public] = derive_key(self._box.exchange(peer_public), info=info)
        return self._keys[peer, peer_public]

    def mask(self, peer: str, peer_public: bytes, *, item: int) -> int:
        """Return the mask towards one peer for one item, in Z_2^32: see `score_mask`."""
        _check_item(item)
        word = self._word(peer, peer_public, item)
        return word if self._me < peer else -word % MODULUS

    def _word(self, peer: str, peer_public: bytes, item: int) -> int:
        if item >= self._items:
            return int(words32(self._pair_key(peer, peer_public), 1, offset=item)[0])
        if (peer, peer_public) not in self._words:
            words: list[int] = words32(self._pair_key(peer, peer_public), self._items).tolist()
            self._words[peer, peer_public] = words
        return self._words[peer, peer_public][item]

    def masks(self, peer: str, peer_public: bytes, *, items: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return the masks towards one peer for many items, (n,) words: those of `mask`, from one stream.

        Args:
            peer, peer_public: the other source.
            items: (n,) distinct positions, ascending.
        """
        if not len(items):
            return np.zeros(0, dtype=np.uint32)
        first = int(items[0])
        stream = words32(self._pair_key(peer, peer_public), int(items[-1]) - first + 1, offset=first)
        words: NDArray[np.uint32] = stream[items - np.uint32(first)]
        return words if self._me < peer else (np.uint32(0) - words).astype(np.uint32)

    def mask_points(self, points: int, peers: Mapping[str, bytes], *, item: int) -> int:
        """Mask the points of one item towards all its other sources: see `mask_points`."""
        if abs(points) > MAX_POINTS:
            raise RangeError("Points are beyond 2^20.", field="points", remedy="Use a released model's integer points.")
        if not peers:
            raise RangeError(
                "Points without a peer would travel unmasked.",
                field="peers",
                remedy="A request names at least two sources besides the requester.",
            )
        total = points
        for peer, peer_public in peers.items():
            total += self.mask(peer, peer_public, item=item)
        return total % MODULUS


def score_mask(box: BoxKey, peer_public: bytes, *, request_hash: bytes, item: int, me: str, peer: str) -> int:
    """Return one pair's mask for one item of a request, signed by the order of the ids.

    Args:
        box: this source's X25519 key.
        peer_public: the peer's, 32 bytes, from the roster.
        request_hash: of the signed request, which lists the sources.
        item: position in the request, from 0.
        me: this source's id.
        peer: the peer's id.

    Returns:
        A number in Z_2^32; that of the peer for this source is its negative.

    Raises:
        RangeError: the item's position is out of range, or the peer is this source.
        KeyFormatError: the peer's key is none.
    """
    return RequestMasks(box, request_hash=request_hash, me=me).mask(peer, peer_public, item=item)


def mask_points(
    points: int, peers: Mapping[str, bytes], *, box: BoxKey, request_hash: bytes, item: int, me: str
) -> int:
    """Mask one item's points towards the item's other sources. For many items use `RequestMasks`.

    Args:
        points: this source's points, at most 2^20 in absolute value.
        peers: X25519 keys (32 bytes) of all other sources of the item, by id.
        box: this source's X25519 key.
        request_hash: of the signed request, which lists the sources.
        item: position in the request, from 0.
        me: this source's id.

    Returns:
        A number in Z_2^32, to be sealed to the requester.

    Raises:
        RangeError: points or item out of range, no peers, or this source among them.
        KeyFormatError: a peer's key is none.
    """
    return RequestMasks(box, request_hash=request_hash, me=me).mask_points(points, peers, item=item)


def open_points(masked: Sequence[int]) -> int:
    """Add up the masked points of **all** sources of an item (step 3).

    Returns:
        The sum of the points, signed.

    Raises:
        RangeError: a number outside Z_2^32, fewer than two answers, or a sum beyond 2^20: then an answer is missing,
            or sources masked for different requests or sets.
    """
    if len(masked) < 2 or not all(0 <= value < MODULUS for value in masked):
        raise RangeError(
            "Masked points are at least two numbers in Z_2^32.",
            field="masked",
            remedy="Open the answers of all sources.",
        )
    total = sum(masked) % MODULUS
    centred = total - MODULUS if total >= MODULUS // 2 else total
    if abs(centred) > MAX_POINTS:
        raise RangeError(
            "The masks do not cancel: an answer is missing or was masked for another request.",
            field="masked",
            remedy="Ask again with a new request; there is no score from fewer sources.",
        )
    return centred
