"""`digua-node drift`: do the owner's rows of today look like those that a model was trained on?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.drift import Reading
from models.i18n import Language, language_from_env
from models.schema import Schema
from nodes.commands.opened import open_services
from nodes.commands.setup import ConfigOption
from nodes.console import JsonOption, print_json, print_table, reported, say, speaking
from nodes.errors import PolicyRefusal
from nodes.model_drift import ModelDrift, model_drift

READINGS: dict[Reading, str] = {
    "stable": "stable",
    "unclear": "unclear",
    "moved": "moved",
    "moved-much": "moved much",
}
"""What may be said of a stability index, as a text of the catalogue."""


@reported
def drift(
    config: ConfigOption = Path("node.yaml"),
    model: Annotated[str | None, typer.Option(help="The model's id; the one in use without it. 模型编号。")] = None,
    lang: Annotated[Language | None, typer.Option(help="zh or en; by DIGUA_LANG without it. 语言。")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare own rows with a model's public noisy table; no rows leave the node. 与模型训练客群比较。"""
    with speaking(lang), open_services(config) as services:
        chosen = services.models.newest() if model is None else services.models.require(model)
        if chosen is None:
            raise PolicyRefusal(
                "model-unknown",
                "no model is released yet",
                field="model",
                remedy="wait until the witness has released one",
            )
        found = model_drift(services.runtime, chosen)
        if as_json:
            print_json(_plain(found))
        else:
            _print(found, chosen.schema)


def _plain(found: ModelDrift) -> dict[str, object]:
    features = [
        {
            "name": each.name,
            "stability_index": None if each.index is None else round(each.index.value, 6),
            "low": None if each.index is None else round(each.index.low, 6),
            "high": None if each.index is None else round(each.index.high, 6),
            "reading": each.reading,
        }
        for each in found.features
    ]
    return {"model_id": found.model_id, "rows": found.rows, "features": features}


def _print(found: ModelDrift, schema: Schema) -> None:
    lang = language_from_env()
    rows = [
        (
            each.name,
            schema.feature(each.name).spec.title.text(lang),
            "–" if each.index is None else f"{each.index.value:.3f}",
            "–" if each.index is None else f"{each.index.low:.3f} – {each.index.high:.3f}",
            say(READINGS[each.reading]),
        )
        for each in found.features
    ]
    title = say("{rows} own rows against the cohort of model {model}", rows=found.rows, model=found.model_id[:19])
    print_table(title, ("feature", "title", "stability index", "95 % interval", "reading"), rows)
    typer.echo(
        say(
            "What chance and noise add is taken off. Moved is said only where the whole interval lies at 0.1 or more, "
            "moved much from 0.25. A node may always have had other merchants than all nodes together."
        )
    )
