"""What the page of one score shows: the answer on its scale, who answered, under which consent, the proof."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np

from crypto.errors import CryptoError
from crypto.identifiers import IdentifierType
from crypto.wire.audit import InclusionProof
from crypto.wire.consent import Purpose
from crypto.wire.scoring import ScoreAnswer, ScoreRequest
from models.errors import ModelsError
from models.scorecard import BAND_EDGES, BANDS, SCORE_MAX, SCORE_MIN, Scorecard, band_of
from models.web.problems import PageProblem
from nodes.consents import HeldConsent
from nodes.enquiries import Enquiry
from nodes.errors import NodeError, ScoreUnavailable
from nodes.gateway_keys import KeyedScores
from nodes.model_book import BookedModel
from nodes.policy import may_give_reasons
from nodes.services import Services
from nodes.web.bank_words import PURPOSES, kind_title, moment, refused, refused_error, say

ANSWERED, SILENT, UNNAMED = "answered", "silent", "unnamed"


@dataclass(frozen=True)
class BandPart:
    """One band on the scale of scores.

    Attributes:
        low, high: its lowest and highest score; both None where no score lies in it.
        pd: its probabilities of default in words.
        left, width: its place on a scale of 0 to 100, for the drawing.
        here: the merchant is in it.
    """

    band: str
    low: int | None
    high: int | None
    pd: str
    left: float
    width: float
    here: bool


@dataclass(frozen=True)
class SourceLine:
    """What one kind of source did: `answered`, `silent` with the reason, or `unnamed` by the consent."""

    kind: str
    party: str
    state: str
    refused: PageProblem | None = None


@dataclass(frozen=True)
class ConsentLine:
    """The consent that was used."""

    consent_id: str
    given_at: str
    valid_until: str
    reasons_allowed: bool


@dataclass(frozen=True)
class ProofLine:
    """Where the query stands in the log: numbers to quote, and what the regulator checks them against."""

    index: int
    entry_sha256: str
    log: str
    size: str
    root: str


@dataclass(frozen=True)
class ScoreSheet:
    """A score for a person to read and to file.

    Attributes:
        marker: the score's place on a scale of 0 to 100.
        local: it was computed from this bank's own rows; nobody was asked.
    """

    identifier: str
    score: int
    pd: str
    band: str
    bands: tuple[BandPart, ...]
    marker: float
    reasons: tuple[str, ...]
    sources: tuple[SourceLine, ...]
    consent: ConsentLine | None
    proof: ProofLine | None
    purpose: str
    model_id: str
    model_time: str
    epsilon: float | None
    asked_at: str
    local: bool


@dataclass(frozen=True)
class NoScore:
    """Why there is no score, and what every source did where some were asked."""

    refused: PageProblem
    sources: tuple[SourceLine, ...] = ()


@dataclass(frozen=True)
class ModelChoice:
    """A model that may be chosen."""

    model_id: str
    text: str


class ScoreDesk:
    """Asks for one score on behalf of a person; a form that is sent twice asks nobody twice.

    Args:
        services: the node's.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._keyed = KeyedScores(services.runtime.store, services.enquiries, clock=services.runtime.clock)

    def score(
        self, form: str, person: str, identifier: str, *, purpose: Purpose, model_id: str | None, lang: str
    ) -> ScoreSheet | NoScore:
        """The answer to a form, or why there is none.

        Args:
            form: the form's own random token; with the person it is the key under which the query is asked.
            person: who is signed in.
            identifier: as it was typed.
            purpose, model_id: as chosen; the newest model where none is.
            lang: of texts.
        """
        key = form_key("score", form, person)
        fields = "\n".join((identifier, purpose, model_id or ""))
        digest = hashlib.sha256(fields.encode()).hexdigest()
        enquiry = Enquiry(identifier)
        try:
            answer = self._keyed.score(key, digest, enquiry, purpose=purpose, model_id=model_id)
        except ScoreUnavailable as problem:
            said = refused("score-unavailable", lang)
            return NoScore(said, self._sources(key, problem.refusals, lang))
        except (CryptoError, ModelsError, NodeError) as problem:
            return NoScore(refused_error(problem, lang))
        return self._sheet(key, identifier, answer, purpose, lang)

    def choices(self, lang: str) -> list[ModelChoice]:
        """Models in use, the newest first."""
        found = []
        for listed in self._services.models.list():
            if listed.usable and listed.artefact is not None:
                kind = say(lang, "model " + listed.artefact.model_type)
                text = f"{kind} · {moment(listed.issued_at)} · {short_model(listed.model_id)}"
                found.append(ModelChoice(listed.model_id, text))
        return found

    def id_type(self) -> IdentifierType:
        """The type of identifier of the newest model's schema; `opaque` while there is none."""
        model = self._services.models.newest()
        return "opaque" if model is None else model.schema.id.type

    def _sheet(
        self, key: str, identifier: str, answer: ScoreAnswer, purpose: Purpose, lang: str
    ) -> ScoreSheet | NoScore:
        model = self._services.models.get(answer.model_id)
        request = self._keyed.request_of(key)
        if model is None or answer.score is None or answer.pd is None or answer.band is None:
            return NoScore(refused("model-unknown", lang))
        asked = self._services.runtime.now() if request is None else request.issued_at
        return ScoreSheet(
            identifier=identifier.strip(),
            score=answer.score,
            pd=percent(answer.pd),
            band=answer.band,
            bands=() if model.artefact.scorecard is None else bands(model.card, answer.band),
            marker=place(answer.score),
            reasons=tuple(self._services.enquiries.reason_texts(answer, lang)),
            sources=self._sources(key, {}, lang),
            consent=self._consent(request),
            proof=None if answer.proof is None else proof_line(answer.proof),
            purpose=say(lang, PURPOSES[purpose]),
            model_id=answer.model_id,
            model_time=moment(model.issued_at),
            epsilon=answer.epsilon,
            asked_at=moment(asked),
            local=request is None,
        )

    def _sources(self, key: str, refusals: Mapping[str, str], lang: str) -> tuple[SourceLine, ...]:
        request = self._keyed.request_of(key)
        model = None if request is None else self._services.models.get(request.model_id)
        if request is None or model is None:
            return ()
        return source_lines(request, model, refusals, lang)

    def _consent(self, request: ScoreRequest | None) -> ConsentLine | None:
        if request is None:
            return None
        held = self._services.consents.get(request.items[0].consent_id, self._services.runtime.now())
        return None if held is None else consent_line(held, self._services.runtime.config.party_id)


def form_key(what: str, form: str, person: str) -> str:
    """The idempotency key of a form: nobody else's form, nor the gateway's keys, can have it."""
    return f"page-{what}-" + hashlib.sha256(f"{person}\n{form}".encode()).hexdigest()


def source_lines(
    request: ScoreRequest, model: BookedModel, refusals: Mapping[str, str], lang: str
) -> tuple[SourceLine, ...]:
    """What each of the model's kinds did in a query about one merchant."""
    named = request.items[0].sources
    found = []
    for kind in model.kinds:
        title, party = kind_title(model.schema, kind, lang), named.get(kind)
        if party is None:
            found.append(SourceLine(title, "", UNNAMED))
        elif party in refusals:
            found.append(SourceLine(title, party, SILENT, refused(refusals[party], lang, party=party)))
        else:
            found.append(SourceLine(title, party, ANSWERED))
    return tuple(found)


def consent_line(held: HeldConsent, recipient: str) -> ConsentLine:
    """A consent as an answer names it."""
    record = held.record
    return ConsentLine(
        consent_id=record.record_id,
        given_at=moment(record.event_time),
        valid_until=moment(record.valid_until),
        reasons_allowed=may_give_reasons(record, recipient),
    )


def proof_line(proof: InclusionProof) -> ProofLine:
    """The numbers of a proof that was verified before the score was shown.

    The checkpoint is a signed note: its first three lines are the log's name, its size and its root.
    """
    lines = [*proof.checkpoint.splitlines(), "", "", ""]
    return ProofLine(proof.index, hashlib.sha256(proof.entry.encode()).hexdigest(), lines[0], lines[1], lines[2])


def bands(card: Scorecard, band: str) -> tuple[BandPart, ...]:
    """The bands of a scorecard on the scale of scores, the riskiest first, as the scale runs upwards."""
    scores = np.arange(SCORE_MIN, SCORE_MAX + 1)
    names = band_of(card.pd_of(scores))
    edges = dict(zip(BANDS, band_words(), strict=True))
    found = []
    for name in reversed(BANDS):
        within = scores[names == name]
        if not within.size:
            found.append(BandPart(name, None, None, edges[name], 0.0, 0.0, name == band))
            continue
        low, high = int(within[0]), int(within[-1])
        left = place(low)
        found.append(BandPart(name, low, high, edges[name], left, round(place(high + 1) - left, 2), name == band))
    return tuple(found)


def band_words() -> list[str]:
    """The probabilities of default of every band."""
    texts = [f"< {BAND_EDGES[0]:.0%}"]
    texts += [f"{low:.0%} – {high:.0%}" for low, high in pairwise(BAND_EDGES)]
    return [*texts, f"≥ {BAND_EDGES[-1]:.0%}"]


def place(score: int) -> float:
    """Where a score lies on a scale of 0 to 100."""
    return round(100 * (score - SCORE_MIN) / (SCORE_MAX + 1 - SCORE_MIN), 2)


def percent(share: float) -> str:
    """A probability for persons: two digits after the point below one in ten, else one."""
    return f"{share:.2%}" if share < 0.1 else f"{share:.1%}"


def short_model(model_id: str) -> str:
    """A model's id, short enough to be read out."""
    return model_id.removeprefix("sha256:")[:12]


def chosen_purpose(text: str, allowed: Sequence[Purpose]) -> Purpose | None:
    """A purpose of a form, or None where it is none of those that the form offers."""
    return cast("Purpose", text) if text in allowed else None
