"""A platform's folder and its commands: made once, served as a process, keys of the API, merchants from a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from hub import cli
from hub.errors import StateError
from hub.platform.config import load_platform_config, sample_platform_config
from hub.platform.errors import PlatformConfigError, PlatformStateError
from hub.platform.installation import at_desk, initialise, opened
from tests.served_world import free_port
from tests.unit.test_hub_platform_merchants import csv_of, row

ROOT = Path(__file__).parents[2]


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setenv("DIGUA_LANG", "zh")
    monkeypatch.setattr(sys, "argv", ["digua-hub", "platform", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_shipped_sample_is_what_init_writes() -> None:
    sample = ROOT / "configs" / "platform.yaml"
    assert sample.read_text(encoding="utf-8") == sample_platform_config("two-small", 8450)
    config = load_platform_config(sample)
    assert (config.party_id, config.listen.port, config.industries.inn[0]) == ("two-small", 8450, "6121")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("host: 127.0.0.1", "host: 0.0.0.0", "tls"),
        ("url: http://127.0.0.1:8090", "url: http://10.0.0.7:8090", "https"),
        ("sqlite:///platform.sqlite", "mysql://x", "database"),
        ('inn: ["6121"', 'inn: ["61"', "inn"),
        ("party_id: two-small", "party_id: Two Small", "party_id"),
    ],
)
def test_what_is_unsafe_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = sample_platform_config("two-small", 8450)
    assert old in text
    file = tmp_path / "platform.yaml"
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(PlatformConfigError, match=told):
        load_platform_config(file)


def test_a_folder_is_made_once_and_its_secrets_are_its_owners(tmp_path: Path) -> None:
    config = initialise(tmp_path, party_id="two-small", port=18450)
    for path in (config.key_file, config.sign_key_file, tmp_path / "platform.sqlite"):
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(PlatformStateError, match="never overwritten"):
        initialise(tmp_path, party_id="two-small", port=18450)
    with pytest.raises(StateError, match="cannot be read"), opened(config):
        pass  # the gateway's token is not there yet
    config.key_file.unlink()
    with pytest.raises(PlatformStateError, match="is not there"), at_desk(config):
        pass
    assert not config.key_file.exists()


def test_merchants_and_keys_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, capsys, "init", "--dir", str(tmp_path))[0] == 0
    at = ("--config", str(tmp_path / "platform.yaml"))
    bad, good = tmp_path / "bad.csv", tmp_path / "good.csv"
    bad.write_bytes(csv_of(row(1), row(2, origin="110101", place="1")))
    good.write_bytes(csv_of(row(1), row(2)))
    code, out, err = run(monkeypatch, capsys, "import", str(bad), "--json", *at)
    assert code == 1
    assert [(each["line"], each["column"]) for each in json.loads(out)] == [(3, "origin"), (3, "place")]
    assert json.loads(out)[0]["what"] == "不属于丽水市下辖的九个县（市、区）。"
    assert json.loads(err)["code"] == "merchant-file"
    assert "有误的行" in run(monkeypatch, capsys, "import", str(bad), *at)[1]
    code, out, _ = run(monkeypatch, capsys, "import", str(good), "--json", *at)
    assert (code, json.loads(out)) == (0, {"registered": 2, "known": 0})
    assert "另有 2 户" in run(monkeypatch, capsys, "import", str(good), *at)[1]
    assert run(monkeypatch, capsys, "import", str(tmp_path / "none.csv"), *at)[0] == 1
    key = run(monkeypatch, capsys, "key-make", "bank", "bank-01", *at)[1].strip()
    out = run(monkeypatch, capsys, "keys", "--json", *at)[1]
    (listed,) = json.loads(out)
    assert (listed["kind"], listed["party"], listed["revoked_at"]) == ("bank", "bank-01", None)
    assert key.startswith("tsk_")
    assert key not in out
    assert run(monkeypatch, capsys, "key-revoke", listed["key_id"], *at)[0] == 0
    assert run(monkeypatch, capsys, "key-revoke", listed["key_id"], *at)[0] == 1
    assert run(monkeypatch, capsys, "migrate", *at)[0] == 0
    with at_desk(load_platform_config(tmp_path / "platform.yaml")) as desk:
        assert desk.audit.verify()[0] == 4


def test_it_serves_as_a_process_until_it_is_told_to_stop(tmp_path: Path) -> None:
    port = free_port()
    config = initialise(tmp_path, party_id="two-small", port=port)
    config.gateway.token_file.write_text("t" * 32)
    config.gateway.token_file.chmod(0o600)
    order = [sys.executable, "-m", "hub.cli", "platform", "serve", "--config", str(tmp_path / "platform.yaml")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(order, stdout=log, stderr=log, env=dict(os.environ), cwd=ROOT)
    try:
        base, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            try:
                assert httpx.get(f"{base}/healthz", trust_env=False).json() == {"status": "ok"}
                break
            except httpx.TransportError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.1)
        assert httpx.get(f"{base}/readyz", trust_env=False).json() == {"status": "ready"}
        refused = httpx.get(f"{base}/v1/merchants", trust_env=False)
        assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
    told = (tmp_path / "log").read_text()
    assert code == 0, told
    assert "platform-serves" in told
    assert "platform-stopped" in told


def test_people_are_made_listed_and_removed_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    initialise(tmp_path, party_id="two-small", port=free_port())
    config = ("--config", str(tmp_path / "platform.yaml"))
    code, out, _ = run(monkeypatch, capsys, "person-make", "bank", "zhao.min", "--party", "bank-01", "--json", *config)
    assert code == 0
    assert json.loads(out)["link"].startswith("http://localhost:")
    code, _, err = run(monkeypatch, capsys, "person-make", "bank", "qian.wei", *config)
    assert (code != 0, "party" in err) == (True, True)
    assert run(monkeypatch, capsys, "person-make", "operator", "li", *config)[0] == 0
    listed = json.loads(run(monkeypatch, capsys, "people", "--json", *config)[1])
    assert [(each["name"], each["role"], each["party"]) for each in listed] == [
        ("li", "operator", "operator"),
        ("zhao.min", "bank", "bank-01"),
    ]
    assert run(monkeypatch, capsys, "person-reset", "zhao.min", *config)[0] == 0
    assert run(monkeypatch, capsys, "person-remove", "zhao.min", *config)[0] == 0
    assert run(monkeypatch, capsys, "person-remove", "zhao.min", *config)[0] != 0


def test_a_platform_without_pages_has_no_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    initialise(tmp_path, party_id="two-small", port=free_port())
    file = tmp_path / "platform.yaml"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(each for each in lines if "pages:" not in each and "origin:" not in each), encoding="utf-8")
    code, _, err = run(monkeypatch, capsys, "people", "--config", str(file))
    assert (code != 0, "pages" in err) == (True, True)
