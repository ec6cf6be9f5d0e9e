"""The demo as a person runs it: real processes, then its report, its limits, and who opened which file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(1500)]

PARTIES = [
    "hub",
    "witness",
    "platform",
    "bank-shanghai",
    "bank-guangzhou",
    "bank-chengdu",
    "tax-east",
    "tax-southwest",
    "utility-power",
    "utility-water",
]
# Loaded by every process of the demo before anything else: writes down each file that it opens.
RECORDER = """
import os, sys
_sink = os.open(os.environ["OPENED_BY"] + f"/{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(_sink, (" ".join(map(str, getattr(sys, "orig_argv", []))) + "\\n").encode())
def _record(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        os.write(_sink, os.fsencode(arguments[0]) + b"\\n")
sys.addaudithook(_record)
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out, recorder, opened = (tmp_path_factory.mktemp(name) for name in ("demo", "recorder", "opened"))
    (recorder / "sitecustomize.py").write_text(RECORDER)
    environment = {**os.environ, "PYTHONPATH": str(recorder), "OPENED_BY": str(opened)}
    command = [str(Path(sys.executable).with_name("digua-hub")), "demo", "--exit", "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out, opened


def test_demo_shows_the_main_job_within_its_limits(shown: tuple[Path, Path]) -> None:
    report = json.loads((shown[0] / "report.json").read_text())
    print(json.dumps(report, indent=2, ensure_ascii=False))
    assert report["auc"] > 0.82
    assert report["epsilon"] <= 3
    evaluated = report["campaigns"]["cross"]["evaluation"]
    private = evaluated["result"]
    assert evaluated["counted"] > 7000
    assert private["auc"]["low"] < private["auc"]["value"] < private["auc"]["high"] < private["auc"]["low"] + 0.1
    assert abs(private["auc"]["value"] - evaluated["auc_exact"]) < 0.05
    assert sum(band["observed"] is not None for band in private["bands"]) >= 15
    assert any(group["auc"] is not None for group in private["groups"]["age"])
    assert private["epsilon"] <= 3
    assert report["answered"] >= 10
    assert {"purpose-not-consented", "recipient-not-consented"} <= set(report["refused"])
    assert report["revoked_refused"] is True
    assert report["revocation_seconds"] <= 2
    assert report["log_verified"] is True
    assert report["queries_reconciled"] is True
    assert report["pages"] == 4
    assert report["seconds"] <= 600  # 220 s on an idle machine of two fast cores; slow and busy ones take twice as long
    assert report["peak_memory_mib"] < 6 * 1024


def test_no_process_opens_another_ones_file(shown: tuple[Path, Path]) -> None:
    """Long-running parties stay in their own folders. (Python's opens are seen; tables are checked by one first.)"""
    out, opened = shown
    seen: dict[str, int] = dict.fromkeys(PARTIES, 0)
    read_by: dict[str, set[str]] = {party: set() for party in PARTIES}
    for record in opened.iterdir():
        command, *files = record.read_text(errors="replace").splitlines()
        owner = next((party for party in PARTIES if f"{out}/{party}/" in command and " run " in f"{command} "), None)
        if owner is None and f"{out}/hub/" in command and " serve " in command:
            owner = "hub"
        if owner is None:
            continue
        foreign = [name for name in files if name.startswith(f"{out}/") and not name.startswith(f"{out}/{owner}/")]
        assert foreign == [], f"{owner} opened files of others"
        read_by[owner].update(files)
        seen[owner] += sum(name.startswith(f"{out}/{owner}/") for name in files)
    assert all(count > 0 for count in seen.values()), f"a party was not observed: {seen}"
    for party in PARTIES:
        if party.startswith(("bank", "tax", "utility")):
            own = f"{out}/{party}/cross-source.csv"
            assert own in read_by[party], f"the recorder did not see {party} read its own table"
