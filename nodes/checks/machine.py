"""The machine: versions of Python and libraries, space on the disk, and who may read the node's secrets."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from crypto.errors import CryptoError
from models.findings import Finding, Findings, of_error
from models.said import said
from nodes.config import NodeConfig
from nodes.errors import NodeError
from nodes.keys import OLD, load_keys
from nodes.own_files import STORE_FILE

PYTHON = (3, 11)
FAULT_GIB, WARNING_GIB = 1, 5
_GIB = 1 << 30
_OTHERS = 0o077


def check_versions(party: str, *, package: str = "digua") -> Iterator[Finding]:
    """Is Python new enough, and is every library of a version that `package` asks for?"""
    found = Findings("versions", party)
    if sys.version_info[:2] < PYTHON:
        yield found.fault(
            said("Python {present} is too old", present=".".join(map(str, sys.version_info[:3]))),
            said("install Python 3.11 or newer, and digua into a fresh environment of it"),
        )
    wrong = list(_unfit_libraries(package))
    for name, wanted, present in wrong:
        yield found.fault(
            said("{name} {present} is installed, {wanted} is needed", name=name, present=present or "–", wanted=wanted),
            said("install digua again from its lock file (docs/intranet.md)"),
        )
    if not wrong:
        yield found.ok(
            said(
                "Python {python}, digua {digua} and its libraries fit together",
                python=".".join(map(str, sys.version_info[:3])),
                digua=version(package),
            )
        )


def _unfit_libraries(package: str) -> Iterator[tuple[str, str, str | None]]:
    for line in requires(package) or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            present = version(wanted.name)
        except PackageNotFoundError:
            yield wanted.name, str(wanted.specifier), None
            continue
        # a local build such as torch 2.13.0+cpu is what its public version says
        if not wanted.specifier.contains(present.partition("+")[0], prereleases=True):
            yield wanted.name, str(wanted.specifier), present


def check_disk(config: NodeConfig) -> Iterator[Finding]:
    """Is there space for the ledger? A node that cannot write cannot answer."""
    found = Findings("disk", config.party_id)
    place = next(each for each in (config.data_dir, *config.data_dir.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    what = said("{gib} GiB are free at {place}", gib=f"{free / _GIB:.1f}", place=str(config.data_dir))
    remedy = said("make room, or move data_dir to a larger disk while the node is stopped")
    if free < FAULT_GIB * _GIB:
        yield found.fault(what, remedy)
    elif free < WARNING_GIB * _GIB:
        yield found.warning(what, remedy)
    else:
        yield found.ok(what)
    if not os.access(place, os.W_OK):
        yield found.fault(
            said("{place} cannot be written by this user", place=str(place)),
            said("give the folder to the user that the node runs as"),
        )


def check_secrets(config: NodeConfig) -> Iterator[Finding]:
    """Can others read a secret, and are the keys what the node's kind needs?"""
    found = Findings("permissions", config.party_id)
    wrong = False
    for path in _secrets(config):
        facts = path.stat()
        mode = stat.S_IMODE(facts.st_mode)
        if mode & _OTHERS:
            wrong = True
            yield found.fault(
                said("{path} may be read by others (mode {mode})", path=str(path), mode=f"{mode:04o}"),
                said(
                    "run chmod {wanted} {path}; if someone else had access, make new keys (digua-node rotate)",
                    wanted="700" if path.is_dir() else "600",
                    path=str(path),
                ),
            )
        elif facts.st_uid != os.geteuid():
            wrong = True
            yield found.warning(
                said("{path} belongs to another user than the one that checks", path=str(path)),
                said("run this command, and the node, as the owner of its files"),
            )
        elif path.suffix == OLD:
            yield found.warning(
                said("{path} is a key from before the last rotation", path=str(path)),
                said("delete it once the witness has cosigned the new keys"),
            )
    if not wrong:
        yield found.ok(said("only their owner can read the node's secrets"))
    keys = Findings("keys", config.party_id)
    try:
        load_keys(config.keys_dir, kind=config.kind)
    except (NodeError, CryptoError) as problem:
        yield keys.fault(*of_error(problem))
    else:
        yield keys.ok(said("the keys are whole"))


def _secrets(config: NodeConfig) -> Iterator[Path]:
    files = [config.keys_dir, config.data_dir, config.data_dir / STORE_FILE]
    files += sorted(config.keys_dir.glob("*")) if config.keys_dir.is_dir() else []
    files += [each for each in (config.hub.proxy_auth_file, config.gateway and config.gateway.token_file) if each]
    files += [config.pages.tls.key] if config.pages is not None and config.pages.tls is not None else []
    for dataset in config.datasets:
        if dataset.sql is not None:
            files += [each for each in (dataset.sql.url_file, dataset.sql.password_file) if each]
    yield from (each for each in dict.fromkeys(files) if each.exists())
