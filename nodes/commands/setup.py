"""`init` and `enrol`: a node's files, its keys, and whom it trusts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from crypto.jws import sign_model
from crypto.keys import fingerprint
from crypto.pseudonym import PseudonymKey
from crypto.wire.base import SUITE
from crypto.wire.party import EnrolmentRequest, Party
from crypto.wire.service import HubInfo
from nodes.clock import system_clock
from nodes.config import NodeConfig, key_from_text, key_to_text, load_node_config
from nodes.console import JsonOption, print_facts, print_json, reported, say
from nodes.errors import ConfigError, PeerError
from nodes.fingerprint import party_fingerprint
from nodes.hub_client import HubClient
from nodes.keys import NodeKeys, create_keys, load_keys

CONFIG_FILE = "node.yaml"

ConfigOption = Annotated[Path, typer.Option("--config", help="The node's configuration. 节点配置文件。")]


@reported
def init(
    party_id: Annotated[str, typer.Option(help="This party's id, e.g. bank-01. 机构编号。")],
    kind: Annotated[str, typer.Option(help="bank, tax, utility, …, client or witness. 机构类型。")],
    region: Annotated[str, typer.Option(help="Where it is. 所在地区。")],
    hub_url: Annotated[str, typer.Option(help="The hub's address. 枢纽地址。")],
    directory: Annotated[Path, typer.Option("--dir", help="Folder of the node's files. 节点目录。")] = Path(),
    title: Annotated[str, typer.Option(help="Its name for persons. 机构名称。")] = "",
    ca_file: Annotated[Path | None, typer.Option(help="PEM of a private authority. 私有 CA 证书。")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="SCHEMA=TABLE (.csv or .parquet); may be repeated. 数据集。")
    ] = None,
    epsilon: Annotated[float, typer.Option(help="Budget over all campaigns. 全部活动的 ε 预算。")] = 3.0,
    delta: Annotated[float, typer.Option(help="Its delta. δ 预算。")] = 1e-5,
    as_json: JsonOption = False,
) -> None:
    """Make a node's configuration and keys; nothing is overwritten. 生成节点配置与密钥（不覆盖已有文件）。"""
    path = directory / CONFIG_FILE
    if path.exists():
        raise ConfigError(f"{path} exists already", field="dir", remedy="use another folder, or edit this file")
    text = _config_text(
        {"party_id": party_id, "kind": kind, "region": region, "title": title},
        hub={"url": hub_url, **({"ca_file": str(ca_file.absolute())} if ca_file else {})},
        datasets=[_dataset(each) for each in dataset or []],
        budget=(epsilon, delta),
    )
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_checked(path, text)
    try:
        keys = create_keys(directory / "keys", kind=kind)
    except ConfigError:
        path.unlink()
        raise
    own = party_fingerprint(party_id, kind, keys.identity.public, keys.box.public)
    _show({"configuration": str(path), "fingerprint": own, **public_facts(keys)}, as_json)


@reported
def enrol(
    token: Annotated[str, typer.Option(help="One-time token from the hub. 一次性令牌。", envvar="DIGUA_TOKEN")],
    hub_key: Annotated[str, typer.Option(help="The hub's signing key, from its operator. 枢纽签名公钥。")],
    config: ConfigOption = Path(CONFIG_FILE),
    witness_key: Annotated[
        str | None, typer.Option(help="The witness's signing key, from its owner. 见证方签名公钥。")
    ] = None,
    witness_id: Annotated[str | None, typer.Option(help="The witness's id. 见证方编号。")] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the node's public keys to the hub and pin those of hub and witness. 向枢纽登记并固定信任公钥。"""
    loaded = load_node_config(config)
    if loaded.trust is not None:
        raise ConfigError(
            f"{config} pins keys already",
            field="trust",
            remedy="nothing is to be done; to join another hub, start with a new folder",
        )
    keys = load_keys(loaded.keys_dir, kind=loaded.kind)
    own = loaded.kind == "witness"
    if own == (witness_key is not None):
        raise ConfigError(
            "the witness itself takes no --witness-key" if own else "--witness-key is missing",
            field="witness-key",
            remedy="the witness is its own" if own else "ask the witness's owner for its signing key",
        )
    pinned_hub = _key(hub_key, "hub-key")
    pinned_witness = keys.identity.public if witness_key is None else _key(witness_key, "witness-key")
    with HubClient(loaded.hub, party_id=loaded.party_id, identity=keys.identity) as client:
        info = client.info()
        witness = loaded.party_id if own else _check_witness(info, pinned_witness, witness_id)
        _same("hub", pinned_hub, info.sign_key, "hub-key")
        trust = {
            "hub_id": info.hub_id,
            "hub_sign_key": key_to_text(pinned_hub),
            "witness_id": witness,
            "witness_sign_key": key_to_text(pinned_witness),
        }
        prepared = _pin(config, trust)
        try:
            receipt = client.enrol(_request(loaded, keys, token))
        except PeerError:
            prepared.unlink()
            raise
    os.replace(prepared, config)
    _show({"party_id": loaded.party_id, "approved": receipt.approved, **trust}, as_json)


def public_facts(keys: NodeKeys) -> dict[str, str]:
    """A node's public keys and their fingerprints, as they are printed."""
    facts = {
        "sign_key": key_to_text(keys.identity.public),
        "sign_key_fingerprint": fingerprint(keys.identity.public),
        "box_key": key_to_text(keys.box.public),
        "box_key_fingerprint": fingerprint(keys.box.public),
    }
    if keys.voprf_seed is not None:
        facts["voprf_key"] = key_to_text(PseudonymKey.from_seed(keys.voprf_seed).public)
    return facts


def _request(config: NodeConfig, keys: NodeKeys, token: str) -> str:
    request = EnrolmentRequest(
        suite=SUITE,
        token=token,
        party=Party(
            party_id=config.party_id,
            kind=config.kind,
            region=config.region,
            title=config.title,
            sign_key=keys.identity.public,
            box_key=keys.box.public,
            training_key=None if keys.training is None else keys.training.public,
        ),
        voprf_key=None if keys.voprf_seed is None else PseudonymKey.from_seed(keys.voprf_seed).public,
        issued_at=system_clock(),
    )
    return sign_model(request, keys.identity, typ="enrolment", kid=config.party_id)


def _check_witness(info: HubInfo, pinned: bytes, named: str | None) -> str:
    if info.witness is None:
        if named is None:
            raise ConfigError(
                "the hub has no witness yet, so its id is unknown",
                field="witness-id",
                remedy="enrol the witness first, or give --witness-id",
            )
        return named
    _same("witness", pinned, info.witness.sign_key, "witness-key")
    if named not in (None, info.witness.party_id):
        raise ConfigError(
            f"the hub's witness is {info.witness.party_id}, not {named}",
            field="witness-id",
            remedy="ask the witness's owner for its id",
        )
    return info.witness.party_id


def _same(whose: str, pinned: bytes, offered: bytes, field: str) -> None:
    if pinned != offered:
        raise ConfigError(
            f"the {whose}'s key given here ({fingerprint(pinned)}) is not the one that the hub shows "
            f"({fingerprint(offered)})",
            field=field,
            remedy=f"compare the key with the {whose}'s owner by telephone; do not enrol until both agree",
        )


def _key(text: str, field: str) -> bytes:
    try:
        return key_from_text(text)
    except ValueError as problem:
        raise ConfigError(
            f"--{field} is not a public key",
            field=field,
            remedy="copy the 43 characters that digua-hub init or digua-node init printed",
        ) from problem


def _dataset(text: str) -> tuple[str, str]:
    schema, separator, table = text.partition("=")
    if not (separator and schema and table):
        raise ConfigError(f"--dataset {text} is not SCHEMA=TABLE", field="dataset", remedy="give both files with =")
    return str(Path(schema).absolute()), str(Path(table).absolute())


def _config_text(
    party: dict[str, str],
    *,
    hub: dict[str, str],
    datasets: list[tuple[str, str]],
    budget: tuple[float, float],
) -> str:
    # A JSON string is a YAML string, whatever it holds.
    def quoted(value: str) -> str:
        return json.dumps(value, ensure_ascii=False)

    lines = ["# 节点配置。A digua node. 路径相对于本文件。Paths are relative to this file."]
    lines += [f"{name}: {quoted(value)}" for name, value in party.items()]
    lines += ["hub:", *(f"  {name}: {quoted(value)}" for name, value in hub.items())]
    lines += ["data_dir: data  # 隐私账本，请备份。The ledger: back it up.", "keys_dir: keys"]
    if datasets:
        lines += ["datasets:"]
        for schema, table in datasets:
            sort = "parquet" if table.endswith(".parquet") else "csv"
            lines += [f"  - schema: {quoted(schema)}", f"    {sort}: {quoted(table)}"]
    epsilon, delta = budget
    lines += ["# 全部训练活动合计的隐私预算。What all campaigns together may cost a merchant.", "budget:"]
    lines += [f"  epsilon: {epsilon!r}", f"  delta: {delta!r}"]
    return "\n".join(lines) + "\n"


def _write_checked(path: Path, text: str) -> None:
    """Write a configuration that loads, or none."""
    path.write_text(text, encoding="utf-8")
    try:
        load_node_config(path)
    except ConfigError:
        path.unlink()
        raise


def _pin(config: Path, trust: dict[str, str]) -> Path:
    """The configuration with the pinned keys at its end, in a file beside it."""
    text = config.read_text(encoding="utf-8-sig").rstrip("\n")
    comment = "# 登记时固定的公钥，来自线下核对。Keys pinned at enrolment, learned out of band."
    lines = [text, comment, "trust:", *(f"  {name}: {value}" for name, value in trust.items())]
    prepared = config.with_name(config.name + ".enrolling")
    _write_checked(prepared, "\n".join(lines) + "\n")
    return prepared


def _show(facts: dict[str, object] | dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        print_facts(
            {
                name: say("yes") if value is True else say("no") if value is False else value
                for name, value in facts.items()
            }
        )
