"""`people`: who may open this node's pages. Whoever runs this machine gives accounts and roles; no page does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from models.web.access import Access
from models.web.rights import Role
from nodes.commands.setup import ConfigOption
from nodes.config import load_node_config
from nodes.console import JsonOption, print_json, print_table, reported, say
from nodes.own_files import open_store
from nodes.web.access import make_access

app = typer.Typer(help="People who may open this node's pages. 页面人员管理。", no_args_is_help=True)

NODE_YAML = Path("node.yaml")
Name = Annotated[str, typer.Argument(help="The name that the person signs in with. 用户名。")]
RoleOption = Annotated[
    list[Role],
    typer.Option(
        "--role",
        help="At a bank risk-officer, data-steward, counter-clerk, owner; at the witness regulator, inspector, owner; "
        "may be repeated. 角色，可重复。",
    ),
]


@app.command()
@reported
def add(name: Name, role: RoleOption, config: ConfigOption = NODE_YAML, as_json: JsonOption = False) -> None:
    """Add a person and print the one-time link to sign up by. 新增人员并打印一次性开户链接。"""
    with _open(config) as access:
        _show_link(name, access.sign_up_link(access.people.add(name, role)), as_json=as_json)


@app.command("list")
@reported
def list_people(config: ConfigOption = NODE_YAML, as_json: JsonOption = False) -> None:
    """List everybody with roles and means of signing in. 列出人员。"""
    with _open(config) as access:
        lines = access.people.lines()
    if as_json:
        print_json({"people": lines})
        return
    shown = [
        (
            line["name"],
            ", ".join(line["roles"]),
            line["joined_at"] or say("not yet"),
            line["passkeys"],
            say("yes") if line["password"] else say("no"),
        )
        for line in lines
    ]
    print_table(say("People"), ("Name", "Roles", "Signed up", "Passkeys", "Password"), shown)


@app.command()
@reported
def remove(name: Name, config: ConfigOption = NODE_YAML, as_json: JsonOption = False) -> None:
    """Delete an account; its sessions end at once. 删除账户，其会话立即失效。"""
    with _open(config) as access:
        access.people.remove(name)
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        typer.echo(say("{name} has no account any more.", name=name))


@app.command()
@reported
def reset(name: Name, config: ConfigOption = NODE_YAML, as_json: JsonOption = False) -> None:
    """Void a person's passkeys, password and sessions, and print a new one-time link. 重置并打印新的一次性链接。"""
    with _open(config) as access:
        _show_link(name, access.sign_up_link(access.people.reset(name)), as_json=as_json)


@contextmanager
def _open(config: Path) -> Iterator[Access]:
    loaded = load_node_config(config)
    store = open_store(loaded)
    try:
        yield make_access(loaded, store)
    finally:
        store.close()


def _show_link(name: str, link: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "link": link, "valid_hours": 24})
        return
    typer.echo(say("Hand this link to {name} over a safe channel; it works once, for 24 hours:", name=name))
    typer.echo(link)
