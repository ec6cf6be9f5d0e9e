"""The hub's shipped sample configuration."""

from __future__ import annotations

from pathlib import Path

from hub.config import load_config
from hub.services import sample_config


def test_shipped_sample_is_what_init_writes_and_parses() -> None:
    sample = Path(__file__).parents[2] / "configs" / "hub.yaml"
    assert sample.read_text(encoding="utf-8") == sample_config("hub", 8440)
    config = load_config(sample)
    assert (config.hub_id, config.listen.port, config.log.max_entries) == ("hub", 8440, 1000)
