"""`digua-hub demo`: options reach the demo they belong to, and none is left aside in silence."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from hub import cli
from hub.demo.driver import Demo
from hub.platform_demo.driver import PlatformDemo


class StartedError(Exception):
    """A demo was started."""


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Demos that were started; none of them runs."""
    found: list[Any] = []

    def run(self: Any) -> None:
        found.append(self)
        raise StartedError

    monkeypatch.setattr(Demo, "run", run)
    monkeypatch.setattr(PlatformDemo, "run", run)
    return found


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str, language: str = "en") -> None:
    monkeypatch.setenv("DIGUA_LANG", language)
    monkeypatch.setattr(sys, "argv", ["digua-hub", "demo", *arguments])
    cli.main()


@pytest.mark.parametrize("option", [("--merchants", "28000"), ("--seed", "0")], ids=lambda each: each[0])
@pytest.mark.parametrize(
    ("language", "said"),
    [("en", ("does not belong to this demo", "Leave it out")), ("zh", ("不适用于", "请去掉该选项"))],
)
def test_the_platforms_demo_refuses_what_it_has_no_use_for(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    started: list[Any],
    option: tuple[str, str],
    language: str,
    said: tuple[str, str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "--platform", *option, language=language)
    assert ended.value.code == 2
    err = capsys.readouterr().err
    for text in ("demo-usage", option[0], *said):
        assert text in err, text
    assert started == []


def test_options_reach_the_demo(monkeypatch: pytest.MonkeyPatch, started: list[Any]) -> None:
    for arguments in ((), ("--merchants", "5000", "--seed", "7"), ("--platform", "--exit")):
        with pytest.raises(StartedError):
            call(monkeypatch, *arguments)
    first, second, platform = started
    assert (first.merchants, first.seed, first.stay) == (28_000, 0, True)
    assert (second.merchants, second.seed) == (5000, 7)
    assert isinstance(platform, PlatformDemo)
    assert not platform.stay
