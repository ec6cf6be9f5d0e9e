"""What answers of the scoring federation hold, the score by hand, and its parties' configurations as files."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nodes.config import key_to_text
from nodes.enquiries import Enquiry, Outcome
from nodes.services import Services
from tests.scoring_world import SOURCES, ScoringWorld


def ask_all(node: Services, enquiries: Iterable[Enquiry], *, model_id: str | None = None) -> list[Outcome]:
    """Outcomes of one batch, from its making to its end."""
    made = node.batches.create(iter(enquiries), source_sha256=secrets.token_hex(32), model_id=model_id)
    assert node.batches.run(made).state == "finished"
    return list(node.batches.outcomes(made))


def expected_score(world: ScoringWorld, merchant: str) -> int:
    """The score by hand, from all rows in the clear."""
    card = world.artefact().card()
    total = 0
    for kind, source in SOURCES.items():
        table = world.nodes[source].runtime.dataset(world.schema.hash())
        assert table is not None
        if merchant in table.ids:
            codes = table.codes[[table.ids.index(merchant)]]
            total += int(card.kind_points(kind, codes)[0])
        else:
            total += card.absent[kind]
    return int(np.clip(total + card.base, 300, 850))


def write_config(world: ScoringWorld, name: str, url: str = "http://127.0.0.1:1", **changes: object) -> Path:
    """The party's configuration as a file, for commands; `url` is its hub's."""
    config = world.nodes[name].runtime.config
    path = world.config_path(name)
    values = json.loads(config.model_dump_json(by_alias=True, exclude_none=True))
    trust = values["trust"]
    trust["hub_sign_key"] = key_to_text(world.trust.hub_sign_key)
    trust["witness_sign_key"] = key_to_text(world.trust.witness_sign_key)
    values.update(changes, hub={"url": url})
    path.write_text(json.dumps(values), encoding="utf-8")
    return path
