"""The model card: one structure for risk officers, regulators and merchants, as Markdown or as a page to print.

Both come from the same sections; the page has charts beside their tables, and needs neither scripts nor anything from
elsewhere. The same facts give the same bytes.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from models.card_charts import Chart
from models.card_content import Card, CardFacts, Headline, Section
from models.card_fairness import unlabelled_section
from models.card_performance import performance_sections
from models.card_points import bands_section, encoder_section, points_sections
from models.card_privacy import lead, privacy_section
from models.card_sections import (
    STATE_NAMES,
    assessment_section,
    data_section,
    limits_section,
    model_section,
    reasons_section,
    state_of,
    training_section,
    use_section,
    verify_section,
)
from models.card_stability import stability_section
from models.card_voice import Voice, figure, interval, whole

Format: TypeAlias = Literal["md", "html"]
FORMATS: tuple[Format, ...] = ("md", "html")


def card_of(facts: CardFacts, lang: str) -> Card:
    """The card's content in one language.

    Args:
        facts: all that is known of the model.
        lang: ``"zh"`` or ``"en"``.

    Raises:
        ArtefactError: if the artefact is malformed.
    """
    say, artefact = Voice(lang), facts.artefact
    schema = artefact.schema_of()
    sections: list[Section] = [
        model_section(say, facts, schema),
        use_section(say),
        privacy_section(say, facts),
        data_section(say, facts, schema),
        training_section(say, facts),
        *performance_sections(say, facts),
    ]
    if artefact.scorecard is not None:
        card = artefact.card()
        sections.append(unlabelled_section(say, facts))
        if facts.stability is not None:
            sections.append(stability_section(say, schema, facts.stability))
        sections += [bands_section(say, card), *points_sections(say, facts, card), reasons_section(say)]
    if artefact.encoder is not None:
        sections.append(encoder_section(say, schema, artefact.encoder))
    if facts.assessment is not None:
        sections.append(assessment_section(say, facts.assessment))
    sections += [limits_section(say, facts), verify_section(say, facts)]
    named = artefact.campaign
    if facts.release is not None:
        named = f"{facts.release.line} · {say('version {number}', number=facts.release.version)}"
    elif facts.training is not None:
        named = facts.training.name
    return Card(
        lang=say.lang,
        title=say.named("Model card", named),
        subtitle=schema.label.title.text(say.lang),
        lead=lead(say, facts),
        private=artefact.privacy.epsilon is not None,
        headlines=_headlines(say, facts),
        sections=tuple(sections),
    )


def model_card(facts: CardFacts, lang: str) -> str:
    """The card in Markdown; ε stands at the top. Raises as `card_of`."""
    text = _templates().get_template("card.md.j2").render(card=card_of(facts, lang))
    return f"{text.strip()}\n"


def model_page(facts: CardFacts, lang: str) -> str:
    """The card as one HTML page with its charts. Raises as `card_of`."""
    return page_of(card_of(facts, lang))


def page_of(card: Card) -> str:
    """Content as one HTML page with its charts; programme statistics are laid out alike."""
    from models.card_plots import draw  # noqa: PLC0415  (matplotlib takes a second to import)

    def drawn(name: str, title: str, text: str, chart: Chart) -> Markup:
        return Markup(draw(chart, name=name, title=title, text=text))  # noqa: S704  (our own SVG, its texts escaped)

    template = _templates().get_template("card.html.j2")
    return template.render(card=card, drawn=drawn, say=Voice(card.lang))


def render_card(facts: CardFacts, lang: str, form: Format) -> str:
    """The card in either form."""
    return model_page(facts, lang) if form == "html" else model_card(facts, lang)


def _headlines(say: Voice, facts: CardFacts) -> tuple[Headline, ...]:
    privacy = facts.artefact.privacy
    found = [
        Headline("ε", say("none") if privacy.epsilon is None else f"{privacy.epsilon:.4g}", say("per merchant")),
    ]
    best = facts.evaluation or facts.exact
    if best is not None:
        source = say("private evaluation") if facts.evaluation is not None else say("exact, simulation only")
        found += [
            Headline("AUC", figure(best.auc.value), say.listed([interval(best.auc), source])),
            Headline("KS", figure(best.ks.value), interval(best.ks)),
        ]
    found.append(Headline(say("Training merchants"), whole(facts.artefact.cohort_size)))
    if facts.release is not None:
        name = say(STATE_NAMES[facts.release.status])
        found.append(Headline(say("State"), name, state_of(say, facts.release)))
    return tuple(found)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("models"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda text: text.replace("|", "\\|").replace("\n", " ")
    return environment
