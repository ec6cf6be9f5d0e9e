"""`digua-hub audit search`: by party, campaign, model, type and time; a merchant's entries by its salts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from crypto.log_index import commit
from crypto.wire.service import MerchantRecords
from hub import console
from hub.config import load_config
from hub.db import open_database
from hub.errors import RequestError
from hub.log_search import MAX_COMMITMENTS, FoundPage, LogQuery, LogSearch

_MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
_FACTS = ("campaign_id", "model_id", "code", "event", "decision", "status")


def search(
    party: Annotated[str | None, typer.Option(help="It wrote the entry or is named in it. 参与方。")] = None,
    campaign: Annotated[str | None, typer.Option(help="The campaign's id. 训练任务。")] = None,
    model: Annotated[str | None, typer.Option(help="The model's id. 模型。")] = None,
    type: Annotated[list[str] | None, typer.Option(help="One of these types. 条目类型。")] = None,
    since: Annotated[datetime | None, typer.Option(formats=_MOMENTS, help="From then on; UTC. 起始时间。")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_MOMENTS, help="Until then; UTC. 截止时间。")] = None,
    record: Annotated[
        Path | None, typer.Option(help="A merchant's own record, whose salts open its entries. 商户本人记录。")
    ] = None,
    before: Annotated[int | None, typer.Option(min=0, help="Only entries before this one. 翻页。")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many. 条数。")] = 50,
    config: Annotated[Path, typer.Option(help="The hub's configuration.")] = Path("hub.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search the log, the newest first; all that is given must hold. 检索审计日志。"""
    query = LogQuery(
        party=party,
        campaign=campaign,
        model=model,
        types=tuple(type or ()),
        since=_utc(since),
        until=_utc(until),
        commitments=None if record is None else commitments_of(record),
        before=before,
        limit=limit,
    )
    db = open_database(load_config(config))
    try:
        page = LogSearch(db).find(query)
    finally:
        db.close()
    if as_json:
        entries = [{"index": each.index, "entry": each.leaf} for each in page.entries]
        console.show_json({"size": page.size, "count": page.count, "entries": entries, "next": page.next})
    else:
        _show(page)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def commitments_of(record: Path) -> tuple[bytes, ...]:
    """Return the commitments that a merchant's own record opens: of its pseudonym under each entry's salt.

    Raises:
        RequestError: the file is no such record, or has more entries than one search takes.
    """
    try:
        records = MerchantRecords.model_validate_json(record.read_bytes())
    except (OSError, ValidationError) as error:
        raise RequestError(
            f"{record} is no merchant's record.",
            field="--record",
            remedy="Give the file that the merchant downloaded; it holds the salts.",
        ) from error
    salts = {each.salt for each in records.entries}
    if len(salts) > MAX_COMMITMENTS:
        raise RequestError(
            f"{record} has {len(salts)} entries, one search takes {MAX_COMMITMENTS}.",
            field="--record",
            remedy="Divide the record.",
        )
    return tuple(sorted(commit(salt, records.pii_principal_id) for salt in salts))


def _show(page: FoundPage) -> None:
    rows = [
        (
            each.index,
            each.entry.time.isoformat(),
            each.entry.type,
            each.entry.actor,
            " ".join(f"{name}={each.entry.facts[name]}" for name in _FACTS if each.entry.facts.get(name) is not None),
        )
        for each in page.entries
    ]
    console.show_table("Entries found", ("Entry", "Time", "Type", "Actor", "Facts"), rows)
    console.say("{count} of {size} entries were found.", count=page.count, size=page.size)
    if page.next is not None:
        console.say("The next page: --before {next}", next=page.next)
