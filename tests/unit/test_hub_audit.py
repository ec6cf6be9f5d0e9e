"""Verification from an export alone: every kind of tampering is found and its place named."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, assemble, parse_note, sign_note
from crypto.errors import CryptoError, ProofError
from crypto.merkle import leaf_hash, root
from crypto.wire.audit import LogEntry
from hub.audit import EntryInOrder, Verdict, type_of, verify_export
from hub.errors import AuditFileError
from hub.log import NewEntry
from hub.reconciliation import reconcile
from tests.hub_world import START, HubWorld, lines_of, write_lines

BATCHES = (30, 50, 40)


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path_factory.mktemp("hub"))
    world.join(world.witness)
    world.settle()  # entries 0 to 3
    for batch in BATCHES:
        with world.hub.db.session() as session:
            world.hub.log.append_many(
                session,
                [NewEntry("query", "bank-01", facts={"request_hash": "ab" * 32, "item": i}) for i in range(batch)],
            )
        world.settle()
    yield world
    world.hub.close()


@pytest.fixture(scope="module")
def export(world: HubWorld) -> Path:
    return world.export()


def found(verdict: Verdict) -> list[tuple[str, int | None, int | None]]:
    return [(finding.kind, finding.first, finding.last) for finding in verdict.findings]


def entry_line(lines: list[dict[str, object]], index: int) -> int:
    return next(number for number, line in enumerate(lines) if line.get("index") == index)


def cosign(world: HubWorld, checkpoint: Checkpoint) -> str:
    origin, witness = world.hub.config.log_origin, world.witness
    return assemble(
        checkpoint.body(),
        [
            sign_note(checkpoint.body(), origin, world.hub.keys.identity),
            sign_note(checkpoint.body(), witness.party_id, witness.identity, cosignature_time=1),
        ],
    )


def test_whole_export_is_whole(world: HubWorld, export: Path) -> None:
    verdict = verify_export(export, world.verifiers(), saved=[world.hub.log.reader.checkpoint()])
    assert verdict.findings == []
    assert (verdict.entries, verdict.cosigned, verdict.checkpoints) == (124, 124, 5)
    assert verdict.by_type["query"] == 120


@given(position=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_is_found(world: HubWorld, export: Path, tmp_path: Path, position: int, bit: int) -> None:
    data = bytearray(export.read_bytes())
    start = data.index(b"\n") + 1  # the header's names are only labels for pinned keys
    data[start + position % (len(data) - start)] ^= 1 << bit
    path = tmp_path / "flipped.ndjson"
    path.write_bytes(data)
    if bytes(data) != export.read_bytes():
        before, after = lines_or_none(export), lines_or_none(path)
        verdict = verify_export(path, world.verifiers())
        assert not verdict.ok or before == after


def lines_or_none(path: Path) -> list[object] | None:
    """What an export says: JSON spelled otherwise, or the spare bits of base64, say nothing."""
    try:
        lines = lines_of(path)
        return [parse_note(str(line["checkpoint"])) if "checkpoint" in line else line for line in lines]
    except (ValueError, CryptoError):
        return None


facts = st.dictionaries(
    st.text(max_size=4),
    st.none() | st.booleans() | st.integers(-(1 << 54), 1 << 54) | st.text(max_size=6),
    max_size=5,
)


@given(facts=facts, subject=st.none() | st.binary(min_size=32, max_size=32), plain=st.booleans())
@settings(max_examples=300)
def test_the_short_way_to_a_canonical_entry_accepts_what_the_long_one_does(
    facts: dict[str, str | int | bool | None], subject: bytes | None, plain: bool
) -> None:
    entry = LogEntry(type="query", time=START, actor="bank-01", subject=subject, facts=facts)
    try:
        canonical = canonical_bytes(entry)
    except CryptoError:
        canonical = None
    written = json.dumps(json.loads(entry.model_dump_json()), ensure_ascii=plain, sort_keys=True, separators=(",", ":"))
    leaf = written.encode()
    assert type_of(leaf) == ("query" if leaf == canonical else None)
    if canonical is not None:
        assert type_of(canonical) == "query"
        assert type_of(canonical.replace(b'":', b'": ', 1)) is None
    assert set(EntryInOrder.model_fields) == set(LogEntry.model_fields)
    assert list(EntryInOrder.model_fields) == sorted(EntryInOrder.model_fields)


def test_flipped_byte_names_its_entry(world: HubWorld, export: Path, tmp_path: Path) -> None:
    lines = lines_of(export)
    line = lines[entry_line(lines, 57)]
    line["entry"] = str(line["entry"]).replace("bank-01", "bank-02")
    verdict = verify_export(write_lines(tmp_path / "x", lines), world.verifiers())
    assert found(verdict) == [("entry-altered", 57, 57)]


def test_rehashed_entry_names_the_range_between_checkpoints(world: HubWorld, export: Path, tmp_path: Path) -> None:
    lines = lines_of(export)
    line = lines[entry_line(lines, 57)]
    line["entry"] = str(line["entry"]).replace("bank-01", "bank-02")
    line["hash"] = leaf_hash(str(line["entry"]).encode()).hex()
    verdict = verify_export(write_lines(tmp_path / "x", lines), world.verifiers())
    assert found(verdict)[0] == ("root-mismatch", 34, 83)


def test_dropped_entry_is_named(world: HubWorld, export: Path, tmp_path: Path) -> None:
    lines = lines_of(export)
    del lines[entry_line(lines, 40)]
    verdict = verify_export(write_lines(tmp_path / "x", lines), world.verifiers())
    assert ("entry-missing", 40, 40) in found(verdict)


def test_dropped_and_renumbered_entry_is_found(world: HubWorld, export: Path, tmp_path: Path) -> None:
    lines = lines_of(export)
    del lines[entry_line(lines, 40)]
    for line in lines:
        if isinstance(index := line.get("index"), int) and index > 40:
            line["index"] = index - 1
    verdict = verify_export(write_lines(tmp_path / "x", lines), world.verifiers())
    assert found(verdict)[0] == ("root-mismatch", 34, 83)


def test_cut_off_end_is_found(world: HubWorld, export: Path, tmp_path: Path) -> None:
    lines = lines_of(export)
    cut = lines[: entry_line(lines, 100)]
    assert ("entry-missing", 100, 123) in found(verify_export(write_lines(tmp_path / "x", cut), world.verifiers()))
    # Cut at a checkpoint, header adjusted: whole in itself, refuted by a checkpoint that somebody kept.
    cut = lines[: entry_line(lines, 84)]
    cut[0]["size"] = 84
    path = write_lines(tmp_path / "y", cut)
    assert verify_export(path, world.verifiers()).ok
    saved = world.hub.log.reader.checkpoint()
    assert ("entry-missing", 84, 123) in found(verify_export(path, world.verifiers(), saved=[saved]))


def rewritten(world: HubWorld, lines: list[dict[str, object]], at: int) -> list[dict[str, object]]:
    """The log as a hub and witness that collude would rewrite it: entry `at` is another, all signatures are valid."""
    hashes: list[bytes] = []
    result: list[dict[str, object]] = []
    for line in lines:
        copy = dict(line)
        if "entry" in copy:
            if copy["index"] == at:
                copy["entry"] = str(copy["entry"]).replace("bank-01", "bank-02")
            hashes.append(leaf_hash(str(copy["entry"]).encode()))
            copy["hash"] = hashes[-1].hex()
        elif "checkpoint" in copy:
            checkpoint = Checkpoint(world.hub.config.log_origin, len(hashes), root(hashes))
            copy["checkpoint"] = cosign(world, checkpoint)
        result.append(copy)
    return result


def test_forked_history_is_found(world: HubWorld, export: Path, tmp_path: Path) -> None:
    forked = rewritten(world, lines_of(export), 57)
    path = write_lines(tmp_path / "x", forked)
    assert verify_export(path, world.verifiers()).ok  # a consistent lie, alone
    saved = next(str(line["checkpoint"]) for line in lines_of(export) if _size(line) == 84)
    verdict = verify_export(path, world.verifiers(), saved=[saved])
    assert ("history-forked", 34, 83) in found(verdict)


def _size(line: dict[str, object]) -> int:
    return int(str(line["checkpoint"]).split("\n")[1]) if "checkpoint" in line else -1


def test_two_signed_checkpoints_in_one_file_are_a_fork(world: HubWorld, export: Path, tmp_path: Path) -> None:
    lines = lines_of(export)
    forked = rewritten(world, lines, 57)
    other = next(line for line in forked if _size(line) == 84)
    at = next(number for number, line in enumerate(lines) if _size(line) == 84)
    for mixed in ([*lines[:at], other, *lines[at + 1 :]], [*lines[:at], other, *lines[at:]]):
        kinds = {kind for kind, _, _ in found(verify_export(write_lines(tmp_path / "x", mixed), world.verifiers()))}
        assert "history-forked" in kinds


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda note: note.rsplit("— ", 1)[0], "checkpoint-invalid"),
        (lambda note: note.replace("\n124\n", "\n123\n"), "checkpoint-invalid"),
    ],
    ids=["witness-line-removed", "size-changed"],
)
def test_checkpoint_without_valid_signatures_counts_for_nothing(
    world: HubWorld, export: Path, tmp_path: Path, change: Callable[[str], str], kind: str
) -> None:
    lines = lines_of(export)
    lines[-1]["checkpoint"] = change(str(lines[-1]["checkpoint"]))
    verdict = verify_export(write_lines(tmp_path / "x", lines), world.verifiers())
    kinds = [each for each, _, _ in found(verdict)]
    assert kinds == [kind, "not-cosigned"]


def test_other_witness_key_is_refused(world: HubWorld, export: Path) -> None:
    verifiers = world.verifiers() | {world.witness.party_id: world.hub.keys.identity.public}
    assert not verify_export(export, verifiers).ok
    with pytest.raises(ProofError):
        verify_export(export, verifiers, saved=[world.hub.log.reader.checkpoint()])


def test_no_export_is_refused(tmp_path: Path, world: HubWorld) -> None:
    path = tmp_path / "x"
    path.write_text("{}\n")
    with pytest.raises(AuditFileError):
        verify_export(path, world.verifiers())
    with pytest.raises(AuditFileError):
        verify_export(tmp_path / "absent", world.verifiers())


def test_reconcile_names_queries_of_one_side(tmp_path: Path) -> None:
    def line(index: int, actor: str, request: str, item: int, **facts: str) -> dict[str, object]:
        entry = LogEntry(type="query", time=START, actor=actor, facts={"request_hash": request, "item": item, **facts})
        return {"index": index, "entry": canonical_bytes(entry).decode()}

    hub = [
        line(0, "bank-01", "aa", 0, sources="tax-01,utility-01"),
        line(1, "bank-01", "aa", 1, sources="tax-01,utility-01"),
        line(2, "bank-01", "bb", 0, sources="tax-02,utility-01"),
        line(3, "bank-01", "cc", 0, sources="tax-01"),
    ]
    node = [line(0, "tax-01", "aa", 0), line(1, "tax-01", "aa", 1), line(2, "tax-01", "dd", 0)]
    write_lines(tmp_path / "hub", [{"format": "x"}, *hub])
    write_lines(tmp_path / "node", [{"format": "x"}, *node])
    differences = reconcile(tmp_path / "hub", tmp_path / "node")
    assert [(each.request_hash, each.item, each.only_in) for each in differences] == [
        ("cc", 0, "hub"),
        ("dd", 0, "node"),
    ]
    write_lines(tmp_path / "silent", [{"format": "x"}])
    assert len(reconcile(tmp_path / "hub", tmp_path / "silent", node="tax-02")) == 1
    with pytest.raises(AuditFileError):
        reconcile(tmp_path / "hub", tmp_path / "silent")


@pytest.mark.slow
def test_hundred_thousand_entries_within_a_minute(tmp_path: Path) -> None:
    world = HubWorld(tmp_path)
    world.join(world.witness)
    started = time.monotonic()
    for batch in range(100):
        with world.hub.db.session() as session:
            world.hub.log.append_many(
                session,
                [
                    NewEntry("query", "bank-01", b"p" * 32, {"request_hash": f"{batch:064x}", "item": item})
                    for item in range(1000)
                ],
            )
    appended = time.monotonic()
    world.settle()
    settled = time.monotonic()
    path = world.export()
    exported = time.monotonic()
    verdict = verify_export(path, world.verifiers())
    verified = time.monotonic()
    print(
        f"append {appended - started:.1f} s, order and cosign {settled - appended:.1f} s, "
        f"export {exported - settled:.1f} s, verify {verified - exported:.1f} s, {path.stat().st_size >> 20} MiB"
    )
    assert verdict.ok
    assert verdict.entries == verdict.cosigned == 100_004
    assert verified - started < 60
    lines = lines_of(path)
    place = entry_line(lines, 70_001)
    lines[place]["entry"] = str(lines[place]["entry"]).replace("bank-01", "bank-02")
    assert found(verify_export(write_lines(tmp_path / "altered", lines), world.verifiers())) == [
        ("entry-altered", 70_001, 70_001)
    ]
    world.hub.close()
