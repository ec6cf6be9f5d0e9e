"""Opened sums: the nodes' values and noise shares through the product's own masks, and what colluders see of them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from benchmarks.attacks.releases import Int64
from crypto.keys import BoxKey
from crypto.secure_sum import Width, mask_vector, open_sum, witness_term


def opened(values: Sequence[Int64], noise: Sequence[Int64], *, width: Width, bound: int) -> Int64:
    """One attempt: every node masks its values and its noise, the witness its masks, the hub adds everything up.

    Args:
        values: per node (n,) on the grid.
        noise: per node (n,) its share.
        width: of the ring.
        bound: largest magnitude of an honest total.

    Returns:
        (n,) the noisy total.
    """
    h, attempt = secrets.token_bytes(32), "attack/1"
    boxes = {f"node-{number}": BoxKey.from_bytes(secrets.token_bytes(32)) for number in range(len(values))}
    public = {node: box.public for node, box in boxes.items()}
    witness = BoxKey.from_bytes(secrets.token_bytes(32))
    terms = [
        mask_vector(
            own,
            share,
            me=node,
            box=box,
            peers={peer: key for peer, key in public.items() if peer != node},
            witness_public=witness.public,
            h=h,
            attempt=attempt,
            width=width,
            bound=bound,
        )
        for (node, box), own, share in zip(boxes.items(), values, noise, strict=True)
    ]
    n = len(values[0])
    terms.append(witness_term(None, box=witness, nodes=public, h=h, attempt=attempt, n=n, width=width))
    return open_sum(terms, bound=bound)


def less_colluders(total: Int64, noise: Sequence[Int64], t_collude: int) -> Int64:
    """What the colluding nodes, the first `t_collude`, make of an opened total: it without their own shares."""
    left: Int64 = total - sum(noise[:t_collude])
    return left
