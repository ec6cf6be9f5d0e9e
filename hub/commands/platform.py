"""`digua-hub platform`: make, serve and upgrade the Two Small platform; its API keys, merchants, synthetic worlds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hub import console
from hub.commands import platform_upkeep
from hub.commands.bars import Bars
from hub.commands.platform_options import PLATFORM_YAML, ConfigOption, JsonFlag, operator
from hub.platform.callers import Caller, CallerKind
from hub.platform.config import DEFAULT_PORT, load_platform_config
from hub.platform.errors import MembershipError, PlatformConfigError
from hub.platform.merchant_errors import MerchantFileError
from models.web.rights import Role

if TYPE_CHECKING:
    from hub.platform.people import PlatformPeople

app = typer.Typer(no_args_is_help=True, help="The Two Small platform. 两小创业通平台。")
app.command()(platform_upkeep.doctor)
app.command()(platform_upkeep.backup)
app.command()(platform_upkeep.restore)


@app.command()
def init(
    directory: Annotated[Path, typer.Option("--dir", help="Folder of the new platform. 新平台目录。")] = Path(),
    party: Annotated[str, typer.Option(help="The id of the platform's own node. 平台节点编号。")] = "two-small",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback. 端口。")] = DEFAULT_PORT,
) -> None:
    """Make a new platform: configuration, keys, database. 新建平台。"""
    from hub.platform.installation import CONFIG_FILE, initialise  # noqa: PLC0415  (Alembic is slow to import)

    config = initialise(directory, party_id=party, port=port)
    rows = [
        ("config", directory / CONFIG_FILE),
        ("party_id", config.party_id),
        ("key_file", config.key_file),
        ("gateway.token_file", config.gateway.token_file),
    ]
    console.show_table("New platform", ("Name", "Value"), rows)
    console.say("Put a copy of the gateway's token into gateway.token_file (mode 0600); keep key_file in your backup.")


@app.command()
def serve(config: ConfigOption = PLATFORM_YAML) -> None:
    """Serve until SIGTERM. 启动服务。"""
    from hub.platform.serving import serve_platform  # noqa: PLC0415
    from models.ops.logs import LogOutput, configure_logs  # noqa: PLC0415

    configure_logs(LogOutput())  # what the configuration itself is refused for is logged, too
    loaded = load_platform_config(config)
    configure_logs(loaded.logs)
    serve_platform(loaded)


@app.command()
def migrate(config: ConfigOption = PLATFORM_YAML) -> None:
    """Bring the database to this program's schema. 升级数据库。"""
    from hub.platform import installation  # noqa: PLC0415

    installation.migrate(load_platform_config(config))
    console.say("The database has the newest schema.")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, UTF-8. 商户 CSV 文件（UTF-8）。")],
    config: ConfigOption = PLATFORM_YAML,
    as_json: JsonFlag = False,
) -> None:
    """Register the merchants of a CSV file: all, or none with every fault of every row. 批量登记商户。"""
    from hub.platform.installation import at_desk  # noqa: PLC0415
    from hub.platform.merchant_import import import_merchants  # noqa: PLC0415

    try:
        content = file.read_bytes()
    except OSError as error:
        raise MerchantFileError(
            f"{file} cannot be read ({error.strerror}).", field="file", remedy="Check the path and its rights."
        ) from error
    with at_desk(load_platform_config(config)) as desk, console.status() as progress:
        try:
            found = import_merchants(
                desk.register,
                operator(),
                content,
                progress=lambda done, of: progress.update(console.text("Row {done} of {of}", done=done, of=of)),
            )
        except MerchantFileError as error:
            progress.stop()
            _show_faults(error, as_json=as_json)
            raise
    if as_json:
        console.show_json({"registered": found.registered, "known": found.known})
    else:
        console.say(
            "{registered} merchants registered; {known} had an account already.",
            registered=found.registered,
            known=found.known,
        )


@app.command("load-world")
def load_world(
    file: Annotated[Path, typer.Argument(help="Parameters of the world, YAML. 合成世界参数文件。")],
    config: ConfigOption = PLATFORM_YAML,
    as_json: JsonFlag = False,
) -> None:
    """Load a SYNTHETIC world; the same command goes on with one that was cut off. 载入合成世界（合成数据）。"""
    from hub.platform.installation import at_desk  # noqa: PLC0415
    from hub.platform.world.generator import draw_world  # noqa: PLC0415
    from hub.platform.world.loading import load_world as load  # noqa: PLC0415
    from hub.platform.world.parameters import read_world  # noqa: PLC0415

    parameters, loaded = read_world(file), load_platform_config(config)
    with at_desk(loaded) as desk, Bars(hidden=as_json) as bars:
        world = draw_world(parameters)

        def show(stage: str, done: int, of: int) -> None:
            bars.show(parameters.name, parameters.name, stage, done, of)

        found = load(world, desk.register, desk.products, desk.financings, progress=show)
    counts = {"merchants": len(world.merchants), "financings": len(world.financings)}
    if as_json:
        console.show_json({"world": parameters.name, **counts, "new": asdict(found), "synthetic": True})
    else:
        console.say(
            "SYNTHETIC world {name}: {merchants} merchants, {financings} financings; new now: {new} and {lent}.",
            name=parameters.name,
            **counts,
            new=found.merchants,
            lent=found.financings,
        )


@app.command("key-make")
def make_key(
    kind: Annotated[CallerKind, typer.Argument(help="bank, insurer, government, operator or regulator. 类别。")],
    party: Annotated[str, typer.Argument(help="Whose it is; of a bank, its id. 归属方。")],
    config: ConfigOption = PLATFORM_YAML,
) -> None:
    """Make a key of the API and print it, this once. 生成接口密钥，仅显示一次。"""
    from hub.platform.installation import at_desk  # noqa: PLC0415

    with at_desk(load_platform_config(config)) as desk:
        sys.stdout.write(desk.callers.make(Caller(kind, party), actor=operator()) + "\n")


@app.command("keys")
def list_keys(config: ConfigOption = PLATFORM_YAML, as_json: JsonFlag = False) -> None:
    """List the keys of the API, never the keys themselves. 列出接口密钥。"""
    from hub.platform.installation import at_desk  # noqa: PLC0415

    with at_desk(load_platform_config(config)) as desk:
        made = desk.callers.listed()
    columns = ("key_id", "kind", "party", "made_at", "revoked_at")
    rows = [
        (
            each.key_id,
            each.caller.kind,
            each.caller.party,
            each.made_at.isoformat(),
            None if each.revoked_at is None else each.revoked_at.isoformat(),
        )
        for each in made
    ]
    if as_json:
        console.show_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        console.show_table("Keys of the API", ("Key id", "Kind", "Party", "Made", "Revoked"), rows)


@app.command("key-revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="As `keys` lists it. 密钥编号。")], config: ConfigOption = PLATFORM_YAML
) -> None:
    """End a key of the API at once. 立即吊销接口密钥。"""
    from hub.platform.installation import at_desk  # noqa: PLC0415

    with at_desk(load_platform_config(config)) as desk:
        desk.callers.revoke(key_id, actor=operator())
    console.say("The key is revoked.")


@app.command("person-make")
def make_person(
    role: Annotated[Role, typer.Argument(help="merchant, bank, government, operator or regulator. 角色。")],
    name: Annotated[str, typer.Argument(help="The name that the person signs in with. 用户名。")],
    party: Annotated[
        str | None,
        typer.Option(help="The bank's id, or the office's name; of a merchant, its account. 归属方；商户填账户编号。"),
    ] = None,
    config: ConfigOption = PLATFORM_YAML,
    as_json: JsonFlag = False,
) -> None:
    """Add a person of the pages and print the one-time link to sign up by. 新增页面人员并打印一次性开户链接。"""
    if party is None and role is not Role.OPERATOR:
        raise MembershipError(
            "It is not said whom the person acts for.",
            field="party",
            remedy="Give --party: the bank's id, the office's name, or a merchant's account.",
        )
    with _people(config) as people:
        console.show_link(name, people.make(name, role, party or "operator", actor=operator()), as_json=as_json)


@app.command("people")
def list_people(config: ConfigOption = PLATFORM_YAML, as_json: JsonFlag = False) -> None:
    """List everybody who may open the pages. 列出页面人员。"""
    with _people(config) as people:
        found = people.all()
    rows = [
        (
            each.person.name,
            ", ".join(sorted(each.person.roles)),
            party,
            None if each.joined_at is None else each.joined_at.isoformat(),
        )
        for each, party in found
    ]
    if as_json:
        console.show_json([dict(zip(("name", "role", "party", "joined_at"), row, strict=True)) for row in rows])
    else:
        console.show_table("People", ("Name", "Roles", "Party", "Signed up"), rows)


@app.command("person-reset")
def reset_person(
    name: Annotated[str, typer.Argument(help="The name that the person signs in with. 用户名。")],
    config: ConfigOption = PLATFORM_YAML,
    as_json: JsonFlag = False,
) -> None:
    """Void a person's means and sessions, and print a new one-time link. 重置并打印新的一次性链接。"""
    with _people(config) as people:
        console.show_link(name, people.reset(name, actor=operator()), as_json=as_json)


@app.command("person-remove")
def remove_person(
    name: Annotated[str, typer.Argument(help="The name that the person signs in with. 用户名。")],
    config: ConfigOption = PLATFORM_YAML,
) -> None:
    """End a person's account; its sessions end at once. 删除账户，其会话立即失效。"""
    with _people(config) as people:
        people.remove(name, actor=operator())
    console.say("{name} has no account any more.", name=name)


@contextmanager
def _people(config: Path) -> Iterator[PlatformPeople]:
    from hub.platform.installation import at_desk  # noqa: PLC0415

    with at_desk(load_platform_config(config)) as desk:
        if desk.people is None:
            raise PlatformConfigError(
                "This platform has no pages.",
                field="pages",
                remedy="Write pages: {origin: https://…} into platform.yaml, as people type it.",
            )
        yield desk.people


def _show_faults(error: MerchantFileError, *, as_json: bool) -> None:
    """Every fault, on standard output; the refusal itself follows on standard error."""
    rows = [(each.line, each.column, console.tell(each.what), console.tell(each.remedy)) for each in error.faults]
    if as_json and rows:
        console.show_json([dict(zip(("line", "column", "what", "remedy"), row, strict=True)) for row in rows])
    elif rows:
        console.show_table("Rows with faults", ("File line", "Column", "What", "Remedy"), rows)
