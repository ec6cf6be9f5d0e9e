"""`digua-hub assessment`: register impact assessments and list them."""

from __future__ import annotations

import base64
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hub import console
from hub.admin_client import AdminClient
from hub.config import load_config
from hub.model_errors import AssessmentError

app = typer.Typer(no_args_is_help=True, help="Impact assessments of models: add, list. 个人信息保护影响评估。")

ConfigOption = Annotated[Path, typer.Option(help="The hub's configuration. 配置文件。")]
CaOption = Annotated[Path | None, typer.Option(help="PEM of the authority that signed the hub's certificate.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HUB_YAML = Path("hub.yaml")
DAY = "%Y-%m-%d"


class Result(StrEnum):
    """What an assessment found."""

    ACCEPTABLE = "acceptable"
    WITH_MEASURES = "acceptable-with-measures"
    NOT_ACCEPTABLE = "not-acceptable"


@app.command()
def add(
    campaign: Annotated[str, typer.Argument(help="The campaign whose models were assessed.")],
    file: Annotated[Path, typer.Option(help="The report: Markdown (UTF-8) or PDF. 评估报告。")],
    title: Annotated[str, typer.Option(help="Its title. 标题。")],
    date: Annotated[datetime, typer.Option(formats=[DAY], help="When it was made. 评估日期。")],
    assessor: Annotated[str, typer.Option(help="Who made it. 评估人。")],
    conclusion: Annotated[Result, typer.Option(help="What it found. 结论。")],
    retained_until: Annotated[
        datetime, typer.Option(formats=[DAY], help="Kept at least until then: three years or more. 保存至。")
    ],
    config: ConfigOption = HUB_YAML,
    ca_file: CaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Register the report on a campaign's models, for good. 登记影响评估报告（登记后不可更改）。"""
    try:
        document = file.read_bytes()
    except OSError as error:
        raise AssessmentError(f"{file} cannot be read.", field="--file", remedy="Check the path.") from error
    body = {
        "campaign_id": campaign,
        "title": title,
        "date": date.date().isoformat(),
        "assessor": assessor,
        "conclusion": conclusion,
        "retained_until": retained_until.date().isoformat(),
        "media_type": "application/pdf" if document.startswith(b"%PDF-") else "text/markdown",
        "document": base64.urlsafe_b64encode(document).decode(),
    }
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        made = hub.post("/v1/assessments", body).json()
    if as_json:
        console.show_json(made)
    else:
        console.say("The assessment is registered: SHA-256 {sha256}.", sha256=made["sha256"])


@app.command("list")
def list_assessments(config: ConfigOption = HUB_YAML, ca_file: CaOption = None, as_json: JsonFlag = False) -> None:
    """List all impact assessments. 列出影响评估。"""
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        found = hub.get("/v1/assessments").json()["assessments"]
    if as_json:
        console.show_json(found)
        return
    rows = [
        (each["campaign_id"], each["title"], each["date"], each["assessor"], each["conclusion"], each["retained_until"])
        for each in found
    ]
    titles = ("Campaign", "Title", "Date", "Assessor", "Conclusion", "Kept until")
    console.show_table("Impact assessments", titles, rows)
