"""A service's container, as near as a machine without a container engine gets: bubblewrap in a network namespace.

The process has the service's command, environment, user, mounts, names and nothing else: a read-only root, its own
process tree, no capabilities, no sight of other services' files.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.deployment.compose_file import Compose, Service
from tests.deployment.networks import Networks

REPOSITORY = Path(__file__).resolve().parents[2]
_SYSTEM = ("/usr", "/etc/ssl", "/etc/alternatives", "/etc/ld.so.cache", "/etc/nginx/mime.types")
_LINKS = (("usr/lib", "/lib"), ("usr/lib64", "/lib64"), ("usr/bin", "/bin"), ("usr/sbin", "/sbin"))
_BINDS = ("--ro-bind", "--bind")
_PASSWD = "root:x:0:0::/root:/usr/sbin/nologin\nservice:x:{uid}:{gid}::/tmp:/usr/sbin/nologin\n"


@dataclass
class Sandboxes:
    """Makes the command lines that run something as a service.

    Attributes:
        compose: the file.
        networks: of this run.
        state: a folder for volumes and files of this run.
        secrets: a folder with the secrets' files.
        images: image name → folders of further programs, put first in PATH.
        defaults: image name → the image's own command.
        extra: folders that programs of images need beside them.
    """

    compose: Compose
    networks: Networks
    state: Path
    secrets: Path
    images: dict[str, tuple[Path, ...]]
    defaults: dict[str, tuple[str, ...]]
    extra: tuple[Path, ...] = ()

    def command(self, name: str, command: Sequence[str] | None = None) -> list[str]:
        """The words that run `command` (the service's own when None) in the service's container."""
        service = self.compose.services[name]
        inner = list(command or service.command or self.defaults[service.image])
        uid, gid = user_of(service)
        bwrap = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
        bwrap += ["--hostname", name, "--clearenv", "--proc", "/proc", "--dev", "/dev"]
        bwrap += ["--perms", "1777", "--tmpfs", "/dev/shm"]  # engines give each container its own
        mounts = [word for path in _SYSTEM if Path(path).exists() for word in ("--ro-bind", path, path)]
        mounts += [word for target, link in _LINKS for word in ("--symlink", target, link)]
        # Memory first: programs may lie below /tmp here.
        mounts += [word for path in service.tmpfs for word in ("--perms", "1777", "--tmpfs", path)]
        mounts += self._programs(service)
        mounts += self._files(name, service, uid, gid)
        bwrap += _parents(mounts) + mounts
        for key, value in self._environment(service).items():
            bwrap += ["--setenv", key, value]
        bwrap += ["--chdir", "/tmp" if "/tmp" in service.tmpfs else "/", "--remount-ro", "/"]
        bwrap += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
        drop = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"]
        drop += ["--bounding-set=-all", "--inh-caps=-all"]
        return ["ip", "netns", "exec", self.networks.namespace(name), *bwrap, "--", *drop, "--", *inner]

    def run(self, name: str, *command: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run one command in a service's container to its end, as `docker compose run` does."""
        return subprocess.run(
            self.command(name, command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def volume(self, name: str) -> Path:
        """Where a named volume lies."""
        return self.state / "volumes" / name

    def _programs(self, service: Service) -> list[str]:
        folders = [
            Path(sys.prefix),
            Path(sys.base_prefix),
            REPOSITORY,
            *self.extra,
            *self.images.get(service.image, ()),
        ]
        words: list[str] = []
        for folder in dict.fromkeys(folder.resolve() for folder in folders):
            words += ["--ro-bind", str(folder), str(folder)]
        return words

    def _files(self, name: str, service: Service, uid: int, gid: int) -> list[str]:
        own = self.state / "etc" / name
        own.mkdir(parents=True, exist_ok=True)
        _write_once(own / "hosts", self.networks.hosts(name))
        _write_once(own / "passwd", _PASSWD.format(uid=uid, gid=gid))
        words = ["--ro-bind", str(own / "hosts"), "/etc/hosts", "--ro-bind", str(own / "passwd"), "/etc/passwd"]
        for mount in service.mounts:
            if mount.is_volume:
                source = self.volume(mount.source)
                source.mkdir(parents=True, exist_ok=True)
                if source.stat().st_uid != uid:
                    source.chmod(0o700)
                    os.chown(source, uid, gid)
            else:
                source = (self.compose.folder / mount.source).resolve()
            words += ["--ro-bind" if mount.read_only else "--bind", str(source), mount.target]
        for target, secret in service.secrets.items():
            words += ["--ro-bind", str(self.secrets / Path(self.compose.secrets[secret]).name), target]
        return words

    def _environment(self, service: Service) -> dict[str, str]:
        folders = [*map(str, self.images.get(service.image, ())), str(Path(sys.prefix) / "bin")]
        path = ":".join([*folders, "/usr/local/bin", "/usr/bin", "/usr/sbin"])
        return {"PATH": path, "HOME": "/", "LANG": "C.UTF-8", **service.environment}


def user_of(service: Service) -> tuple[int, int]:
    """Numeric user and group; every service must name them, and neither may be root."""
    if service.user is None:
        raise ValueError(f"service {service.name} names no user")
    uid, _, gid = service.user.partition(":")
    if int(uid) == 0 or int(gid) == 0:
        raise ValueError(f"service {service.name} runs as root")
    return int(uid), int(gid)


def _write_once(path: Path, text: str) -> None:
    """Processes of the service may be reading the file: it is never emptied under them."""
    if not path.exists():
        path.write_text(text, encoding="utf-8")


def _parents(mounts: Sequence[str]) -> list[str]:
    """Options that make the folders above all mount points: bubblewrap's own are closed to all but root."""
    targets = [Path(word) for word, option in zip(mounts[2:], mounts, strict=False) if option in _BINDS]
    targets += [Path(word) for word, option in zip(mounts[1:], mounts, strict=False) if option == "--tmpfs"]
    folders = {parent for target in targets for parent in target.parents if parent != Path("/")}
    return [word for folder in sorted(folders) for word in ("--perms", "0755", "--dir", str(folder))]
