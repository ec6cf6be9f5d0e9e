"""The merchant's scripts: nothing in them makes markup or code out of text, or reaches another origin."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

STATIC = Path(str(resources.files("hub.web"))) / "static"
SCRIPTS = sorted(STATIC.rglob("*.js"))
DANGEROUS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|setHTML|srcdoc|\beval\b"
    r"|new Function|setTimeout\(\s*[\"'`]|setInterval\(\s*[\"'`]|javascript:|\.on[a-z]+\s*=|importScripts"
    r"|localStorage|sessionStorage"
)
IMPORT = re.compile(r"from \"([^\"]+)\"|import\(([^)]*)\)")


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 9


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_or_code_out_of_text(script: Path) -> None:
    assert not DANGEROUS.findall(script.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_import_only_their_neighbours(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    for name, dynamic in IMPORT.findall(text):
        assert not dynamic, f"{script.name} imports what it computes"
        assert name.startswith("./"), f"{script.name} imports {name}"
        assert (script.parent / name).is_file(), f"{script.name} imports {name}, which is not there"
    assert "http:" not in text
    assert "https:" not in text
