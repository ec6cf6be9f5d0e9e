"""The gateway against its OpenAPI document: whatever is sent, nothing fails, and every answer has a stated shape."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis import GenerationMode

from nodes.enquiries import Enquiry
from nodes.gateway import create_gateway
from nodes.gateway_batches import BatchDesk
from tests.openapi_calls import call_all
from tests.scoring_world import ScoringWorld

TOKEN = "t" * 32


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    world.release()
    world.heartbeat()
    yield world
    world.close()


@pytest.fixture(scope="module")
def schema(world: ScoringWorld) -> Any:
    lender = world.nodes["lender"]
    app = create_gateway(lender, BatchDesk(lender.batches), token=TOKEN, connected=lambda: True)
    made = schemathesis.openapi.from_dict(app.openapi())
    made.app = app
    return made


def headers(case: schemathesis.Case) -> Any:
    """What was generated, with the owner's token where one is needed."""
    made = case.headers
    if case.operation.definition.raw.get("security"):
        made["Authorization"] = f"Bearer {TOKEN}"
    return made


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_whatever_is_sent_nothing_fails_and_every_answer_has_a_stated_shape(
    world: ScoringWorld, schema: Any, mode: GenerationMode
) -> None:
    world.give("M001")
    world.heartbeat()
    lender = world.nodes["lender"]
    rows = iter([Enquiry("M001", None)])
    made = lender.batches.create(
        rows, source_sha256="0" * 64, purpose="credit-scoring", model_id=None, key=secrets.token_hex(8)
    )
    statuses = call_all(schema, mode, headers, {"batch_id": made})
    if mode is GenerationMode.POSITIVE:
        assert len(statuses) == len(list(schema.get_all_operations()))
        assert 200 in statuses["GET /batches/{batch_id}"]
    else:
        assert {"POST /score", "POST /batches"} <= set(statuses)
