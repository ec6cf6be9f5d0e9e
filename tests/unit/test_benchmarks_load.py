"""The load's own arithmetic: when latencies begin, when a rate counts as held, and what the page says of it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from aiohttp import web

from benchmarks.load.__main__ import peak, sustained
from benchmarks.load.client import Target, Window, closed_loop, open_loop
from benchmarks.load.page import section

STALL_S = 0.5


class Stalling:
    """A server that answers everything at once, but nothing before its stall is over; odd requests are refused."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.refuses = self._stalls = False
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(30)

    def _run(self) -> None:
        async def answer(request: web.Request) -> web.Response:
            self.seen.append(await request.read())
            if self._stalls:  # from its first request on, however long a caller takes to begin
                self._stalls, self._opens = False, self._loop.time() + STALL_S
            await asyncio.sleep(max(0.0, self._opens - self._loop.time()))
            return web.Response(status=409 if self.refuses and len(self.seen) % 2 else 200)

        app = web.Application()
        app.router.add_post("/score", answer)
        runner = web.AppRunner(app)

        async def start() -> None:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/score"

        asyncio.set_event_loop(self._loop)
        self._opens = self._loop.time()
        self._loop.run_until_complete(start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def stall(self) -> None:
        self._stalls = True

    def target(self) -> Target:
        return Target(self.url, {}, itertools.cycle([b"{}", b"[]"]))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def server() -> Iterator[Stalling]:
    made = Stalling()
    yield made
    made.close()


def test_who_comes_while_the_server_stands_still_is_charged_with_waiting(server: Stalling) -> None:
    server.stall()
    window = open_loop(server.target(), rate=100, seconds=STALL_S / 2, seed=1)
    assert window.errors == Counter()
    assert len(window.latencies) == len(server.seen) > 5
    assert {b"{}", b"[]"} == set(server.seen)
    assert min(window.latencies) > STALL_S / 3
    assert window.report()["p50_ms"] > 1e3 * STALL_S / 3


def test_refusals_are_errors_and_no_latencies(server: Stalling) -> None:
    server.refuses = True
    window = closed_loop(server.target(), callers=2, seconds=0.3)
    assert 0 < sum(window.errors.values()) == len(server.seen) - len(window.latencies)
    assert all(each.startswith("409") for each in window.errors)
    assert not sustained(window)


def answered(rate: float, capacity: float) -> Window:
    """What a server that can do so much gives to so much."""
    done = min(rate, capacity)
    latencies = [0.01 if rate <= capacity else 3.0] * int(10 * done)
    return Window(offered=rate, arrived=rate, seconds=10.0, latencies=latencies)


@pytest.mark.parametrize("start", [40.0, 100.0, 170.0])
def test_the_peak_is_the_highest_rate_that_is_held(start: float) -> None:
    best, tried = peak(lambda rate: answered(rate, 100.0), start)
    assert 88 < best <= 100
    assert any(each.offered > 100 for each in tried)


def test_a_peak_of_what_never_answers_is_nothing() -> None:
    best, _ = peak(lambda rate: Window(rate, seconds=1.0, errors=Counter(timeout=3)), 10.0)
    assert best == 0.0


def test_the_page_shows_targets_beside_what_was_measured() -> None:
    def found(rate: float) -> dict[str, object]:
        cpu = {"hub": 1.25, "client": 0.5}
        window = answered(rate, 1000).report() | {"cpu_ms": cpu}
        return {"closed": window, "half": window, "peak_per_s": rate}

    report = {
        "machine": {"processor": "P", "cores": 2, "python": "3.11"},
        "date": "2026-11-29",
        "floor_ms": 20,
        "load_before": 0.5,
        "score": found(100.0),
        "echo": found(1000.0),
        "batch": {"merchants": 2000, "merchants_per_s": 1234.5, "cpu_ms": {"hub": 0.5, "client": 0.0}},
        "ratios": {"score_over_echo": 0.1, "batch_over_single": 12.3},
    }
    text = section(report)
    assert "| Peak of scores over that of the echo | 0.125 | 0.1 |" in text
    assert "| p99 at half the peak, ms, below | 60 | 10 |" in text
    assert "| Merchants of a batch over single scores | 10 | 12.3 |" in text
    assert "| Single | 1.25 | 0.5 |" in text
