"""YAML files of ours: read with line numbers, validated by a pydantic model, refused with file, line and field.

Scalars follow YAML 1.2: only ``true``/``false`` are booleans (``on`` and ``no`` stay words), ``1e-5`` is a
number, and ``012`` is twelve.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from models.errors import SchemaError
from models.said import Said, said

T = TypeVar("T", bound=BaseModel)
MAX_BYTES = 4 << 20
MAX_REPORTED = 20
_PROBLEMS = "file_problems"


@dataclass(frozen=True)
class FileProblem:
    """One thing that is wrong with a file: where, what, and what to do; both texts are message ids or said."""

    line: int
    field: str
    what: str | Said
    remedy: str | Said


def problems_of(error: BaseException) -> tuple[FileProblem, ...]:
    """Return what `load_yaml_model` found wrong with a file, one by one; nothing for other errors."""
    found: tuple[FileProblem, ...] = vars(error).get(_PROBLEMS, ())
    return found


class ErrorType(Protocol):
    """An error class of any layer's tree, e.g. ``SchemaError``."""

    def __call__(self, message: str, *, field: str | None = None, remedy: str | None = None) -> Exception:
        """Make the error."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2, string keys, and no repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is given twice (first in line {seen[key.value]})", key.start_mark
                )
            seen[key.value] = line
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}

    def construct_number(self, node: yaml.ScalarNode) -> int:
        text = node.value
        return int(text, 16 if "0x" in text else 8 if "0o" in text else 10)

    def construct_day(self, node: yaml.ScalarNode) -> date:
        try:
            return date.fromisoformat(node.value)
        except ValueError as problem:
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value} is no calendar date", node.start_mark
            ) from problem


def _add_scalars() -> None:
    _Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1's
    for tag, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
        (
            "float",
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
            list("-+.0123456789"),
        ),
        ("timestamp", r"[0-9]{4}-[0-9]{2}-[0-9]{2}", list("0123456789")),
    ):
        _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), first)
    _Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
    _Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_day)
    _Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_mapping)


_add_scalars()


def load_yaml_model(path: Path, model: type[T], *, error: ErrorType = SchemaError) -> T:
    """Read a YAML file into a pydantic model.

    The model may use ``info.context["base"]`` (the file's folder) to resolve paths.

    Args:
        path: the file, UTF-8 with or without a byte order mark.
        model: what it must be.
        error: the class raised, of the caller's own error tree.

    Raises:
        error: the file is absent, is not YAML, repeats a key or does not fit; the message has one line per
            problem, ``FILE:LINE: field.path: what; remedy``.
    """
    content = _read(path, error)
    try:
        loader = _Loader(content)
        try:
            node = loader.get_single_node()
            value = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = mark.line + 1 if mark else 1
        what = problem.problem or "not YAML"
        remedy = "correct the YAML at this line"
        raise _listing(
            error(f"{path}:{line}: {what}; {remedy}", remedy=remedy), FileProblem(line, "", what, remedy)
        ) from problem
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as problem:
        remedy = "save the file as UTF-8 YAML"
        raise _listing(
            error(f"{path}:1: cannot be read as YAML; {remedy}", remedy=remedy),
            FileProblem(1, "", "cannot be read as YAML", remedy),
        ) from problem
    if node is None or not isinstance(value, dict):
        remedy = "write fields as `name: value`"
        raise _listing(
            error(f"{path}:1: the file has no fields; {remedy}", remedy=remedy),
            FileProblem(1, "", "the file has no fields", remedy),
        )
    try:
        return model.model_validate(value, context={"base": path.absolute().parent})
    except ValidationError as problem:
        details = problem.errors(include_url=False, include_input=False)
        raise _explained(path, node, details, error) from problem


def _read(path: Path, error: ErrorType) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            remedy = "give the path of a configuration file"
            raise error(f"{path}: larger than {MAX_BYTES >> 20} MiB; {remedy}", remedy=remedy)
        return path.read_bytes()
    except OSError as problem:
        remedy = "check the path and its permissions"
        raise error(f"{path}: cannot be read ({problem.strerror}); {remedy}", remedy=remedy) from problem


def _explained(path: Path, node: yaml.Node, details: list[ErrorDetails], error: ErrorType) -> Exception:
    lines: list[str] = []
    problems: list[FileProblem] = []
    first: tuple[str, str] | None = None
    for detail in details[:MAX_REPORTED]:
        field, line = _locate(node, detail["loc"])
        what, remedy = _sentence(detail)
        if detail["type"] == "value_error" and (inner := re.match(r"([\w.\-]+): ", what)):
            # a check over the whole model names its field in front
            field, line = _locate(node, (*detail["loc"], *inner[1].split(".")))
            what = what[inner.end() :]
        lines.append(f"{path}:{line}: {field + ': ' if field else ''}{what}; {remedy}")
        problems.append(FileProblem(line, field, _said(detail) or what, remedy))
        first = first or (field, remedy)
    if len(details) > MAX_REPORTED:
        lines.append(f"{path}: {len(details) - MAX_REPORTED} more problems")
    field, remedy = first or ("", "correct the file")
    return _listing(error("\n".join(lines), field=field or None, remedy=remedy), *problems)


def _listing(error: Exception, *problems: FileProblem) -> Exception:
    vars(error)[_PROBLEMS] = problems
    return error


def _locate(node: yaml.Node, loc: tuple[int | str, ...]) -> tuple[str, int]:
    """Follow an error's location through the composed nodes; skip what pydantic adds (union members)."""
    names: list[str] = []
    line = node.start_mark.line + 1
    current: yaml.Node | None = node
    for index, part in enumerate(loc):
        if isinstance(current, yaml.MappingNode):
            found = next(((key, value) for key, value in current.value if key.value == part), None)
            if found is not None:
                names.append(str(part))
                line, current = found[0].start_mark.line + 1, found[1]
            elif index == len(loc) - 1 and part != "[key]":
                names.append(str(part))  # a missing field: the line of what should hold it
        elif isinstance(current, yaml.SequenceNode) and isinstance(part, int) and part < len(current.value):
            names.append(str(part))
            current = current.value[part]
            line = current.start_mark.line + 1
    return ".".join(names), line


_LIMITS = {
    "greater_than": ("must be greater than {limit}", "gt"),
    "greater_than_equal": ("must be at least {limit}", "ge"),
    "less_than": ("must be less than {limit}", "lt"),
    "less_than_equal": ("must be at most {limit}", "le"),
    "too_short": ("needs at least {limit} entries", "min_length"),
    "too_long": ("may have at most {limit} entries", "max_length"),
    "literal_error": ("must be one of: {limit}", "expected"),
    "string_pattern_mismatch": ("does not have the form {limit}", "pattern"),
}
_TYPES = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a list of fields",
    "model_type": "must be a list of fields",
}


def _said(detail: ErrorDetails) -> Said | None:
    """What is wrong as a text that has translations; None where only the library's own words tell it."""
    kind = detail["type"]
    if kind in _TYPES:
        return said(_TYPES[kind])
    if kind in _LIMITS:
        text, name = _LIMITS[kind]
        return said(text, limit=detail.get("ctx", {}).get(name, ""))
    return None


def _sentence(detail: ErrorDetails) -> tuple[str, str]:
    kind = detail["type"]
    if kind == "missing":
        return "is missing", "add it"
    if kind == "extra_forbidden":
        return "is not a known field", "remove it or correct its spelling"
    what = detail["msg"].removeprefix("Value error, ")
    return what[:1].lower() + what[1:], "correct the value"
