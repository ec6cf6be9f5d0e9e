"""Samples of what merchants are asked for: they can be loaded, and name the notice whose text lies beside them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.schema_file import load_campaign
from nodes.consent_templates import ConsentTemplate
from nodes.counting_consents import counts_for
from nodes.gateway_hooks import load_templates

CONFIGS = Path(__file__).parents[2] / "configs"
NOTICES = {
    "loan": "credit-scoring",
    "pre-qualification": "pre-qualification",
    "programme-statistics": "programme-statistics",
}
SOURCES = {"programme-statistics": {"platform", "bank", "office"}}


@pytest.mark.parametrize("name", list(NOTICES))
def test_a_sample_names_the_notice_that_explains_its_purposes(name: str) -> None:
    template: ConsentTemplate = load_templates({name: CONFIGS / f"consent-{name}.yaml"})[name]
    terms = template.terms(datetime(2026, 1, 1, tzinfo=UTC))
    text = (CONFIGS / "notices" / f"{NOTICES[name]}.zh.md").read_bytes()
    assert terms.privacy_notice.sha256 == hashlib.sha256(text).hexdigest()
    assert {each.category for each in terms.separate_consent} >= SOURCES.get(name, {"bank", "tax", "utility"})


def test_the_sample_of_statistics_counts_for_the_sample_campaign() -> None:
    campaign, schema = load_campaign(CONFIGS / "campaign-programme-statistics.yaml")
    template = load_templates({"it": CONFIGS / "consent-programme-statistics.yaml"})["it"]
    assert campaign.stages == ("statistics",)
    assert template.purposes == ("programme-statistics",)
    assert set(template.sources) == set(schema.kinds_in_order())
    assert counts_for(schema, template.sources, "programme-statistics")
