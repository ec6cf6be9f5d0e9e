"""The words and numbers of a model card in one language."""

from __future__ import annotations

import math
from collections.abc import Sequence

from models.artefact import ModelArtefact
from models.evaluation import Interval
from models.evaluation_result import Estimate
from models.i18n import Language, catalogue, language_of
from models.schema import Schema
from models.tables import encoder_feature


class Voice:
    """Says things in a card's language.

    Args:
        lang: ``"zh"`` or ``"en"``.
    """

    def __init__(self, lang: str) -> None:
        self.lang: Language = language_of(lang)
        self._texts = catalogue("models")

    def __call__(self, msgid: str, **params: object) -> str:
        return self._texts.translate(self.lang, msgid, **params)

    def named(self, msgid: str, value: object) -> str:
        """A name and its value, with the language's colon."""
        return f"{self(msgid)}{'：' if self.lang == 'zh' else ': '}{value}"

    def listed(self, values: Sequence[str]) -> str:
        """Values in a row, with the language's comma."""
        return ("、" if self.lang == "zh" else ", ").join(values)

    def kind(self, schema: Schema, kind: str) -> str:
        """The title of a kind of source."""
        held = schema.kinds[kind].title if kind in schema.kinds else None
        return held.text(self.lang) if held is not None else self(kind)

    def feature(self, schema: Schema, kind: str, name: str) -> str:
        """The title of a feature, that of an encoder's output included."""
        if name == encoder_feature(kind):
            return self("Overall assessment of the source's own model")
        return schema.feature(name).spec.title.text(self.lang)

    def model_type(self, artefact: ModelArtefact) -> str:
        """The model's type."""
        return self(artefact.model_type)


def whole(value: float) -> str:
    """A count, with separators; noise may have made it negative."""
    return f"{value:,.0f}".replace("-", "−")


def percent(share: float, digits: int = 2) -> str:
    """A share in per cent."""
    return f"{100 * share:.{digits}f} %"


def percents(of: Interval | Estimate, digits: int | None = None) -> str:
    """An interval of shares; without `digits` two decimals where it is small, one where it is not."""
    digits = digits or (1 if of.high >= 0.1 else 2)
    return f"{100 * of.low:.{digits}f} – {percent(of.high, digits)}"


def signed(points: int) -> str:
    """Points with their sign; 0 has none."""
    return f"{points:+d}".replace("-", "−") if points else "0"


def ratio(value: float | None, digits: int = 2) -> str:
    """A number with its sign, or a dash where there is none."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def figure(value: float) -> str:
    """AUC and the like."""
    return f"{value:.4f}"


def interval(of: Interval | Estimate) -> str:
    """A figure's 95 % interval."""
    return f"{of.low:.3f} – {of.high:.3f}"


def factor(epsilon: float) -> str:
    """e^ε, as a person would say it."""
    value = math.exp(epsilon)
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
