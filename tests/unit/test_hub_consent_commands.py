"""`digua-hub notice` and `digua-hub assessment`: what operators type, against a running hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_cli import command_line
from tests.hub_merchants import MarketWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    yield world
    world.hub.close()


def files(folder: Path, version: str) -> tuple[str, ...]:
    """The two texts of a version, as options."""
    zh, en = folder / f"{version}.zh.md", folder / f"{version}.en.md"
    zh.write_text(f"# 告知书 {version}\r\n", encoding="utf-8", newline="")
    en.write_text(f"# Notice {version}\n", encoding="utf-8")
    return "--version", version, "--zh", str(zh), "--en", str(en)


def test_notices_are_added_superseded_and_listed(
    world: MarketWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = command_line(world, "notice", monkeypatch, capsys)
    purposes = ("--purpose", "credit-scoring", "--purpose", "model-training")
    code, out, _ = run("add", "pricing", *files(tmp_path, "1"), *purposes, "--json")
    assert code == 0
    exact = (tmp_path / "1.zh.md").read_bytes()  # its line ends are part of what merchants sign
    assert json.loads(out)["sha256"]["zh"] == hashlib.sha256(exact).hexdigest()
    code, _, _ = run("add", "pricing", *files(tmp_path, "2"), *purposes, "--reconsent", "2026-12-31")
    assert code == 0
    code, out, _ = run("list", "--json")
    newest = json.loads(out)[-1]
    assert (code, newest["version"], newest["reconsent"]) == (0, "2", True)
    assert newest["ends_at"] == "2026-12-31T00:00:00Z"
    assert run("list")[0] == 0


def test_a_notice_that_cannot_be_registered_is_refused_with_a_remedy(
    world: MarketWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = command_line(world, "notice", monkeypatch, capsys)
    given = files(tmp_path, "1")
    code, _, err = run("add", "credit-scoring", *given, "--purpose", "credit-scoring", "--json")
    assert code == 1
    problem = json.loads(err)
    assert problem["field"] == "version"
    assert problem["remedy"]
    (tmp_path / "1.zh.md").write_bytes(b"\xff")
    code, _, err = run("add", "pricing", *given, "--purpose", "credit-scoring", "--json")
    assert (code, json.loads(err)["field"]) == (1, "--zh")
    assert len(world.hub.notices.tokens()) == 2


@pytest.mark.parametrize("document", [b"# \xe8\xaf\x84\xe4\xbc\xb0", b"%PDF-1.7 \xff"])
def test_assessments_are_added_and_listed(
    world: MarketWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    document: bytes,
) -> None:
    run = command_line(world, "assessment", monkeypatch, capsys)
    report = tmp_path / "report"
    report.write_bytes(document)
    stated = ("--title", "评估", "--date", "2026-02-01", "--assessor", "某律师", "--conclusion", "acceptable")
    code, out, _ = run("add", "c-9", "--file", str(report), *stated, "--retained-until", "2029-02-01", "--json")
    assert (code, json.loads(out)["sha256"]) == (0, hashlib.sha256(document).hexdigest())
    assert world.hub.assessments.report(hashlib.sha256(document).hexdigest()).document == document
    code, out, _ = run("list", "--json")
    assert (code, json.loads(out)[0]["campaign_id"]) == (0, "c-9")
    assert run("list")[0] == 0
    code, _, err = run("add", "c-9", "--file", str(report), *stated, "--retained-until", "2028-02-01", "--json")
    assert (code, "retained_until" in err) == (1, True)
