"""`digua-hub doctor`: a sound hub passes; faults planted in log, checkpoints, consents and models are found."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from hub import cli
from hub.erasure import erase_merchant
from hub.examination.all import examine_hub
from hub.examination.consents import examine_consents
from hub.examination.log import examine_log
from hub.examination.models import examine_models
from hub.tables.consents import ConsentEventRow, ConsentPartyRow, ConsentRow
from hub.tables.log import CheckpointRow, LogEntryRow, SubjectSaltRow
from hub.tables.models import ModelRow, ModelSignatureRow
from hub.tables.parties import MerchantKeyRow
from models.findings import Finding
from tests.hub_merchants import MarketWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    world.now += timedelta(seconds=7)  # not midnight: times of receipt that were cut to the day are
    merchants = [world.merchant(name) for name in ("shop", "inn", "stall")]
    given = [world.consent(each) for each in merchants]
    world.hub.consents.submit([token for _, token in given])
    world.now += timedelta(seconds=1)
    world.hub.consents.submit_events([world.event(merchants[0], given[0][0], "paused")])
    world.now += timedelta(seconds=1)
    world.hub.consents.submit_events([world.event(merchants[0], given[0][0], "resumed")])
    world.hub.consents.submit_events([world.event(merchants[1], given[1][0], "revoked")])
    world.released_model()
    world.settle()
    world.shop = merchants[0]  # type: ignore[attr-defined]
    yield world
    world.hub.close()


def faults(findings: Iterator[Finding]) -> list[str]:
    found = [each for each in findings if each.state == "fault"]
    assert all(each.party and each.remedy is not None for each in found)
    return [str(each.what) for each in found]


def test_a_sound_hub_passes(world: MarketWorld) -> None:
    found = {each.check: each for each in examine_hub(world.hub)}
    assert {each.state for each in found.values() if each.check != "permissions"} <= {"ok", "warning"}
    assert found["log"].state == found["checkpoints"].state == "ok"
    assert str(found["consents"].what).startswith("3 consents and 3 events are signed and in the log; of 0")
    assert str(found["models"].what).startswith("0 models fitted again")  # it has no campaign: see the integration test


def test_an_entry_with_a_bit_flipped(world: MarketWorld) -> None:
    with world.hub.db.session() as session:
        row = session.get_one(LogEntryRow, 4)
        row.leaf = row.leaf[:-9] + bytes([row.leaf[-9] ^ 1]) + row.leaf[-8:]
    assert faults(examine_log(world.hub)) == ["the bytes of entry 4 do not have its hash"]


def test_checkpoints_of_another_log_or_without_the_witness(world: MarketWorld) -> None:
    with world.hub.db.session() as session:
        newest = session.scalars(select(CheckpointRow).where(CheckpointRow.cosigned)).first()
        assert newest is not None
        whole = newest.note
        newest.note = "\n".join(line for line in whole.split("\n") if "witness-zj" not in line)
    assert ["counts as cosigned" in each for each in faults(examine_log(world.hub))] == [True]
    with world.hub.db.session() as session:
        row = session.get_one(CheckpointRow, newest.size)
        row.note = whole.replace(world.hub.config.log_origin, "another-log", 1)
    (found,) = faults(examine_log(world.hub))
    assert found.startswith(("the newest checkpoint: ", f"checkpoint {newest.size}: "))


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        ("state", "its events lead to revoked"),
        ("valid_until", "something else than what the merchant signed"),
        ("signature", "not signed by the merchant's key"),
        ("key", "not signed by the merchant's key"),
        ("event", "is not stored"),
        ("removed", "is not stored"),
        ("unlogged", "the log has no entry of it"),
        ("salt", "opens no entry of the log"),
    ],
)
def test_a_consent_that_was_altered_removed_or_put_there(world: MarketWorld, planted: str, says: str) -> None:
    with world.hub.db.session() as session:
        revoked = session.scalars(select(ConsentRow).where(ConsentRow.state == "revoked")).one()
        given = session.scalars(select(ConsentRow).where(ConsentRow.pseudonym == world.shop.pseudonym)).one()  # type: ignore[attr-defined]
        match planted:
            case "state":
                revoked.state = "given"
            case "valid_until":
                given.valid_until += 99
            case "signature":
                given.token = given.token[:-6] + "AAAAAA"
            case "key":
                given.key_id = session.scalars(
                    select(MerchantKeyRow.id).where(MerchantKeyRow.id != given.key_id)
                ).first()
            case "event":
                session.execute(delete(ConsentEventRow).where(ConsentEventRow.event == "revoked"))
            case "removed":
                session.execute(delete(ConsentEventRow).where(ConsentEventRow.record_id == given.record_id))
                session.execute(delete(ConsentPartyRow).where(ConsentPartyRow.record_id == given.record_id))
                session.delete(given)
            case "unlogged":
                session.execute(delete(SubjectSaltRow).where(SubjectSaltRow.pseudonym == given.pseudonym))
            case _:
                session.execute(update(SubjectSaltRow).values(salt=bytes(16)))
    found = faults(examine_consents(world.hub))
    assert any(says in each for each in found), found


def test_a_merchant_who_was_erased_is_counted_and_no_fault(world: MarketWorld) -> None:
    erase_merchant(world.hub, world.shop.pseudonym)  # type: ignore[attr-defined]
    (only,) = examine_consents(world.hub)
    assert (only.state, "of 3 the link" in str(only.what)) == ("ok", True)


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        ("bytes", "not those of its id"),
        ("signature", "not signed by the witness"),
        ("scope", "not signed by the witness"),
    ],
)
def test_a_model_that_was_altered(world: MarketWorld, planted: str, says: str) -> None:
    with world.hub.db.session() as session:
        row = session.scalars(select(ModelRow)).one()
        signature = session.scalars(select(ModelSignatureRow)).one()
        if planted == "bytes":
            row.artefact = row.artefact.replace(b"1", b"2", 1)
        elif planted == "signature":
            signature.token = signature.token[:-6] + "AAAAAA"
        else:
            signature.kind = "evaluation"
    (found,) = faults(examine_models(world.hub))
    assert says in found


def test_a_key_that_others_can_read_stops_it_with_the_remedy(
    world: MarketWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["digua-hub", "doctor", "--config", str(world.base / "hub.yaml"), *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    monkeypatch.setenv("DIGUA_LANG", "en")
    os.chmod(world.base / "keys", 0o700)
    assert run("--json") == 0, capsys.readouterr().out
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert {"permissions", "disk", "log", "checkpoints", "consents", "campaigns", "models"} <= {
        each["check"] for each in found["findings"]
    }
    with world.hub.db.session() as session:
        session.get_one(LogEntryRow, 4).leaf = b"{}"
    monkeypatch.setenv("DIGUA_LANG", "zh")
    assert run() == 1
    shown = capsys.readouterr().out
    assert "故障  审计日志: 第 4 条记录的内容与其哈希不符" in shown
    assert "处理办法" in shown
    os.chmod(world.base / "keys" / "sign.pem", 0o644)
    assert run() == 1
    assert "chmod 600" in capsys.readouterr().err
