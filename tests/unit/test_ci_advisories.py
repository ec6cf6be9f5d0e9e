"""`make audit` never takes silence of the advisory service for good news, and `make sbom` names all that is locked."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "advisories.py"
SOUND = {"name": "rich", "version": "14.3.4", "vulns": []}
SKIPPED = {"name": "voprf", "skip_reason": "Dependency not found on PyPI and could not be audited: voprf (0.2.0)"}
KNOWN = {"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"], "aliases": [], "description": "…"}
VULNERABLE = {"name": "jinja2", "version": "2.10", "vulns": [KNOWN]}


@pytest.fixture(scope="module")
def advisories() -> object:
    spec = importlib.util.spec_from_file_location("advisories", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("found", "failure", "require", "code", "said"),
    [
        ([SOUND], "", False, 0, "1 libraries looked up"),
        ([SOUND], "", True, 0, "1 libraries looked up"),
        ([SOUND, SKIPPED], "", False, 0, "NOT AUDITED: 1 of 2 libraries are unknown to the service"),
        ([SOUND, SKIPPED], "", True, 3, "NOT AUDITED: 1 of 2 libraries are unknown to the service"),
        ([], "no route to host", False, 0, "NOT AUDITED: no route to host"),
        ([], "no route to host", True, 3, "NOT AUDITED: no route to host"),
        ([SOUND, VULNERABLE], "", False, 1, "VULNERABLE: jinja2 2.10: PYSEC-2019-217, mended in 2.10.1"),
        ([SKIPPED, VULNERABLE], "", True, 1, "NOT AUDITED: 1 of 2 libraries are unknown to the service"),
    ],
)
def test_what_was_not_looked_up_is_said(
    advisories: object, found: list[dict[str, object]], failure: str, require: bool, code: int, said: str
) -> None:
    judged, lines = advisories.judge(found, failure, require=require)  # type: ignore[attr-defined]
    assert (judged, said in lines) == (code, True)


def test_a_lock_file_that_is_absent_is_wrong_usage(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, SCRIPT, tmp_path / "absent"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "make lock" in ended.stderr


def test_the_bill_of_materials_names_everything_locked_with_its_hashes(tmp_path: Path) -> None:
    recipe = subprocess.run(["make", "--dry-run", "sbom"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = re.findall(r"cyclonedx-py (.*?)--output-file", recipe.replace("\\\n", " "), re.DOTALL)
    out = tmp_path / "sbom.json"
    command = [Path(sys.executable).parent / "cyclonedx-py", *line.split(), "--output-file", out, "requirements.lock"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    made = json.loads(out.read_text(encoding="utf-8"))
    assert (made["bomFormat"], made["metadata"]["component"]["name"]) == ("CycloneDX", "digua")
    locked = re.findall(
        r"^([a-z][a-z0-9.-]*)(?:\[.*\])?==([^ ;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    assert len(locked) > 100
    assert {(each["name"], each["version"]) for each in made["components"]} == set(locked)
    assert all(each["externalReferences"][0]["hashes"] for each in made["components"])
