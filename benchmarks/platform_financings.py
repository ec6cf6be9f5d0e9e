"""How fast the platform takes financings: their whole lives over its HTTP API, every audit entry written and checked.

    make bench-financings
    python -m benchmarks.platform_financings --financings 12000 --database postgresql

`digua-hub platform serve` is a process of its own on loopback, its database on disk as its operator would have it.
Banks send batches at the same time: from application to disbursement (five orders and twelve instalments each), then a
year of payments until the financing is closed or in default. Some more go through their lives with one order a call.
Every tenth call is sent twice, as a client does that lost the answer. At the end the chain is verified, and its
entries, which are as many as orders, and the states are compared with what was ordered: nothing was lost or doubled.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks import machine
from benchmarks.page import RESULTS, newest, write
from crypto.identifiers import uscc_check_digit
from hub.demo.processes import ProcessGroup, executable, free_port
from hub.keys import write_secret
from hub.platform.callers import Caller
from hub.platform.config import load_platform_config
from hub.platform.financing_states import State
from hub.platform.installation import Desk, at_desk, initialise, migrate
from hub.platform.instalments import months_later
from hub.platform.merchant_book import Entrant
from hub.platform.merchants import Facts
from hub.platform.products import ProductTerms
from tests.databases import Server
from tests.lending_world import SHOP

BANKS = tuple(f"bank-{number:02}" for number in range(1, 13))
DAY = date.today() - timedelta(days=400)  # a year of payments lies in the past
MONTHS = 12
SIZES = {"opening": 100, "year": 40}
"""Financings in a call: some 500 orders, which is the most."""
_DEFAULT_EVERY, _TWICE_EVERY = 25, 10
_AMOUNT = 1_200_000
_ACTOR = "operator:bench"
Order = dict[str, Any]


def opening(reference: str, account_id: str) -> list[Order]:
    """The orders of one financing up to its disbursement."""
    about = {"account_id": account_id, "product_id": "shop-loan", "amount_fen": _AMOUNT, "term_months": MONTHS}
    terms = {"amount_fen": _AMOUNT, "annual_rate": "0.0435", "term_months": MONTHS}
    steps: list[Order] = [
        {"step": "apply", **about, "applied_on": str(DAY)},
        {"step": "score"},
        {"step": "offer", **terms},
        {"step": "contract", "on": str(DAY)},
        {"step": "disburse", "on": str(DAY)},
    ]
    return [{"reference": reference, **each} for each in steps]


def year(reference: str, number: int) -> list[Order]:
    """A year of payments; every 25th stops after three and is in default."""
    bad = number % _DEFAULT_EVERY == 0
    found: list[Order] = [
        {
            "step": "repay",
            "reference": reference,
            "on": str(months_later(DAY, month)),
            "principal_fen": _AMOUNT // MONTHS,
            "interest_fen": 4_000,
            "payment": f"p{month}",
        }
        for month in range(1, 4 if bad else MONTHS + 1)
    ]
    if bad:
        found.append({"step": "default", "reference": reference, "on": str(months_later(DAY, 9)), "cause": "overdue"})
    return found


def expected(numbers: Sequence[int]) -> tuple[int, dict[str, int]]:
    """Orders of whole lives, and how many end in each state."""
    bad = sum(number % _DEFAULT_EVERY == 0 for number in numbers)
    good = len(numbers) - bad
    states = {State.CLOSED.value: good, State.DEFAULTED.value: bad}
    return 5 * len(numbers) + MONTHS * good + 4 * bad, {name: count for name, count in states.items() if count}


class Market:
    """A platform with twelve banks, their keys and merchants, served by a process of its own.

    Args:
        folder: new.
        merchants: registered, one for each financing.
        database: another than SQLite's file in the folder; an URL.
    """

    def __init__(self, folder: Path, merchants: int, database: str | None = None) -> None:
        port = free_port()
        made = initialise(folder, party_id="two-small", port=port)
        write_secret(made.gateway.token_file, b"t" * 32)  # no merchant is asked for a consent
        self._file = folder / "platform.yaml"
        if database is not None:
            text = self._file.read_text(encoding="utf-8")
            self._file.write_text(text.replace("sqlite:///platform.sqlite", database), encoding="utf-8")
        self.config = load_platform_config(self._file)
        migrate(self.config)
        self.accounts = [f"{number:032x}" for number in range(merchants)]
        with at_desk(self.config) as desk:
            self._fill(desk)
            self.before = desk.audit.verify()[0]
        self.url = f"http://127.0.0.1:{port}"

    def _fill(self, desk: Desk) -> None:
        terms = {**SHOP, "on_offer_from": str(DAY)}
        desk.products.publish(_ACTOR, [ProductTerms.model_validate({**terms, "bank": bank}) for bank in BANKS])
        facts = Facts("supermarket", "合成小超", "5212", "331121", "310000")
        with desk.register.db.session() as session:
            entrants = (Entrant("uscc", _uscc(number), facts, each) for number, each in enumerate(self.accounts))
            desk.register.add_in(session, _ACTOR, entrants)
        self.keys = {bank: desk.callers.make(Caller("bank", bank), actor=_ACTOR) for bank in BANKS}

    @contextmanager
    def served(self, logs: Path) -> Iterator[psutil.Process]:
        """Run its process."""
        with ProcessGroup(logs) as group:
            command = [executable("digua-hub"), "platform", "serve", "--config", str(self._file)]
            party = group.start("platform", command)
            group.wait_until("the platform's start", self._ready, 240.0)
            yield psutil.Process(party.process.pid)
            party.check()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def found(self) -> tuple[int, dict[str, int]]:
        """Audit entries since it was made, once the chain is verified, and how many financings are in each state."""
        with at_desk(self.config) as desk:
            entries, _ = desk.audit.verify()
            states: Counter[str] = Counter()
            after = ""
            while page := desk.financings.page(after_id=after):
                states.update(each.financing.state.value for each in page)
                after = page[-1].financing.financing_id
            return entries - self.before, dict(states)


class Bank:
    """A bank's core system: one connection, one call after the other."""

    def __init__(self, market: Market, name: str) -> None:
        headers = {"Authorization": f"Bearer {market.keys[name]}"}
        self._http = httpx.Client(base_url=market.url, headers=headers, trust_env=False, timeout=300)
        self._calls = 0
        self.name = name

    def send(self, orders: Sequence[Order], key: str) -> float:
        """One call, which must be carried out; every tenth once more, which must change nothing. Seconds of the first.

        Raises:
            SystemExit: a call was refused, or the same call was answered in two ways.
        """
        started = time.perf_counter()
        first = self._call(orders, key)
        seconds = time.perf_counter() - started
        self._calls += 1
        if self._calls % _TWICE_EVERY == 0:
            again = self._call(orders, key)
            if again.headers.get("idempotent-replayed") != "true" or again.content != first.content:
                raise SystemExit(f"{self.name}: call {key} was answered anew")
        return seconds

    def _call(self, orders: Sequence[Order], key: str) -> httpx.Response:
        body, headers = {"orders": orders}, {"Idempotency-Key": key}
        answer = self._http.post("/v1/financings/orders", json=body, headers=headers)
        if answer.is_error:
            raise SystemExit(f"{self.name}: call {key} was refused: {answer.text}")
        return answer


class Load:
    """What banks send, and what the platform's process takes for it."""

    def __init__(self, market: Market, process: psutil.Process, banks_at_once: int) -> None:
        self._market, self._process, self._at_once = market, process, banks_at_once
        self._banks = [Bank(market, name) for name in BANKS]

    def batches(self, stage: str, numbers: Sequence[int]) -> dict[str, Any]:
        """All financings through a stage, in batches."""
        size = SIZES[stage]

        def calls(own: Sequence[int]) -> Iterator[list[Order]]:
            for start in range(0, len(own), size):
                yield list(itertools.chain.from_iterable(self._stage(stage, n) for n in own[start : start + size]))

        return self._sent(stage, numbers, calls)

    def singles(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Whole lives with one order a call."""

        def calls(own: Sequence[int]) -> Iterator[list[Order]]:
            for number in own:
                yield from ([each] for stage in SIZES for each in self._stage(stage, number))

        return self._sent("singles", numbers, calls)

    def _stage(self, stage: str, number: int) -> list[Order]:
        reference = f"L-{number}"
        return opening(reference, self._market.accounts[number]) if stage == "opening" else year(reference, number)

    def _sent(
        self, name: str, numbers: Sequence[int], calls: Callable[[Sequence[int]], Iterator[list[Order]]]
    ) -> dict[str, Any]:
        def of(place: int, bank: Bank) -> tuple[int, list[float]]:
            orders, took = 0, []
            for number, batch in enumerate(calls(numbers[place :: len(BANKS)])):
                took.append(bank.send(batch, f"{name}-{number:06}"))
                orders += len(batch)
            return orders, took

        started, cpu = time.perf_counter(), self._cpu()
        with ThreadPoolExecutor(self._at_once) as pool:
            done = list(pool.map(of, range(len(BANKS)), self._banks))
        seconds, cpu = time.perf_counter() - started, self._cpu() - cpu
        took = sorted(itertools.chain.from_iterable(each for _, each in done))
        orders = sum(each for each, _ in done)
        return {
            "financings": len(numbers),
            "orders": orders,
            "calls": len(took),
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            "financings_per_s": round(len(numbers) / seconds, 1),
            "financings_per_cpu_s": round(len(numbers) / cpu, 1),
            "orders_per_s": round(orders / seconds),
            "call_p50_ms": round(1e3 * took[len(took) // 2], 1),
            "call_p99_ms": round(1e3 * took[int(0.99 * len(took))], 1),
        }

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def measure(
    folder: Path,
    financings: int,
    singles: int,
    *,
    banks_at_once: int = 2,
    database: str | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Both stages in batches, whole lives order by order, then the chain and the states.

    Raises:
        SystemExit: something was refused, lost or doubled.
    """
    market = Market(folder / "two-small", financings + singles, database)
    numbers = range(financings)
    found: dict[str, Any] = {"load_before": round(os.getloadavg()[0], 2)}
    with market.served(folder / "logs") as process:
        load = Load(market, process, banks_at_once)
        for stage in SIZES:
            found[stage] = load.batches(stage, numbers)
            say(f"{stage}: {found[stage]}")
        found["singles"] = load.singles(range(financings, financings + singles))
        say(f"singles: {found['singles']}")
    started = time.perf_counter()
    entries, states = market.found()
    orders, wanted = expected(range(financings + singles))
    if (entries, states) != (orders, wanted):
        raise SystemExit(f"{orders} orders left {entries} audit entries; states {states}, ordered {wanted}")
    found["audit"] = {"entries": entries, "verified_in_seconds": round(time.perf_counter() - started, 1)}
    found["states"] = states
    seconds, cpu = (sum(found[stage][what] for stage in SIZES) for what in ("seconds", "cpu_seconds"))
    found["lives"] = {"per_s": round(financings / seconds, 1), "per_cpu_s": round(financings / cpu, 1)}
    return found


def _uscc(number: int) -> str:
    body = f"92331121MA{number:07d}"
    return body + uscc_check_digit(body)


def main() -> None:
    """Measure on one database; write `financings-<date>.json` and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--financings", type=int, default=12_000)
    parser.add_argument("--singles", type=int, default=120, help="further ones, with one order a call")
    parser.add_argument("--banks-at-once", type=int, default=2)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--quick", action="store_true", help="600 financings; write nothing")
    options = parser.parse_args()
    sizes = (600, 24) if options.quick else (options.financings, options.singles)
    today = datetime.now(UTC).date().isoformat()
    with tempfile.TemporaryDirectory(prefix="digua-financings-") as name:
        folder = Path(name)
        server = Server(folder / "postgresql") if options.database == "postgresql" else None
        try:
            database = None if server is None else server.empty()
            figures = measure(folder, *sizes, banks_at_once=options.banks_at_once, database=database)
        finally:
            if server is not None:
                server.close()
    report = {"date": today, "machine": machine.described(), "database": options.database, **figures}
    print(json.dumps(report, indent=1))
    if not options.quick and options.database == "sqlite":
        (RESULTS / f"financings-{today}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        write(newest())


if __name__ == "__main__":
    main()
