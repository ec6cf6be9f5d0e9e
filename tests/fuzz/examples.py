"""A valid instance of any wire model, from its own JSON schema: what a fuzzer starts from."""

from __future__ import annotations

import base64
import importlib
import pkgutil
from functools import cache
from typing import Any

from hypothesis import find, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import crypto.wire
from crypto.wire.base import WireModel

_MOMENT = "2026-01-31T08:00:00Z"
_FITTING: dict[str, Any] = {
    "valid_until": {"const": "2027-01-31T08:00:00Z"},
    "retained_until": {"const": "2030-01-31"},
}
"""Fields that must fit another one."""
_STEADY = settings(database=None, derandomize=True, max_examples=50)


def wire_models() -> dict[str, type[WireModel]]:
    """All models of `crypto.wire` by name, in order."""
    found: dict[str, type[WireModel]] = {}
    for module in pkgutil.iter_modules(crypto.wire.__path__):
        members = vars(importlib.import_module(f"crypto.wire.{module.name}")).values()
        for each in members:
            if isinstance(each, type) and issubclass(each, WireModel) and not each.__name__.startswith("_"):
                found[each.__name__] = each
    found.pop(WireModel.__name__)
    return dict(sorted(found.items()))


def examples(model: type[BaseModel]) -> list[bytes]:
    """JSON that the model accepts: with its optional fields, and without them where it has such."""
    schema = model.model_json_schema(mode="validation")
    for each in (schema, *schema.get("$defs", {}).values()):
        for name, text in _FITTING.items():
            if name in each.get("properties", {}):
                each["properties"][name] = text
        if each.get("title") == "NoticeStatement":
            each["properties"]["texts"] = {"const": {"zh": "0" * 64, "en": "1" * 64}}
    found = [_example(schema, schema.get("$defs", {}), full=full) for full in (True, False)]
    accepted: list[bytes] = []
    for each in found:
        try:
            data = model.model_validate(each, strict=False).model_dump_json().encode()
        except ValidationError:
            continue
        accepted += [data] if data not in accepted else []
    return accepted


def _example(schema: dict[str, Any], known: dict[str, Any], *, full: bool) -> Any:
    """One value of a JSON schema as pydantic writes them."""
    if "$ref" in schema:
        return _example(known[schema["$ref"].rpartition("/")[2]], known, full=full)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0 if full else -1], known, full=full)
    if "oneOf" in schema:
        return _example(schema["oneOf"][0], known, full=full)
    match schema.get("type"):
        case "object":
            return _members(schema, known, full=full)
        case "array":
            wanted = max(schema.get("minItems", 0), 1 if full else 0)
            each = schema.get("prefixItems") or [schema["items"]] * wanted
            return [_example(item, known, full=full) for item in each]
        case "string":
            return _text(schema)
        case "integer":
            return schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        case "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0.0) + 1e-6)
        case "boolean":
            return True
        case _:
            return None


def _members(schema: dict[str, Any], known: dict[str, Any], *, full: bool) -> dict[str, Any]:
    if "properties" in schema:
        needed = set(schema.get("required", ()))
        named = schema["properties"].items()
        return {name: _example(each, known, full=full) for name, each in named if full or name in needed}
    pattern, values = next(
        iter(schema.get("patternProperties", {}).items()), (None, schema.get("additionalProperties"))
    )
    names = schema.get("propertyNames", {} if pattern is None else {"pattern": pattern})
    keys = list(names.get("enum", ())) or [str(_example({"type": "string"} | names, known, full=full))]
    while len(keys) < schema.get("minProperties", 0):
        keys.append(f"{keys[0]}{len(keys)}")
    kept = keys if full or schema.get("minProperties") else []
    return {key: _example(values or {}, known, full=full) for key in kept}


def _text(schema: dict[str, Any]) -> str:
    if schema.get("format") == "date-time":
        return _MOMENT
    if schema.get("format") in ("base64url", "binary"):
        return base64.urlsafe_b64encode(bytes(schema.get("minLength", 1))).decode()
    if schema.get("format") == "date":
        return _MOMENT[:10]
    if "pattern" in schema:
        return _matching(schema["pattern"])
    return "a" * max(schema.get("minLength", 0), 1)


@cache
def _matching(pattern: str) -> str:
    return find(st.from_regex(pattern, fullmatch=True), lambda _: True, settings=_STEADY)
