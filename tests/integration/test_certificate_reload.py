"""A hub that serves TLS itself takes a renewed certificate on SIGHUP; a node takes a renewed authority by itself."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from crypto.keys import IdentityKey
from hub.initialisation import initialise
from nodes.config import HubAddress
from nodes.errors import PeerError
from nodes.hub_client import HubClient
from tests.served_world import free_port


def write(authority: trustme.CA, folder: Path, *, trusted: bool) -> None:
    leaf = authority.issue_cert("localhost")
    leaf.cert_chain_pems[0].write_to_path(folder / "hub.pem")
    leaf.private_key_pem.write_to_path(folder / "hub.key")
    if trusted:
        authority.cert_pem.write_to_path(folder / "ca.pem")


@contextmanager
def served(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "hub.cli", "serve", "--config", str(folder / "hub.yaml")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield process
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()


def shown(port: int) -> bytes:
    """The certificate that the hub shows now, DER."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("localhost", port)))


def until_shown(port: int, wanted: Path) -> None:
    der = ssl.PEM_cert_to_DER_cert(wanted.read_text())
    for _ in range(300):
        if shown(port) == der:
            return
        time.sleep(0.1)
    raise AssertionError("the renewed certificate is not shown")


def test_certificate_and_authority_are_renewed_without_a_restart(tmp_path: Path) -> None:
    port = free_port()
    initialise(tmp_path, hub_id="hub-1", port=port).close()
    config = tmp_path / "hub.yaml"
    text = config.read_text().replace(f"http://127.0.0.1:{port}", f"https://localhost:{port}")
    config.write_text(text + "\ntls: {certificate: hub.pem, key: hub.key}\ncampaigns: {worker: external}\n")
    write(trustme.CA(), tmp_path, trusted=True)
    address = HubAddress(url=f"https://localhost:{port}", ca_file=tmp_path / "ca.pem")
    client = HubClient(address, party_id="bank-01", identity=IdentityKey.generate(), patience_seconds=1.0)
    with served(tmp_path, port) as process:
        assert client.info().hub_id == "hub-1"
        first = shown(port)

        (tmp_path / "hub.pem").write_text("no certificate")  # a mistake changes nothing
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert shown(port) == first

        new = trustme.CA()
        write(new, tmp_path, trusted=False)
        process.send_signal(signal.SIGHUP)
        until_shown(port, tmp_path / "hub.pem")
        stranger = HubClient(address, party_id="bank-02", identity=IdentityKey.generate(), patience_seconds=0.5)
        with pytest.raises(PeerError, match="out of reach"):
            stranger.info()
        new.cert_pem.write_to_path(tmp_path / "ca.pem")
        assert stranger.info().hub_id == "hub-1"
        assert client.info().hub_id == "hub-1"
        stranger.close()
    client.close()
