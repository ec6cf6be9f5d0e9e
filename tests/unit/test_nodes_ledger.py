"""The node's ledger: write before send, charge on send, refund once, and nothing resets it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crypto.errors import AttemptError
from crypto.wire.campaign import MechanismTerms, RoundsMechanism, TablesMechanism
from models.accounting import calibrate_tables, epsilon_of, usable_delta
from models.mechanisms import DiscreteGaussianCells, GaussianRounds
from nodes.charges import compose, shares_distance
from nodes.errors import BudgetExceeded, LedgerError
from nodes.ledger import Ledger
from nodes.store import Store

H1, H2 = b"\x01" * 32, b"\x02" * 32
TABLES: tuple[MechanismTerms, ...] = (
    TablesMechanism(mechanism="discrete-gaussian-cells", stage="scorecard", sigma=16.7, count=10),
    TablesMechanism(mechanism="discrete-gaussian-cells", stage="scorecard", sigma=35.4, count=45),
)
ROUNDS: tuple[MechanismTerms, ...] = (
    RoundsMechanism(mechanism="gaussian-rounds", stage="encoder", sigma_over_sensitivity=30.0, rounds=53),
)
EPSILON_TABLES = epsilon_of((DiscreteGaussianCells(16.7, 10), DiscreteGaussianCells(35.4, 45)), 1e-5)


def open_ledger(path: Path, epsilon: float = 3.0) -> Ledger:
    return Ledger(Store.open(path / "node.db"), epsilon, 1e-5)


def send(ledger: Ledger, attempt: str, h: bytes = H1, payload: bytes = b"masked") -> bytes:
    campaign = attempt.split("/", maxsplit=1)[0]
    return ledger.record_send(campaign_id=campaign, attempt=attempt, h=h, payload=payload, mechanisms=TABLES)


_KILLED = """
import os, signal, sys
from pathlib import Path
from crypto.wire.campaign import TablesMechanism
from nodes.ledger import Ledger
from nodes.store import Store
ledger = Ledger(Store.open(Path(sys.argv[1]) / "node.db"), 3.0, 1e-5)
mechanism = TablesMechanism(mechanism="discrete-gaussian-cells", stage="scorecard", sigma=16.7, count=10)
sent = {"campaign_id": "c", "attempt": "c/scorecard/1", "h": b"\\1" * 32, "mechanisms": (mechanism,)}
ledger.record_send(payload=b"first bytes" * 99, **sent)
print("written", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
print("sent", flush=True)
"""


def test_killed_between_write_and_send_repeats_the_same_bytes(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "written\n"), done.stderr
    ledger = open_ledger(tmp_path)
    assert ledger.spent().epsilon > 0
    before = ledger.spent()
    assert send(ledger, "c/scorecard/1", payload=b"fresh noise") == b"first bytes" * 99
    assert ledger.spent() == before


def test_same_attempt_under_another_manifest_or_campaign_is_refused(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assert send(ledger, "c/scorecard/1") == b"masked"
    with pytest.raises(AttemptError, match="another manifest"):
        send(ledger, "c/scorecard/1", h=H2)
    with pytest.raises(AttemptError, match="another manifest"):
        ledger.record_send(campaign_id="d", attempt="c/scorecard/1", h=H1, payload=b"x", mechanisms=TABLES)
    assert len(ledger.charges()) == 1


def test_over_budget_is_refused_with_the_numbers_and_writes_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, epsilon=1.2)
    ledger.check("c", TABLES)
    send(ledger, "c/scorecard/1")
    for refused in (lambda: ledger.check("d", TABLES), lambda: send(ledger, "d/scorecard/1")):
        with pytest.raises(BudgetExceeded) as caught:
            refused()
        error = caught.value
        assert (error.epsilon, error.delta) == (1.2, 1e-5)
        assert error.spent == pytest.approx(EPSILON_TABLES)
        assert error.asked == pytest.approx(EPSILON_TABLES)
        assert 1.2 < error.total < 2 * EPSILON_TABLES
        assert all(part in error.message for part in (f"{error.spent:.4g}", f"{error.total:.4g}", "1.2"))
        assert error.remedy
    assert [charge.attempt for charge in ledger.charges()] == ["c/scorecard/1"]


def test_restart_and_a_new_budget_reset_nothing(tmp_path: Path) -> None:
    send(open_ledger(tmp_path), "c/scorecard/1")
    spent = open_ledger(tmp_path).spent()
    assert spent.epsilon == pytest.approx(EPSILON_TABLES)
    assert spent.campaigns == ("c",)
    # A raised or lowered budget is the owner's choice; what was spent stays.
    assert open_ledger(tmp_path, epsilon=9).spent().epsilon == pytest.approx(EPSILON_TABLES)
    with pytest.raises(BudgetExceeded):
        open_ledger(tmp_path, epsilon=0.5).check("d", TABLES)


def test_a_void_refunds_once_and_only_its_own_manifest(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    send(ledger, "c/scorecard/1")
    with pytest.raises(AttemptError, match="another manifest"):
        ledger.refund("c/scorecard/1", H2)
    with pytest.raises(AttemptError, match="nothing was sent"):
        ledger.refund("c/scorecard/2", H1)
    assert ledger.spent().epsilon > 0
    ledger.refund("c/scorecard/1", H1)
    assert ledger.spent().epsilon == 0
    with pytest.raises(AttemptError, match="refunded before"):
        ledger.refund("c/scorecard/1", H1)
    with pytest.raises(AttemptError, match="voided"):
        send(ledger, "c/scorecard/1")
    assert open_ledger(tmp_path).charges()[0].refunded


def test_every_attempt_that_stands_is_charged(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    send(ledger, "c/scorecard/1")
    send(ledger, "c/scorecard/2")
    twice = (DiscreteGaussianCells(16.7, 20), DiscreteGaussianCells(35.4, 90))
    assert ledger.spent().epsilon == pytest.approx(epsilon_of(twice, 1e-5), rel=1e-3)
    ledger.refund("c/scorecard/1", H1)
    assert ledger.spent().epsilon == pytest.approx(EPSILON_TABLES)


def test_a_campaign_of_two_stages_is_charged_whole_but_once(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    both = (*ROUNDS, *TABLES)
    whole = epsilon_of(
        (GaussianRounds(30.0, 53), DiscreteGaussianCells(16.7, 10), DiscreteGaussianCells(35.4, 45)), 1e-5
    )
    # A tax node meets the scorecard stage alone, and still pays the encoder its merchants met at their banks.
    tax = open_ledger(tmp_path / "tax")
    tax.record_send(campaign_id="c", attempt="c/scorecard/1", h=H1, payload=b"t", mechanisms=both)
    assert tax.spent().epsilon == pytest.approx(whole)

    ledger.record_send(campaign_id="c", attempt="c/encoder/1/0/0", h=H1, payload=b"r", mechanisms=both)
    assert ledger.spent().epsilon == pytest.approx(whole)
    ledger.record_send(campaign_id="c", attempt="c/encoder/1/1/0", h=H1, payload=b"r", mechanisms=())
    ledger.check("c", both, stage="scorecard")
    ledger.record_send(campaign_id="c", attempt="c/scorecard/1", h=H2, payload=b"t", mechanisms=both)
    assert ledger.spent().epsilon == pytest.approx(whole)
    # The void of the scorecard attempt leaves the campaign's other stage, and what it announced, standing.
    ledger.refund("c/scorecard/1", H2)
    assert ledger.spent().epsilon == pytest.approx(whole)


def test_a_hub_that_makes_the_other_stage_cheaper_gains_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    cheap = (ROUNDS[0].model_copy(update={"sigma_over_sensitivity": 3000.0}), *TABLES)
    ledger.record_send(campaign_id="c", attempt="c/scorecard/1", h=H1, payload=b"t", mechanisms=(*ROUNDS, *TABLES))
    ledger.record_send(campaign_id="c", attempt="c/scorecard/2", h=H1, payload=b"t", mechanisms=cheap)
    assert GaussianRounds(30.0, 53) in compose(ledger.charges())


def test_mechanisms_under_another_stages_name_are_charged_for_each_send(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    renamed = tuple(each.model_copy(update={"stage": "encoder"}) for each in TABLES)
    for number in (1, 2):
        ledger.record_send(campaign_id="c", attempt=f"c/scorecard/{number}", h=H1, payload=b"t", mechanisms=renamed)
    assert len(compose(ledger.charges())) == 4


def test_the_noise_shares_distance_is_charged_to_delta(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.record_send(campaign_id="c", attempt="c/scorecard/1", h=H1, payload=b"t", mechanisms=TABLES, delta_sum=1e-7)
    assert ledger.spent().epsilon > EPSILON_TABLES
    with pytest.raises(BudgetExceeded):
        ledger.check("d", TABLES, delta_sum=1e-5)


def test_a_campaign_calibrated_to_the_whole_budget_passes_in_both_stages(tmp_path: Path) -> None:
    distance = 1e-8
    noise = calibrate_tables(10, 3.0, 1e-5, delta_sum=distance, mu_budget=0.6)
    tables = tuple(
        TablesMechanism(mechanism="discrete-gaussian-cells", stage="scorecard", sigma=each.sigma, count=each.count)
        for each in noise.mechanisms
    )
    both = (*ROUNDS, *tables)
    usable = usable_delta(3.0, 1e-5, distance)
    whole = epsilon_of((GaussianRounds(30.0, 53), *noise.mechanisms), usable)
    ledger = Ledger(Store.open(tmp_path / "node.db"), whole, 1e-5)
    for attempt in ("c/encoder/1/0/0", "c/scorecard/1"):
        ledger.check("c", both, stage=attempt.split("/")[1], delta_sum=distance)  # type: ignore[arg-type]
        ledger.record_send(campaign_id="c", attempt=attempt, h=H1, payload=b"t", mechanisms=both, delta_sum=distance)
    assert shares_distance(ledger.charges()) == distance
    with pytest.raises(BudgetExceeded):
        ledger.check("c", both, stage="scorecard", delta_sum=distance)


def test_a_generous_budget_does_not_inflate_the_distance(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, epsilon=60.0)
    ledger.check("c", TABLES, delta_sum=1e-9)


def test_a_budget_that_is_none_is_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "node.db")
    for epsilon, delta in ((0.0, 1e-5), (float("inf"), 1e-5), (1.0, 0.0), (1.0, 0.5)):
        with pytest.raises(LedgerError):
            Ledger(store, epsilon, delta)
