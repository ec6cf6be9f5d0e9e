"""Speed of the primitives beside something plain on the same machine, in the same run: read ratios, not seconds.

* A whole table attempt's computing (masks, exchange, shares, witness's term, opening; no network, no noise), all
  parties one after the other, against numpy's XᵀX of the joined one-hot rows.
* One pseudonym over two servers (blind, evaluate and finalise, twice) against one Ed25519 verification.
* One entry of the audit log (append, order, tile, signed and cosigned checkpoint) against one SHA-256 of its leaf
  together with one plain row in the same database.

Run: ``python -m benchmarks.crypto_speed [--merchants 28000] [--items 500] [--entries 5000]``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlalchemy import text

from crypto.jws import sign, verify
from crypto.keys import IdentityKey
from crypto.layout import KindBlocks, TableLayout
from crypto.pseudonym import BlindedBatch, PseudonymKey
from hub.log import NewEntry
from models.schema_file import load_schema
from tests.core_federation import joined_table, make_cohort, opened_table
from tests.hub_world import HubWorld

SCHEMA = Path(__file__).parent.parent / "configs" / "give-me-some-credit.yaml"
NODES = {"bank": 12, "tax": 6, "utility": 6}
Figures = dict[str, float]


def seconds(work: Callable[[], object], *, times: int = 1) -> float:
    """The shortest of `times` runs."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def table_speed(merchants: int) -> Figures:
    """Seconds of one attempt, over all 24 nodes and the witness, and of XᵀX on the joined rows."""
    schema = load_schema(SCHEMA)
    kinds = schema.kinds_in_order()
    layout = TableLayout(tuple(KindBlocks(kind, schema.widths(kind)) for kind in kinds), schema.label.kind)
    cohort = make_cohort(layout, [NODES[kind] for kind in kinds], merchants)
    joined = np.concatenate([cohort.joined[kind] for kind in kinds], axis=1).astype(np.float64)
    plain = seconds(lambda: joined.T @ joined, times=5)
    began = time.perf_counter()
    opened = opened_table(cohort)
    secure = time.perf_counter() - began
    if not np.array_equal(opened, joined_table(cohort)):
        raise SystemExit("the opened table is not the joined one")
    parties = len(cohort.roster) + 1
    return {"plain_s": plain, "secure_s": secure, "secure_s_per_party": secure / parties, "ratio": secure / plain}


def pseudonym_speed(items: int) -> Figures:
    """Milliseconds for one identifier through both servers, and for one signature's verification."""
    hub, witness = (PseudonymKey.from_seed(secrets.token_bytes(32)) for _ in range(2))

    def evaluate(inputs: list[bytes]) -> list[bytes]:
        for key in (hub, witness):
            batch = BlindedBatch.blind(inputs)
            inputs = batch.finalize(key.evaluate(batch.elements), key.public)
        return inputs

    each = seconds(lambda: evaluate([b"%018d" % number for number in range(items)]), times=3) / items
    key = IdentityKey.generate()
    token = sign(b"{}", key, typ="benchmark", kid="k")
    verified = seconds(lambda: [verify(token, key.public, typ="benchmark") for _ in range(items)], times=3) / items
    return {"pseudonym_ms": 1e3 * each, "verify_ms": 1e3 * verified, "ratio": each / verified}


def log_speed(entries: int) -> Figures:
    """Milliseconds for one entry, in transactions of a hundred, and for its hash and a plain row."""
    facts: dict[str, str | int | bool | None] = {"request_hash": secrets.token_hex(32), "item": 0, "sources": 3}
    pages = [[NewEntry("query", "bank-01", secrets.token_bytes(32), facts)] * 100 for _ in range(entries // 100)]
    with tempfile.TemporaryDirectory() as folder:
        world = HubWorld(Path(folder))
        world.join(world.witness)
        hub = world.hub

        def log() -> None:
            for page in pages:
                with hub.db.session() as session:
                    hub.log.append_many(session, page)
            world.settle()

        leaf = json.dumps(facts).encode()

        def plain() -> None:
            with hub.db.session() as session:
                session.execute(text("CREATE TABLE plain (id INTEGER PRIMARY KEY, leaf BLOB, hash BLOB)"))
            for page in pages:
                rows = [{"leaf": leaf, "hash": hashlib.sha256(leaf).digest()} for _ in page]
                with hub.db.session() as session:
                    session.execute(text("INSERT INTO plain (leaf, hash) VALUES (:leaf, :hash)"), rows)

        count = 100 * len(pages)
        each, row = seconds(log) / count, seconds(plain) / count
        hub.close()
    return {"entry_ms": 1e3 * each, "row_ms": 1e3 * row, "ratio": each / row}


def measure(merchants: int = 28_000, items: int = 500, entries: int = 5_000) -> dict[str, Figures]:
    """All three."""
    return {"tables": table_speed(merchants), "pseudonyms": pseudonym_speed(items), "log": log_speed(entries)}


def main() -> None:
    """Print one JSON line per primitive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--merchants", type=int, default=28_000)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--entries", type=int, default=5_000)
    chosen = parser.parse_args()
    for name, figures in measure(chosen.merchants, chosen.items, chosen.entries).items():
        print(json.dumps({name: {key: float(f"{value:.4g}") for key, value in figures.items()}}), flush=True)


if __name__ == "__main__":
    main()
