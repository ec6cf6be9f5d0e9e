"""The model card: one Markdown page for risk officers, regulators and merchants, in Chinese or English."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from models.artefact import EncoderEntry, MetricsEntry, ModelArtefact, PrivacyEntry
from models.encoder_scores import encoder_feature_edges
from models.i18n import catalogue, language_of
from models.schema import Schema
from models.scorecard import BAND_EDGES, BANDS, SCORE_MAX, SCORE_MIN, Scorecard, band_of, points_range
from models.tables import encoder_feature

_FIGURES = {"auc": "AUC", "ks": "KS"}


def model_card(artefact: ModelArtefact, lang: str, *, evaluations: Sequence[MetricsEntry] = ()) -> str:
    """Markdown text; ε stands at the top.

    Args:
        artefact: the model.
        lang: ``"zh"`` or ``"en"``.
        evaluations: figures that came after the artefact was made, e.g. of the evaluation stage.

    Raises:
        ArtefactError: if the artefact is malformed.
    """
    say = _Voice(lang)
    schema = artefact.schema_of()
    lines = [f"# {say.named('Model card', artefact.campaign)}", "", *_privacy(say, artefact.privacy), ""]
    stages = say.listed([say(stage) for stage in artefact.privacy.stages])
    lines += [
        f"## {say('Model')}",
        "",
        say.item("Type", say(artefact.model_type)),
        say.item("Predicted outcome", schema.label.title.text(lang)),
        say.item(
            "Outcome within",
            say("{months} months after {day}", months=schema.label.performance_months, day=schema.as_of.isoformat()),
        ),
        say.item("Training merchants", artefact.cohort_size),
        say.item("Stages", stages),
        say.item("Schema", f"{schema.name} (`{artefact.schema_sha256[:16]}…`)"),
        say.item("Created", artefact.created.isoformat()),
        say.item("Model id", f"`{artefact.model_id}`"),
        "",
        f"## {say('Intended use')}",
        "",
        say("Credit decisions about merchants who consented to scoring; never the only ground of a refusal."),
        "",
    ]
    if artefact.scorecard is not None:
        lines += [*_scores(say, artefact.card()), *_points(say, schema, artefact.card(), lang)]
    if artefact.encoder is not None:
        lines += _encoder(say, schema, artefact.encoder, lang)
    lines += _metrics(say, (*artefact.metrics, *evaluations))
    lines += [f"## {say('Limits')}", "", *(f"- {say(text)}" for text in _limits(artefact)), ""]
    return "\n".join(lines)


class _Voice:
    def __init__(self, lang: str) -> None:
        self._lang = language_of(lang)
        self._texts = catalogue("models")

    def __call__(self, msgid: str, **params: object) -> str:
        return self._texts.translate(self._lang, msgid, **params)

    def named(self, msgid: str, value: object) -> str:
        """A name and its value, with the language's colon."""
        return f"{self(msgid)}{'：' if self._lang == 'zh' else ': '}{value}"

    def listed(self, values: Sequence[str]) -> str:
        """Values in a row, with the language's comma."""
        return ("、" if self._lang == "zh" else ", ").join(values)

    def item(self, msgid: str, value: object) -> str:
        """The same as a line of a list."""
        return f"- {self.named(msgid, value)}"


def _privacy(say: _Voice, privacy: PrivacyEntry) -> list[str]:
    if privacy.epsilon is None or privacy.delta is None or privacy.epsilon_replace_one is None:
        return [f"**{say('No privacy: this model was made without noise, for synthetic data only.')}**"]
    lines = [
        f"**{say.named('Privacy', f'ε = {privacy.epsilon:.4g}, δ = {privacy.delta:.4g}')}** "
        f"({say('per merchant, all stages')})",
        "",
        f"## {say('What this means')}",
        "",
        say(
            "Whoever sees all that this campaign published can hardly tell whether a merchant's data were in it: no "
            "conclusion becomes more than e^ε = {factor} times as likely through them, save with probability {delta}.",
            factor=_power(privacy.epsilon),
            delta=f"{privacy.delta:.4g}",
        ),
        "",
        say.item("Adjacency", say("one merchant replaced by empty rows at every source")),
        say.item("ε if one merchant is replaced by another", f"{privacy.epsilon_replace_one:.4g}"),
        say.item("Colluding nodes that the noise allows for", privacy.t_collude),
    ]
    if privacy.sigma_class is not None and privacy.sigma_pair is not None:
        noise = say(
            "σ = {one} on counts per class, σ = {two} on counts of pairs",
            one=f"{privacy.sigma_class:.2f}",
            two=f"{privacy.sigma_pair:.2f}",
        )
        lines.append(say.item("Noise", noise))
    return lines


def _power(epsilon: float) -> str:
    factor = math.exp(epsilon)
    return f"{factor:.1f}" if factor < 100 else f"{factor:.0f}"


def _scores(say: _Voice, card: Scorecard) -> list[str]:
    """What a score means: bands with their scores, and PD at some scores."""
    low, high = (card.base + points for points in points_range(card.features, card.absent))
    scores = np.arange(low, high + 1)
    names = band_of(card.pd_of(scores))
    lines = [
        f"## {say('Bands')}",
        "",
        f"| {say('Band')} | {say('Probability of default')} | {say('Score')} |",
        "| --- | --- | --- |",
    ]
    for band, edge in zip(BANDS, _band_texts(), strict=True):
        within = scores[names == band]
        lines.append(f"| {band} | {edge} | {f'{within[0]} – {within[-1]}' if within.size else '–'} |")
    lines += [
        "",
        say(
            "Scores from {low} to {high} can occur. Log-odds of default = {intercept} − {slope} × score:",
            low=low,
            high=high,
            intercept=f"{card.calibration.intercept:.4f}",
            slope=f"{-card.calibration.slope:.6f}",
        ),
        "",
        f"| {say('Score')} | {say('Probability of default')} |",
        "| ---: | ---: |",
    ]
    shown = [low, *range(50 * (low // 50 + 1), high, 50), high]
    lines += [f"| {score} | {100 * float(card.pd_of(score)):.2f} % |" for score in shown]
    return [*lines, ""]


def _encoder(say: _Voice, schema: Schema, entry: EncoderEntry, lang: str) -> list[str]:
    """What an encoder reads and gives."""
    titles = [feature.spec.title.text(lang) for feature in schema.features(entry.kind)]
    return [
        f"## {say('Encoder')}",
        "",
        say("It reads the rows of one kind of source and gives a probability of default; it has no table of points."),
        "",
        say.item("Source", _source(say, schema, entry.kind, lang)),
        say.item("Features", say.listed(titles)),
        say.item("Parameters", math.prod(entry.shape)),
        say.item("Bins of its result as a feature of a scorecard, missing included", len(entry.edges) + 2),
        "",
    ]


def _encoder_labels(say: _Voice) -> list[str]:
    """Bins of an encoder's result, by the probability of default that it gives."""
    percent = [f"{100 / (1 + math.exp(-edge)):.3g} %" for edge in encoder_feature_edges()]
    middle = [f"{low} – {high}" for low, high in pairwise(percent)]
    return [f"≤ {percent[0]}", *middle, f"> {percent[-1]}", say("missing")]


def _source(say: _Voice, schema: Schema, kind: str, lang: str) -> str:
    held = schema.kinds[kind].title
    return held.text(lang) if held is not None else say(kind)


def _points(say: _Voice, schema: Schema, card: Scorecard, lang: str) -> list[str]:
    lines = [
        f"## {say('Table of points')}",
        "",
        say(
            "Score = {base} + points, between {low} and {high}; every {double} points the odds of default halve.",
            base=card.base,
            low=SCORE_MIN,
            high=SCORE_MAX,
            double=f"{card.points_to_double:.1f}",
        ),
        "",
        f"| {say('Source')} | {say('Feature')} | {say('Bin')} | {say('Points')} |",
        "| --- | --- | --- | ---: |",
    ]
    for entry in card.features:
        feature = entry.feature
        if feature.name == encoder_feature(feature.kind):
            title = say("Overall assessment of the source's own model")
            labels = _encoder_labels(say)
        else:
            title = schema.feature(feature.name).spec.title.text(lang)
            labels = schema.bin_labels(feature.name, lang)
        source = _source(say, schema, feature.kind, lang)
        for label, points in zip(labels, entry.points, strict=True):
            lines.append(f"| {_cell(source)} | {_cell(title)} | {_cell(label)} | {_signed(points)} |")
    for kind, points in card.absent.items():
        lines.append(
            f"| {_cell(_source(say, schema, kind, lang))} | – | {say('no record at all')} | {_signed(points)} |"
        )
    return [*lines, ""]


def _band_texts() -> list[str]:
    percent = [f"{100 * edge:g} %" for edge in BAND_EDGES]
    middle = [f"{low} – {high}" for low, high in pairwise(percent)]
    return [f"< {percent[0]}", *middle, f"≥ {percent[-1]}"]


def _metrics(say: _Voice, entries: Sequence[MetricsEntry]) -> list[str]:
    lines = [f"## {say('Metrics')}", ""]
    if not entries:
        return [*lines, say("Not evaluated yet."), ""]
    for entry in entries:
        lines += [say.item("Computed by", entry.computed_by), say.item("On", say(entry.on))]
        lines += [say.item(_FIGURES.get(name, name), f"{value:.4g}") for name, value in sorted(entry.values.items())]
        lines.append("")
    return lines


_UNLABELLED = (
    "Merchants without an outcome yet count as not defaulted, and are assumed to be as others are: where they are a "
    "tenth of the cohort, true probabilities are about a tenth above those stated. Their order hardly changes."
)


def _limits(artefact: ModelArtefact) -> list[str]:
    texts = [
        "Cohort membership itself is not hidden from hub, witness and the merchant's own nodes.",
        "The guarantee assumes that nodes encode and mask their own rows honestly.",
        _UNLABELLED if artefact.scorecard is not None else "Merchants without an outcome yet take no part in training.",
        "A merchant who leaves is not in the next model; this one is not unlearned.",
    ]
    if artefact.scorecard is not None:
        texts[:0] = [
            "Probabilities come from the noisy table by an approximation; compare them with the evaluation before use.",
            "Points carry the noise: bins that hold few merchants may get a few points by chance, in either direction.",
            "Slopes that would give a score a probability below 0.01 % or above 99.99 % are lowered; a table that "
            "shows no association beyond its noise gives no model.",
        ]
    return texts


def _signed(points: int) -> str:
    return f"{points:+d}" if points else "0"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
