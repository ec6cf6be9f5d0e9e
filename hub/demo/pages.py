"""The demo's pages: an operator, a bank's officer and the regulator each get a link by which they sign up."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from hub.demo.data import NODES, Node
from hub.demo.errors import DemoError
from hub.demo.processes import free_port

BANK = NODES[0]
OPERATOR, OFFICER, REGULATOR = "operator", "officer", "regulator"
_BANK_ROLES = ("risk-officer", "data-steward", "counter-clerk", "owner")


@dataclass(frozen=True)
class Door:
    """Where a person enters.

    Attributes:
        who: in both languages.
        link: to sign up by, once, within a day; for a merchant the pages themselves.
    """

    who: str
    link: str


def origin(port: int) -> str:
    """Where pages on this machine are: passkeys need a name, not a bare address."""
    return f"http://localhost:{port}"


def node_section(port: int) -> str:
    """A node's section `pages`."""
    return f"pages:\n  listen: {{port: {port}}}\n  origin: {origin(port)}\n"


def page_ports(witness: Node) -> dict[str, int]:
    """Free ports for the parties whose pages the demo shows."""
    return {witness.party_id: free_port(), BANK.party_id: free_port()}


def sign_up_arguments(party_id: str, witness: Node) -> list[str]:
    """Arguments of `people add` for the one person whom the demo lets in at a node."""
    if party_id == witness.party_id:
        return ["people", "add", REGULATOR, "--role", "regulator", "--role", "owner"]
    return ["people", "add", OFFICER, *(word for role in _BANK_ROLES for word in ("--role", role))]


def check_doors(doors: list[Door]) -> int:
    """Open every link as a browser would; return how many there are.

    Raises:
        DemoError: one does not open.
    """
    for door in doors:
        try:
            status = httpx.get(door.link, timeout=30.0, trust_env=False, follow_redirects=True).status_code
        except httpx.TransportError as error:
            raise DemoError(f"{door.link} does not open: {error}") from error
        if status != httpx.codes.OK:
            raise DemoError(f"{door.link} answers {status}")
    return len(doors)
