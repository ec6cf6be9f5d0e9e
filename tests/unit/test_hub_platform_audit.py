"""The platform's audit record holds together, or says where it does not; its database is what its tables declare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.platform.errors import AuditBrokenError
from hub.platform.migrations.runner import VERSIONS
from tests.lending_world import LendingWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LendingWorld]:
    world = LendingWorld(tmp_path)
    yield world
    world.close()


def test_the_versions_lead_to_the_declared_tables(world: LendingWorld) -> None:
    assert VERSIONS.differences(world.db) == []
    VERSIONS.check_schema(world.db)


def test_entries_of_several_transactions_form_one_chain(world: LendingWorld) -> None:
    before, _ = world.audit.verify()
    for number in range(3):
        with world.db.session() as session:
            for _ in range(2):
                world.audit.write(session, "operator:li", "try", f"t-{number}", {"n": number})
    assert world.audit.verify()[0] == before + 6
    found = world.audit.entries(subject="t-1")
    assert [(each.actor, each.action, each.what, each.at) for each in found] == [
        ("operator:li", "try", {"n": 1}, world.now)
    ] * 2


def test_what_was_undone_leaves_no_gap(world: LendingWorld) -> None:
    before, _ = world.audit.verify()

    def fail() -> None:
        with world.db.session() as session:
            world.audit.write(session, "operator:li", "try", "t", {})
            session.flush()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with world.db.session() as session:
        world.audit.write(session, "operator:li", "try", "t", {})
        part = session.begin_nested()
        world.audit.write(session, "operator:li", "undone", "t", {})
        part.rollback()
        world.audit.write(session, "operator:li", "again", "t", {})
    assert world.audit.verify()[0] == before + 2
    assert [each.action for each in world.audit.entries(subject="t")] == ["try", "again"]


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE audit SET actor = 'bank:bank-02' WHERE seq = 3",
        "UPDATE audit SET entry = replace(entry, '\"n\":3', '\"n\":4') WHERE seq = 3",
        "DELETE FROM audit WHERE seq = 3",
        "UPDATE audit SET seq = 9 WHERE seq = 3",
    ],
    ids=["actor", "entry", "gone", "moved"],
)
def test_harm_is_found_at_its_entry(world: LendingWorld, harm: str) -> None:
    with world.db.session() as session:
        for number in range(2, 6):
            world.audit.write(session, "operator:li", "try", "t", {"n": number})
    assert world.audit.verify()[0] == 5
    with world.db.session() as session:
        session.connection().exec_driver_sql(harm)
    with pytest.raises(AuditBrokenError) as found:
        world.audit.verify()
    assert found.value.field == "3"
