"""The compose file's networks as Linux ones: a namespace per service, a bridge per network, no way out.

Nothing touches the machine's own network: the bridges lie in a namespace of their own. Needs root and iproute2.
"""

from __future__ import annotations

import ipaddress
import subprocess
from dataclasses import dataclass, field

from tests.deployment.compose_file import Compose

_RANGE = ipaddress.ip_network("10.77.0.0/16")


def run(*command: str) -> None:
    """Run one command; its words are in the error if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@dataclass
class Networks:
    """Namespaces and addresses of all services.

    Args:
        compose: the file.
        prefix: of the namespaces' names; two runs at once need different ones.
    """

    compose: Compose
    prefix: str
    addresses: dict[tuple[str, str], str] = field(default_factory=dict)
    _made: list[str] = field(default_factory=list)

    def namespace(self, service: str) -> str:
        """The service's network namespace."""
        return f"{self.prefix}-{service}"

    def __enter__(self) -> Networks:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove every namespace; the interfaces in them go with it."""
        while self._made:
            subprocess.run(["ip", "netns", "del", self._made.pop()], capture_output=True, check=False)

    def hosts(self, service: str) -> str:
        """The service's /etc/hosts: what shares a network with it, by name and alias, as the engine's DNS would say."""
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        mine = self.compose.services[service].networks
        for (other, network), address in self.addresses.items():
            if network in mine:
                aliases = self.compose.services[other].networks[network]
                lines.append(" ".join([address, other, *aliases]))
        return "\n".join(lines) + "\n"

    def _make(self) -> None:
        switch = self._add("switch")
        subnets = dict(zip(sorted(self.compose.networks), _RANGE.subnets(new_prefix=24), strict=False))
        bridges = {network: f"br{index}" for index, network in enumerate(subnets)}
        for bridge in bridges.values():
            run("ip", "-n", switch, "link", "add", bridge, "type", "bridge")
            run("ip", "-n", switch, "link", "set", bridge, "up")
        for number, (name, service) in enumerate(self.compose.services.items(), start=2):
            own = self._add(name)
            run("ip", "-n", own, "link", "set", "lo", "up")
            for index, network in enumerate(service.networks):
                outer, inner = f"v{number}x{index}", f"eth{index}"
                run("ip", "-n", switch, "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", own)
                run("ip", "-n", switch, "link", "set", outer, "master", bridges[network], "up")
                address = str(subnets[network][number])
                run("ip", "-n", own, "addr", "add", f"{address}/24", "dev", inner)
                run("ip", "-n", own, "link", "set", inner, "up")
                self.addresses[name, network] = address

    def _add(self, name: str) -> str:
        namespace = self.namespace(name)
        run("ip", "netns", "add", namespace)
        self._made.append(namespace)
        return namespace
