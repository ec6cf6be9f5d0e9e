"""The compose topology as processes: set up by its documents, a campaign, a release, queries, a revocation, the audit.

Tests run in the order of the file: each goes on where the one before ended.
"""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.deployment.federation import CA, HUB_URL, HUB_YAML, KINDS, SCHEMA, SUPERLINK, Deployment

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(900)]

HOME = "/var/lib/digua"
PHONES = Path(__file__).with_name("merchants.py")
ORDER = {
    "name": "compose",
    "schema": SCHEMA.name,
    "stages": ["scorecard"],
    "epsilon": 10,
    "delta": 1e-5,
    "holdout": 0.2,
    "quorum": {"bank": 2, "tax": 1, "utility": 1},
}


def _merchants(deployment: Deployment, step: str) -> None:
    done = deployment.sandboxes.run("platform", "python", str(PHONES), step, HUB_URL, CA, HOME)
    assert done.returncode == 0, done.stderr[-3000:]


def _read(deployment: Deployment, party: str, name: str) -> str:
    return (deployment.sandboxes.volume(party) / name).read_text(encoding="utf-8")


def _merchant_of(deployment: Deployment, bank: str, number: int = 0) -> str:
    """A merchant whom the bank and the tax bureau know; number 0 and 1 are two."""
    rows = csv.DictReader(_read(deployment, "platform", "sources.csv").splitlines())
    return [row["id"] for row in rows if row["bank"] == bank and row["tax"]][number]


def test_containers_hold_no_rights(deployment: Deployment) -> None:
    assert set(deployment.topology.running) == set(deployment.sandboxes.compose.services)
    for name in deployment.topology.running:
        for process in deployment.topology.processes(name):
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert process.uids().effective != 0, (name, process.cmdline())
            assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0, name
            assert facts["NoNewPrivs"] == "1", name


def test_containers_write_to_their_volumes_and_memory_alone(deployment: Deployment) -> None:
    tries = (
        "import sys, pathlib\n"
        "for folder in sys.argv[1:]:\n"
        "    try: pathlib.Path(folder, 'written').write_text('x')\n"
        "    except OSError: pass\n"
        "    else: print(folder)\n"
    )
    for name, writable in (("bank-a", [HOME, "/tmp"]), ("hub", [HOME, "/tmp"]), ("proxy", ["/tmp"])):
        folders = [
            HOME,
            "/tmp",
            "/",
            "/etc",
            "/etc/digua",
            "/usr",
            "/run/secrets",
            "/var/lib",
            str(Path(__file__).parent),
        ]
        done = deployment.sandboxes.run(name, "python", "-c", tries, *folders)
        assert done.stdout.split() == writable, (name, done.stdout, done.stderr)


def test_nodes_reach_the_proxy_and_the_superlink_alone(deployment: Deployment) -> None:
    """The node's network has no hub, no database, no Control; from outside the internal interface is not there."""
    reach = (
        "import socket, sys\n"
        "for place in sys.argv[1:]:\n"
        "    host, _, port = place.rpartition(':')\n"
        "    try: socket.create_connection((host, int(port)), 1).close()\n"
        "    except OSError: pass\n"
        "    else: print(place)\n"
    )
    at = deployment.sandboxes.networks.addresses
    open_to_nodes = ["hub.digua.example:8443", SUPERLINK]
    closed = [f"{at['hub', 'core']}:8440", f"{at['postgres', 'core']}:5432", f"{at['superlink', 'core']}:9093"]
    closed += [f"{at['superlink', 'outside']}:9093", f"{at['proxy', 'core']}:8443", f"{at['bank-b', 'outside']}:8090"]
    found = deployment.sandboxes.run("bank-a", "python", "-c", reach, *open_to_nodes, *closed)
    assert found.stdout.split() == open_to_nodes, found.stderr
    inner = ["hub:8440", "postgres:5432", "superlink-control:9093"]
    found = deployment.sandboxes.run("worker", "python", "-c", reach, *inner)
    assert found.stdout.split() == inner, found.stderr
    ask = "import httpx, sys; print(httpx.get(sys.argv[1], verify=sys.argv[2], trust_env=False).status_code)"
    inside = deployment.sandboxes.run("bank-a", "python", "-c", ask, f"{HUB_URL}/v1/internal/links", CA)
    assert inside.stdout.strip() == "404", inside.stderr


def test_a_node_trusts_its_own_authority_alone(deployment: Deployment) -> None:
    ask = "import httpx, sys; httpx.get(sys.argv[1], trust_env=False)"
    done = deployment.sandboxes.run("bank-a", "python", "-c", ask, f"{HUB_URL}/v1/health")
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr


def test_merchants_consent(deployment: Deployment) -> None:
    sources = deployment.tables["bank-a"].with_name("sources.csv").read_text(encoding="utf-8")
    deployment.put("platform", "sources.csv", sources)
    ids = "id\n" + "\n".join(row["id"] for row in csv.DictReader(sources.splitlines())) + "\n"
    listed = deployment.put("platform", "merchants.csv", ids)
    deployment.node("platform", "merchants", "pseudonyms", "--ids", listed, "--out", f"{HOME}/pseudonyms.json")
    _register_notice(deployment)
    _merchants(deployment, "keys")
    for bank in ("bank-a", "bank-b"):
        drafted = ("--keys", f"{HOME}/{bank}.keys.ndjson", "--countersigner", bank, "--out", f"{HOME}/{bank}.batch")
        deployment.node("platform", "merchants", "batch", *drafted)
        batch = deployment.put(bank, "batch", _read(deployment, "platform", f"{bank}.batch"))
        _until_signed(deployment, bank, batch)
        signed = deployment.put("platform", f"{bank}.signed", _read(deployment, bank, "signed"))
        deployment.node("platform", "merchants", "submit", "--batch", signed)
    _merchants(deployment, "consent")


def _register_notice(deployment: Deployment) -> None:
    texts = [("--zh", "隐私告知：演示用。"), ("--en", "Privacy notice of the test.")]
    files = [(option, deployment.put("hub", f"notice{option}.md", text)) for option, text in texts]
    purposes = ("--purpose", "credit-scoring", "--purpose", "model-training")
    named = ("credit-scoring", "--version", "1", *(each for pair in files for each in pair), *purposes)
    deployment.operator("notice", "add", *named)


def _until_signed(deployment: Deployment, bank: str, batch: str) -> None:
    """A bank countersigns its own customers: it must have pseudonymised them first, which takes a moment."""
    deadline = time.monotonic() + 60
    while True:
        try:
            deployment.node(bank, "merchants", "countersign", "--batch", batch, "--out", f"{HOME}/signed")
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


def _campaign(deployment: Deployment, **changes: object) -> dict[str, Any]:
    """Order a campaign as the operator does and wait for its end."""
    deployment.put("hub", SCHEMA.name, SCHEMA.read_text(encoding="utf-8"))
    file = deployment.put("hub", "order.yaml", yaml.safe_dump({**ORDER, **changes}, allow_unicode=True))
    campaign_id = deployment.operator("campaign", "start", file)["campaign_id"]
    deadline = time.monotonic() + 240
    while True:
        state = deployment.operator("campaign", "show", campaign_id)
        if state["status"] in ("succeeded", "failed", "aborted"):
            break
        assert time.monotonic() < deadline, state
        time.sleep(2)
    if state["status"] != "succeeded":
        logs = "\n".join(deployment.topology.tail(name) for name in ("worker", "superlink", "hub"))
        raise AssertionError(f"{json.dumps(state, ensure_ascii=False)}\n{logs}")
    return dict(state)


def _run_by(deployment: Deployment, campaign_id: str) -> str:
    """Machine and process that ran a campaign, from the database."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from hub.config import load_config\n"
        "from hub.db import open_database\n"
        "from hub.tables.campaigns import CampaignRow\n"
        "db = open_database(load_config(Path(sys.argv[1])))\n"
        "assert db.engine.dialect.name == 'postgresql'\n"
        "with db.reading() as session: print(session.get(CampaignRow, sys.argv[2]).run_by)\n"
    )
    done = deployment.sandboxes.run("hub", "python", "-c", script, HUB_YAML, campaign_id)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_campaign_on_the_superlink(deployment: Deployment) -> None:
    state = _campaign(deployment, name="superlink", engine="superlink", epsilon=3)
    assert [each["what"] for each in state["progress"]].count("engine") == 1
    assert _run_by(deployment, state["campaign_id"]).startswith("superlink:")
    facts = deployment.hub("superlink-health", "--config", HUB_YAML)
    assert facts == {"registered_nodes": 5, "online_nodes": 5}


def test_a_campaign_and_its_release(deployment: Deployment) -> None:
    state = _campaign(deployment)
    assert _run_by(deployment, state["campaign_id"]).startswith("worker:")
    report = deployment.put("hub", "assessment.md", "# 影响评估")
    stated = ("--title", "影响评估", "--date", "2026-01-31", "--assessor", "测试", "--conclusion", "acceptable")
    kept = ("--file", report, "--retained-until", "2029-01-31")
    deployment.operator("assessment", "add", str(state["campaign_id"]), *stated, *kept)
    deployment.operator("model", "release", str(state["model_id"]))
    card = deployment.sandboxes.run(
        "hub", "digua-hub", "model", "card", str(state["model_id"]), "--config", HUB_YAML, "--ca-file", CA
    )
    assert card.returncode == 0, card.stderr
    assert "ε" in card.stdout


def test_a_bank_and_the_platform_get_scores(deployment: Deployment) -> None:
    merchant = _merchant_of(deployment, "bank-b")
    for party in ("bank-b", "platform"):
        answer = deployment.node(party, "query", "score", "--id", merchant)
        assert answer["score"] is not None
        assert answer["refusals"] == {}
    other = _merchant_of(deployment, "bank-a")
    refused = deployment.sandboxes.run(
        "bank-b", "digua-node", "query", "score", "--id", other, "--config", f"{HOME}/node.yaml", "--json"
    )
    assert refused.returncode == 1
    assert json.loads(refused.stderr)["code"] in ("consent-unknown", "recipient-not-consented")


def test_a_revocation_reaches_every_node(deployment: Deployment) -> None:
    wallet = json.loads(_read(deployment, "platform", "wallet.json"))
    merchant, bank = wallet[0]["id"], wallet[0]["sources"]["bank"]
    assert deployment.node(bank, "query", "score", "--id", merchant)["score"] is not None
    _merchants(deployment, "revoke")
    refused = deployment.sandboxes.run(
        bank, "digua-node", "query", "score", "--id", merchant, "--config", f"{HOME}/node.yaml", "--json"
    )
    assert refused.returncode == 1
    assert json.loads(refused.stderr)["code"] == "consent-revoked"


def test_killed_services_come_back(deployment: Deployment) -> None:
    """What `restart: unless-stopped` does after a kill: nothing that was acknowledged is gone, and work goes on."""
    topology = deployment.topology
    entries = deployment.hub("health", "--config", HUB_YAML)["log_size"]
    killed = ("postgres", "hub", "worker", "superlink", "proxy", "witness", "tax")
    for name in killed:
        topology.kill(name)
    topology.start(killed)
    _until_connected(deployment, len(KINDS) + 1)
    assert deployment.hub("health", "--config", HUB_YAML)["log_size"] >= entries
    merchant = _merchant_of(deployment, "bank-b", 1)
    assert deployment.node("bank-b", "query", "score", "--id", merchant)["score"] is not None


def _until_connected(deployment: Deployment, parties: int) -> None:
    deadline = time.monotonic() + 90
    while deployment.hub("health", "--config", HUB_YAML)["connected_parties"] < parties:
        assert time.monotonic() < deadline
        time.sleep(1)


def test_the_log_verifies_offline(deployment: Deployment) -> None:
    deployment.hub("audit", "export", "--config", HUB_YAML, "--out", f"{HOME}/log.ndjson")
    keys = ("--hub-key", deployment.hub_key, "--witness-key", deployment.witness_key)
    verdict = deployment.hub("audit", "verify", f"{HOME}/log.ndjson", *keys)
    assert verdict["ok"] is True
    for party in ("bank-a", "bank-b", "tax", "utility"):
        deployment.node(party, "audit", "journal", "export", "--out", f"{HOME}/journal.ndjson")
        journal = deployment.put("hub", f"{party}.ndjson", _read(deployment, party, "journal.ndjson"))
        found = deployment.hub("audit", "reconcile", f"{HOME}/log.ndjson", journal, "--node", party)
        assert found["ok"] is True, found


def test_no_process_talks_to_the_outside(deployment: Deployment) -> None:
    """Every connection ends inside the compose file's networks."""
    inside = set(deployment.sandboxes.networks.addresses.values()) | {"127.0.0.1", "::1"}
    for name in deployment.topology.running:
        for process in deployment.topology.processes(name):
            for connection in psutil.Process(process.pid).net_connections(kind="inet"):
                if connection.raddr:
                    assert connection.raddr.ip.removeprefix("::ffff:") in inside, (name, connection)
