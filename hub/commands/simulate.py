"""`digua-hub simulate`: a whole campaign on one joined table, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hub import console
from hub.campaign_errors import SimulationError
from hub.commands.bars import Bars
from models.explanation import lines_of
from models.i18n import LANGUAGES

if TYPE_CHECKING:
    from crypto.wire.campaign import Stage
    from hub.campaign_plan import Progress as Event

_FIGURES = (
    ("AUC, held-out merchants", "auc"),
    ("KS", "ks"),
    ("AUC without privacy, same bins", "auc_nonprivate"),
    ("AUC of LightGBM, same bins", "auc_lightgbm"),
    ("AUC of the evaluation stage, private", "auc_private"),
    ("Its 95 % interval", "auc_private_interval"),
    ("AUC of the same merchants, exact", "auc_counted"),
    ("Epsilon spent", "epsilon"),
    ("Delta", "delta"),
    ("Merchants", "merchants"),
    ("Held out", "held_out"),
    ("Attempts", "attempts"),
    ("Trips per node", "trips"),
    ("Table equals joined table", "table_equals_joined"),
)


def simulate(
    schema: Annotated[Path, typer.Option(help="The campaign's schema (YAML). 方案文件。")],
    table: Annotated[
        Path,
        typer.Option(help="One joined table (CSV, Parquet), a folder of nodes' tables, or e.g. pakdd-2009. 数据表。"),
    ],
    epsilon: Annotated[float, typer.Option(help="Privacy budget of all published results. 隐私预算。")],
    delta: Annotated[float, typer.Option(help="δ of the same budget.")] = 1e-5,
    nodes: Annotated[str, typer.Option(help="Nodes per kind, e.g. bank=12,tax=6,utility=6; 3 each if empty.")] = "",
    stages: Annotated[
        str, typer.Option(help="scorecard, encoder, or encoder,scorecard; ,evaluation after them.")
    ] = "scorecard",
    parity: Annotated[
        list[str] | None, typer.Option(help="Evaluation: compare groups by this feature; repeatable.")
    ] = None,
    holdout: Annotated[float, typer.Option(min=0, max=0.9, help="Share of merchants held out.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Of sampling, split and hold-out; noise never depends on it.")] = 0,
    merchants: Annotated[int | None, typer.Option(min=2, help="Sample this many rows.")] = None,
    absent: Annotated[list[str] | None, typer.Option(help="Share without a record, e.g. tax=0.2; repeatable.")] = None,
    noise: Annotated[str, typer.Option(help="on, or off (synthetic data only: to compare tables exactly).")] = "on",
    baselines: Annotated[bool, typer.Option(help="Compare with models fitted on the joined rows.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for node files, report, model and card.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Split a joined table over simulated nodes, train over Flower, and measure. 在一个进程内模拟整个联邦。"""
    from hub import simulation_run  # noqa: PLC0415  (Flower is slow to import)

    if noise not in ("on", "off"):
        raise SimulationError(f"noise {noise} is unknown", field="noise", remedy="use on or off")
    options = simulation_run.SimulationOptions(
        schema=schema,
        table=table,
        epsilon=epsilon,
        delta=delta,
        nodes=node_counts(nodes),
        stages=cast("tuple[Stage, ...]", _stages(stages)),
        parity=tuple(parity or ()),
        holdout=holdout,
        seed=seed,
        merchants=merchants,
        absent=_pairs(absent or [], "absent"),
        noise_on=noise == "on",
        baselines=baselines,
        out=out,
    )
    with Bars(hidden=as_json) as bars:

        def show(event: Event) -> None:
            bars.show(event.stage, event.attempt, event.step, event.done, event.total)

        done = simulation_run.simulate(options, show)
    if as_json:
        console.show_json(done.report)
        return
    if not done.own_ids:
        console.say("The table has no identifier column of the schema's name; random identifiers were made up.")
    if noise == "off":
        console.say("Noise was off: this model has no privacy guarantee and is for synthetic data only.")
    rows = [(console.text(title), _figure(done.report[name])) for title, name in _FIGURES]
    rows += [
        (f"{console.text('Seconds')}: {name}", f"{done.report['seconds'][name]:.1f}") for name in _timed(done.report)
    ]
    console.show_table("Simulation", ("Figure", "Value"), rows)
    if done.example is not None:
        for lang in LANGUAGES:
            console.show_lines("What one merchant would be told", lines_of(done.example, lang), lang)


def _timed(report: dict[str, Any]) -> list[str]:
    return [name for name, value in report["seconds"].items() if isinstance(value, float)]


def _figure(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return console.text("yes" if value else "no")
    if isinstance(value, list):
        return " – ".join(_figure(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _stages(given: str) -> tuple[str, ...]:
    stages = tuple(part.strip() for part in given.split(",") if part.strip())
    training = stages[:-1] if stages[-1:] == ("evaluation",) else stages
    training = training[1:] if training[:1] == ("bins",) else training
    if training not in {("encoder",), ("scorecard",), ("encoder", "scorecard")}:
        raise SimulationError(
            f"stages {given} are unknown",
            field="stages",
            remedy="use encoder, scorecard, or encoder,scorecard, and evaluation after them if wanted; bins come first",
        )
    return stages


def _pairs(given: list[str], field: str) -> dict[str, float]:
    """`kind=number` pairs."""
    pairs: dict[str, float] = {}
    for part in given:
        if not part.strip():
            continue
        kind, _, number = part.strip().partition("=")
        try:
            pairs[kind] = float(number)
        except ValueError as problem:
            raise SimulationError(
                f"{part} is not kind=number", field=field, remedy=f"write e.g. --{field} tax=0.2"
            ) from problem
    return pairs


def node_counts(given: str) -> dict[str, int]:
    """`kind=number` pairs separated by commas.

    Raises:
        SimulationError: it is not that.
    """
    return {kind: _whole(kind, value) for kind, value in _pairs(given.split(","), "nodes").items()}


def _whole(kind: str, value: float) -> int:
    if value != int(value):
        raise SimulationError(f"{kind}={value:g} is not a number of nodes", field="nodes", remedy="use whole numbers")
    return int(value)
