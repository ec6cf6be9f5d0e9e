"""`people`: who may open the hub's pages. Whoever runs this machine gives accounts and roles; no page does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from hub import console
from hub.commands.upkeep import HUB_YAML, ConfigOption, JsonFlag
from hub.config import load_config
from hub.services import Hub
from hub.web.access import make_access
from models.web.access import Access
from models.web.rights import ROLES_AT, Role

app = typer.Typer(help="People who may open the hub's pages. 页面人员管理。", no_args_is_help=True)

_ROLES = ROLES_AT["hub"]
Name = Annotated[str, typer.Argument(help="The name that the person signs in with. 用户名。")]
RoleOption = Annotated[list[Role] | None, typer.Option("--role", help="operator, the only one here. 角色。")]


@app.command()
def add(name: Name, role: RoleOption = None, config: ConfigOption = HUB_YAML, as_json: JsonFlag = False) -> None:
    """Add a person and print the one-time link to sign up by. 新增人员并打印一次性开户链接。"""
    with _open(config) as access:
        console.show_link(name, access.sign_up_link(access.people.add(name, role or _ROLES)), as_json=as_json)


@app.command("list")
def list_people(config: ConfigOption = HUB_YAML, as_json: JsonFlag = False) -> None:
    """List everybody with roles and means of signing in. 列出人员。"""
    with _open(config) as access:
        lines = access.people.lines()
    if as_json:
        console.show_json(lines)
        return
    shown = [
        (
            line["name"],
            ", ".join(line["roles"]),
            line["joined_at"] or console.text("not yet"),
            line["passkeys"],
            console.text("yes" if line["password"] else "no"),
        )
        for line in lines
    ]
    console.show_table("People", ("Name", "Roles", "Signed up", "Passkeys", "Password"), shown)


@app.command()
def remove(name: Name, config: ConfigOption = HUB_YAML, as_json: JsonFlag = False) -> None:
    """Delete an account; its sessions end at once. 删除账户，其会话立即失效。"""
    with _open(config) as access:
        access.people.remove(name)
    if as_json:
        console.show_json({"name": name, "removed": True})
    else:
        console.say("{name} has no account any more.", name=name)


@app.command()
def reset(name: Name, config: ConfigOption = HUB_YAML, as_json: JsonFlag = False) -> None:
    """Void a person's passkeys, password and sessions, and print a new one-time link. 重置并打印新的一次性链接。"""
    with _open(config) as access:
        console.show_link(name, access.sign_up_link(access.people.reset(name)), as_json=as_json)


@contextmanager
def _open(config: ConfigOption) -> Iterator[Access]:
    hub = Hub.open(load_config(config))
    try:
        yield make_access(hub)
    finally:
        hub.close()
