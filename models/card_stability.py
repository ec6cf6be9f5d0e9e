"""A model card's words on stability: what other noise on the same table would have made of the model."""

from __future__ import annotations

import numpy as np

from models.card_content import Block, Facts, Section, Table, Text
from models.card_voice import Voice, percent
from models.schema import Schema
from models.stability import NoiseStability

FIRM, LOOSE = 0.98, 0.90
"""Rank correlations from which on noise hardly matters to the order, and below which it matters much."""


def stability_section(say: Voice, schema: Schema, found: NoiseStability) -> Section:
    """How the model changes with the noise alone."""
    blocks: list[Block] = [
        Text(
            say(
                "The noise was drawn {count} times anew on the opened table and the model fitted again each time. This "
                "shows what noise alone does to scores and points; that other merchants might have been in the cohort "
                "is not in these figures.",
                count=found.refits,
            )
        ),
        Text(say(verdict(found)), strong=True),
        Facts(
            (
                (
                    say("Rank correlation of scores, mean and least"),
                    f"{found.correlation:.3f} · {found.least:.3f}",
                ),
                (say("Merchants whose band stays the same"), percent(found.same_band, 0)),
                (
                    say("Standard deviation of one merchant's score"),
                    say("{points} points", points=f"{found.score_spread:.1f}"),
                ),
                (say("Refits that gave no model"), str(found.failed)),
            )
        ),
    ]
    rows = []
    for each in found.features:
        span, spread = max(each.points) - min(each.points), np.array(each.spread)
        names = (say.kind(schema, each.kind), say.feature(schema, each.kind, each.name))
        rows.append((span, (*names, str(span), f"{spread.mean():.1f}", f"{spread.max():.1f}")))
    rows.sort(key=lambda row: -row[0])
    columns = (
        say("Source"),
        say("Feature"),
        say("Span of points"),
        say("Mean deviation of a bin's points"),
        say("Greatest deviation of a bin's points"),
    )
    caption = say("Points that come from noise")
    blocks.append(Table(columns, tuple(row for _, row in rows), numeric=2, caption=caption))
    blocks.append(
        Text(say("A feature whose span is not well above twice the deviation of its bins may owe its points to noise."))
    )
    return Section("stability", say("Stability"), tuple(blocks))


def verdict(found: NoiseStability) -> str:
    """In one sentence (a message id): whether the order of merchants holds."""
    if found.correlation >= FIRM:
        return "The noise hardly changes the order of merchants."
    if found.correlation >= LOOSE:
        return "The noise changes the order of merchants a little: do not read much into a few points."
    return "The noise changes the order of merchants much: a larger cohort or a larger epsilon is needed."
