"""Calls of all operations of an OpenAPI document with generated data: answers of the stated shapes, and none 5xx."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

EXAMPLES = 8
NOT_ASKED = [positive_data_acceptance]
"""What is well formed is refused all the same where it is not signed, or names nothing that exists."""
Headers = Callable[[schemathesis.Case], Any]


@schemathesis.serializer("application/jose")
def token_bytes(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Tokens travel as they are; what is none goes as its text."""
    return value if isinstance(value, bytes) else str(value).encode()


def call_all(schema: Any, mode: GenerationMode, headers: Headers, known: Mapping[str, str]) -> dict[str, set[int]]:
    """Call every operation with generated data.

    Args:
        schema: a loaded document, with its application.
        mode: data that fits the document, or that does not.
        headers: all that a call is sent with: its own, credentials, idempotency keys.
        known: values of path parameters that exist; each call is made once more with these.

    Returns:
        By operation, the statuses that were answered; operations that take nothing that could be wrong are left out.
    """
    # A call that is malformed need not be asked for credentials first.
    excluded = NOT_ASKED if mode is GenerationMode.POSITIVE else [*NOT_ASKED, ignored_auth]
    statuses: dict[str, set[int]] = {}
    for each in schema.get_all_operations():
        operation = each.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def call(case: schemathesis.Case) -> None:
            said = statuses.setdefault(case.operation.label, set())
            case.headers = headers(case)
            said.add(case.call_and_validate(excluded_checks=excluded).status_code)
            found = {name: known[name] for name in case.path_parameters or {} if name in known}
            if found:
                case.path_parameters = {**(case.path_parameters or {}), **found}
                case.headers = headers(case)
                answer = case.call()
                case.validate_response(answer, excluded_checks=excluded)
                said.add(answer.status_code)

        try:
            call()
        except Unsatisfiable:
            # Free text in a path fits whatever it is, and nothing else can be wrong here.
            taken = operation.definition.raw
            if mode is GenerationMode.POSITIVE or "requestBody" in taken or _bounded(taken):
                raise
    return statuses


def _bounded(operation: dict[str, Any]) -> bool:
    return any(each.get("in") == "query" and "schema" in each for each in operation.get("parameters", []))
