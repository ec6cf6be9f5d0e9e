"""`digua-hub notice`: register privacy notices and list them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from crypto.wire.notice import NoticeStatement
from hub import console
from hub.admin_client import AdminClient
from hub.config import load_config
from hub.merchant_errors import NoticeError

app = typer.Typer(no_args_is_help=True, help="Privacy notices: add, list. 隐私告知。")

ConfigOption = Annotated[Path, typer.Option(help="The hub's configuration. 配置文件。")]
CaOption = Annotated[Path | None, typer.Option(help="PEM of the authority that signed the hub's certificate.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HUB_YAML = Path("hub.yaml")


@app.command()
def add(
    notice: Annotated[str, typer.Argument(help="Which notice, e.g. credit-scoring.")],
    version: Annotated[str, typer.Option(help="Its new version.")],
    zh: Annotated[Path, typer.Option(help="The Chinese text, UTF-8. 中文文本。")],
    en: Annotated[Path, typer.Option(help="The English text, UTF-8. 英文文本。")],
    purpose: Annotated[list[str], typer.Option(help="A purpose that the text explains; may be repeated. 用途。")],
    ends_at: Annotated[
        datetime | None,
        typer.Option(
            "--reconsent",
            formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"],
            help="Ask merchants again: consents to earlier versions end then (UTC). 重新征求同意的截止时间。",
        ),
    ] = None,
    config: ConfigOption = HUB_YAML,
    ca_file: CaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Register a version of a notice, for good. 登记一版隐私告知（登记后不可更改）。"""
    body = {
        "notice": notice,
        "version": version,
        "purposes": purpose,
        "zh": _text(zh, "--zh"),
        "en": _text(en, "--en"),
        "reconsent": ends_at is not None,
        "ends_at": None if ends_at is None else ends_at.replace(tzinfo=UTC).isoformat(),
    }
    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        receipt = hub.post("/v1/notices", body).json()
    if as_json:
        console.show_json(receipt)
        return
    console.say("Notice {notice}, version {version}, is registered.", notice=notice, version=version)
    rows = [("zh", receipt["sha256"]["zh"]), ("en", receipt["sha256"]["en"])]
    console.show_table("Texts", ("Language", "SHA-256"), rows)


@app.command("list")
def list_notices(config: ConfigOption = HUB_YAML, ca_file: CaOption = None, as_json: JsonFlag = False) -> None:
    """List all registered notices. 列出已登记的隐私告知。"""
    from hub.notices import statement_of  # noqa: PLC0415  (SQLAlchemy is slow to import)

    with AdminClient(load_config(config), ca_file=ca_file) as hub:
        statements = [statement_of(token) for token in hub.get("/v1/notices").json()["statements"]]
    if as_json:
        console.show_json([each.model_dump(mode="json") for each in statements])
        return
    titles = ("No.", "Notice", "Version", "Purposes", "Registered", "Ends earlier consents", "Chinese text")
    console.show_table("Privacy notices", titles, [_row(each) for each in statements])


def _row(each: NoticeStatement) -> tuple[object, ...]:
    ends = "–" if each.ends_at is None else each.ends_at.isoformat()
    issued = each.issued_at.isoformat()
    return each.serial, each.notice, each.version, ", ".join(each.purposes), issued, ends, each.texts["zh"]


def _text(path: Path, option: str) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # the exact bytes: their hash is what merchants sign
    except (OSError, UnicodeDecodeError) as error:
        raise NoticeError(
            f"{path} cannot be read as UTF-8 text.", field=option, remedy="Check the path; save the text as UTF-8."
        ) from error
