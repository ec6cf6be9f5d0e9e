"""`tickets`: what merchants ask this party for: a human review, an explanation, a correction, a deletion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from crypto.wire.ticket import TicketDecision
from models.i18n import Language, language_from_env
from nodes.commands.opened import open_services
from nodes.commands.setup import ConfigOption
from nodes.console import JsonOption, print_facts, print_json, print_table, reported, say
from nodes.errors import ConfigError
from nodes.own_files import write_private
from nodes.tickets import ReceivedTicket

app = typer.Typer(
    help="Merchants' tickets: review, explanation, correction, deletion. 商户申请：复核、说明、更正、删除。",
    no_args_is_help=True,
)

TicketId = Annotated[str, typer.Argument(help="The ticket's id. 申请编号。")]
DECISIONS: tuple[str, ...] = get_args(TicketDecision)
BY = "command line"


@app.command("list")
@reported
def list_tickets(config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """List tickets that are not closed, those due first in front. 列出未关闭的申请，先到期者在前。"""
    with open_services(config, roster=True) as services:
        lines = [_line(each) for each in services.tickets.waiting()]
    if as_json:
        print_json({"tickets": lines})
        return
    columns = ("ticket", "asks for", "state", "merchant", "due by")
    rows = [
        (line["ticket"], say(line["kind"]), say(line["state"]), line["merchant"] or "-", line["due_by"])
        for line in lines
    ]
    print_table("", columns, rows)


@app.command()
@reported
def show(ticket_id: TicketId, config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Open a ticket and show its text; the journal notes it. 打开申请并显示正文；节点日志会记录。"""
    with open_services(config, roster=True) as services:
        received = services.tickets.find(ticket_id)
        text = services.tickets.read(received, reader=BY)
    line = _line(received)
    if as_json:
        print_json({**line, "text": text})
        return
    print_facts(
        {
            "ticket": line["ticket"],
            "asks for": say(line["kind"]),
            "about": f"{say(line['about'])} {line['reference'] or ''}".strip(),
            "merchant": line["merchant"] or "-",
            "state": say(line["state"]),
            "due by": line["due_by"],
            "text": text,
        }
    )


@app.command()
@reported
def answer(
    ticket_id: TicketId,
    decision: Annotated[str, typer.Option(help=f"One of {', '.join(DECISIONS)}. 处理结果。")],
    text: Annotated[Path, typer.Option(help="File with the answer, up to 2,000 characters. 答复正文文件。")],
    config: ConfigOption = Path("node.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Answer a ticket, once; only its merchant can read it. 答复申请，仅限一次；只有该商户能读。"""
    if decision not in DECISIONS:
        raise ConfigError(
            f"{decision} is no decision", field="decision", remedy="use granted, partly-granted or declined"
        )
    try:
        words = text.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{text} cannot be read as text", field="text", remedy="give a UTF-8 file") from problem
    with open_services(config, roster=True) as services:
        received = services.tickets.find(ticket_id)
        services.tickets.answer(received, cast("TicketDecision", decision), words, author=BY)
    facts = {"ticket": ticket_id, "decision": say(decision)}
    print_json(facts) if as_json else print_facts(facts)


@app.command()
@reported
def explain(
    ticket_id: TicketId,
    out: Annotated[Path, typer.Option(help="File for the draft, for its owner alone. 草稿文件。")],
    config: ConfigOption = Path("node.yaml"),
    score: Annotated[int | None, typer.Option(help="The merchant's score, where it is known. 该商户的评分。")] = None,
    model_id: Annotated[str | None, typer.Option(help="The newest model without it. 指定模型。")] = None,
    lang: Annotated[Language | None, typer.Option(help="zh or en; by DIGUA_LANG without it. 语言。")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draft the answer to a ticket that asks why; `answer` sends it. 起草评分说明，核对后用 answer 答复。"""
    with open_services(config, roster=True) as services:
        received = services.tickets.find(ticket_id)
        words = services.explanations.draft(
            received, author=BY, lang=lang or language_from_env(), model_id=model_id, score=score
        )
    write_private(out, words)
    facts = {"ticket": ticket_id, "file": str(out)}
    print_json(facts) if as_json else print_facts(facts)


def _line(received: ReceivedTicket) -> dict[str, Any]:
    ticket = received.ticket
    return {
        "ticket": ticket.ticket_id,
        "kind": ticket.kind,
        "about": ticket.about.sort,
        "reference": ticket.about.reference,
        "merchant": received.merchant,
        "state": received.state,
        "received_at": received.received_at.isoformat(),
        "due_by": received.due_at.isoformat(),
        "decision": received.decision,
    }
