"""`witness models`, `model-card`, `approve-model`, `refuse-model`: the regulator's word on models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from models.card import render_card
from models.i18n import language_from_env
from nodes.commands.setup import ConfigOption
from nodes.commands.witness import witness_config
from nodes.console import JsonOption, print_facts, print_json, print_table, reported, say
from nodes.journal import Journal
from nodes.own_files import open_store
from nodes.witness.model_approvals import ModelApprovals

ModelName = Annotated[str, typer.Argument(help="The model's id, sha256:… 模型编号。")]
NODE_YAML = Path("node.yaml")
STATES = {
    "pending": "model pending",
    "approved": "model approved",
    "refused": "model refused",
    "evaluation": "model evaluation",
    "release": "model release",
    "withdrawn": "model withdrawn",
}
"""Where a model stands (`nodes.witness.model_approvals.State`), as a text of the catalogue."""


class CardFormat(StrEnum):
    """Forms of a card."""

    MD = "md"
    HTML = "html"


class CardLanguage(StrEnum):
    """Languages of a card."""

    ZH = "zh"
    EN = "en"


@reported
def list_models(config: ConfigOption = NODE_YAML, as_json: JsonOption = False) -> None:
    """List models that wait for approval, and those signed. 列出待批准与已签署的模型。"""
    with _approvals(config) as approvals:
        found = approvals.list()
    lines = [
        {
            "model_id": each.model_id,
            "state": each.state,
            "campaign_id": None if each.artefact is None else each.artefact.campaign,
            "epsilon": None if each.artefact is None else each.artefact.privacy.epsilon,
            "reason": each.reason,
        }
        for each in found
    ]
    if as_json:
        print_json({"models": lines})
        return
    rows = [
        (
            line["model_id"],
            say(STATES[each.state]),
            line["campaign_id"] or "–",
            line["epsilon"] or "–",
            line["reason"] or "–",
        )
        for line, each in zip(lines, found, strict=True)
    ]
    print_table("", ("model", "state", "campaign", "epsilon", "reason"), rows)


@reported
def model_card(
    model: ModelName,
    lang: Annotated[CardLanguage | None, typer.Option(help="zh or en; by DIGUA_LANG without it.")] = None,
    form: Annotated[CardFormat, typer.Option("--format", help="md, or html: a page to print.")] = CardFormat.MD,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output without it.")] = None,
    config: ConfigOption = NODE_YAML,
) -> None:
    """Show the card of a proposed model. 显示待批准模型的说明卡。"""
    with _approvals(config) as approvals:
        facts = approvals.card_facts(model)
    text = render_card(facts, lang or language_from_env(), form.value)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")


@reported
def approve_model(model: ModelName, config: ConfigOption = NODE_YAML, as_json: JsonOption = False) -> None:
    """Let a model out for scoring; the hub's operator then asks for the release again. 批准模型发布。"""
    with _approvals(config) as approvals:
        approvals.approve(model)
        artefact = approvals.artefact(model)
    facts = {"model_id": model, "approved": True, "campaign": artefact.campaign, "epsilon": artefact.privacy.epsilon}
    print_json(facts) if as_json else print_facts({**facts, "approved": say("yes"), "epsilon": facts["epsilon"] or "–"})


@reported
def refuse_model(
    model: ModelName,
    reason: Annotated[str, typer.Option(help="Why; the hub's operator is told. 原因。")],
    config: ConfigOption = NODE_YAML,
    as_json: JsonOption = False,
) -> None:
    """Refuse a model; approving it later takes the refusal back. 拒绝模型发布。"""
    with _approvals(config) as approvals:
        approvals.refuse(model, reason)
    facts = {"model_id": model, "approved": False, "reason": reason}
    print_json(facts) if as_json else print_facts({**facts, "approved": say("no")})


@contextmanager
def _approvals(config: Path) -> Iterator[ModelApprovals]:
    loaded = witness_config(config)
    store = open_store(loaded)
    try:
        yield ModelApprovals(store, Journal(store, loaded.party_id))
    finally:
        store.close()
