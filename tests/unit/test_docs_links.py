"""The documents speak of things that exist: links, files of the repository, and names in the code."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")])
PACKAGES = ("crypto", "models", "nodes", "hub")
FOLDERS = ("tests", "configs", "docs", "benchmarks", *PACKAGES)

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[A-Za-z0-9_./-]*")
_NAME = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_FILES = {"yaml", "sqlite", "db", "po"}  # `hub.yaml` is a file, not a name


def prose(document: Path) -> str:
    """A document without its fenced blocks, which hold commands and files of the reader's own."""
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@lru_cache
def members(path: Path, owner: str = "") -> frozenset[str]:
    """Names that a module, or a class at its top, defines or imports."""
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    if owner:
        body = next(each.body for each in body if isinstance(each, ast.ClassDef) and each.name == owner)
    found: set[str] = set()
    for each in body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(each.name)
        elif isinstance(each, ast.Assign):
            found |= {target.id for target in each.targets if isinstance(target, ast.Name)}
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            found.add(each.target.id)
        elif isinstance(each, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in each.names}
    return frozenset(found)


def exists(name: str) -> bool:
    """Whether a dotted name is a package, a module, or what one defines (class members too)."""
    path, parts = ROOT, name.split(".")
    while parts and (path / parts[0]).is_dir():
        path /= parts.pop(0)
    if not parts:
        return True
    module = path / f"{parts.pop(0)}.py"
    if not module.is_file():
        return False
    if not parts:
        return True
    known = members(module)
    return parts[0] in known and (len(parts) == 1 or (len(parts) == 2 and parts[1] in members(module, parts[0])))


def test_there_are_documents() -> None:
    assert {"README.md", "protocol.md", "threat-model.md", "operations.md"} <= {path.name for path in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(document: Path) -> None:
    targets = [target.split("#")[0] for target in _LINK.findall(prose(document)) if "://" not in target]
    missing = [target for target in targets if target and not (document.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(document: Path) -> None:
    spans = [span.partition("::")[0] for span in _CODE.findall(prose(document))]
    assert not [span for span in spans if _PATH.fullmatch(span) and not (ROOT / span).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_that_are_named_exist(document: Path) -> None:
    spans = [span.split("::") for span in _CODE.findall(prose(document)) if span.startswith("tests/") and "::" in span]
    assert not [f"{path}::{name}" for path, name in spans if name not in members(ROOT / path)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_in_the_code_exist(document: Path) -> None:
    spans = [span for span in _CODE.findall(prose(document)) if _NAME.fullmatch(span)]
    settings = {f"hub.{name}" for name in members(ROOT / "nodes" / "config.py", "HubAddress")}  # of node.yaml
    names = [span for span in spans if span.rpartition(".")[2] not in _FILES and span not in settings]
    assert not [name for name in names if not exists(name)]


def test_the_check_itself_can_fail() -> None:
    assert exists("crypto.secure_sum.mask_vector")
    assert exists("crypto.attempts.NodeAttempt.send")
    assert not exists("crypto.secure_sum.mask_vectors")
    assert not exists("crypto.attempts.NodeAttempt.sends")
    assert not exists("crypto.secure_sums")
