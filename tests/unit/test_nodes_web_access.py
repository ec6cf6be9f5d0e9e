"""People of a node on its command line, the pages' section of its configuration, and their server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from models.web.rights import Role
from nodes.cli import app
from nodes.config import PagesConfig, load_node_config
from nodes.errors import ConfigError
from nodes.journal import Journal
from nodes.own_files import open_store
from nodes.web.access import make_access
from nodes.web.app import create_pages
from nodes.web.server import PageServer
from tests.scoring_world import ScoringWorld

PAGES = "pages: {listen: {port: 0}, origin: http://localhost:8080}\n"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The configuration of a new node with pages."""
    folder = tmp_path / "bank"
    arguments = ["init", "--party-id", "bank-01", "--kind", "bank", "--region", "丽水", "--dir", str(folder)]
    done = CliRunner().invoke(app, [*arguments, "--hub-url", "http://127.0.0.1:1"])
    assert done.exit_code == 0, done.output
    path = folder / "node.yaml"
    path.write_text(path.read_text(encoding="utf-8") + PAGES, encoding="utf-8")
    return path


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["people", *arguments], env={"DIGUA_LANG": "en"})
    return done.exit_code, done.output


def test_people_are_added_listed_reset_and_removed(node: Path) -> None:
    at = ("--config", str(node))
    code, said = run("add", "wang.li", "--role", "risk-officer", "--role", "owner", "--json", *at)
    assert code == 0, said
    link = json.loads(said)["link"]
    assert re.fullmatch(r"http://localhost:8080/signup/[\w-]{43}", link)
    code, said = run("list", "--json", *at)
    [person] = json.loads(said)["people"]
    assert (person["name"], person["roles"], person["joined_at"]) == ("wang.li", ["owner", "risk-officer"], None)
    assert "wang.li" in run("list", *at)[1]
    code, said = run("reset", "wang.li", *at)
    assert code == 0
    assert "once, for 24 hours" in said
    assert link not in said
    assert run("remove", "wang.li", *at)[0] == 0
    assert json.loads(run("list", "--json", *at)[1])["people"] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("add", "wang.li", "--role", "regulator"), "form-invalid"),
        (("add", "<b>", "--role", "owner"), "form-invalid"),
        (("reset", "nobody"), "person-unknown"),
        (("remove", "nobody"), "person-unknown"),
    ],
)
def test_refusals_name_code_and_remedy(node: Path, arguments: tuple[str, ...], code: str) -> None:
    status, said = run(*arguments, "--config", str(node), "--json")
    assert status == 1
    assert (json.loads(said)["code"], bool(json.loads(said)["remedy"])) == (code, True)


def test_a_node_without_pages_says_how_to_have_them(node: Path) -> None:
    node.write_text(node.read_text(encoding="utf-8").replace(PAGES, ""), encoding="utf-8")
    status, said = run("list", "--config", str(node), "--json")
    assert (status, json.loads(said)["field"]) == (1, "pages")


def test_looks_stand_in_the_journal_by_their_hash(node: Path) -> None:
    config = load_node_config(node)
    store = open_store(config)
    access = make_access(config, store)
    access.people.add("wang.li", [Role.RISK_OFFICER])
    look = access.looks.record(access.people.all()[0].person, "score", "91330000123456789X")
    [line] = Journal(store, config.party_id).lines()
    facts = json.loads(line.entry)["facts"]
    assert (line.type, facts["record_hash"], facts["what"]) == ("data-look", look.hash.hex(), "score")
    assert "91330000123456789X" not in line.entry.decode()
    store.close()


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({"listen": {"host": "0.0.0.0"}}, "beyond this machine"),
        ({"listen": {"host": "0.0.0.0"}, "origin": "http://bank.example.org", "proxies": ["10.0.0.1/32"]}, "needs TLS"),
        ({"origin": "https://bank.example.org"}, "needs tls"),
        ({"origin": "https://bank.example.org/pages"}, "without a path"),
        ({"tls": {"certificate": "a", "key": "b"}}, "begins with https"),
        ({"proxies": ["10.0.0.1/8"]}, "IPv4 or IPv6 network"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_unsafe_sections_are_refused(section: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        PagesConfig.model_validate(section)


def test_a_section_behind_a_proxy_and_one_with_tls() -> None:
    behind = PagesConfig.model_validate(
        {"listen": {"host": "0.0.0.0"}, "origin": "https://bank.example.org", "proxies": ["10.0.0.1/32"]}
    )
    assert behind.site.secure
    tls = {"tls": {"certificate": "a", "key": "b"}, "origin": "https://bank.example.org", "listen": {"host": "0.0.0.0"}}
    assert PagesConfig.model_validate(tls).site.hosts == {"bank.example.org"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(
        tmp_path_factory.mktemp("nodes"), parties=("bank-01", "platform", "tax-01", "utility-01", "witness")
    )
    yield world
    world.close()


def test_the_server_serves_the_pages_and_refuses_a_taken_port(world: ScoringWorld) -> None:
    config = PagesConfig.model_validate({"listen": {"port": 0}, "origin": "http://localhost:8080"})
    node = world.nodes["bank-01"]
    node.runtime.config = node.runtime.config.model_copy(update={"pages": config})
    pages = create_pages(node, connected=lambda: True)
    server = PageServer(pages, config)
    server.start()
    try:
        at = f"http://127.0.0.1:{server.port}/signin"
        assert httpx.get(at, headers={"Host": "localhost:8080"}, trust_env=False).status_code == 200
        assert httpx.get(at, headers={"Host": "rebound.example"}, trust_env=False).status_code == 421
        taken = config.model_copy(update={"listen": config.listen.model_copy(update={"port": server.port})})
        with pytest.raises(ConfigError, match="cannot be served"):
            PageServer(pages, taken).start()
    finally:
        server.stop()


def test_a_certificate_that_is_none_is_refused(world: ScoringWorld, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    config = PagesConfig.model_validate(
        {"tls": {"certificate": str(bad), "key": str(bad)}, "origin": "https://bank.example.org", "listen": {"port": 0}}
    )
    node = world.nodes["bank-01"]
    node.runtime.config = node.runtime.config.model_copy(update={"pages": config})
    with pytest.raises(ConfigError, match="certificate or key"):
        PageServer(create_pages(node, connected=lambda: True), config).start()
