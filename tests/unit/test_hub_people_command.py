"""`digua-hub people`: operators are added, listed, reset and removed on the machine's command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hub import cli
from hub.config import HubConfig, load_config
from hub.errors import HubConfigError
from hub.initialisation import initialise


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setenv("DIGUA_LANG", "en")
    monkeypatch.setattr(sys, "argv", ["digua-hub", "people", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_operators_are_managed_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    initialise(tmp_path, hub_id="hub", port=18441).close()
    at = ("--config", str(tmp_path / "hub.yaml"))
    code, out, _ = run(monkeypatch, capsys, "add", "wang.li", "--json", *at)
    assert code == 0
    assert json.loads(out)["link"].startswith("http://localhost:18441/signup/")
    assert (tmp_path / "keys" / "pages.key").stat().st_mode & 0o077 == 0
    code, out, _ = run(monkeypatch, capsys, "list", "--json", *at)
    [person] = json.loads(out)
    assert (person["name"], person["roles"], person["password"]) == ("wang.li", ["operator"], False)
    assert "operator" in run(monkeypatch, capsys, "list", *at)[1]
    code, _, err = run(monkeypatch, capsys, "add", "wang.li", "--json", *at)
    assert (code, json.loads(err)["code"]) == (1, "person-known")
    code, _, err = run(monkeypatch, capsys, "add", "li.na", "--role", "regulator", "--json", *at)
    assert (code, json.loads(err)["code"]) == (1, "form-invalid")
    assert "works once" in run(monkeypatch, capsys, "reset", "wang.li", *at)[1]
    assert run(monkeypatch, capsys, "remove", "wang.li", *at)[0] == 0
    assert json.loads(run(monkeypatch, capsys, "list", "--json", *at)[1]) == []


def test_where_the_pages_are(tmp_path: Path) -> None:
    plain = {"hub_id": "hub", "public_url": "https://Hub.example.org:8443/api"}
    assert HubConfig.model_validate(plain).page_site.origin == "https://hub.example.org:8443"
    given = HubConfig.model_validate(plain | {"pages": {"origin": "https://pages.example.org"}})
    assert given.page_site.origin == "https://pages.example.org"
    with pytest.raises(HubConfigError, match=r"pages\.origin"):
        _ = HubConfig.model_validate({"hub_id": "hub", "public_url": "http://hub.example.org"}).page_site
    initialise(tmp_path, hub_id="hub", port=18442).close()
    sample = load_config(tmp_path / "hub.yaml")
    assert sample.page_site.passkeys
    assert sample.listen.believed == ()


def test_whose_word_on_addresses_is_believed() -> None:
    base = {"hub_id": "hub", "public_url": "https://hub.example.org"}
    behind = HubConfig.model_validate(base | {"listen": {"behind_tls_proxy": True}})
    assert [str(each) for each in behind.listen.believed] == ["127.0.0.0/8", "::1/128"]
    named = HubConfig.model_validate(base | {"listen": {"behind_tls_proxy": True, "proxies": ["10.1.0.0/16"]}})
    assert [str(each) for each in named.listen.believed] == ["10.1.0.0/16"]
    direct = HubConfig.model_validate(base | {"listen": {"proxies": ["10.1.0.0/16"]}})
    assert direct.listen.believed == ()
