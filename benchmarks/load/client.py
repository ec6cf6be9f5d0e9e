"""The load: requests that arrive at their own times, whether or not those before them were answered.

In the open loop arrivals are a Poisson process of a fixed rate, drawn before the window begins; a latency counts from
the moment at which its request was to be sent. So a server that stops for a second is charged with all who came in that
second (no coordinated omission). The closed loop, a fixed number of callers who each wait for their answer, only finds
what the server can do at most.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

TIMEOUT_S = 30.0
CONNECTIONS = 256
_QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


@dataclass
class Window:
    """What a window of load gave.

    Attributes:
        offered: requests a second that were to arrive; 0 in the closed loop.
        arrived: requests a second that did arrive: a short window of a Poisson process has more or fewer.
        seconds: from the first arrival to the last answer.
        latencies: of requests that were answered as they should, in seconds.
        errors: what came instead, by status or kind.
    """

    offered: float
    arrived: float = 0.0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def quantile(self, q: float) -> float:
        """A quantile of the latencies in seconds; infinite where there are none."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("inf")

    def report(self) -> dict[str, Any]:
        """Figures for a file: requests a second, milliseconds."""
        quantiles = {f"{name}_ms": round(1e3 * self.quantile(q), 2) for name, q in _QUANTILES.items()}
        return {
            "offered_per_s": round(self.offered, 2),
            "arrived_per_s": round(self.arrived, 2),
            "answered_per_s": round(self.rate, 2),
            "seconds": round(self.seconds, 2),
            "answered": len(self.latencies),
            **(quantiles if self.latencies else {}),
            "errors": dict(self.errors),
        }


@dataclass(frozen=True)
class Target:
    """Where requests go: address, headers, and the next body each time."""

    url: str
    headers: dict[str, str]
    bodies: Iterator[bytes]


def open_loop(target: Target, *, rate: float, seconds: float, seed: int) -> Window:
    """Poisson arrivals of `rate` a second for `seconds`."""
    chance = random.Random(seed)  # noqa: S311  (arrivals must be the same each time)
    due, moment = [], 0.0
    while (moment := moment + chance.expovariate(rate)) < seconds:
        due.append(moment)

    async def arrive(send: Callable[[float], Any], window: Window) -> None:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for each in due:
                await asyncio.sleep(max(0.0, began + each - time.perf_counter()))
                tasks.create_task(send(began + each))
        window.seconds = max(seconds, time.perf_counter() - began)
        window.arrived = len(due) / seconds

    return asyncio.run(_run(target, arrive, Window(rate)))


def closed_loop(target: Target, *, callers: int, seconds: float) -> Window:
    """`callers` who each send their next request when they have an answer."""

    async def arrive(send: Callable[[float], Any], window: Window) -> None:
        began = time.perf_counter()

        async def caller() -> None:
            while (now := time.perf_counter()) - began < seconds:
                await send(now)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(caller())
        window.seconds = time.perf_counter() - began

    return asyncio.run(_run(target, arrive, Window(0.0)))


async def _run(target: Target, arrive: Callable[[Callable[[float], Any], Window], Any], window: Window) -> Window:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    headers = {"Content-Type": "application/json", **target.headers}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:

        async def send(since: float) -> None:
            try:
                async with session.post(target.url, data=next(target.bodies)) as response:
                    body = await response.read()
            except (aiohttp.ClientError, TimeoutError) as problem:
                window.errors[type(problem).__name__] += 1
                return
            if response.status == 200:
                window.latencies.append(time.perf_counter() - since)
            else:
                window.errors[f"{response.status} {body[:120].decode(errors='replace')}"] += 1

        await arrive(send, window)
    return window
