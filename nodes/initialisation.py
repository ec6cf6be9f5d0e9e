"""A new node's files: its configuration from the owner's answers, and its keys; both there, or neither.

Keys are made in a folder beside their place and moved; the configuration is written last, in one step, so that a node
whose configuration is there is whole. A configuration that is there is replaced only on demand, and kept; keys never.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from nodes.config import NodeConfig, key_to_text, load_node_config
from nodes.config_base import ClosedConfig
from nodes.errors import ConfigError
from nodes.keys import NodeKeys, create_keys, load_keys

CONFIG_FILE = "node.yaml"
KEYS = "keys"
_STAGED = ".making"

Port = Annotated[int, Field(ge=1, le=65535)]


class InitAnswers(ClosedConfig):
    """What `digua-node init` asks, as options give it, or a YAML file under the same names.

    Attributes:
        dataset: ``SCHEMA=TABLE`` each, a YAML and a CSV or Parquet file.
        gateway_port: serve the owner's systems there, on this machine.
        pages_port: serve pages for people there, on this machine.
        approval: the witness only: who lets models out.
    """

    party_id: str | None = None
    kind: str | None = None
    region: str | None = None
    title: str | None = None
    hub_url: str | None = None
    ca_file: Path | None = None
    proxy: str | None = None
    proxy_auth_file: Path | None = None
    dataset: tuple[str, ...] | None = None
    epsilon: float | None = None
    delta: float | None = None
    gateway_port: Port | None = None
    pages_port: Port | None = None
    approval: Literal["automatic", "owner"] | None = None

    def over(self, base: InitAnswers) -> InitAnswers:
        """These answers, and the other's where there is none here."""
        return base.model_copy(update={name: value for name, value in self if value is not None})


class MadeNode(ClosedConfig):
    """What was made: `backup` is the former configuration, where it was replaced."""

    configuration: Path
    backup: Path | None = None


def make_node(directory: Path, answers: InitAnswers, *, force: bool, now: datetime) -> tuple[MadeNode, NodeKeys]:
    """Write a node's configuration and keys.

    Args:
        directory: of both; made where it is absent.
        answers: complete.
        force: replace a configuration of the same party, whose keys and pinned keys stay.
        now: names the backup.

    Raises:
        ConfigError: the configuration would not load, is another party's or cannot be written, or there are keys
            already; then nothing was changed.
    """
    path = directory / CONFIG_FILE
    former = load_node_config(path) if path.exists() else None
    if former is not None:
        _check_same(former, answers, path, force=force)
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        staged = path.with_name(f".{CONFIG_FILE}{_STAGED}")
        _write(staged, config_text(answers, former))
    except OSError as problem:
        raise ConfigError(
            f"{directory} cannot be written: {problem.strerror}",
            field="dir",
            remedy="give a folder that you may write to",
        ) from problem
    try:
        made = load_node_config(staged)
        keys = _keys(made, keep=former is not None)
        backup = None if former is None else _kept(path, now)
        os.replace(staged, path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    _sync(directory)
    return MadeNode(configuration=path, backup=backup), keys


def _check_same(former: NodeConfig, answers: InitAnswers, path: Path, *, force: bool) -> None:
    if not force:
        raise ConfigError(
            f"{path} exists already",
            field="dir",
            remedy="use another folder, edit this file, or replace it with --force; the former one is kept beside it",
        )
    if (former.party_id, former.kind) != (answers.party_id, answers.kind):
        raise ConfigError(
            f"{path} is of {former.party_id}, kind {former.kind}: its keys and ledger are not another party's",
            field="dir",
            remedy="use another folder for another party",
        )


def _keys(config: NodeConfig, *, keep: bool) -> NodeKeys:
    place = config.keys_dir
    if keep and place.exists():
        return load_keys(place, kind=config.kind)
    if place.exists() and any(place.iterdir()):
        return create_keys(place, kind=config.kind)  # refuses where it holds keys
    staged = place.with_name(place.name + _STAGED)
    shutil.rmtree(staged, ignore_errors=True)  # of an attempt that was interrupted; nobody has heard of these keys
    try:
        keys = create_keys(staged, kind=config.kind)
        os.replace(staged, place)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return keys


def _kept(path: Path, now: datetime) -> Path:
    backup = path.with_name(f"{path.name}.{now:%Y%m%dT%H%M%SZ}.bak")
    shutil.copy2(path, backup)
    return backup


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def config_text(answers: InitAnswers, former: NodeConfig | None = None) -> str:
    """The configuration as a person would write it, with the keys that a former one pinned.

    Raises:
        ConfigError: a dataset is not ``SCHEMA=TABLE``.
    """
    party = {name: getattr(answers, name) or "" for name in ("party_id", "kind", "region", "title")}
    hub = {
        "url": answers.hub_url or "",
        "ca_file": _absolute(answers.ca_file),
        "proxy": answers.proxy,
        "proxy_auth_file": _absolute(answers.proxy_auth_file),
    }
    lines = ["# 节点配置。A digua node. 路径相对于本文件。Paths are relative to this file."]
    lines += [f"{name}: {_quoted(value)}" for name, value in party.items()]
    lines += ["hub:", *(f"  {name}: {_quoted(value)}" for name, value in hub.items() if value is not None)]
    lines += ["data_dir: data  # 隐私账本，请备份。The ledger: back it up.", f"keys_dir: {KEYS}"]
    if answers.dataset:
        lines += ["datasets:"]
        for schema, table in map(dataset_of, answers.dataset):
            sort = "parquet" if table.endswith(".parquet") else "csv"
            lines += [f"  - schema: {_quoted(schema)}", f"    {sort}: {_quoted(table)}"]
    lines += ["# 全部训练活动合计的隐私预算。What all campaigns together may cost a merchant.", "budget:"]
    lines += [f"  epsilon: {answers.epsilon!r}", f"  delta: {answers.delta!r}"]
    if answers.gateway_port is not None:
        lines += ["# 供本机构系统调用。For the owner's own systems.", "gateway:", "  host: 127.0.0.1"]
        lines += [f"  port: {answers.gateway_port}", "  token_file: gateway.token"]
    if answers.pages_port is not None:
        lines += ["# 供人员使用的网页。Pages for people.", "pages:"]
        lines += [f"  listen: {{host: 127.0.0.1, port: {answers.pages_port}}}"]
        lines += [f"  origin: http://localhost:{answers.pages_port}"]
    if answers.approval is not None:
        lines += ["# 模型发布由谁放行。Who lets models out.", f"model_release: {{approval: {answers.approval}}}"]
    if former is not None and former.trust is not None:
        lines += trust_lines(
            {
                "hub_id": former.trust.hub_id,
                "hub_sign_key": key_to_text(former.trust.hub_sign_key),
                "witness_id": former.trust.witness_id,
                "witness_sign_key": key_to_text(former.trust.witness_sign_key),
            }
        )
    return "\n".join(lines) + "\n"


def trust_lines(trust: Mapping[str, str]) -> list[str]:
    """The pinned keys as lines of a configuration."""
    comment = "# 登记时固定的公钥，来自线下核对。Keys pinned at enrolment, learned out of band."
    return [comment, "trust:", *(f"  {name}: {value}" for name, value in trust.items())]


def dataset_of(text: str) -> tuple[str, str]:
    """``SCHEMA=TABLE`` as two absolute paths.

    Raises:
        ConfigError: it is not that.
    """
    schema, separator, table = text.partition("=")
    if not (separator and schema and table):
        raise ConfigError(f"--dataset {text} is not SCHEMA=TABLE", field="dataset", remedy="give both files with =")
    return str(Path(schema).absolute()), str(Path(table).absolute())


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _quoted(value: str) -> str:
    # A JSON string is a YAML string, whatever it holds.
    return json.dumps(value, ensure_ascii=False)
