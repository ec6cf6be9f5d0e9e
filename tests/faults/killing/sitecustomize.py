"""Loaded by every process of a fault test before anything else: it kills the process at the step that the test names.

The product knows nothing of it. The functions that a cell may name are wrapped as their modules are imported. The
test's orders to a process lie in a file of its own, in order; the first one kills the process (SIGKILL) when it is
reached, and is taken off the file before, so that the process that is started again meets the next one.

Some functions are only watched: what a party answered in each step is written down, so that the test can see that
nobody ever sent two different answers to one question. The clocks of hub and nodes run by as many seconds ahead or
behind as a file of the process says.
"""

from __future__ import annotations

import base64
import contextvars
import datetime
import fcntl
import functools
import hashlib
import importlib.abc
import importlib.machinery
import inspect
import json
import os
import signal
import sys
from pathlib import Path

FOLDER, PARTY = os.environ.get("DIGUA_FAULTS"), os.environ.get("DIGUA_PARTY")
_within = contextvars.ContextVar("within", default=())


def meet(point, moment, given):
    """Die here if that is what the test's next order to this process says."""
    orders = Path(FOLDER) / f"{PARTY}.orders"
    if not orders.exists():
        return
    with (Path(FOLDER) / f"{PARTY}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = json.loads(orders.read_text())
        if not waiting or (waiting[0]["point"], waiting[0]["moment"]) != (point, moment):
            return
        order = waiting[0]
        if order["within"] and order["within"] not in _within.get():
            return
        if order["holds"] and not any(order["holds"].encode() in each for each in given if isinstance(each, bytes)):
            return
        if order["skip"]:
            order["skip"] -= 1
            write(orders, waiting)
            return
        with (Path(FOLDER) / "killed").open("a") as killed:
            killed.write(f"{order['name']}\n")
        write(orders, waiting[1:])
        os.kill(os.getpid(), signal.SIGKILL)


def write(path, value):
    """Replace a file in one step."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(value))
    fresh.replace(path)


def note(point, answer):
    """Write down what a party answered: its signed token, and the hash of what it names."""
    if isinstance(answer, bytes):
        line = {"answer": base64.b64encode(answer).decode()}
    else:
        term = answer.arrays.get("term")
        line = dict(answer.texts) | ({} if term is None else {"term": hashlib.sha256(term.tobytes()).hexdigest()})
    with (Path(FOLDER) / f"{PARTY}.answers").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps({"point": point, **line}) + "\n")


def mortal(point, honest, *, watched):
    """The function, with a kill before or after it where the test wants one."""
    if inspect.iscoroutinefunction(honest):

        @functools.wraps(honest)
        async def call_async(*given, **named):
            meet(point, "before", (*given, *named.values()))
            answer = await honest(*given, **named)
            meet(point, "after", (*given, *named.values()))
            return answer

        return call_async

    @functools.wraps(honest)
    def call(*given, **named):
        meet(point, "before", (*given, *named.values()))
        entered = _within.set((*_within.get(), point))
        try:
            answer = honest(*given, **named)
        finally:
            _within.reset(entered)
        if watched:
            note(point, answer)
        meet(point, "after", (*given, *named.values()))
        return answer

    return call


def skewed(honest):
    """A clock that the test may set forward or back."""

    @functools.wraps(honest)
    def call():
        try:
            seconds = int((Path(FOLDER) / f"{PARTY}.clock").read_text())
        except (OSError, ValueError):
            seconds = 0
        return honest() + datetime.timedelta(seconds=seconds)

    return call


class Finder(importlib.abc.MetaPathFinder):
    """Wraps functions of a module right after it was executed, before anybody can take them from it."""

    def __init__(self, points, watched, clocks):
        self._points, self._watched, self._clocks = points, watched, clocks
        self._modules = {each.partition(":")[0] for each in (*points, *clocks)}

    def find_spec(self, name, path, target=None):
        """The module's own spec, with a loader that wraps."""
        if name not in self._modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_wrap(module):
            execute(module)
            for clock in self._clocks:
                where, _, what = clock.partition(":")
                if where == name:
                    setattr(module, what, skewed(getattr(module, what)))
            for point in self._points:
                where, _, what = point.partition(":")
                if where == name:
                    *owners, last = what.split(".")
                    owner = functools.reduce(getattr, owners, module)
                    setattr(owner, last, mortal(point, getattr(owner, last), watched=point in self._watched))

        spec.loader.exec_module = execute_and_wrap
        return spec


if FOLDER and PARTY:
    found = json.loads((Path(FOLDER) / "points.json").read_text())
    sys.meta_path.insert(0, Finder(found["points"], frozenset(found["watched"]), found["clocks"]))
