"""`query batch`: scores of all merchants of a file; it may be interrupted, and goes on when it is run again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from crypto.errors import CryptoError
from crypto.wire.consent import Purpose
from models.i18n import Language, language_from_env
from nodes.batch_book import BatchProgress
from nodes.batch_files import file_sha256, read_file, result_lines, write_results
from nodes.batches import Progress
from nodes.commands.opened import open_services
from nodes.commands.run import stop_on_signals
from nodes.commands.setup import ConfigOption
from nodes.console import JsonOption, err, print_facts, print_json, print_table, reported, say
from nodes.enquiries import Outcome
from nodes.errors import ConfigError, PeerError
from nodes.services import Services

PURPOSES: tuple[str, ...] = get_args(Purpose)
INTERRUPTED = 130


@reported
def batch(
    file: Annotated[Path, typer.Argument(help="CSV with a column id (and consent_id). 含 id 列的 CSV。")],
    out: Annotated[Path, typer.Option(help="CSV of the outcomes, in the same order. 结果文件。")],
    config: ConfigOption = Path("node.yaml"),
    purpose: Annotated[str, typer.Option(help=f"One of {', '.join(PURPOSES)}. 用途。")] = "credit-scoring",
    model_id: Annotated[str | None, typer.Option(help="A certain model. 指定模型。")] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Ask again whose sources were away or whose answers expired. 重查未果者。")
    ] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Ask all merchants of the file anew. 全部重新查询。")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask for the scores of a file's merchants; interrupted, it goes on when run again. 批量查询评分。"""
    if purpose not in PURPOSES:
        raise ConfigError(f"{purpose} is no purpose", field="purpose", remedy=f"use one of {', '.join(PURPOSES)}")
    wanted, lang = cast("Purpose", purpose), language_from_env()
    digest = file_sha256(file)
    stopping = stop_on_signals()
    with open_services(config, roster=True) as services:
        found = None if anew else services.batches.find(digest, purpose=wanted, model_id=model_id)
        if found is None:
            made = services.batches.create(read_file(file), source_sha256=digest, purpose=wanted, model_id=model_id)
            found = services.batches.progress(made)
        reused = found.state == "finished"
        if retry and services.batches.ask_again(found.batch_id):
            reused = False
        try:
            with _progress(found, quiet=as_json) as report:
                ended = services.batches.run(found.batch_id, report, stopping=stopping)
        except (CryptoError, PeerError):
            if not as_json:
                typer.echo(_interrupted(services.batches.progress(found.batch_id)), err=True)
            raise
        if ended.state == "finished":
            write_results(_lines(services, ended.batch_id, lang), out)
    _summarise(ended, out, as_json=as_json)
    if reused and not as_json:
        typer.echo(
            say("these bytes were asked about before; --retry asks again what failed, --anew asks everybody anew")
        )
    if ended.state != "finished":
        raise typer.Exit(INTERRUPTED)


def _lines(services: Services, batch_id: str, lang: Language) -> Iterator[str]:
    def sentences(outcome: Outcome) -> list[str]:
        return [] if outcome.answer is None else services.enquiries.reason_texts(outcome.answer, lang)

    return result_lines(services.batches.outcomes(batch_id), lang, sentences)


def _summarise(ended: BatchProgress, out: Path, *, as_json: bool) -> None:
    if as_json:
        file = str(out) if ended.state == "finished" else None
        print_json({**vars(ended), "out": file})
        return
    print_facts({"batch": ended.batch_id, "model": ended.model_id, "merchants": ended.total, "scored": ended.scored})
    if ended.refused:
        print_table("", ("code", "merchants"), list(ended.refused.items()))
    if ended.state == "finished":
        typer.echo(say("the outcomes are in {file}", file=out))
    else:
        typer.echo(_interrupted(ended))


def _interrupted(now: BatchProgress) -> str:
    return say("interrupted after {done} of {total}; run the same command to go on", done=now.done, total=now.total)


@contextmanager
def _progress(found: BatchProgress, *, quiet: bool) -> Iterator[Progress]:
    if quiet:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=err(), transient=True) as bars:
        task = bars.add_task("", total=found.total, completed=found.done)

        def report(now: BatchProgress) -> None:
            text = say("scored {scored}, refused {refused}", scored=now.scored, refused=now.done - now.scored)
            bars.update(task, completed=now.done, description=text)

        yield report
