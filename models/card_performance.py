"""A model card's words on performance: exact in a simulation, with noise and intervals from an evaluation stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.artefact import MetricsEntry
from models.card_charts import CalibrationChart, DistributionChart, RocChart
from models.card_content import Block, CardFacts, ExactFigures, Facts, Figure, Section, Table, Text
from models.card_curves import RocCurve, banded_roc, wilson
from models.card_fairness import fairness_section
from models.card_voice import Voice, figure, interval, percent, whole
from models.evaluation import SCORE_EDGES, ParityRow, bin_labels
from models.evaluation_result import EvaluationResult, GroupResult, ScoreBand
from models.scorecard import SCORE_MAX, SCORE_MIN
from models.tables import FloatArray

_NAMES = {"auc": "AUC", "ks": "KS"}
_SHOWN = 11
"""Rows of a curve's table."""


def performance_sections(say: Voice, facts: CardFacts) -> tuple[Section, ...]:
    """What is known of how well the model ranks and predicts."""
    blocks: list[Block] = []
    parts: list[Section] = []
    if facts.evaluation is not None:
        parts.append(_private(say, facts.evaluation))
        fairness = fairness_section(say, facts.evaluation)
        parts += [] if fairness is None else [fairness]
    if facts.exact is not None:
        parts.append(_exact(say, facts.exact))
    for entry in (*facts.artefact.metrics, *facts.metrics):
        blocks.append(Facts(_metrics(say, entry)))
    if not parts and not blocks:
        unknown = say("Evaluations are not known here: their figures are on the card that the hub gives out.")
        blocks.append(Text(say("Not evaluated yet.") if facts.complete else unknown))
    return (Section("performance", say("Performance"), tuple(blocks)), *parts)


def _metrics(say: Voice, entry: MetricsEntry) -> tuple[tuple[str, str], ...]:
    figures = [(_NAMES.get(name, name), f"{value:.4g}") for name, value in sorted(entry.values.items())]
    return ((say("Computed by"), entry.computed_by), (say("On"), say(entry.on)), *figures)


def _private(say: Voice, result: EvaluationResult) -> Section:
    counts = np.array([(band.count_bad, band.count_good) for band in result.bands])
    items = [
        ("AUC", f"{figure(result.auc.value)} ({interval(result.auc)})"),
        ("KS", f"{figure(result.ks.value)} ({interval(result.ks)})"),
        (say("Nodes that counted"), str(result.nodes)),
        (say("Noise on each count"), f"σ = {result.sigma:.4g}"),
    ]
    if result.epsilon is not None and result.delta is not None:
        cost = say(
            "ε = {epsilon}, δ = {delta}; the merchants held out are others than those trained on, so the larger of "
            "both costs counts",
            epsilon=f"{result.epsilon:.4g}",
            delta=f"{result.delta:.4g}",
        )
        items.append((say("Cost of the evaluation"), cost))
    blocks: list[Block] = [
        Text(
            say(
                "From an evaluation stage: banks counted held-out merchants by score and outcome, and only the noisy "
                "sums were opened. Intervals of 95 % allow for the sample and for the noise."
            )
        ),
        Facts(tuple(items)),
        _roc(say, "roc-private", banded_roc(counts, result.sigma)),
        _bands_calibration(say, result.bands),
        _distribution(say, "scores-private", counts, _edges(result.bands), _band_names(result.bands)),
    ]
    for name, groups in sorted(result.groups.items()):
        blocks.append(_groups(say, name, groups, result.approval_pd))
    return Section("evaluation", say("Private evaluation"), tuple(blocks), level=3)


def _exact(say: Voice, exact: ExactFigures) -> Section:
    items = [
        ("AUC", f"{figure(exact.auc.value)} ({interval(exact.auc)})"),
        ("KS", f"{figure(exact.ks.value)} ({interval(exact.ks)})"),
        (say("Held-out merchants"), whole(exact.held_out)),
    ]
    items += [(say(name), figure(value)) for name, value in exact.others.items()]
    curve = RocCurve(tuple(x for x, _ in exact.roc), tuple(y for _, y in exact.roc))
    blocks: list[Block] = [
        Text(
            say(
                "Computed on joined held-out rows, exactly and without noise: only a simulation can do this. "
                "Intervals of 95 % allow for the sample."
            )
        ),
        Facts(tuple(items)),
        _roc(say, "roc-exact", curve),
    ]
    if exact.calibration:
        wide = [wilson(row) for row in exact.calibration]
        chart = CalibrationChart(
            tuple(row.predicted for row in exact.calibration),
            tuple(row.observed for row in exact.calibration),
            tuple(each.low for each in wide),
            tuple(each.high for each in wide),
            *_calibration_texts(say),
        )
        rows = tuple(
            (whole(row.count), percent(row.predicted), percent(row.observed), _percents(each.low, each.high))
            for row, each in zip(exact.calibration, wide, strict=True)
        )
        columns = (say("Merchants"), say("Predicted"), say("Observed"), say("95 % interval"))
        blocks.append(_calibration(say, "calibration-exact", chart, Table(columns, rows, numeric=0)))
    if exact.histogram is not None:
        edges = (float(SCORE_MIN), *map(float, SCORE_EDGES), float(SCORE_MAX))
        blocks.append(_distribution(say, "scores-exact", exact.histogram, edges, bin_labels()))
    for name, groups in sorted(exact.parity.items()):
        blocks.append(_parity(say, name, groups))
    return Section("simulation", say("Exact figures of the simulation"), tuple(blocks), level=3)


def _roc(say: Voice, name: str, curve: RocCurve) -> Figure:
    chart = RocChart(
        curve.false,
        curve.true,
        curve.low,
        curve.high,
        say("Others below the cutoff"),
        say("Defaulters below the cutoff"),
        say("by chance"),
    )
    grid = np.linspace(0, 1, _SHOWN)
    found = np.interp(grid, curve.false, curve.true)
    columns = [say("Others below the cutoff"), say("Defaulters below the cutoff")]
    rows = [[percent(x, 0), percent(y, 1)] for x, y in zip(grid, found, strict=True)]
    if curve.low:
        columns.append(say("95 % interval"))
        bounds = (np.interp(grid, curve.false, each) for each in (curve.low, curve.high))
        for row, low, high in zip(rows, *bounds, strict=True):
            row.append(_percents(float(low), float(high), 1))
    tenth = percent(float(np.interp(0.1, curve.false, curve.true)), 0)
    return Figure(
        name,
        say("ROC curve"),
        say("A cutoff that turns away a tenth of those who pay finds {share} of the defaulters.", share=tenth),
        chart,
        Table(tuple(columns), tuple(tuple(row) for row in rows), numeric=0),
    )


def _bands_calibration(say: Voice, bands: Sequence[ScoreBand]) -> Block:
    """Of the bands of which something can be said; all counts are in the table of scores."""
    known = [(band.predicted_pd, band.observed) for band in bands if band.observed is not None]
    if not known:
        return Text(say("In no band of scores do the noisy counts say anything of calibration."))
    rows = tuple(
        (
            name,
            whole(band.count_good + band.count_bad),
            percent(band.predicted_pd),
            percent(band.observed.value),
            _percents(band.observed.low, band.observed.high),
        )
        for name, band in zip(_band_names(bands), bands, strict=True)
        if band.observed is not None
    )
    columns = (say("Score"), say("Merchants"), say("Predicted"), say("Observed"), say("95 % interval"))
    table = Table(columns, rows, numeric=0)
    chart = CalibrationChart(
        tuple(predicted for predicted, _ in known),
        tuple(observed.value for _, observed in known),
        tuple(observed.low for _, observed in known),
        tuple(observed.high for _, observed in known),
        *_calibration_texts(say),
    )
    return _calibration(say, "calibration-private", chart, table)


def _calibration_texts(say: Voice) -> tuple[str, str, str]:
    return say("Predicted probability of default"), say("Observed share of defaults"), say("perfect")


def _calibration(say: Voice, name: str, chart: CalibrationChart, table: Table) -> Figure:
    within = sum(low <= x <= high for x, low, high in zip(chart.predicted, chart.low, chart.high, strict=True))
    text = say(
        "Points on the diagonal would be perfect. The predicted probability lies inside the interval in {within} of "
        "{all} groups.",
        within=within,
        all=len(chart.predicted),
    )
    return Figure(name, say("Calibration"), text, chart, table)


def _distribution(say: Voice, name: str, counts: FloatArray, edges: tuple[float, ...], names: Sequence[str]) -> Figure:
    clean = np.maximum(np.asarray(counts, dtype=np.float64), 0.0)
    shares = clean / np.maximum(clean.sum(axis=0), 1e-9)
    chart = DistributionChart(
        edges,
        tuple(map(float, shares[:, 0])),
        tuple(map(float, shares[:, 1])),
        say("Score"),
        say("Share of the class"),
        say("defaulted"),
        say("performing"),
    )
    rows = tuple(
        (label, whole(bad), whole(good), percent(float(share), 1))
        for label, (bad, good), share in zip(names, counts, clean.sum(axis=1) / max(clean.sum(), 1.0), strict=True)
    )
    columns = (say("Score"), say("defaulted"), say("performing"), say("Share of merchants"))
    text = say("The further apart both classes lie, the better the score tells them from each other.")
    return Figure(name, say("Distribution of scores"), text, chart, Table(columns, rows, numeric=1), folded=True)


def _groups(say: Voice, name: str, groups: Sequence[GroupResult], cutoff: float) -> Table:
    def stated(of: object, *, as_percent: bool = True) -> str:
        if of is None:
            return "–"
        value, low, high = (getattr(of, part) for part in ("value", "low", "high"))
        if as_percent:
            return f"{percent(value, 1)} ({_percents(low, high, 1)})"
        return f"{value:.3f} ({low:.3f} – {high:.3f})"

    rows = tuple(
        (
            each.group,
            whole(each.count_good + each.count_bad),
            stated(each.default_rate),
            stated(each.mean_pd),
            stated(each.approved),
            stated(each.auc, as_percent=False),
        )
        for each in groups
    )
    return Table(_parity_columns(say, cutoff), rows, numeric=1, caption=say.named("Parity", say(name)))


def _parity(say: Voice, name: str, groups: Sequence[ParityRow], cutoff: float = 0.10) -> Table:
    rows = tuple(
        (
            each.group,
            whole(each.count),
            percent(each.default_rate, 1),
            percent(each.mean_pd, 1),
            percent(each.approved, 1),
            "–" if each.auc is None else f"{each.auc:.3f}",
        )
        for each in groups
    )
    return Table(_parity_columns(say, cutoff), rows, numeric=1, caption=say.named("Parity", say(name)))


def _parity_columns(say: Voice, cutoff: float) -> tuple[str, ...]:
    return (
        say("Group"),
        say("Merchants"),
        say("Observed"),
        say("Predicted"),
        say("Predicted below {cutoff}", cutoff=percent(cutoff, 0)),
        "AUC",
    )


def _edges(bands: Sequence[ScoreBand]) -> tuple[float, ...]:
    return (float(bands[0].score_low), *(float(band.score_high) for band in bands))


def _band_names(bands: Sequence[ScoreBand]) -> list[str]:
    return [f"{band.score_low} – {band.score_high}" for band in bands]


def _percents(low: float, high: float, digits: int | None = None) -> str:
    """An interval; without `digits` two decimals where it is small, one where it is not."""
    digits = digits or (1 if high >= 0.1 else 2)
    return f"{100 * low:.{digits}f} – {percent(high, digits)}"
