"""requirements.lock is what pyproject.toml asks for, on both architectures, and says nothing of where it was made."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKED = [
    (Requirement(line.removesuffix(" \\")), [each.strip() for each in hashes.splitlines()])
    for line, hashes in re.findall(r"^([a-z].*)\n((?:    .*\n)+)", TEXT, re.MULTILINE)
]
PLACES = [
    {
        "sys_platform": "linux",
        "platform_machine": machine,
        "python_version": version,
        "python_full_version": f"{version}.0",
    }
    for machine in ("x86_64", "aarch64")
    for version in ("3.11", "3.12", "3.13", "3.14")
]


def locked_at(place: dict[str, str]) -> dict[str, str]:
    """Versions by name, at a platform."""
    found = [each for each, _ in LOCKED if each.marker is None or each.marker.evaluate(place)]
    versions = {each.name: str(each.specifier).removeprefix("==") for each in found}
    assert len(versions) == len(found)  # no library in two versions
    return versions


@pytest.mark.parametrize("place", PLACES, ids=lambda each: f"{each['platform_machine']}-{each['python_version']}")
def test_what_the_project_asks_for_is_locked(place: dict[str, str]) -> None:
    versions = locked_at(place)
    for asked in map(Requirement, PROJECT["dependencies"]):
        names = [asked.name, *(f"{asked.name}-{extra}" for extra in asked.extras)]
        assert set(names) <= versions.keys(), f"make lock: {asked} is not locked"
        assert asked.specifier.contains(versions[asked.name]), f"make lock: {asked} is locked as {versions[asked.name]}"


def test_every_file_is_pinned_by_its_hash() -> None:
    assert len(LOCKED) == sum(line[:1].isalpha() for line in TEXT.splitlines()) > len(PROJECT["dependencies"])
    for each, hashes in LOCKED:
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(each.specifier)), each
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes), each


def test_no_address_or_path_is_in_it() -> None:
    plain = [line for line in TEXT.splitlines() if not line.startswith(("#", "    --hash=sha256:"))]
    assert all(line[:1].isalpha() for line in plain)
    assert not [line for line in TEXT.splitlines() if "/" in line or "@" in line]
