"""The way to the hub: requests and the link through a proxy's tunnel, a private authority, and nothing by accident."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from nodes.config import HubAddress
from nodes.errors import ConfigError, PeerError
from nodes.hub_client import HubClient
from nodes.keys import write_secret
from nodes.link import Link
from nodes.link_session import HANDSHAKE_SECONDS
from nodes.proxy import proxy_url, tls_context
from nodes.runtime import NodeRuntime
from tests.connect_proxy import ConnectProxy
from tests.node_world import SignerWorld
from tests.tls_hub import LOCAL, NAME, TlsHub

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SignerWorld:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return SignerWorld(tmp_path)


@pytest.fixture
def hub(world: SignerWorld, authority: trustme.CA) -> Iterator[TlsHub]:
    hub = TlsHub(world, authority)
    yield hub
    hub.close()


@pytest.fixture
def ca_file(tmp_path: Path, authority: trustme.CA) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def fetch(world: SignerWorld, address: HubAddress) -> str:
    with HubClient(
        address, party_id="bank-01", identity=world.keys.identity, clock=world.clock, patience_seconds=0.1
    ) as client:
        return client.roster()


def link_comes_up(world: SignerWorld, address: HubAddress, seconds: float = 5.0) -> bool:
    runtime = NodeRuntime.open(world.config().model_copy(update={"hub": address}), clock=world.clock)
    link = Link(runtime, runtime.handlers)
    link.start()
    try:
        return link.wait_connected(seconds)
    finally:
        link.stop()
        runtime.close()


def test_requests_and_the_link_pass_through_the_tunnel(world: SignerWorld, hub: TlsHub, ca_file: Path) -> None:
    with ConnectProxy() as proxy:
        address = HubAddress(url=f"https://{NAME}:{hub.port}", ca_file=ca_file, proxy=f"http://127.0.0.1:{proxy.port}")
        assert fetch(world, address) == hub.roster
        assert proxy.asked == [f"{NAME}:{hub.port}"]
        assert link_comes_up(world, address)
        assert hub.welcomed.wait(60)
        assert proxy.asked == [f"{NAME}:{hub.port}"] * 2
        assert proxy.authorisations == [None, None]
        # what the proxy passed on is TLS: neither path nor party
        assert proxy.passed
        assert b"/v1/" not in proxy.passed
        assert b"bank-01" not in proxy.passed


def test_the_link_comes_up_each_time(world: SignerWorld, hub: TlsHub, ca_file: Path) -> None:
    """A hello sent by one thread while another read a TLS 1.3 session ticket was lost about once in 300 times."""
    with ConnectProxy() as proxy:
        address = HubAddress(url=f"https://{NAME}:{hub.port}", ca_file=ca_file, proxy=f"http://127.0.0.1:{proxy.port}")
        runtime = NodeRuntime.open(world.config().model_copy(update={"hub": address}), clock=world.clock)
        for _ in range(400):
            link = Link(runtime, runtime.handlers)
            link.start()
            assert link.wait_connected(HANDSHAKE_SECONDS - 1)  # a hello that is lost costs the whole handshake's time
            link.stop()
        runtime.close()
        assert len(proxy.asked) == 400


def test_a_redirect_is_not_followed(world: SignerWorld, hub: TlsHub, ca_file: Path) -> None:
    with ConnectProxy() as proxy:
        address = HubAddress(url=f"https://{NAME}:{hub.port}", ca_file=ca_file, proxy=f"http://127.0.0.1:{proxy.port}")
        hub.elsewhere = f"wss://{LOCAL}:{hub.port}/v1/link"
        assert not link_comes_up(world, address, seconds=0.5)
        assert set(proxy.asked) == {f"{NAME}:{hub.port}"}
        assert not hub.welcomed.is_set()
        hub.elsewhere = None
        assert link_comes_up(world, address)


def test_the_proxys_account_is_read_from_a_secret_file(
    world: SignerWorld, hub: TlsHub, ca_file: Path, tmp_path: Path
) -> None:
    account = tmp_path / "account"
    write_secret(account, "bank:p@ss:wörd/\n".encode())
    expected = "Basic " + base64.b64encode("bank:p@ss:wörd/".encode()).decode()
    with ConnectProxy(account=expected) as proxy:
        address = HubAddress(
            url=f"https://{NAME}:{hub.port}",
            ca_file=ca_file,
            proxy=f"http://localhost:{proxy.port}",
            proxy_auth_file=account,
        )
        assert fetch(world, address) == hub.roster
        assert link_comes_up(world, address)
        assert proxy.authorisations == [expected, expected]
        without = address.model_copy(update={"proxy_auth_file": None})
        with pytest.raises(PeerError) as caught:
            fetch(world, without)
        assert "hub.proxy" in str(caught.value.remedy)
        assert "407" in caught.value.message
        assert not link_comes_up(world, without, seconds=0.5)
    account.chmod(0o644)
    with pytest.raises(ConfigError, match="may be read by others"):
        proxy_url(address)
    account.chmod(0o600)
    account.write_text("nobody\n")
    with pytest.raises(ConfigError, match="does not hold name:password") as caught_config:
        proxy_url(address)
    assert caught_config.value.field == "hub.proxy_auth_file"


def test_the_environment_is_not_asked_unless_the_owner_says_so(
    world: SignerWorld, hub: TlsHub, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        silent = HubAddress(url=f"https://{NAME}:{hub.port}", ca_file=ca_file)
        with pytest.raises(PeerError):  # the name cannot be resolved without the proxy
            fetch(world, silent)
        assert not link_comes_up(world, silent, seconds=0.5)
        assert proxy.asked == []
        told = silent.model_copy(update={"proxy": "env"})
        assert fetch(world, told) == hub.roster
        assert link_comes_up(world, told)
        assert proxy.asked == [f"{NAME}:{hub.port}"] * 2
        monkeypatch.setenv("NO_PROXY", "digua.example")
        assert proxy_url(told) is None


def test_the_way_to_a_superlink_is_the_same(
    hub: TlsHub, ca_file: Path, monkeypatch: pytest.MonkeyPatch, world: SignerWorld
) -> None:
    from nodes.supernode import SuperNode

    def visit(proxy: str | None) -> None:
        """Ask for a while; this hub has no Fleet API, so nobody lets the node in."""
        node = SuperNode(
            f"{NAME}:{hub.port}", ca_file, ec.generate_private_key(ec.SECP384R1()), _no_answer, proxy=proxy
        )
        node.start()
        hub.fleet.wait(1.5 if proxy is None else 60)  # by that name nobody is found without a proxy
        node.stop()

    with ConnectProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        visit(None)
        assert proxy.asked == []
        visit(f"http://127.0.0.1:{proxy.port}")
        assert proxy.asked
        assert set(proxy.asked) == {f"{NAME}:{hub.port}"}
        assert hub.fleet.is_set()


def _no_answer(_: object) -> NoReturn:
    raise AssertionError("a message came")


def test_what_the_environment_may_say(world: SignerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    told = HubAddress(url="https://hub.example.org", proxy="env")
    assert proxy_url(told) is None
    monkeypatch.setenv("ALL_PROXY", "http://one:3128")
    assert proxy_url(told) == "http://one:3128"
    monkeypatch.setenv("HTTPS_PROXY", "http://two:3128")
    assert proxy_url(told) == "http://two:3128"
    here = HubAddress(url="http://127.0.0.1:8440", proxy="env")
    assert proxy_url(here) is None
    assert proxy_url(here, host="127.0.0.1:9092") == "http://two:3128"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert proxy_url(here, host="127.0.0.1:9092") is None
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:secret@three:1080")
    with pytest.raises(ConfigError) as caught:
        proxy_url(told)
    assert caught.value.field == "hub.proxy"
    assert "secret" not in str(caught.value)


def test_only_the_configured_authority_is_trusted(
    world: SignerWorld, hub: TlsHub, ca_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with ConnectProxy() as proxy:
        good = HubAddress(url=f"https://{NAME}:{hub.port}", ca_file=ca_file, proxy=f"http://127.0.0.1:{proxy.port}")
        for bad in ({"ca_file": other}, {"ca_file": None}):
            address = good.model_copy(update=bad)
            with pytest.raises(PeerError, match="certificate"):
                fetch(world, address)
            assert not link_comes_up(world, address, seconds=0.5)
        assert not hub.welcomed.is_set()
    other.write_text("no PEM")
    with pytest.raises(ConfigError) as caught:
        tls_context(good.model_copy(update={"ca_file": other}))
    assert caught.value.field == "hub.ca_file"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proxy": "proxy.example.org:3128"}, "must be env, or an address"),
        ({"proxy": "socks5://proxy:1080"}, "must be env, or an address"),
        ({"proxy": "https://proxy:3128"}, "must be env, or an address"),
        ({"proxy": "http://proxy:3128/path"}, "must end with the proxy's port"),
        ({"proxy": "http://user:word@proxy:3128"}, "must not hold a name or password"),
        ({"proxy_auth_file": "account"}, "proxy: is missing"),
        ({"proxy": "http://proxy:3128", "url": "http://127.0.0.1:8440"}, "not reached over one"),
    ],
)
def test_addresses_that_are_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HubAddress.model_validate({"url": "https://hub.example.org", **changes})
