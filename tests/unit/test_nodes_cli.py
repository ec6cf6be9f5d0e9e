"""`digua-node`: nothing is overwritten, keys are compared, and every error is one clear block."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result
from websockets.sync.server import serve

from crypto.jws import verify_model
from crypto.keys import IdentityKey
from crypto.pseudonym import PseudonymKey
from crypto.wire.base import SUITE
from crypto.wire.party import EnrolmentRequest
from crypto.wire.service import EnrolmentReceipt, HubInfo, WitnessInfo
from models.schema_file import load_schema
from nodes.cli import app
from nodes.config import key_from_text, key_to_text, load_node_config
from nodes.hub_client import HubClient
from nodes.keys import load_keys
from nodes.ledger import Ledger
from nodes.own_files import open_store
from tests.node_world import SignerWorld
from tests.unit.test_nodes_link import HubSocket
from tests.unit.test_nodes_runtime import SCHEMA, write_table


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGUA_LANG", "en")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def init(directory: Path, kind: str = "bank", *more: object) -> Result:
    party = ("--party-id", f"{kind}-01", "--kind", kind, "--region", "上海", "--hub-url", "http://127.0.0.1:1")
    return call("init", "--dir", directory, *party, "--json", *more)


def test_init_writes_a_configuration_and_private_keys_once(tmp_path: Path) -> None:
    done = init(tmp_path / "n")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    config = load_node_config(tmp_path / "n" / "node.yaml")
    assert (config.party_id, config.region, config.budget.epsilon) == ("bank-01", "上海", 3.0)
    keys = load_keys(config.keys_dir, kind="bank")
    assert key_from_text(shown["sign_key"]) == keys.identity.public
    assert key_from_text(shown["box_key"]) == keys.box.public
    assert shown["sign_key_fingerprint"].startswith("SHA256:")
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in config.keys_dir.iterdir())

    before = (tmp_path / "n" / "node.yaml").read_bytes()
    again = init(tmp_path / "n")
    assert again.exit_code == 1
    assert json.loads(again.stderr)["field"] == "dir"
    (tmp_path / "n" / "node.yaml").unlink()
    assert init(tmp_path / "n").exit_code == 1
    assert not (tmp_path / "n" / "node.yaml").exists()
    assert load_keys(config.keys_dir, kind="bank").identity.public == keys.identity.public
    assert before


def test_init_of_the_witness_prints_its_voprf_key(tmp_path: Path) -> None:
    shown = json.loads(init(tmp_path, "witness").stdout)
    seed = load_keys(tmp_path / "keys", kind="witness").voprf_seed
    assert seed is not None
    assert key_from_text(shown["voprf_key"]) == PseudonymKey.from_seed(seed).public


def test_init_refuses_what_would_not_load_and_leaves_nothing(tmp_path: Path) -> None:
    done = call(
        "init", "--dir", tmp_path, "--party-id", "Bank", "--kind", "bank", "--region", "x", "--hub-url", "http://h.org"
    )
    assert done.exit_code == 1
    assert "config-invalid" in done.stderr
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []
    assert call("init", "--dir", tmp_path).exit_code == 2


class FakeHub:
    """Answers /v1/info and /v1/enrolments, and keeps what was brought."""

    def __init__(self, with_witness: bool = True) -> None:
        self.key, self.witness = IdentityKey.generate(), IdentityKey.generate()
        self.with_witness = with_witness
        self.requests: list[EnrolmentRequest] = []
        self.problem: dict[str, str] | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/info":
            witness = WitnessInfo(party_id="witness-x", sign_key=self.witness.public, voprf_key=bytes(32))
            info = HubInfo(
                suite=SUITE,
                hub_id="hub-x",
                software="s",
                origin="o",
                sign_key=self.key.public,
                voprf_key=bytes(32),
                witness=witness if self.with_witness else None,
            )
            return httpx.Response(200, content=info.model_dump_json())
        if self.problem is not None:
            return httpx.Response(403, content=json.dumps(self.problem))
        assert request.headers["Idempotency-Key"]
        token = request.content.decode()
        claimed = EnrolmentRequest.model_validate_json(_payload(token))
        self.requests.append(
            verify_model(token, claimed.party.sign_key, EnrolmentRequest, typ="enrolment", kid=claimed.party.party_id)
        )
        receipt = EnrolmentReceipt(party_id=claimed.party.party_id, approved=False)
        return httpx.Response(200, content=receipt.model_dump_json())


@pytest.fixture
def use_hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeHub], FakeHub]:
    def use(hub: FakeHub) -> FakeHub:
        def client(*args: object, **kwargs: object) -> HubClient:
            return HubClient(*args, **kwargs, transport=httpx.MockTransport(hub))  # type: ignore[arg-type]

        monkeypatch.setattr("nodes.commands.setup.HubClient", client)
        return hub

    return use


def enrol(directory: Path, *more: object) -> Result:
    return call("enrol", "--config", directory / "node.yaml", "--token", "t" * 32, "--json", *more)


def test_enrol_brings_the_keys_and_pins_the_hubs(tmp_path: Path, use_hub: Callable[[FakeHub], FakeHub]) -> None:
    hub = use_hub(FakeHub())
    init(tmp_path)
    keys = ("--hub-key", key_to_text(hub.key.public), "--witness-key", key_to_text(hub.witness.public))
    done = enrol(tmp_path, *keys)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["approved"] is False
    trust = load_node_config(tmp_path / "node.yaml").require_trust()
    assert (trust.hub_id, trust.hub_sign_key) == ("hub-x", hub.key.public)
    assert (trust.witness_id, trust.witness_sign_key) == ("witness-x", hub.witness.public)
    assert "A digua node" in (tmp_path / "node.yaml").read_text()
    (request,) = hub.requests
    assert (request.token, request.voprf_key) == ("t" * 32, None)
    assert request.party.box_key == load_keys(tmp_path / "keys", kind="bank").box.public
    assert enrol(tmp_path, *keys).exit_code == 1
    assert len(hub.requests) == 1


def test_keys_that_differ_from_the_hubs_stop_the_enrolment(
    tmp_path: Path, use_hub: Callable[[FakeHub], FakeHub]
) -> None:
    hub = use_hub(FakeHub())
    init(tmp_path)
    before = (tmp_path / "node.yaml").read_bytes()
    right, wrong = key_to_text(hub.key.public), key_to_text(IdentityKey.generate().public)
    witness = key_to_text(hub.witness.public)
    for keys, field in (
        (("--hub-key", wrong, "--witness-key", witness), "hub-key"),
        (("--hub-key", right, "--witness-key", wrong), "witness-key"),
        (("--hub-key", "short", "--witness-key", witness), "hub-key"),
        (("--hub-key", right), "witness-key"),
        (("--hub-key", right, "--witness-key", witness, "--witness-id", "other"), "witness-id"),
    ):
        done = enrol(tmp_path, *keys)
        assert done.exit_code == 1
        assert json.loads(done.stderr)["field"] == field
    hub.problem = {"code": "enrolment-refused", "detail": "the token was used"}
    done = enrol(tmp_path, "--hub-key", right, "--witness-key", witness)
    assert (done.exit_code, json.loads(done.stderr)["code"]) == (1, "enrolment-refused")
    assert (hub.requests, (tmp_path / "node.yaml").read_bytes()) == ([], before)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["keys", "node.yaml"]


def test_the_witness_is_its_own(tmp_path: Path, use_hub: Callable[[FakeHub], FakeHub]) -> None:
    hub = use_hub(FakeHub(with_witness=False))
    init(tmp_path, "witness")
    keys = load_keys(tmp_path / "keys", kind="witness")
    assert keys.voprf_seed is not None
    refused = enrol(tmp_path, "--hub-key", key_to_text(hub.key.public), "--witness-key", key_to_text(bytes(32)))
    assert json.loads(refused.stderr)["field"] == "witness-key"
    assert enrol(tmp_path, "--hub-key", key_to_text(hub.key.public)).exit_code == 0
    trust = load_node_config(tmp_path / "node.yaml").require_trust()
    assert (trust.witness_id, trust.witness_sign_key) == ("witness-01", keys.identity.public)
    assert hub.requests[0].voprf_key == PseudonymKey.from_seed(keys.voprf_seed).public


def test_before_the_witness_its_id_must_be_given(tmp_path: Path, use_hub: Callable[[FakeHub], FakeHub]) -> None:
    hub = use_hub(FakeHub(with_witness=False))
    init(tmp_path)
    keys = ("--hub-key", key_to_text(hub.key.public), "--witness-key", key_to_text(hub.witness.public))
    assert json.loads(enrol(tmp_path, *keys).stderr)["field"] == "witness-id"
    assert enrol(tmp_path, *keys, "--witness-id", "w").exit_code == 0


def test_check_data_reports_rows_missing_values_and_labels(tmp_path: Path) -> None:
    csv = tmp_path / "bank.csv"
    write_table(csv, 4)
    lines = csv.read_text().splitlines()
    cells = lines[1].split(",")
    cells[1] = ""
    csv.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    init(tmp_path / "n", "bank", "--dataset", f"{SCHEMA}={csv}")
    done = call("check-data", "--config", tmp_path / "n" / "node.yaml", "--json")
    assert done.exit_code == 0, done.output
    (report,) = json.loads(done.stdout)["datasets"]
    assert (report["rows"], report["schema_sha256"]) == (4, load_schema(SCHEMA).hash())
    assert report["labels"] == {"defaulted": 2, "performing": 2, "no label": 0}
    assert [each["missing_share"] for each in report["features"]][:2] == [0.25, 0.0]
    shown = call("check-data", "--config", tmp_path / "n" / "node.yaml")
    assert "25.0%" in shown.stdout
    assert "performing" in shown.stdout


def test_check_data_names_row_and_column_and_exits_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv = tmp_path / "bank.csv"
    write_table(csv, 2)
    csv.write_text(csv.read_text().replace("id-1,1", "id-1,many"))
    init(tmp_path / "n", "bank", "--dataset", f"{SCHEMA}={csv}")
    config = tmp_path / "n" / "node.yaml"
    first = load_schema(SCHEMA).features("bank")[0].name
    done = call("check-data", "--config", config, "--json")
    assert done.exit_code == 1
    (report,) = json.loads(done.stdout)["datasets"]
    assert report["problem"]["code"] == "source-invalid"
    assert f"row 3, column {first}" in report["problem"]["what"]
    monkeypatch.setenv("DIGUA_LANG", "zh")
    shown = call("check-data", "--config", config)
    assert shown.exit_code == 1
    assert "处理办法" in shown.stderr
    assert "Traceback" not in shown.output


def test_ledger_show(tmp_path: Path) -> None:
    init(tmp_path)
    config = load_node_config(tmp_path / "node.yaml")
    store = open_store(config)
    Ledger(store, 3, 1e-5).record_send(
        campaign_id="c", attempt="c/scorecard/1", h=bytes(32), payload=b"x", mechanisms=()
    )
    store.close()
    shown = json.loads(call("ledger", "show", "--config", tmp_path / "node.yaml", "--json").stdout)
    assert (shown["epsilon_spent"], shown["epsilon_budget"], shown["campaigns"]) == (0.0, 3.0, ["c"])
    assert shown["sends"][0]["attempt"] == "c/scorecard/1"
    assert "c/scorecard/1" in call("ledger", "show", "--config", tmp_path / "node.yaml").stdout


def test_absent_files_and_faults_are_one_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = call("run", "--config", tmp_path / "absent.yaml")
    assert done.exit_code == 1
    assert "cannot be read" in done.stderr.replace("\n", " ")

    def broken(path: Path) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("nodes.commands.ledger.load_node_config", broken)
    done = call("ledger", "show", "--config", tmp_path / "x.yaml", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stderr)["code"] == "node-failed"


def test_a_running_node_links_and_stops_cleanly_on_sigterm(tmp_path: Path) -> None:
    world = SignerWorld(tmp_path)
    hub = HubSocket(world)
    with serve(hub, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        trust = {
            "hub_id": "hub",
            "hub_sign_key": key_to_text(world.hub.public),
            "witness_id": "witness",
            "witness_sign_key": key_to_text(world.witness.public),
        }
        fields = {
            "party_id": "bank-01",
            "kind": "bank",
            "region": "x",
            "hub": {"url": f"http://127.0.0.1:{port}"},
            "trust": trust,
            "data_dir": "data",
            "keys_dir": "keys",
        }
        (tmp_path / "node.yaml").write_text(json.dumps(fields))
        command = [sys.executable, "-m", "nodes.cli", "run", "--config", str(tmp_path / "node.yaml"), "--json"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "DIGUA_LANG": "en"})
        try:
            assert hub.hellos.get(timeout=120).party_id == "bank-01"
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
        server.shutdown()
    assert process.returncode == 0, errors
    lines = [json.loads(line) for line in errors.splitlines()]
    assert ("node-stopped", "bank-01") in [(line["event"], line.get("party")) for line in lines]
    assert not any("exception" in line or "Traceback" in line["event"] for line in lines)


def _payload(token: str) -> bytes:
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(token.split(".")[1] + "==")
