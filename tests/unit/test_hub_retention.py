"""Erasure by request and by age: nothing that identifies stays in the file, proofs hold, kept salts still open."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from crypto.log_index import commit
from crypto.merkle import leaf_hash, verify_inclusion
from hub import cli
from hub.audit import verify_export
from hub.doctor import examine
from hub.erasure import erase_merchant
from hub.errors import StateError
from hub.log import NewEntry
from hub.log_search import LogQuery
from hub.retention import Retention
from hub.tables.log import SubjectSaltRow
from tests import rfc_verifier as rfc
from tests.hub_world import START, HubWorld

MERCHANTS = [rfc.HASH(b"merchant %d" % number) for number in range(40)]
DAYS = 30


@dataclass
class Marks:
    """What identifies a merchant: its pseudonym, and the salts of its entries with their places."""

    pseudonym: bytes
    salts: dict[int, bytes]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    """A hub that has served for forty days, four days at a time, with outcomes of its queries."""
    world = HubWorld(tmp_path)
    world.join(world.witness)
    for day in range(0, 40, 4):
        world.now = START + timedelta(days=day)
        with world.hub.db.session() as session:
            entries = [
                NewEntry("query", "bank-01", MERCHANTS[(day + place * 7) % 40], {"item": place}, {"consent": b"c"})
                for place in range(150)
            ]
            ids = world.hub.log.append_many(session, entries)
        world.settle()
        with world.hub.db.session() as session:
            outcome = json.dumps({"tax-01": "answered", "utility-01": "answered"})
            world.hub.log.note_outcomes(session, dict.fromkeys(ids, outcome))
    yield world
    world.hub.close()


def marks(world: HubWorld, merchant: int) -> Marks:
    entries = world.hub.log.reader.of_merchant(MERCHANTS[merchant])
    return Marks(MERCHANTS[merchant], {each.index: each.salt for each in entries if each.index is not None})


def left_in_file(world: HubWorld, salts: list[bytes]) -> int:
    """How many of these bytes the database's files still hold, wherever they lie in them."""
    raw = b"".join(path.read_bytes() for path in world.base.glob("hub.sqlite*"))
    return sum(salt in raw for salt in salts)


def found(world: HubWorld, known: Marks, salts: dict[int, bytes]) -> list[int]:
    wanted = tuple(commit(salt, known.pseudonym) for salt in salts.values())
    return sorted(each.index for each in world.hub.log_search.find(LogQuery(commitments=wanted, limit=1000)).entries)


def check_whole(world: HubWorld) -> None:
    """Log and export are whole for the product and for the independent verifier."""
    world.settle()
    world.hub.log.check()
    assert examine(world.hub) == []
    assert verify_export(world.export(), world.verifiers()).ok
    log, witness = world.verifiers().items()
    lines = world.export().read_bytes().splitlines()
    rfc.verify_export(lines, rfc.Verifier(*log, kind=0x01), rfc.Verifier(*witness, kind=0x04))


def retention(world: HubWorld) -> Retention:
    return Retention(world.hub.db, world.hub.log, hub_id="hub-lishui", clock=world.hub.clock, days=DAYS)


def test_after_an_erasure_the_file_holds_nothing_that_identifies(database: str, world: HubWorld) -> None:
    gone, stays = marks(world, 3), marks(world, 4)
    salts = list(gone.salts.values())
    assert len(salts) > 30
    size = world.hub.log.reader.size()
    if database == "sqlite":
        assert left_in_file(world, [*salts, gone.pseudonym]) == len(salts) + 1  # the search itself can fail
    proofs = {index: world.hub.log.reader.inclusion(index, size) for index in gone.salts}
    leaves = {index: world.hub.log.reader.entries(index, 1)[0] for index in gone.salts}
    assert erase_merchant(world.hub, gone.pseudonym) == len(salts)
    if database == "sqlite":
        assert left_in_file(world, [*salts, gone.pseudonym]) == 0
    with world.hub.db.reading() as session:
        assert session.scalars(select(SubjectSaltRow.salt).where(SubjectSaltRow.salt.in_(salts))).all() == []
    check_whole(world)
    # What was proved before is proved by the same hashes; who kept its salts finds its entries, nobody else does.
    hashes = [leaf_hash(leaf.encode()) for leaf in world.hub.log.reader.entries(0, 1000)]
    leaf_count = world.hub.log.reader.size()
    assert leaf_count > size
    hashes += [leaf_hash(leaf.encode()) for leaf in world.hub.log.reader.entries(1000, 1000)]
    root = rfc.MTH(hashes[:size])
    for index, proof in proofs.items():
        assert world.hub.log.reader.inclusion(index, size) == proof
        verify_inclusion(leaf_hash(leaves[index].encode()), index, size, proof, root)
    assert found(world, gone, gone.salts) == sorted(gone.salts)
    assert found(world, gone, stays.salts) == []
    assert marks(world, 3).salts == {}
    assert marks(world, 4) == stays
    assert erase_merchant(world.hub, gone.pseudonym) == 0  # and may be done again


def test_what_is_past_the_limit_is_erased_and_logged_without_identifiers(database: str, world: HubWorld) -> None:
    world.now = START + timedelta(days=45, hours=7)
    keeper = retention(world)
    before = datetime(2026, 3, 16, tzinfo=START.tzinfo)  # 30 days before the beginning of the day
    due = keeper.due()
    assert (due.before, due.oldest, due.merchants) == (before, START, 40)
    assert due.entries == 4 * 150  # of days 0, 4, 8 and 12
    with world.hub.db.reading() as session:
        old = list(session.scalars(select(SubjectSaltRow.salt).where(SubjectSaltRow.appended_at < before.timestamp())))
    kept = marks(world, 3)
    assert keeper.apply() == 600
    assert keeper.due().entries == 0
    if database == "sqlite":
        assert left_in_file(world, old) == 0
    check_whole(world)
    (entry,) = world.hub.log_search.find(LogQuery(types=("erasure",))).entries
    assert entry.entry.subject is None
    assert entry.entry.facts == {"entries": 600, "cause": "retention", "before": "2026-03-16"}
    young = marks(world, 3).salts
    assert 0 < len(young) < len(kept.salts)
    assert young.items() <= kept.salts.items()
    assert found(world, kept, kept.salts) == sorted(kept.salts)  # the merchant kept its own record
    assert keeper.apply() == 0
    assert world.hub.log_search.find(LogQuery(types=("erasure",))).count == 1


def test_it_goes_in_steps(world: HubWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.retention._STEP", 250)
    world.now = START + timedelta(days=45)
    assert retention(world).apply() == 600
    world.settle()
    entries = world.hub.log_search.find(LogQuery(types=("erasure",))).entries
    assert [each.entry.facts["entries"] for each in entries] == [100, 250, 250]


def test_it_is_applied_while_the_hub_serves(world: HubWorld) -> None:
    world.now = START + timedelta(days=45)
    keeper = retention(world)
    keeper.start()
    keeper.stop()
    assert keeper.due().entries == 0


def test_a_reader_that_holds_the_old_file_is_told_of(database: str, world: HubWorld) -> None:
    if database != "sqlite":
        pytest.skip("PostgreSQL writes the table anew while others read their snapshot of other tables")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hub.db.BUSY_TIMEOUT_MS", 50)
        world.hub.db.close()  # connections are made anew, with less patience
        with world.hub.db.reading() as session:
            session.execute(select(SubjectSaltRow.salt).limit(1)).all()
            with pytest.raises(StateError, match="could not be written anew"):
                erase_merchant(world.hub, MERCHANTS[3])
    assert marks(world, 3).salts == {}
    erase_merchant(world.hub, MERCHANTS[3])


def test_by_command(
    database: str, world: HubWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = world.base / "hub.yaml"

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["digua-hub", "audit", "retain", "--config", str(file), *arguments])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    assert run("--json") == 1
    refused = json.loads(capsys.readouterr().err)
    assert (refused["code"], refused["field"]) == ("hub-config-invalid", "audit.retain_salts_days")
    file.write_text(file.read_text() + "audit:\n  retain_salts_days: 30\n")
    # The command takes this machine's time: all entries are made young, and seven old.
    with world.hub.db.session() as session:
        old = SubjectSaltRow.pending_id.in_(
            select(SubjectSaltRow.pending_id).order_by(SubjectSaltRow.pending_id).limit(7)
        )
        session.execute(update(SubjectSaltRow).values(appended_at=1 << 40))
        session.execute(update(SubjectSaltRow).where(old).values(appended_at=86_400))
    assert run("--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["entries"], told["oldest"], told["erased"], told["dry_run"]) == (7, "1970-01-02", 0, True)
    monkeypatch.setenv("DIGUA_LANG", "zh")
    assert run("--dry-run") == 0
    assert "有 7 条仍与 7 户商户关联；本次为预览，未作删除" in capsys.readouterr().out.replace("\n", "")
    assert run() == 0
    assert "7 条日志已解除与商户的关联" in capsys.readouterr().out.replace("\n", "")
    assert run("--json") == 0
    assert json.loads(capsys.readouterr().out)["erased"] == 0
