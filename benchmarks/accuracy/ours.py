"""digua itself: the scorecard from noisy tables, and the encoder that a consortium of banks trains.

Both call what a campaign calls, with its defaults. The protocol opens exactly these tables and sums (tests show it bit
for bit without noise); its noise comes in shares from 24 nodes of which one may collude, so there is 24/23 of the
variance that the budget asks for. The fit is told what the terms of a campaign tell it, which is a little less.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.measures import Prediction
from benchmarks.accuracy.sets import Split, one_kind
from models.accounting import calibrate_tables
from models.bins import encode
from models.central import train_over
from models.encoder_scores import default_probability, encoder_logits
from models.encoder_spec import calibrate_rounds, spec_for
from models.scorecard import Scorecard
from models.scorecard_fit import train
from models.tables import OpenedTable, from_codes

NODES, COLLUDING, BANKS = 24, 1, 12


def opened_table(split: Split, epsilon: float, delta: float, rng: np.random.Generator) -> OpenedTable:
    """The table that a campaign over the training rows would open."""
    noise = calibrate_tables(len(split.features), epsilon, delta)
    excess = sqrt(NODES / (NODES - COLLUDING))
    exact = from_codes(split.features, split.train.codes, split.train.outcomes)
    drawn = exact.with_gaussian_noise(rng, noise.sigma_class * excess, noise.sigma_pair * excess)
    return replace(drawn, sigma_class=noise.sigma_class, sigma_pair=noise.sigma_pair)


def scorecard(split: Split, epsilon: float, delta: float, seed: int) -> Prediction:
    """The integer scores of a scorecard fitted to one opened table."""
    return _judged(train(opened_table(split, epsilon, delta, _noise(split, epsilon, seed))), split)


def scorecard_without_noise(split: Split) -> Prediction:
    """The same from the exact table: what the form costs, without privacy."""
    return _judged(train(from_codes(split.features, split.train.codes, split.train.outcomes)), split)


def encoder(split: Split, epsilon: float, delta: float, seed: int) -> Prediction:
    """The encoder stage of twelve banks that hold all columns, as the only stage."""
    schema = one_kind(split.schema)
    kind = schema.label.kind
    spec = spec_for(schema, kind)
    rows, held = (encode(schema, kind, part.frame).codes for part in (split.train, split.test))
    noise = calibrate_rounds(spec, epsilon, delta)
    parameters = train_over(
        spec,
        [(rows, split.train.outcomes)],
        sigma_grid=noise.sigma_grid * sqrt(BANKS / (BANKS - COLLUDING)),
        noise=_noise(split, epsilon, seed),
        n_public=len(rows),
    )
    logits = encoder_logits(spec, parameters, held[split.test.known])
    return Prediction(risk=np.asarray(logits), pd=np.asarray(default_probability(spec, logits)))


def _judged(card: Scorecard, split: Split) -> Prediction:
    known = split.test.known
    codes: dict[str, NDArray[np.integer]] = {kind: rows[known] for kind, rows in split.test.codes.items()}
    scores = card.score(codes)
    return Prediction(risk=-scores.astype(np.float64), pd=card.pd_of(scores))


def _noise(split: Split, epsilon: float, seed: int) -> np.random.Generator:
    return np.random.default_rng([split.seed, seed, round(1000 * epsilon), len(split.train.outcomes)])
