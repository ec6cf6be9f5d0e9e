"""The shipped alert rules and dashboard name metrics that hub, nodes and witness really expose, and are documented."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from hub.app import create_app
from hub.bearer import collector_auth
from hub.config import Tls
from hub.platform.app import create_platform
from hub.worker_pulse import WorkerPulse
from nodes.config import MonitorConfig
from nodes.monitor import create_monitor
from tests.hub_world import HubWorld
from tests.platform_site import PlatformSite
from tests.scoring_world import ScoringWorld

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "configs" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "configs" / "grafana" / "digua.json"
SUFFIXES = ("_bucket", "_sum", "_count", "_total")


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*(rule["expr"] for rule in rules()), *shown]


@pytest.fixture(scope="module")
def exposed(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """Family → label names, of a hub, a bank's node, the witness and the platform."""
    base = tmp_path_factory.mktemp("monitoring")
    (base / "nodes").mkdir()
    hub_world, node_world = HubWorld(base / "hub"), ScoringWorld(base / "nodes")
    hub_world.join(hub_world.witness)
    hub_world.settle()
    hub = hub_world.hub
    WorkerPulse(hub.db, clock=hub.clock).beat()
    chain, key = base / "hub.pem", base / "hub.key"
    certificate = trustme.CA().issue_cert("hub.example.org")
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    hub.config = hub.config.model_copy(update={"tls": Tls(certificate=chain, key=key)})
    token = hub.config.metrics_token_file.read_text().strip()
    texts = [TestClient(create_app(hub)).get("/metrics", headers={"Authorization": f"Bearer {token}"}).text]
    for name in ("bank-02", "witness"):
        app = create_monitor(node_world.nodes[name], MonitorConfig(), connected=lambda: True)
        texts.append(TestClient(app, base_url="http://localhost").get("/metrics").text)
    (base / "platform").mkdir()
    platform, secret = PlatformSite(base / "platform"), base / "platform" / "metrics.token"
    secret.write_text(token)
    secret.chmod(0o600)
    served = create_platform(platform.platform, collector=collector_auth(secret))
    texts.append(TestClient(served).get("/metrics", headers={"Authorization": f"Bearer {token}"}).text)
    found: dict[str, set[str]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            labels = found.setdefault(family.name, set())
            labels.update(name for sample in family.samples for name in sample.labels)
    yield found
    hub.close()
    node_world.close()
    platform.close()


def family_of(name: str, exposed: dict[str, set[str]]) -> str | None:
    forms = [name, *(name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix))]
    return next((form for form in forms if form in exposed), None)


def test_every_metric_that_is_named_exists(exposed: dict[str, set[str]]) -> None:
    named = {name for expression in expressions() for name in re.findall(r"\bdigua_[a-z_]+", expression)}
    assert len(named) > 30
    assert {name for name in named if family_of(name, exposed) is None} == set()


def test_every_metric_of_state_is_watched_or_shown(exposed: dict[str, set[str]]) -> None:
    """What nobody looks at is not worth its scrape; the exceptions are for a look by hand."""
    named = {name for expression in expressions() for name in re.findall(r"\bdigua_[a-z_]+", expression)}
    shown = {family_of(name, exposed) for name in named}
    by_hand = {
        "digua_links_opened", "digua_link_requests", "digua_campaign_attempts", "digua_campaign_refusals",
        "digua_node_link_up", "digua_node_feed_items", "digua_node_roster_version", "digua_node_request_seconds",
    }  # fmt: skip
    ours = {name for name in exposed if name.startswith("digua_") and not name.endswith("_created")}
    assert ours - shown == by_hand


def test_alerts_say_what_to_do_and_are_documented() -> None:
    manual = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) > 15
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert re.search(r"[\u4e00-\u9fff]", rule["annotations"]["summary"]), rule["alert"]
        assert re.search(r"[A-Za-z]{3}", rule["annotations"]["summary"]), rule["alert"]
        assert rule["annotations"]["action"]
        assert f"`{rule['alert']}`" in manual, rule["alert"]


def test_the_dashboard_imports_into_any_grafana() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids) > 15
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}
    assert len(places) == len(ids)
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == "${source}"
        assert re.search(r"[\u4e00-\u9fff]", panel["title"])


def test_brackets_of_expressions_match() -> None:
    for expression in expressions():
        open_ones: list[str] = []
        for character in re.sub(r'"[^"]*"', "", expression):
            if character in "([{":
                open_ones.append({"(": ")", "[": "]", "{": "}"}[character])
            elif character in ")]}":
                assert open_ones.pop() == character, expression
        assert not open_ones, expression
