"""What a result depends on: rows, code, settings and libraries, each as a short hash."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from benchmarks.accuracy.sets import Split


def rows_digest(split: Split) -> str:
    """Of the bins and outcomes on both sides of the split."""
    hashed = hashlib.sha256()
    for part in (split.train, split.test):
        for kind, codes in part.codes.items():
            hashed.update(kind.encode())
            hashed.update(np.ascontiguousarray(codes).tobytes())
        hashed.update(np.ascontiguousarray(part.outcomes).tobytes())
    return hashed.hexdigest()[:12]


def code_of(modules: Iterable[str], libraries: Iterable[str], setting: Mapping[str, object] | None) -> str:
    """Of everything beside rows, seeds and ε that a result depends on."""
    plain = {
        "code": {name: code_digest(name) for name in modules},
        "libraries": {name: metadata.version(name) for name in libraries},
        "setting": setting,
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def imports_of(module: str, package: str) -> set[str]:
    """The module and all of a package that it imports, directly or not."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [each for each in _imported(name) if each.startswith(f"{package}.")]
    return found


@cache
def code_digest(module: str) -> str:
    """Of a module's statements: comments, docstrings and layout do not count."""
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def _imported(module: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if _file(name) is not None]


def _tree(module: str) -> ast.Module:
    file = _file(module)
    if file is None:
        raise SystemExit(f"{module} is not a module of ours")
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a function's name, asked for as a module
        return None
    return None if spec is None or spec.origin is None or not spec.origin.endswith(".py") else Path(spec.origin)
