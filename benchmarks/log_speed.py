"""The audit log at its size: search, proofs, verification of an export, and appends that wait for the disk.

The log is built through the hub's own path: entries about merchants in transactions of a thousand, put in order,
signed and cosigned. Appends that wait are measured with many writers at once, who share transactions, beside writers
who have one each, on the same machine in the same run, while sequencer and cosigner run as they do in service.

Run: ``python -m benchmarks.log_speed [--entries 1000000] [--writers 200] [--appends 100]``: one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

from crypto.log_index import commit
from hub.audit import verify_export
from hub.log import Fact, NewEntry
from hub.log_search import LogQuery
from tests.hub_world import START, HubWorld

BANKS, TAXES, UTILITIES, MERCHANTS, CAMPAIGNS = 12, 6, 6, 28_000, 200
_AT_ONCE = 1000
_ALONE = 20
"""Writers with a transaction each make so many times fewer appends."""


def model(number: int) -> str:
    """A model's id."""
    return f"sha256:{number:064x}"


def merchant(number: int) -> bytes:
    """A pseudonym."""
    return number.to_bytes(32, "big")


def queries(chance: random.Random, count: int) -> list[NewEntry]:
    """Entries as a hub that serves writes them: nearly all are queries, a few are of campaigns and models."""
    entries: list[NewEntry] = []
    for _ in range(count):
        if chance.random() < 0.002:
            facts: dict[str, Fact] = {
                "campaign_id": f"campaign-{chance.randrange(CAMPAIGNS):04d}",
                "attempt": "a-1",
                "nodes": 24,
            }
            entries.append(NewEntry("manifest", "hub-lishui", facts=facts))
            continue
        kinds = (("tax", TAXES), ("utility", UTILITIES), ("bank", BANKS))
        sources = sorted(f"{kind}-{chance.randrange(number):02d}" for kind, number in kinds)
        facts = {
            "request_hash": f"{chance.getrandbits(256):064x}",
            "item": 0,
            "model_id": model(chance.randrange(20)),
            "purpose": "credit-scoring",
            "sources": ",".join(sources),
        }
        bank = f"bank-{chance.randrange(BANKS):02d}"
        subject = merchant(chance.randrange(MERCHANTS))
        entries.append(NewEntry("query", bank, subject, facts, {"consent": subject}))
    return entries


def build(base: Path, entries: int) -> HubWorld:
    """A hub with a log of at least so many entries, put in order and cosigned; 5,000 of them an hour."""
    world = HubWorld(base)
    world.join(world.witness)
    chance = random.Random(7)  # noqa: S311  (what is measured must be the same each time)
    for _ in range(0, entries, _AT_ONCE):
        with world.hub.db.session() as session:
            world.hub.log.append_many(session, queries(chance, _AT_ONCE))
        world.now += timedelta(seconds=_AT_ONCE * 3600 // 5000)
        world.settle()
    return world


def milliseconds(work: Callable[[], object]) -> float:
    """How long once takes."""
    began = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - began)


def search_ms(world: HubWorld) -> dict[str, float]:
    """Milliseconds of each kind of search: the median of five different ones."""
    chance = random.Random(11)  # noqa: S311
    own = world.hub.log.reader.of_merchant(merchant(77))
    whole = (world.now - START).total_seconds()

    def span() -> dict[str, object]:
        since = START + timedelta(seconds=whole * chance.random() * 0.9)
        return {"since": since, "until": since + timedelta(seconds=whole * 0.07)}

    kinds: dict[str, Callable[[], dict[str, object]]] = {
        "party": lambda: {"party": f"tax-{chance.randrange(TAXES):02d}"},
        "model": lambda: {"model": model(chance.randrange(20))},
        "campaign": lambda: {"campaign": f"campaign-{chance.randrange(CAMPAIGNS):04d}"},
        "type": lambda: {"types": ("query",)},
        "time": span,
        "all_of_them": lambda: {
            "party": f"bank-{chance.randrange(BANKS):02d}",
            "model": model(chance.randrange(20)),
            "types": ("query", "manifest"),
            **span(),
        },
        "nothing_to_find": lambda: {"party": f"tax-{chance.randrange(TAXES):02d}", "campaign": "campaign-0001"},
        "old_page": lambda: {"party": f"tax-{chance.randrange(TAXES):02d}", "before": 5000 + chance.randrange(1000)},
        "merchant": lambda: {"commitments": tuple(commit(each.salt, merchant(77)) for each in own)},
    }
    found: dict[str, float] = {}
    for name, make in kinds.items():
        asked = [LogQuery(**make()) for _ in range(5)]  # type: ignore[arg-type]  # each kind has its own fields
        found[name] = sorted(milliseconds(partial(world.hub.log_search.find, query)) for query in asked)[2]
    return found


def proof_ms(world: HubWorld) -> dict[str, float]:
    """Milliseconds of an inclusion proof and of a consistency proof: the median of 21 different ones."""
    chance = random.Random(13)  # noqa: S311
    size = world.hub.log.reader.size()
    reader = world.hub.log.reader
    included = [milliseconds(lambda: reader.inclusion(chance.randrange(size), size)) for _ in range(21)]
    consistent = [milliseconds(lambda: reader.consistency(chance.randrange(1, size), size)) for _ in range(21)]
    return {"inclusion": sorted(included)[10], "consistency": sorted(consistent)[10]}


def export_s(world: HubWorld) -> dict[str, float]:
    """Seconds to write an export and to verify it with nothing else; its MiB. It must be whole."""
    began = time.perf_counter()
    path = world.export("benchmark.ndjson")
    written = time.perf_counter()
    verdict = verify_export(path, world.verifiers())
    verified = time.perf_counter()
    if not verdict.ok or verdict.cosigned != world.hub.log.reader.size():
        raise SystemExit(f"the export is not whole: {verdict.findings}")
    return {"write": written - began, "verify": verified - written, "mib": path.stat().st_size / (1 << 20)}


def appends_per_s(world: HubWorld, writers: int, each: int) -> dict[str, float]:
    """Appends a second that are on disk when they return: in groups, and with a transaction for each."""

    def rate(work: Callable[[NewEntry], object], times: int) -> float:
        made = [queries(random.Random(number), times) for number in range(writers)]  # noqa: S311
        ready = threading.Barrier(writers + 1)

        def write(entries: list[NewEntry]) -> None:
            ready.wait()
            for entry in entries:
                work(entry)

        threads = [threading.Thread(target=write, args=(entries,)) for entries in made]
        for thread in threads:
            thread.start()
        ready.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        return writers * times / (time.perf_counter() - began)

    def alone(entry: NewEntry) -> None:
        with world.hub.db.session() as session:
            world.hub.log.append_many(session, [entry])

    before = world.hub.log.reader.size()
    world.hub.log.start()
    try:
        grouped = rate(lambda entry: world.hub.log.append_durably([entry]), each)
        single = rate(alone, max(1, each // _ALONE))
    finally:
        world.hub.log.stop()
    wanted = before + writers * (each + max(1, each // _ALONE))
    if (size := world.hub.log.reader.size()) != wanted:
        raise SystemExit(f"the log has {size} entries, not {wanted}")
    return {"grouped": grouped, "alone": single, "ratio": grouped / single}


def measure(base: Path, entries: int, writers: int, each: int) -> dict[str, dict[str, float]]:
    """All four, on one log."""
    began = time.perf_counter()
    world = build(base, entries)
    built = time.perf_counter() - began
    figures = {
        "log": {"entries": float(entries), "build_s": built, "size_mib": _size(base)},
        "search_ms": search_ms(world),
        "proof_ms": proof_ms(world),
        "export_s": export_s(world),
        "appends_per_s": appends_per_s(world, writers, each),
    }
    world.hub.close()
    return figures


def _size(base: Path) -> float:
    return sum(path.stat().st_size for path in base.rglob("*sqlite*")) / (1 << 20)


def main() -> None:
    """Print one JSON line per figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--writers", type=int, default=200)
    parser.add_argument("--appends", type=int, default=100)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), chosen.entries, chosen.writers, chosen.appends)
    for name, figures in found.items():
        print(json.dumps({name: {key: float(f"{value:.4g}") for key, value in figures.items()}}), flush=True)


if __name__ == "__main__":
    main()
