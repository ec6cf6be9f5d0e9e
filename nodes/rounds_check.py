"""Whether an encoder's terms can be accepted: checks that node and witness make alike (docs/protocol.md, 5)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from crypto.canonical import canonical_bytes
from crypto.dated import verify_dated
from crypto.errors import AttemptError, ManifestError
from crypto.round_grid import encoder_terms, terms_rounds
from crypto.wire.campaign import MechanismTerms, RoundOrder, RoundsMechanism
from models.encoder_spec import EncoderSpec, checked_allowance
from nodes.ledger import Ledger
from nodes.terms_check import CheckedTerms, check_epsilon, contradiction, dishonest
from nodes.training_context import RosterLookup

_TOLERANCE = 1e-9
_TRY = re.compile(r"[0-9]+\.[0-9]+")


def read_spec(checked: CheckedTerms) -> EncoderSpec:
    """The encoder of the terms.

    Raises:
        ManifestError: there is none, or it is not that of the schema's label kind.
    """
    terms = checked.terms
    encoder = encoder_terms(terms)
    try:
        spec = EncoderSpec.model_validate_json(encoder.spec)
    except ValidationError as problem:
        raise contradiction("encoder", "the terms' encoder is malformed") from problem
    if canonical_bytes(spec) != encoder.spec.encode():
        raise contradiction("encoder", "the terms' encoder is not in canonical form")
    if encoder.kind != terms.label_kind or [each.kind for each in terms.kinds] != [encoder.kind]:
        raise contradiction("encoder.kind", "an encoder is trained by the nodes that hold the label, and no others")
    if spec.widths != checked.schema.widths(encoder.kind):
        raise contradiction("encoder.spec", "the encoder's bins are not those of the schema")
    stated = (encoder.parameters, encoder.rounds, encoder.charged_attempts, encoder.grid, encoder.clip)
    if stated != (spec.n_parameters, spec.rounds, spec.charged_attempts, spec.grid, spec.clip):
        raise contradiction("encoder", "the terms' numbers are not those of their encoder")
    return spec


def check_rounds_privacy(checked: CheckedTerms) -> None:
    """T0, T1: computes the privacy of an encoder's rounds anew from σ, sensitivity and the accountant.

    Raises:
        ManifestError: the encoder is not of this schema.
        NoiseError, RangeError: noise shares or sums are out of range.
        BudgetError: the mechanisms are not those of the rounds, or cost more than the terms claim; or the grid is so
            coarse that the noise's being discrete counts.
    """
    privacy = checked.terms.privacy
    spec, encoder, grid = read_spec(checked), encoder_terms(checked.terms), terms_rounds(checked.terms)
    if privacy.noise == "off":
        if privacy.mechanisms or encoder.sigma_grid:
            raise dishonest("terms without noise claim mechanisms")
        return
    claimed = [each for each in privacy.mechanisms if isinstance(each, RoundsMechanism)]
    due = encoder.sigma_grid / spec.sensitivity
    if (
        len(claimed) != 1
        or claimed[0].stage != "encoder"
        or claimed[0].rounds != spec.charged_attempts
        or claimed[0].sampling_rate != spec.sampling_rate
        or claimed[0].sigma_over_sensitivity > due * (1 + _TOLERANCE)
    ):
        raise dishonest("the mechanisms of the terms are not those of their encoder")
    if privacy.delta_sum < grid.delta_sum * (1 - _TOLERANCE):
        raise dishonest(
            f"the terms set aside delta {privacy.delta_sum:g} for noise shares where {grid.delta_sum:g} is due"
        )
    check_epsilon(checked, allowance=checked_allowance(spec, encoder.sigma_grid, privacy.epsilon))


def check_device(device: Literal["auto", "cpu", "cuda"]) -> None:
    """T1: a node whose owner asks for CUDA says so before it accepts, not in the first round.

    Raises:
        DeviceError: there is none.
    """
    if device == "cuda":
        from models.encoder import choose_device  # noqa: PLC0415 (torch, which nodes that train no encoder never load)

        choose_device(device)


def read_order(token: str, roster: RosterLookup, checked: CheckedTerms, h: bytes, now: datetime) -> RoundOrder:
    """The hub's signed order for one try of a round.

    Raises:
        SignatureError: not signed by the hub's key of now.
        ManifestError: of another attempt or manifest.
        AttemptError: a round that the terms do not have.
    """
    order = verify_dated(token, roster.hub_keys, RoundOrder, typ="round", kid=roster.hub_id, date=lambda _order: now)
    terms = checked.terms
    if (order.attempt, order.h) != (terms.attempt, h):
        raise ManifestError("the order is for another attempt or manifest", field="order", remedy="refuse the round")
    encoder = encoder_terms(terms)
    if order.round >= encoder.rounds or order.number >= encoder.charged_attempts:
        raise AttemptError(
            f"round {order.round}, try {order.number}, is not within the terms' {encoder.rounds} rounds",
            field="round",
            remedy="refuse the round; training ends with the last one",
        )
    return order


def check_tries(recorded: int, order: RoundOrder, checked: CheckedTerms) -> None:
    """Refuses a new try once all that are paid for were used.

    Raises:
        AttemptError: with the number.
    """
    charged = encoder_terms(checked.terms).charged_attempts
    if recorded >= charged:
        raise AttemptError(
            f"round {order.round}, try {order.number}: all {charged} charged tries of this run are used",
            field="number",
            remedy="training ends when they are used; start a new campaign",
        )


def unpaid_mechanisms(
    ledger: Ledger, campaign_id: str, run: str, mechanisms: tuple[MechanismTerms, ...]
) -> tuple[MechanismTerms, ...]:
    """What a try of this run is charged: everything if it is the first to be sent, else nothing.

    Only lines of this very run count: ids are the hub's choice, and a prefix alone could be another run's.
    """
    paid = any(
        each.mechanisms and each.campaign_id == campaign_id and is_try_of(run, each.attempt)
        for each in ledger.charges()
    )
    return () if paid else mechanisms


def is_try_of(run: str, attempt: str) -> bool:
    """Whether this is the id of a try of this run."""
    return attempt.startswith(f"{run}/") and _TRY.fullmatch(attempt[len(run) + 1 :]) is not None
