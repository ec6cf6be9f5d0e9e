"""`init`: a node's files and its keys, asked for or from options, and what is not yet right about them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from models.yaml_file import load_yaml_model
from nodes.checks.all import check_installation
from nodes.clock import system_clock
from nodes.commands.check import as_plain, show_findings
from nodes.commands.setup import public_facts, show_facts
from nodes.config import NodeConfig, load_node_config
from nodes.console import WRONG_USAGE, JsonOption, print_error, print_json, reported, say
from nodes.errors import ConfigError
from nodes.fingerprint import party_fingerprint
from nodes.initialisation import CONFIG_FILE, InitAnswers, make_node
from nodes.keys import NodeKeys, load_keys
from nodes.questions import answers_of, ask, missing, with_defaults


@reported
def init(
    party_id: Annotated[str | None, typer.Option(help="This party's id, e.g. bank-01. 机构编号。")] = None,
    kind: Annotated[str | None, typer.Option(help="bank, tax, utility, …, client or witness. 机构类型。")] = None,
    region: Annotated[str | None, typer.Option(help="Where it is. 所在地区。")] = None,
    hub_url: Annotated[str | None, typer.Option(help="The hub's address. 枢纽地址。")] = None,
    directory: Annotated[Path, typer.Option("--dir", help="Folder of the node's files. 节点目录。")] = Path(),
    title: Annotated[str | None, typer.Option(help="Its name for persons. 机构名称。")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="PEM of a private authority. 私有 CA 证书。")] = None,
    proxy: Annotated[str | None, typer.Option(help="http://… of a proxy, or env. 代理地址。")] = None,
    proxy_auth_file: Annotated[
        Path | None, typer.Option(help="File with the proxy's name:password. 代理账号文件。")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="SCHEMA=TABLE (.csv or .parquet); may be repeated. 数据集。")
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="Budget over all campaigns, 3 by default. 全部活动的 ε 预算，默认 3。")
    ] = None,
    delta: Annotated[float | None, typer.Option(help="Its delta, 1e-5 by default. δ 预算，默认 1e-5。")] = None,
    gateway_port: Annotated[int | None, typer.Option(help="API for your own systems. 本地接口端口。")] = None,
    pages_port: Annotated[int | None, typer.Option(help="Pages for people. 网页端口。")] = None,
    approval: Annotated[
        str | None, typer.Option(help="The witness: automatic, or owner. 见证方：模型发布由谁放行。")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(help="YAML with answers, named as these options. 应答文件（YAML）。")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace node.yaml and keep the former one. 覆盖配置并保留备份。")
    ] = False,
    checks: Annotated[bool, typer.Option(help="Check machine, hub and data afterwards. 完成后进行检查。")] = True,
    as_json: JsonOption = False,
) -> None:
    """Make a node's configuration and keys, asking for what is not given; keys are never overwritten.

    生成节点配置与密钥：缺少的内容逐项询问，密钥绝不覆盖。
    """
    path = directory / CONFIG_FILE
    if path.exists() and not force:
        _show_present(path, as_json=as_json)
    given = answers_of(
        {
            "party_id": party_id,
            "kind": kind,
            "region": region,
            "title": title,
            "hub_url": hub_url,
            "ca_file": ca_file,
            "proxy": proxy,
            "proxy_auth_file": proxy_auth_file,
            "dataset": None if not dataset else tuple(dataset),
            "epsilon": epsilon,
            "delta": delta,
            "gateway_port": gateway_port,
            "pages_port": pages_port,
            "approval": approval,
        }
    )
    if answers is not None:
        given = given.over(_beside(load_yaml_model(answers, InitAnswers, error=ConfigError), answers.parent))
    if missing(given) and at_terminal():
        given = ask(given)
    if absent := missing(given):
        refusal = ConfigError(
            f"{', '.join(absent)} must be given: there is no terminal to ask at",
            field=absent[0].removeprefix("--"),
            remedy="give these options, or a YAML file with --answers, or run it at a terminal",
        )
        print_error(refusal, as_json=as_json)
        raise typer.Exit(WRONG_USAGE)
    made, keys = make_node(directory, with_defaults(given), force=force, now=system_clock())
    config = load_node_config(path)
    facts = _facts(config, keys, path) | ({} if made.backup is None else {"backup": str(made.backup)})
    findings = list(check_installation(config)) if checks else []
    if as_json:
        print_json({**facts, "checks": [as_plain(each) for each in findings]})
        return
    show_facts(facts)
    if checks:
        show_findings(findings)
    typer.echo(say("next: digua-node enrol, with the token and the keys that hub and witness give you"))


def at_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty()


def _show_present(path: Path, *, as_json: bool) -> None:
    """Show a configuration that is there already, and refuse."""
    config = load_node_config(path)
    if not as_json:
        show_facts(_facts(config, load_keys(config.keys_dir, kind=config.kind), path))
    raise ConfigError(
        f"{path} exists already",
        field="dir",
        remedy="use another folder, edit this file, or replace it with --force; the former one is kept beside it",
    )


def _facts(config: NodeConfig, keys: NodeKeys, path: Path) -> dict[str, str]:
    own = party_fingerprint(config.party_id, config.kind, keys.identity.public, keys.box.public)
    return {"configuration": str(path), "fingerprint": own, **public_facts(keys)}


def _beside(answers: InitAnswers, base: Path) -> InitAnswers:
    """Paths in a file of answers are relative to it, as everywhere."""
    changed: dict[str, object] = {}
    for name in ("ca_file", "proxy_auth_file"):
        if (given := getattr(answers, name)) is not None:
            changed[name] = base / given
    if answers.dataset is not None:
        pairs = (each.partition("=") for each in answers.dataset)
        changed["dataset"] = tuple(f"{base / schema}{sign}{base / table}" for schema, sign, table in pairs)
    return answers.model_copy(update=changed)
