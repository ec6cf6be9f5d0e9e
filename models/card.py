"""The model card: one Markdown page for risk officers, regulators and merchants, in Chinese or English."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from models.artefact import MetricsEntry, ModelArtefact, PrivacyEntry
from models.i18n import catalogue, language_of
from models.schema import Schema
from models.scorecard import BAND_EDGES, BANDS, SCORE_MAX, SCORE_MIN, Scorecard
from models.tables import encoder_feature


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
    lines = [f"# {say('Model card')}: {artefact.campaign}", "", *_privacy(say, artefact.privacy), ""]
    lines += [
        f"- {say('Model id')}: `{artefact.model_id}`",
        f"- {say('Created')}: {artefact.created.isoformat()}",
        f"- {say('Schema')}: {schema.name} (`{artefact.schema_sha256[:16]}…`)",
        f"- {say('Stages')}: {', '.join(artefact.privacy.stages)}",
        f"- {say('Training merchants')}: {artefact.cohort_size}",
        f"- {say('Predicted outcome')}: {schema.label.title.text(lang)}",
        "",
        f"## {say('Intended use')}",
        "",
        say("Credit decisions about merchants who consented to scoring; never the only ground of a refusal."),
        "",
    ]
    if artefact.scorecard is not None:
        lines += _points(say, schema, artefact.card(), lang)
    lines += _metrics(say, (*artefact.metrics, *evaluations))
    lines += [f"## {say('Limits')}", "", *(f"- {say(text)}" for text in _limits(artefact)), ""]
    return "\n".join(lines)


class _Voice:
    def __init__(self, lang: str) -> None:
        self._lang = language_of(lang)
        self._texts = catalogue("models")

    def __call__(self, msgid: str, **params: object) -> str:
        return self._texts.translate(self._lang, msgid, **params)


def _privacy(say: _Voice, privacy: PrivacyEntry) -> list[str]:
    if privacy.epsilon is None or privacy.delta is None or privacy.epsilon_replace_one is None:
        return [f"**{say('No privacy: this model was made without noise, for synthetic data only.')}**"]
    lines = [
        f"**{say('Privacy')}: ε = {privacy.epsilon:.4g}, δ = {privacy.delta:.4g}** ({say('per merchant, all stages')})",
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
        f"- {say('Adjacency')}: {say('one merchant replaced by empty rows at every source')}",
        f"- {say('ε if one merchant is replaced by another')}: {privacy.epsilon_replace_one:.4g}",
        f"- {say('Colluding nodes')}: {privacy.t_collude}",
    ]
    if privacy.sigma_class is not None and privacy.sigma_pair is not None:
        lines.append(
            f"- {say('Noise')}: "
            + say(
                "σ = {one} on counts per class, σ = {two} on counts of pairs",
                one=f"{privacy.sigma_class:.2f}",
                two=f"{privacy.sigma_pair:.2f}",
            )
        )
    return lines


def _power(epsilon: float) -> str:
    factor = math.exp(epsilon)
    return f"{factor:.1f}" if factor < 100 else f"{factor:.0f}"


def _points(say: _Voice, schema: Schema, card: Scorecard, lang: str) -> list[str]:
    lines = [
        f"## {say('Points')}",
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
            labels = [str(index + 1) for index in range(feature.width)]
        else:
            title = schema.feature(feature.name).spec.title.text(lang)
            labels = schema.bin_labels(feature.name, lang)
        held = schema.kinds[feature.kind].title
        source = held.text(lang) if held is not None else say(feature.kind)
        for label, points in zip(labels, entry.points, strict=True):
            lines.append(f"| {_cell(source)} | {_cell(title)} | {_cell(label)} | {points:+d} |")
    for kind, points in card.absent.items():
        held = schema.kinds[kind].title
        source = held.text(lang) if held is not None else say(kind)
        lines.append(f"| {_cell(source)} | – | {say('absent')} | {points:+d} |")
    lines += ["", f"## {say('Bands')}", "", f"| {say('Band')} | {say('Probability of default')} |", "| --- | --- |"]
    edges = _band_texts()
    lines += [f"| {band} | {edge} |" for band, edge in zip(BANDS, edges, strict=True)]
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
        lines += [f"{say('Computed by')} {entry.computed_by}; {say('on')} {entry.on}:", ""]
        lines += [f"- {name}: {value:.4g}" for name, value in sorted(entry.values.items())]
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
        texts.insert(
            0,
            "Probabilities come from the noisy table by an approximation; compare them with the evaluation before use.",
        )
    return texts


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
