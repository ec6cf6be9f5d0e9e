"""The demo's campaigns: started as the operator does, watched, released; AUC is computed where the rows were made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from crypto.manifest import holdout_mask
from hub.demo.data import Population
from hub.demo.errors import DemoError
from hub.demo.federation import Federation
from hub.evaluation_cohort import OTHERS
from models.artefact import ModelArtefact
from models.bins import encode
from models.codes import ABSENT, UNLABELLED
from models.encoder_scores import encoder_logits
from models.encoder_spec import EncoderSpec
from models.evaluation import auc, ks
from models.evaluation_result import EvaluationResult

_POLL_SECONDS = 0.5
_LIMIT_SECONDS = 600.0


@dataclass(frozen=True)
class Trained:
    """A campaign that ended well.

    Attributes:
        evaluation: what its evaluation stage found, with noise; None where it has no such stage.
    """

    campaign_id: str
    model_id: str
    artefact: ModelArtefact
    holdout_salt: str
    evaluation: EvaluationResult | None
    seconds: float


def run_campaign(federation: Federation, file: Path, show: Callable[[str], None]) -> Trained:
    """Start a campaign with the operator's command and watch it to its end.

    Raises:
        DemoError: it failed; the message is the hub's, with the names of the nodes at fault.
    """
    start = time.monotonic()
    config = str(federation.config("hub"))
    campaign_id = federation.hub_command("campaign", "start", str(file), "--config", config)["campaign_id"]
    while True:
        state: dict[str, Any] = (
            federation.http.get(f"/v1/campaigns/{campaign_id}", headers=federation.admin()).raise_for_status().json()
        )
        show(_line(state))
        if state["status"] in ("succeeded", "failed", "aborted"):
            break
        if time.monotonic() - start > _LIMIT_SECONDS:
            raise DemoError(f"campaign {campaign_id} did not end within {_LIMIT_SECONDS:.0f} s: {state}")
        time.sleep(_POLL_SECONDS)
    if state["status"] != "succeeded":
        raise DemoError(f"campaign {campaign_id} {state['status']}: {json.dumps(state, ensure_ascii=False)}")
    model_id = str(state["model_id"])
    federation.register_assessment(campaign_id)
    federation.hub_command("model", "release", model_id, "--config", config)
    artefact = ModelArtefact.from_bytes(federation.http.get(f"/v1/models/{model_id}").raise_for_status().content)
    salt = str(state["holdout"]["salt"])
    seconds = round(time.monotonic() - start, 1)
    return Trained(campaign_id, model_id, artefact, salt, _evaluation(federation, model_id), seconds)


def _evaluation(federation: Federation, model_id: str) -> EvaluationResult | None:
    answer = federation.http.get(f"/v1/models/{model_id}/evaluation")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    return EvaluationResult.model_validate_json(answer.raise_for_status().content)


def _line(state: dict[str, Any]) -> str:
    """The newest step: what, k of n, and since when."""
    if not state["progress"]:
        return str(state["status"])
    last = state["progress"][-1]
    count = f" {last['done']}/{last['total']}" if last["total"] else ""
    return f"{last['stage']}: {last['what']}{count} · {last['seconds']:.0f} s {last['detail']}".rstrip()


@dataclass(frozen=True)
class Measured:
    """Exact figures of held-out merchants, computed where the rows were made.

    Attributes:
        auc, ks: of all of them.
        held_out: their number.
        auc_counted: of those whom the evaluation stage counts; None where the campaign has no such stage.
        counted: their number.
    """

    auc: float
    ks: float
    held_out: int
    auc_counted: float | None
    counted: int


def measure(
    trained: Trained,
    population: Population,
    pseudonyms: dict[str, bytes],
    salt: bytes,
    fraction: float,
    *,
    scorable: Collection[str],
) -> Measured:
    """AUC and KS on held-out merchants, exact, by the driver from the joined rows that it made.

    Args:
        salt, fraction: the campaign's hold-out rule, from its terms.
        scorable: ids whose consent lets their bank have a score.
    """
    schema = population.schema
    names = np.frombuffer(b"".join(pseudonyms[each] for each in population.ids), np.uint8).reshape(-1, 32)
    held = holdout_mask(names, salt, fraction)
    codes, outcome = {}, np.zeros(0, np.uint8)
    for kind in schema.kinds_in_order():
        frame = population.frame.rename({"id": schema.id.column} if schema.id.column != "id" else {})
        encoded = encode(schema, kind, frame)
        present = np.array(population.at[kind]) != ""
        codes[kind] = np.where(present[:, None], encoded.codes, ABSENT).astype(np.uint8)[held]
        if encoded.outcome is not None:
            outcome = encoded.outcome[held]
    entry = trained.artefact.encoder
    if entry is not None:
        spec = EncoderSpec.model_validate_json(entry.spec)
        scores = -encoder_logits(spec, entry.parameters(), codes[schema.label.kind])
    else:
        scores = trained.artefact.card().score(codes).astype(np.float64)
    kept = _counted(population, scorable)[held] & (outcome != UNLABELLED)
    return Measured(
        auc(scores, outcome),
        ks(scores, outcome),
        int(held.sum()),
        None if trained.evaluation is None else auc(scores[kept], outcome[kept]),
        0 if trained.evaluation is None else int(kept.sum()),
    )


def _counted(population: Population, scorable: Collection[str]) -> NDArray[np.bool_]:
    """Whom an evaluation counts: consent to a score for the bank, and enough sources besides it (6)."""
    kinds = population.schema.kinds_in_order()
    lets = np.array([each in scorable for each in population.ids], dtype=np.bool_)
    if len(kinds) == 1:
        return lets
    others = [np.array(population.at[kind]) != "" for kind in kinds if kind != population.schema.label.kind]
    return np.asarray(lets & (np.sum(others, axis=0) >= OTHERS), dtype=np.bool_)
