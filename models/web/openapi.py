"""What FastAPI's OpenAPI documents lack: lengths of bytes as they travel, refusals as problem details, definitions."""

from __future__ import annotations

from typing import Any

REF = "#/components/schemas/{model}"
"""Where schemas made by `model_json_schema(ref_template=REF)` are looked for."""
PROBLEM_MEDIA = "application/problem+json"


def complete(document: dict[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    """Complete a document in place.

    Args:
        document: as `fastapi.openapi.utils.get_openapi` makes it; bodies that routes state by themselves may carry
            their own definitions.
        problem: the JSON schema of refusals, with its definitions.

    Returns:
        The same document: every operation states its refusals, and no other shape of them.
    """
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    refusal = {"content": {PROBLEM_MEDIA: {"schema": {"$ref": REF.format(model="Problem")}}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                schemas.update(content["schema"].pop("$defs", {}))
            operation["responses"].pop("422", None)
            operation["responses"] |= {
                "4XX": {"description": "Refused", **refusal},
                "5XX": {"description": "Failed, here or at a party", **refusal},
            }
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _as_base64url(document)
    return document


def _as_base64url(node: object) -> None:
    """Lengths of bytes are stated in bytes; what travels is their base64url, padded or not."""
    if isinstance(node, list):
        for each in node:
            _as_base64url(each)
    if not isinstance(node, dict):
        return
    if node.pop("contentEncoding", None) == "base64" or node.get("format") == "base64url":
        node.pop("contentMediaType", None)
        node.pop("format", None)
        least, most = node.pop("minLength", 0), node.pop("maxLength", None)
        most_digits = "" if most is None else str(-(-4 * most // 3))
        node["pattern"] = f"^[A-Za-z0-9_-]{{{-(-4 * least // 3)},{most_digits}}}={{0,2}}$"
    for value in node.values():
        _as_base64url(value)
