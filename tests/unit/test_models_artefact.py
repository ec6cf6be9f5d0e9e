from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from models.accounting import calibrate_tables, epsilon_of
from models.artefact import (
    EncoderEntry,
    ModelArtefact,
    PrivacyEntry,
    ScorecardEntry,
    fit_entry,
    mechanism_entries,
    mechanisms_of,
)
from models.errors import ArtefactError
from models.fit_options import FitOptions
from models.schema_file import load_schema
from models.scorecard import Scorecard
from models.scorecard_fit import train
from models.tables import feature_bins, from_codes

CONFIG = Path(__file__).parents[2] / "configs" / "give-me-some-credit.yaml"
CREATED = datetime(2026, 1, 31, 8, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def trained():
    schema = load_schema(CONFIG)
    features = feature_bins(schema)
    rng = np.random.default_rng(1)
    codes = {
        kind: np.stack([rng.integers(0, f.width, 4_000) for f in features if f.kind == kind], axis=1).astype(np.uint8)
        for kind in schema.kinds_in_order()
    }
    risk = -2.5 + 0.25 * (codes["bank"][:, 1] - 5) + 0.3 * (codes["utility"][:, 0] - 3)
    outcomes = np.where(rng.random(4_000) < 1 / (1 + np.exp(-risk)), 0, 1).astype(np.uint8)
    noise = calibrate_tables(len(features), 3.0, 1e-5, scale_of=lambda sigma: 2 if sigma < 10 else 1)
    table = from_codes(features, codes, outcomes).with_gaussian_noise(
        np.random.default_rng(2), noise.sigma_class, noise.sigma_pair
    )
    return schema, table, noise, train(table), codes


@pytest.fixture(scope="module")
def artefact(trained) -> ModelArtefact:
    schema, table, noise, card, _ = trained
    return ModelArtefact(
        model_type="scorecard",
        campaign="cross-source-1",
        created=CREATED,
        campaign_schema=schema.canonical_json().decode(),
        schema_sha256=schema.hash(),
        cohort_size=table.cohort_size,
        privacy=PrivacyEntry(
            noise="on",
            epsilon=3.0,
            delta=1e-5,
            epsilon_replace_one=noise.epsilon_replace_one,
            t_collude=1,
            mu=noise.mu,
            sigma_class=noise.sigma_class,
            sigma_pair=noise.sigma_pair,
            stages=("scorecard",),
            mechanisms=mechanism_entries(noise.mechanisms),
        ),
        scorecard=ScorecardEntry.of(card),
        table_digest=table.digest(),
        fit_options=fit_entry(FitOptions()),
    )


def altered(artefact: ModelArtefact, *path: object, value: object) -> bytes:
    plain = json.loads(artefact.to_bytes())
    place = plain
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_bytes_round_trip_and_name_the_model(artefact) -> None:
    data = artefact.to_bytes()
    again = ModelArtefact.from_bytes(data)
    assert again == artefact
    assert again.to_bytes() == data
    assert again.model_id == artefact.model_id
    assert artefact.model_id.startswith("sha256:")
    other = ModelArtefact.from_bytes(altered(artefact, "campaign", value="cross-source-2"))
    assert other.model_id != artefact.model_id


def test_the_contents_id_is_of_all_but_campaign_and_time(artefact) -> None:
    other = artefact.model_copy(update={"campaign": "another", "created": artefact.created + timedelta(days=1)})
    assert other.model_id != artefact.model_id
    assert other.content_id == artefact.content_id != artefact.model_id
    for name in type(artefact).model_fields.keys() - {"campaign", "created"}:
        changed = artefact.model_copy(update={name: "another"})
        assert changed.content_id != artefact.content_id, name


def test_the_artefact_scores_as_the_fitted_scorecard(trained, artefact) -> None:
    card: Scorecard = trained[3]
    codes = trained[4]
    read = ModelArtefact.from_bytes(artefact.to_bytes()).card()
    scores = read.score(codes)
    assert np.array_equal(scores, card.score(codes))
    assert read.pd_of(scores) == pytest.approx(card.pd_of(scores), rel=1e-7)
    assert read.features == card.features


def test_another_party_can_account_again(artefact) -> None:
    again = epsilon_of(mechanisms_of(artefact.privacy), 1e-5)
    assert again <= 3.0 + 1e-6
    assert again == pytest.approx(3.0, rel=0.01)


def test_a_witness_that_fits_again_gets_the_same_points(trained, artefact) -> None:
    refitted = ScorecardEntry.of(train(trained[1], FitOptions(**artefact.fit_options)))
    assert refitted == artefact.scorecard


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("scorecard", "features", 0, "points", 0), 600),
        (("scorecard", "features", 0, "points", 0), 1.5),
        (("scorecard", "features", 0, "name"), "shoe-size"),
        (("scorecard", "base"), 2_000),
        (("scorecard", "absent_points", "tax"), 551),
        (("scorecard", "calibration", "slope"), 0.01),
        (("scorecard", "band_edges"), [0.5]),
        (("schema_sha256",), "0" * 64),
        (("campaign_schema",), "{}"),
        (("privacy", "epsilon"), None),
        (("privacy", "noise"), "off"),
        (("model_type",), "encoder"),
        (("encoders_used",), {"bank": "sha256:00"}),
        (("surprise",), 1),
        (("suite",), "digua-2"),
    ],
)
def test_altered_artefacts_are_refused(artefact, path, value) -> None:
    with pytest.raises(ArtefactError) as refused:
        ModelArtefact.from_bytes(altered(artefact, *path, value=value))
    assert refused.value.remedy


def test_other_spellings_of_the_same_content_are_refused(artefact) -> None:
    plain = json.loads(artefact.to_bytes())
    for data in (json.dumps(plain).encode(), artefact.to_bytes() + b"\n", b"not json", b"\xff"):
        with pytest.raises(ArtefactError):
            ModelArtefact.from_bytes(data)


def test_encoder_weights_survive_and_must_fit_their_shape(artefact) -> None:
    weights = np.linspace(-1, 1, 12).reshape(3, 4)
    entry = EncoderEntry.of("bank", "{}", weights, (-2.0, 0.0))
    assert entry.parameters() == pytest.approx(weights, abs=1e-7)
    model = ModelArtefact(
        **{
            **dict(artefact),
            "model_type": "encoder",
            "scorecard": None,
            "table_digest": None,
            "encoder": entry,
        }
    )
    assert ModelArtefact.from_bytes(model.to_bytes()).encoder == entry
    with pytest.raises(ArtefactError, match="no scorecard"):
        model.card()
    with pytest.raises(ArtefactError, match="shape"):
        ModelArtefact.from_bytes(altered(model, "encoder", "shape", value=[5, 5]))
    with pytest.raises(ArtefactError, match="shape"):
        ModelArtefact.from_bytes(altered(model, "encoder", "weights", value="*"))
