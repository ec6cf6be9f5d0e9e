"""`query`: scores of merchants that consented, asked from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from crypto.wire.consent import Purpose
from crypto.wire.scoring import ScoreAnswer
from models.i18n import language_from_env
from nodes.commands.batch import PURPOSES, batch
from nodes.commands.opened import open_services
from nodes.commands.setup import ConfigOption
from nodes.console import JsonOption, print_facts, print_json, reported
from nodes.enquiries import Enquiry
from nodes.errors import ConfigError

app = typer.Typer(help="Scores of merchants that consented. 查询已授权商户的评分。", no_args_is_help=True)


@app.command()
@reported
def score(
    merchant: Annotated[str, typer.Option("--id", help="The merchant's identifier. 商户标识。")],
    config: ConfigOption = Path("node.yaml"),
    consent_id: Annotated[str | None, typer.Option(help="A certain consent. 指定授权。")] = None,
    purpose: Annotated[str, typer.Option(help=f"One of {', '.join(PURPOSES)}. 用途。")] = "credit-scoring",
    model_id: Annotated[str | None, typer.Option(help="A certain model. 指定模型。")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for one score. 查询一个评分。"""
    if purpose not in PURPOSES:
        raise ConfigError(f"{purpose} is no purpose", field="purpose", remedy=f"use one of {', '.join(PURPOSES)}")
    with open_services(config, roster=True) as services:
        enquiry = Enquiry(merchant, consent_id)
        answer = services.enquiries.score(enquiry, purpose=cast("Purpose", purpose), model_id=model_id)
        reasons = services.enquiries.reason_texts(answer, language_from_env())
    _show(answer, reasons, as_json=as_json)


app.command()(batch)


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
