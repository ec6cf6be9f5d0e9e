"""Terms that a lying hub could sign: witness and nodes refuse each with a typed error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crypto.errors import ManifestError, SignatureError
from crypto.jws import sign_model
from crypto.keys import IdentityKey
from hub.simulation import Budget
from models.errors import BudgetError
from nodes.campaign_rules import CampaignRules
from nodes.errors import BudgetExceeded, PolicyRefusal
from nodes.store import Store
from nodes.training import refusal_detail
from tests.federation import Drive, World, make_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.federation.close()


def test_terms_that_another_key_signed_are_refused(world: World) -> None:
    drive = Drive.start(world)
    forged = sign_model(drive.manifest.terms, IdentityKey.generate(), typ="terms", kid="hub")
    drive.manifest = replace(drive.manifest, token=forged)
    with pytest.raises(SignatureError):
        drive.cosign()
    with pytest.raises(SignatureError):
        drive.forge_cosignature().accept("bank-1")


def test_a_cosignature_by_another_key_is_refused(world: World) -> None:
    drive = Drive.start(world).cosign()
    _, payload, signature = drive.cosignature.split(".")
    other = Drive.start(world, number=2).forge_cosignature().cosignature
    drive.cosignature = ".".join([other.split(".")[0], payload, signature[:-4] + "AAAA"])
    with pytest.raises(SignatureError):
        drive.accept("bank-1")


def test_terms_for_another_attempt_than_cosigned_are_refused(world: World) -> None:
    drive = Drive.start(world)
    drive.cosignature = Drive.start(world, number=2).forge_cosignature().cosignature
    with pytest.raises(ManifestError, match="attempt"):
        drive.accept("bank-1")


def test_terms_that_claim_less_than_they_cost_are_refused(world: World) -> None:
    honest = Drive.start(world, world.noisy_plan()).manifest.terms
    tables = honest.tables.model_dump()

    def claiming(**privacy: object) -> dict[str, object]:
        return {"privacy": honest.privacy.model_dump() | privacy}

    fewer = [each.model_dump() | {"count": 1} for each in honest.privacy.mechanisms]
    scales = [each.scale for each in honest.privacy.mechanisms]
    assert max(scales) > 1  # shares below 2 are drawn on a finer grid, and charged there
    grids = [
        [each.model_dump() | {"scale": change(each.scale)} for each in honest.privacy.mechanisms]
        for change in (lambda _: 1, lambda scale: scale * 2)
    ]
    louder = [each.model_dump() | {"sigma": each.sigma * 2} for each in honest.privacy.mechanisms]
    lies = [
        claiming(epsilon=1.0),
        claiming(epsilon_replace_one=3.0),
        claiming(delta_sum=0.0),
        claiming(mechanisms=[]),
        claiming(mechanisms=fewer),
        claiming(mechanisms=louder),
        *(claiming(mechanisms=lie) for lie in grids),
        {"tables": {**tables, "sigma_class": tables["sigma_class"] / 2}},
        {"tables": {**tables, "sigma_pair": 0.0}},
    ]
    for number, lie in enumerate(lies, start=1):
        drive = Drive.start(world, world.noisy_plan(), number=number, honest=honest, **lie)
        with pytest.raises(BudgetError):
            drive.cosign()
        with pytest.raises(BudgetError):
            drive.forge_cosignature().accept("bank-1")


def test_noise_off_and_too_few_colluders_are_refused_by_the_owner(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    drive = Drive.start(world)
    with pytest.raises(PolicyRefusal, match="noise off") as caught:
        drive.forge_cosignature().accept("bank-1")
    assert caught.value.reason == "noise-off-refused"
    with pytest.raises(PolicyRefusal):
        drive.cosign()
    strict = replace(world.federation.contexts["bank-1"], min_t_collude=2)
    world.federation.contexts["bank-1"] = strict
    with pytest.raises(PolicyRefusal) as caught:
        Drive.start(world, world.noisy_plan(), number=2).forge_cosignature().accept("bank-1")
    assert caught.value.reason == "t-collude-too-small"


def test_a_budget_that_would_be_passed_is_refused_with_the_numbers(tmp_path: Path) -> None:
    world = make_world(tmp_path, budget=Budget(2.0, 1e-5), noise_off=False)
    drive = Drive.start(world, world.noisy_plan(3.0)).forge_cosignature()
    with pytest.raises(BudgetExceeded) as caught:
        drive.accept("bank-1")
    assert (caught.value.spent, caught.value.epsilon) == (0.0, 2.0)
    assert 2.9 < caught.value.asked <= 3.01
    with pytest.raises(BudgetExceeded):  # the programme's ledger
        drive.cosign()


def test_terms_past_their_deadline_are_refused(world: World) -> None:
    past = datetime.now(UTC) - timedelta(hours=2)
    drive = Drive.start(world, issued_at=past, deadline=past + timedelta(hours=1)).forge_cosignature()
    with pytest.raises(PolicyRefusal) as caught:
        drive.accept("bank-1")
    assert caught.value.reason == "terms-expired"


def test_a_schema_under_another_hash_or_unknown_to_the_node_is_refused(world: World) -> None:
    with pytest.raises(ManifestError, match="schema"):
        Drive.start(world, schema_sha256="0" * 64).cosign()
    world.federation.contexts["bank-1"] = replace(world.federation.contexts["bank-1"], dataset={}.get)
    drive = Drive.start(world, number=2).cosign()
    with pytest.raises(PolicyRefusal) as caught:
        drive.accept("bank-1")
    assert caught.value.reason == "schema-unknown"


def test_a_campaign_has_one_holdout_rule(world: World) -> None:
    Drive.start(world).cosign().accept_all()
    other = {"salt": b"another salt, 16", "fraction": 0.2}
    less = {"salt": world.plan().holdout_salt, "fraction": 0.1}
    for number, holdout in enumerate((other, less), start=2):
        # An honest cohort under that rule: only the change itself is at fault.
        plan = world.plan(holdout_salt=holdout["salt"], holdout_fraction=holdout["fraction"])
        drive = Drive.start(world, plan, number=number)
        for refuse in (drive.cosign, lambda drive=drive: drive.forge_cosignature().accept("bank-1")):
            with pytest.raises(PolicyRefusal) as caught:
                refuse()
            assert caught.value.reason == "holdout-changed"
    Drive.start(world, world.plan(campaign_id="c2", holdout_salt=bytes(16)), number=1).cosign().accept_all()


def test_stages_with_another_privacy_than_the_first_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.sqlite"
    world = make_world(tmp_path, noise_off=False)
    terms = Drive.start(world, world.noisy_plan()).manifest.terms
    CampaignRules(Store.open(path)).settle(terms.model_copy(update={"stage": "encoder"}))
    rules = CampaignRules(Store.open(path))  # after a restart
    privacy, mechanisms = terms.privacy, terms.privacy.mechanisms
    finer = tuple(each.model_copy(update={"scale": each.scale * 2}) for each in mechanisms)
    louder = tuple(each.model_copy(update={"sigma": each.sigma * 1.001}) for each in mechanisms)
    for changes in ({}, {"mechanisms": finer, "delta_sum": 0.0}):  # what follows from the nodes that are left
        rules.settle(terms.model_copy(update={"privacy": privacy.model_copy(update=changes)}))
    for changes in (
        {"epsilon": 2.9},
        {"delta": 2e-5},
        {"mechanisms": mechanisms[:1]},
        {"mechanisms": louder},
        {"mechanisms": mechanisms[::-1]},
        {"noise": "off"},
    ):
        with pytest.raises(PolicyRefusal) as caught:
            rules.settle(terms.model_copy(update={"privacy": privacy.model_copy(update=changes)}))
        assert caught.value.reason == "privacy-changed"
    rules.settle(terms.model_copy(update={"campaign_id": "c2", "privacy": privacy.model_copy(update={"epsilon": 2.9})}))
    world.federation.close()


def test_nodes_whose_noise_the_owner_does_not_count_on_must_be_withstood(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    others = frozenset(world.federation.contexts) - {"bank-1"}
    context = world.federation.contexts["bank-1"]
    for number, (left_out, t_collude, accepted) in enumerate(
        [(0, 1, True), (1, 1, False), (1, 2, True), (3, 3, False)]
    ):
        counted = frozenset(sorted(others)[left_out:])
        world.federation.contexts["bank-1"] = replace(context, noise_counts=counted)
        drive = Drive.start(world, world.noisy_plan(t_collude=t_collude), number=number + 1).forge_cosignature()
        if accepted:
            assert drive.accept("bank-1")
            continue
        with pytest.raises(PolicyRefusal, match=rf"asks {left_out + 1}: 1, and {left_out} for nodes") as caught:
            drive.accept("bank-1")
        assert caught.value.reason == "t-collude-too-small"
        assert f"withstand {t_collude} colluding nodes" in refusal_detail(caught.value)
    world.federation.close()
