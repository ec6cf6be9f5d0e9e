"""The demo's folder: an earlier run's files go, nobody else's, and never those of a run that goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hub.demo.errors import DemoError
from hub.demo.steps import own_folder


def test_a_run_begins_in_an_empty_folder(tmp_path: Path) -> None:
    out, kept = tmp_path / "demo", tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    with own_folder(out):
        (out / "hub").mkdir()
        (out / "hub" / "hub.yaml").write_text("x")
        (out / "elsewhere").symlink_to(kept)
        (out / "report.json").write_text("{}")
    with own_folder(out):
        assert [each.name for each in out.iterdir()] == [".digua-demo"]
    assert (kept / "file").exists()


def test_what_a_demo_did_not_make_stays(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(DemoError, match="did not make") as refused, own_folder(tmp_path):
        pass
    assert refused.value.field == "out"
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_that_goes_on_keeps_its_files(tmp_path: Path) -> None:
    second = (
        "import sys; from pathlib import Path; from hub.demo.steps import own_folder\n"
        "with own_folder(Path(sys.argv[1])): pass"
    )
    with own_folder(tmp_path):
        (tmp_path / "report.json").write_text("{}")
        done = subprocess.run([sys.executable, "-c", second, tmp_path], capture_output=True, text=True, check=False)
        assert "a demo that still runs uses" in done.stderr
        assert (tmp_path / "report.json").exists()
    done = subprocess.run([sys.executable, "-c", second, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "report.json").exists()
