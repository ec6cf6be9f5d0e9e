"""`digua-hub campaign plan`: what an order would cost and how exact it would be, before anybody is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hub import console
from hub.admin_client import AdminClient
from hub.campaign_errors import CampaignOrderError
from hub.config import load_config
from hub.plan_warnings import COUNTS
from models.campaign_file import CampaignFile
from models.i18n import language_from_env
from models.schema import Schema
from models.schema_file import load_campaign


def plan(
    file: Annotated[Path, typer.Argument(help="The campaign file (YAML). 训练任务文件。")],
    campaigns: Annotated[int, typer.Option(min=1, max=366, help="Such campaigns a year. 每年次数。")] = 4,
    merchants: Annotated[
        str,
        typer.Option(
            help="Suppose so many merchants, e.g. 28000 or bank=28000,tax=21000, and ask no hub. 离线：假定商户数。"
        ),
    ] = "",
    nodes: Annotated[
        str, typer.Option(help="With --merchants: nodes per kind, e.g. bank=12,tax=6; the quorum if empty. 节点数。")
    ] = "",
    default_rate: Annotated[
        float | None, typer.Option(help="Expected default rate where no table was published yet; 0.05. 违约率。")
    ] = None,
    limit: Annotated[
        float | None, typer.Option(help="Epsilon that the nodes' owners allow, where you know it. 节点预算上限。")
    ] = None,
    target_loss: Annotated[
        float, typer.Option(help="Loss of AUC that would be acceptable. 可接受的 AUC 损失。")
    ] = 0.005,
    config: Annotated[Path, typer.Option(help="The hub's configuration. 配置文件。")] = Path("hub.yaml"),
    ca_file: Annotated[
        Path | None, typer.Option(help="PEM of the authority that signed the hub's certificate.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Foretell a campaign's noise, loss of AUC and yearly cost; orders nothing. 训练前的隐私与精度测算。

    It asks the running hub for the nodes and consents of now; with --merchants it needs none.
    """
    order, schema = load_campaign(file)
    wishes = {"campaigns": campaigns, "default_rate": default_rate, "limit": limit, "target": target_loss}
    if merchants:
        told = _supposed(order, schema, merchants, nodes, wishes)
    elif nodes:
        raise CampaignOrderError(
            "The running hub knows its nodes; --nodes is for a plan without it.",
            field="nodes",
            remedy="Give --merchants as well, or leave --nodes out.",
        )
    else:
        body = {
            "campaign": order.model_dump(mode="json", by_alias=True, exclude_none=True) | {"schema": schema.name},
            "schema": json.loads(schema.canonical_json()),
        }
        query = {name: str(value) for name, value in wishes.items() if value is not None}
        with AdminClient(load_config(config), ca_file=ca_file) as hub:
            told = hub.post("/v1/campaigns/plan", body, params=query).json()
    if as_json:
        console.show_json(told)
    else:
        _show(told)


def _supposed(
    order: CampaignFile, schema: Schema, merchants: str, nodes: str, wishes: dict[str, Any]
) -> dict[str, Any]:
    from hub.campaign_forecast import Wishes  # noqa: PLC0415 (slow to import, and not needed to ask a hub)
    from hub.offline_plan import offline_plan  # noqa: PLC0415
    from hub.plan_document import plan_document  # noqa: PLC0415

    each = _numbers(merchants, "merchants", alone=schema.label.kind)
    found = offline_plan(order, schema, each, _numbers(nodes, "nodes"), Wishes(**wishes))
    document: dict[str, Any] = plan_document(found, order, schema, language_from_env()).model_dump(mode="json")
    return document


def _numbers(given: str, field: str, *, alone: str | None = None) -> dict[str, int]:
    """`kind=number` pairs separated by commas; `alone` is the kind of a number that stands by itself."""
    found: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in given.split(","))):
        kind, equals, number = part.rpartition("=")
        if not equals and alone is not None:
            kind = alone
        if not kind or not number.isascii() or not number.isdigit():
            raise CampaignOrderError(
                f"{part} is not kind=number.", field=field, remedy=f"Write e.g. --{field} bank=12,tax=6."
            )
        found[kind] = int(number)
    return found


def _show(told: dict[str, Any]) -> None:
    text, number = console.text, _number
    rows: list[tuple[object, object]] = [
        (text("Epsilon"), f"{number(told['epsilon'])} ({text('Delta')} {number(told['delta'])})"),
        (text("Epsilon where one merchant's data are replaced by another's"), number(told["epsilon_replace_one"])),
        (text("Merchants to train on"), f"{told['trained']:,}"),
        (text("Held out"), f"{told['held_out']:,}"),
        (text("Nodes"), ", ".join(f"{kind} {count}" for kind, count in told["nodes_by_kind"].items())),
        (text("Expected default rate"), f"{told['default_rate']:.2%}"),
    ]
    loss = told["loss"]
    if loss is not None:
        rows += [
            (text("Expected loss of AUC"), f"{loss['auc']:.4f} ± {loss['error']:.4f}"),
            (text("Epsilon for a loss of {target}", target=f"{loss['target']:g}"), number(loss["epsilon_needed"])),
            (text("Merchants for a loss of {target}", target=f"{loss['target']:g}"), number(loss["merchants_needed"])),
            (text("pair_share that loses least"), number(loss["pair_share"])),
        ]
    if told["limit"] is not None:
        allowed = text("Campaigns that a limit of {limit} allows", limit=f"{told['limit']:g}")
        rows.append((allowed, number(told["allowed"])))
    console.show_table("Plan", ("Figure", "Value"), rows)
    if told["basis"] == "published":
        console.say("Merchants are foretold from the table that campaign {name} opened.", name=told["from_campaign"])
    else:
        console.say("No table of this schema was looked at: counts and loss rest on assumptions (docs/privacy.md).")
    _show_noise(told)
    if told["yearly"]:
        yearly = [(each["campaigns"], number(each["epsilon"]), number(each["plain_sum"])) for each in told["yearly"]]
        console.show_table("Several such campaigns", ("Number of campaigns", "Epsilon, composed", "Plain sum"), yearly)
    _show_nodes(told)
    if told["hindrance"]:
        console.say("It could not start at this moment: {why}", why=told["hindrance"])
    for each in told["warnings"]:
        console.say("Warning [{code}]: {what} {remedy}", **each)


def _show_noise(told: dict[str, Any]) -> None:
    rows = [
        (
            console.text(COUNTS[each["of"]]),
            f"{each['cells']:,}",
            _number(each["sigma"]),
            _number(each["sigma_share"]),
            f"{_number(each['expected_mean'])} ({_number(each['expected_smallest'])})",
            _number(each["signal_to_noise"]),
            f"{each['below_two_sigma']:.0%}",
        )
        for each in told["counts"]
    ]
    columns = ("Counts", "Number", "σ", "σ of a node", "Expected (least)", "Least / σ", "Below 2 σ")
    if rows:
        console.show_table("Noise and expected merchants of a count", columns, rows)
    if told["rounds"] is not None:
        console.say(
            "Encoder: {rounds} charged rounds, σ {sigma} of a merchant's largest contribution, of one node {share}.",
            rounds=told["rounds"]["rounds"],
            sigma=_number(told["rounds"]["sigma"]),
            share=_number(told["rounds"]["sigma_share"]),
        )


def _show_nodes(told: dict[str, Any]) -> None:
    rows = [
        (
            each["party_id"],
            each["kind"],
            *(_number(each[name]) for name in ("before", "after", "yearly", "allowed")),
        )
        for each in told["nodes"]
    ]
    columns = ("Party", "Kind", "Epsilon before", "Afterwards", "After the year", "Campaigns allowed")
    if rows:
        console.show_table("Budget of the nodes", columns, rows)
    for party, why in sorted(told["missing"].items()):
        console.say("{party} would not take part: {why}", party=party, why=console.text(why))


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
