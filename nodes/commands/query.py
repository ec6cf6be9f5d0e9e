"""`query`: scores of merchants that consented, asked from the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from crypto.wire.consent import Purpose
from crypto.wire.scoring import ScoreAnswer
from models.i18n import language_from_env
from nodes.commands.opened import open_services
from nodes.commands.setup import ConfigOption
from nodes.console import JsonOption, err, print_facts, print_json, print_table, reported, say
from nodes.enquiries import Enquiry, Outcome, Progress
from nodes.errors import ConfigError

app = typer.Typer(help="Scores of merchants that consented. 查询已授权商户的评分。", no_args_is_help=True)

PURPOSES: tuple[str, ...] = get_args(Purpose)


@app.callback()
def _query() -> None:
    """Scores of merchants that consented. 查询已授权商户的评分。"""


@app.command()
@reported
def score(
    config: ConfigOption = Path("node.yaml"),
    merchant: Annotated[str | None, typer.Option("--id", help="A merchant's identifier. 商户标识。")] = None,
    file: Annotated[Path | None, typer.Option(help="CSV with a column id (and consent_id). 含 id 列的 CSV。")] = None,
    consent_id: Annotated[str | None, typer.Option(help="A certain consent. 指定授权。")] = None,
    purpose: Annotated[str, typer.Option(help=f"One of {', '.join(PURPOSES)}. 用途。")] = "credit-scoring",
    model_id: Annotated[str | None, typer.Option(help="A certain model. 指定模型。")] = None,
    out: Annotated[Path | None, typer.Option(help="Write outcomes of a file here, as CSV. 结果文件。")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for one score, or for those of a file. 查询一个或一批评分。"""
    if (merchant is None) == (file is None) or purpose not in PURPOSES:
        raise ConfigError(
            "give either --id or --file, and a known purpose",
            field="id" if purpose in PURPOSES else "purpose",
            remedy=f"purposes are {', '.join(PURPOSES)}",
        )
    wanted = cast("Purpose", purpose)
    with open_services(config, roster=True) as services:
        if merchant is not None:
            answer = services.enquiries.score(Enquiry(merchant, consent_id), purpose=wanted, model_id=model_id)
            reasons = services.enquiries.reason_texts(answer, language_from_env())
            _show(answer, reasons, as_json=as_json)
            return
        enquiries = read_enquiries(cast("Path", file))
        with _progress(quiet=as_json) as report:
            outcomes = services.enquiries.score_all(enquiries, purpose=wanted, model_id=model_id, progress=report)
    if out is not None:
        _write(outcomes, out)
    _summarise(outcomes, as_json=as_json, lines=out is None)


def read_enquiries(path: Path) -> list[Enquiry]:
    """Merchants of a CSV file with a column `id` and perhaps `consent_id`.

    Raises:
        ConfigError: it cannot be read, or lacks the column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise ConfigError(f"{path} cannot be read as CSV", field="file", remedy="give a CSV file in UTF-8") from problem
    if not rows or any(not row.get("id") for row in rows):
        raise ConfigError(f"{path} has no column id, or a row without one", field="id", remedy="one merchant a row")
    return [Enquiry(row["id"], row.get("consent_id") or None) for row in rows]


def _show(answer: ScoreAnswer, reasons: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json({**json.loads(answer.model_dump_json()), "reason_texts": list(reasons)})
        return
    print_facts(
        {
            "score": answer.score,
            "pd": f"{answer.pd:.4f}" if answer.pd is not None else "–",
            "band": answer.band,
            "reasons": "; ".join(reasons) or "–",
            "model": answer.model_id,
            "epsilon": "–" if answer.epsilon is None else f"{answer.epsilon:g}",
            "log entry": "–" if answer.proof is None else answer.proof.index,
        }
    )


def _facts(outcome: Outcome) -> dict[str, Any]:
    answer = outcome.answer
    return {
        "id": outcome.id,
        "score": None if answer is None else answer.score,
        "pd": None if answer is None else answer.pd,
        "band": None if answer is None else answer.band,
        "reasons": [] if answer is None else list(answer.reasons),
        "refusals": {"": outcome.code} if answer is None else dict(answer.refusals),
        "log_index": None if answer is None or answer.proof is None else answer.proof.index,
    }


def _write(outcomes: Sequence[Outcome], path: Path) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("id", "score", "pd", "band", "reasons", "refusals"))
            for facts in map(_facts, outcomes):
                refusals = ";".join(
                    f"{party}:{code}" if party else str(code) for party, code in facts["refusals"].items()
                )
                row = (facts["id"], facts["score"], facts["pd"], facts["band"], ";".join(facts["reasons"]), refusals)
                writer.writerow(["" if value is None else value for value in row])
    except OSError as problem:
        raise ConfigError(f"{path} cannot be written", field="out", remedy="give another path") from problem


def _summarise(outcomes: Sequence[Outcome], *, as_json: bool, lines: bool) -> None:
    facts = [_facts(outcome) for outcome in outcomes]
    scored = sum(each["score"] is not None for each in facts)
    if as_json:
        print_json({"asked": len(facts), "scored": scored, "outcomes": facts})
        return
    if lines:
        columns = ("id", "score", "pd", "band", "refusals")
        rows = [
            (
                each["id"],
                each["score"] if each["score"] is not None else "–",
                f"{each['pd']:.4f}" if each["pd"] is not None else "–",
                each["band"] or "–",
                ", ".join(f"{party} {code}".strip() for party, code in each["refusals"].items()),
            )
            for each in facts
        ]
        print_table("", columns, rows)
    typer.echo(say("{scored} of {asked} merchants have a score", scored=scored, asked=len(facts)))


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress]:
    if quiet:
        yield lambda done, of: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, console=err(), transient=True) as bars:
        task = bars.add_task(say("scores"), total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)
