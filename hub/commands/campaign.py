"""`digua-hub campaign`: plan, start, watch, list, show and abort campaigns of the running hub."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from hub import console
from hub.admin_client import AdminClient
from hub.campaign_errors import CampaignError
from hub.commands.bars import Bars
from hub.commands.plan import plan
from hub.config import load_config
from models.schema_file import load_campaign

app = typer.Typer(no_args_is_help=True, help="Campaigns: plan, start, watch, list, show, abort. 训练任务。")
app.command()(plan)

ConfigOption = Annotated[Path, typer.Option(help="The hub's configuration. 配置文件。")]
CaOption = Annotated[Path | None, typer.Option(help="PEM of the authority that signed the hub's certificate.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CampaignArgument = Annotated[str, typer.Argument(help="The campaign's id.")]
HUB_YAML = Path("hub.yaml")
POLL_S = 0.5
ENDED = frozenset({"succeeded", "failed", "aborted"})


@app.command()
def start(
    file: Annotated[Path, typer.Argument(help="The campaign file (YAML). 训练任务文件。")],
    watched: Annotated[bool, typer.Option("--watch", help="Stay and show its progress.")] = False,
    config: ConfigOption = HUB_YAML,
    ca_file: CaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Order a campaign; a worker of the hub runs it. 启动训练任务。"""
    order, schema = load_campaign(file)
    body = {
        "campaign": order.model_dump(mode="json", by_alias=True, exclude_none=True) | {"schema": schema.name},
        "schema": json.loads(schema.canonical_json()),
    }
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        answer: dict[str, Any] = hub.post("/v1/campaigns", body).json()
        if watched:
            _watch(hub, answer["campaign_id"], as_json=as_json)
            return
    if as_json:
        console.show_json(answer)
    else:
        console.say("Campaign {name} is ordered; see `digua-hub campaign watch {name}`.", name=answer["campaign_id"])


@app.command()
def watch(
    campaign_id: CampaignArgument, config: ConfigOption = HUB_YAML, ca_file: CaOption = None, as_json: JsonFlag = False
) -> None:
    """Show a campaign's progress until it ends; exit code 1 unless it succeeds. 查看进度。"""
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        _watch(hub, campaign_id, as_json=as_json)


@app.command("list")
def list_campaigns(config: ConfigOption = HUB_YAML, ca_file: CaOption = None, as_json: JsonFlag = False) -> None:
    """List all campaigns. 列出训练任务。"""
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        campaigns = hub.get("/v1/campaigns").json()["campaigns"]
    if as_json:
        console.show_json(campaigns)
        return
    rows = [
        (
            each["campaign_id"],
            _state(each),
            ", ".join(each["stages"]),
            each["epsilon"] if each["noise"] == "on" else console.text("noise off"),
            each["created_at"],
            each["model_id"],
        )
        for each in campaigns
    ]
    console.show_table("Campaigns", ("Campaign", "State", "Stages", "Epsilon", "Ordered", "Model"), rows)


@app.command()
def show(
    campaign_id: CampaignArgument, config: ConfigOption = HUB_YAML, ca_file: CaOption = None, as_json: JsonFlag = False
) -> None:
    """Show a campaign: steps, refusals by node, models, failure. 查看训练任务。"""
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        campaign = hub.get(_path(campaign_id)).json()
    if as_json:
        console.show_json(campaign)
    else:
        _show(campaign)


@app.command()
def abort(
    campaign_id: CampaignArgument, config: ConfigOption = HUB_YAML, ca_file: CaOption = None, as_json: JsonFlag = False
) -> None:
    """End a campaign at its next step; a table attempt under way is voided. 中止训练任务。"""
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        campaign = hub.post(f"{_path(campaign_id)}/abort", {}).json()
    if as_json:
        console.show_json(campaign)
    else:
        console.say("The campaign ends at its next step.")


def _watch(hub: AdminClient, campaign_id: str, *, as_json: bool) -> None:
    """Follow a campaign to its end. With `as_json` each step is one line, the campaign itself the last."""
    with Bars(hidden=as_json) as bars:
        for campaign in _states(hub, campaign_id):
            for event in campaign["progress"]:
                if as_json:
                    console.show_json(event)
                stage, attempt, step = (event[name] for name in ("stage", "attempt", "what"))
                bars.show(stage, attempt, step, event["done"], event["total"], _detail(event))
    if as_json:
        console.show_json({**campaign, "progress": []})
    else:
        _show({**campaign, "progress": []})
    if campaign["status"] != "succeeded":
        failure = campaign["failure"] or {}
        raise CampaignError(
            f"{campaign_id}: {campaign['status']}; {failure.get('detail', '')} ({failure.get('code', '')})",
            field=failure.get("field"),
            remedy=failure.get("remedy"),
            party=failure.get("party"),
        )


def _states(hub: AdminClient, campaign_id: str) -> Iterator[dict[str, Any]]:
    """The campaign again and again, each time with the new steps only, until it has ended."""
    after = 0
    while True:
        campaign: dict[str, Any] = hub.get(_path(campaign_id), params={"after": str(after)}).json()
        yield campaign
        if campaign["status"] in ENDED:
            return
        after = max([after, *(event["number"] for event in campaign["progress"])])
        time.sleep(POLL_S)


def _show(campaign: dict[str, Any]) -> None:
    names = (
        "campaign_id",
        "name",
        "status",
        "schema",
        "epsilon",
        "delta",
        "noise",
        "created_at",
        "ended_at",
        "model_id",
    )
    rows: list[tuple[object, object]] = [(name, campaign[name]) for name in names]
    rows[names.index("status")] = ("status", _state(campaign))
    if campaign["status"] not in ENDED and campaign["progress"] and "wait" in campaign["progress"][-1]:
        rows.append(("now", _detail(campaign["progress"][-1])))
    rows += [(f"model: {stage}", model_id) for stage, model_id in campaign["models"].items()]
    failure = campaign["failure"]
    if failure:
        rows += [(name, failure[name]) for name in ("code", "detail", "party", "remedy") if failure.get(name)]
    console.show_table("Campaign", ("Name", "Value"), rows)
    if campaign["refusals"]:
        refusals = [(each["party"], each["code"], each["detail"], each["attempt"]) for each in campaign["refusals"]]
        console.show_table("Refusals", ("Party", "Code", "Detail", "Attempt"), refusals)
    if campaign["progress"]:
        steps = [
            (each["attempt"], each["what"], f"{each['done']}/{each['total']}", f"{each['seconds']:.1f}", _detail(each))
            for each in campaign["progress"]
        ]
        console.show_table("Steps", ("Attempt", "Step", "Parties", "Seconds", "Detail"), steps)


def _state(campaign: dict[str, Any]) -> str:
    state = console.text(campaign["status"])
    return f"{state} ({console.text('waits for a worker')})" if campaign["waits_for"] == "worker" else state


def _detail(event: dict[str, Any]) -> str:
    """What a step says besides its numbers; for whom it waits is said in the reader's language and time."""
    wait = event.get("wait")
    if wait is None:
        return str(event["detail"])
    return console.text(
        "{done} of {total} parties are here; waiting until {until} for {parties}",
        done=event["done"],
        total=event["total"],
        until=f"{datetime.fromisoformat(wait['until']).astimezone():%H:%M:%S}",
        parties=", ".join(wait["parties"]),
    )


def _path(campaign_id: str) -> str:
    return f"/v1/campaigns/{quote(campaign_id, safe='')}"
