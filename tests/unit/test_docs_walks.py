"""The walks in docs/walk-of-a-row.md are true: every function is called, for the first time in this order."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from nodes.enquiries import Enquiry
from nodes.errors import ScoreUnavailable
from tests.walk_world import SOURCES, WalkWorld

ROW, CONSENT = "One merchant's row", "One consent"
DOCUMENT = Path(__file__).parents[2] / "docs" / "walk-of-a-row.md"
_STEP = re.compile(r"^(\d+)\. `([a-z_]+(?:\.[A-Za-z_]+)+)`", re.MULTILINE)


def walk(title: str) -> list[str]:
    """The names of a section's steps, which are numbered from 1."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    steps = _STEP.findall(text)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    assert len(re.findall(r"^\d+\.", text, re.MULTILINE)) == len(steps)
    return [name for _, name in steps]


def code_of(name: str) -> CodeType:
    """The code behind a dotted name of a function or method."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        code = inspect.unwrap(getattr(found, "__func__", found)).__code__
        assert isinstance(code, CodeType)
        return code
    raise AssertionError(f"{name} is nowhere")


class Recorder:
    """Notes first calls of the walks' functions, in all threads that start while it is on; a walk counts once armed."""

    def __init__(self, *titles: str) -> None:
        self.order: dict[str, list[str]] = {title: [] for title in titles}
        self._missing = {title: {code_of(name): name for name in walk(title)} for title in titles}
        self._armed: set[str] = set()
        self._lock = threading.Lock()

    def arm(self, title: str) -> None:
        self._armed.add(title)

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        for title in self._armed:
            if code in self._missing[title]:
                with self._lock:
                    name = self._missing[title].pop(code, None)
                    if name is not None:
                        self.order[title].append(name)

    def __enter__(self) -> Recorder:
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)


@pytest.fixture(scope="module")
def recorded(database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """One merchant's way through a whole federation, recorded for both walks at once."""
    with Recorder(ROW, CONSENT) as recorder:
        recorder.arm(ROW)
        world = WalkWorld(tmp_path_factory.mktemp("walk"))
        try:
            recorder.arm(CONSENT)
            world.enrol_merchants()
            records = world.consent_all()
            world.train()
            merchant, enquiries = world.merchants[5], world.nodes["platform"].enquiries
            assert enquiries.score(Enquiry(merchant)).score is not None
            world.revoke(merchant, records[merchant])
            with pytest.raises(ScoreUnavailable) as refused:
                enquiries.score(Enquiry(merchant, records[merchant]))
        finally:
            world.close()
    assert refused.value.refusals == dict.fromkeys(SOURCES.values(), "consent-revoked")
    return recorder.order


@pytest.mark.parametrize("title", [ROW, CONSENT])
def test_the_walk_is_called_in_this_order(recorded: dict[str, list[str]], title: str) -> None:
    assert recorded[title] == walk(title)


def test_names_that_do_not_exist_are_noticed() -> None:
    with pytest.raises(AttributeError):
        code_of("crypto.secure_sum.mask_vectors")
