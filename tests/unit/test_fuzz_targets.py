"""What fuzzers start from is what the product makes, and what they once found stays mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.examples import examples, wire_models
from tests.fuzz.mutation import mutate_json
from tests.fuzz.targets import TARGETS

FINDINGS = Path(__file__).parents[1] / "fuzz" / "findings"
FOUND = sorted(FINDINGS.glob("*/*"))


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_what_the_product_makes(name: str) -> None:
    target = TARGETS[name]
    taken = [target.accepts(seed) for seed in target.seeds()]
    assert any(taken), f"no seed of {name} gets past its first check"
    assert all(len(seed) <= target.max_len for seed in target.seeds())


@pytest.mark.parametrize("path", FOUND, ids=[f"{each.parent.name}/{each.name}" for each in FOUND])
def test_a_finding_stays_mended(path: Path) -> None:
    TARGETS[path.parent.name].accepts(path.read_bytes())


@pytest.mark.parametrize("name", wire_models())
def test_every_wire_model_has_an_example(name: str) -> None:
    assert examples(wire_models()[name])


def test_changes_keep_json_and_are_repeatable() -> None:
    document = b'{"a":1,"b":{"c":"x"}}\n{"d":[1,2]}'
    made = {mutate_json(document, 1000, seed) for seed in range(50)}
    assert len(made) > 20
    assert mutate_json(document, 1000, 7) == mutate_json(document, 1000, 7)
    assert mutate_json(b"no document", 1000, 0) is None
