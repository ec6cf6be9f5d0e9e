"""What the witness hands out: proofs from its mirror, and inspection files that verify offline."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from typer.testing import CliRunner

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, assemble, parse_note, sign_note
from crypto.jws import sign_model
from crypto.key_line import KeyLine
from crypto.keys import BoxKey, IdentityKey
from crypto.merkle import consistency_proof, leaf_hash, verify_consistency, verify_inclusion
from crypto.merkle import root as tree_root
from crypto.wire.audit import CheckpointOffer, LogEntry
from crypto.wire.party import Party, Roster
from nodes.cli import app
from nodes.config import TrustConfig, key_to_text
from nodes.errors import MirrorBroken
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.mirror import MirrorTileRow
from nodes.witness.checkpoints import CheckpointCosigner, CosignedCheckpoints
from nodes.witness.evidence import Evidence, EvidenceMissing
from nodes.witness.inspection import Inspection, InspectionError, sign_inspection, verify_inspection
from nodes.witness.inspector import Inspector
from nodes.witness.mirror import Mirror, open_mirror
from nodes.witness.mirror_search import MirrorSearch, Wanted

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
ORIGIN = "hub.example/log"


def entry(number: int) -> bytes:
    actor = "bank-01" if number % 3 else "tax-01"
    time = NOW + timedelta(seconds=number)
    return canonical_bytes(LogEntry(type="voprf", time=time, actor=actor, facts={"target": "hub", "count": number}))


LEAVES = [entry(number) for number in range(400)]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


@dataclass
class Office:
    """A witness that cosigned checkpoints and mirrored the log, with a roster that it signed."""

    base: Path
    hub: IdentityKey = field(default_factory=IdentityKey.generate)
    witness: IdentityKey = field(default_factory=IdentityKey.generate)

    def __post_init__(self) -> None:
        self.store, self.mirror_store = Store.open(self.base / "node.db"), open_mirror(self.base)
        self.cosigner = CheckpointCosigner(
            self.store,
            hub_keys=lambda: KeyLine.of(self.hub.public),
            witness_id="witness",
            identity=self.witness,
            clock=lambda: NOW,
        )
        self.checkpoints = CosignedCheckpoints(self.store)
        self.mirror = Mirror(self.mirror_store, cosigned=self.cosigner.known, log=self, clock=lambda: NOW)
        self.evidence = Evidence(self.mirror, self.checkpoints)
        trust = TrustConfig(
            hub_id="hub", hub_sign_key=self.hub.public, witness_id="witness", witness_sign_key=self.witness.public
        )
        self.roster = RosterBook(self.store, trust)
        self.search = MirrorSearch(self.mirror_store)
        self.inspector = Inspector(
            self.evidence,
            self.search,
            self.roster,
            witness_id="witness",
            identity=self.witness,
            clock=lambda: NOW,
        )

    def entries(self, start: int, limit: int) -> tuple[str, ...]:
        return tuple(leaf.decode() for leaf in LEAVES[start : start + limit])

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        return tuple(consistency_proof(old, HASHES[:new]))

    def cosign(self, old: int, size: int) -> None:
        body = Checkpoint(ORIGIN, size, tree_root(HASHES[:size])).body()
        note = assemble(body, [sign_note(body, ORIGIN, self.hub)])
        proof = tuple(consistency_proof(old, HASHES[:size]))
        self.cosigner.cosign(canonical_bytes(CheckpointOffer(old_size=old, proof=proof, note=note)))

    def sign_roster(self) -> None:
        party = Party(
            party_id="witness",
            kind="witness",
            region="Lishui",
            sign_key=self.witness.public,
            box_key=BoxKey.generate().public,
        )
        roster = Roster(
            suite="digua-1",
            version=1,
            hub_id="hub",
            hub_sign_key=self.hub.public,
            hub_voprf_key=bytes(32),
            witness_voprf_key=bytes(32),
            parties=(party,),
            issued_at=NOW,
        )
        self.roster.update(sign_model(roster, self.witness, typ="roster", kid="witness"))


@pytest.fixture
def office(tmp_path: Path) -> Office:
    office = Office(tmp_path)
    for old, size in ((0, 120), (120, 300), (300, 400)):
        office.cosign(old, size)
    office.sign_roster()
    office.mirror.catch_up()
    return office


def test_an_entry_is_proved_under_the_newest_checkpoint(office: Office) -> None:
    for index in (0, 119, 255, 256, 399):
        proved = office.evidence.entry(index)
        checkpoint = parse_note(proved.proof.checkpoint)[0]
        assert proved.proof.entry.encode() == LEAVES[index]
        verify_inclusion(HASHES[index], index, checkpoint.size, proved.proof.hashes, checkpoint.root)
        assert checkpoint.size == 400
    for index in (-1, 400, 10**12):
        with pytest.raises(EvidenceMissing):
            office.evidence.entry(index)


def test_an_earlier_checkpoint_proves_what_it_covers(office: Office) -> None:
    earlier = office.checkpoints.of(300)
    proved = office.evidence.entry(299, under=earlier)
    verify_inclusion(HASHES[299], 299, 300, proved.proof.hashes, tree_root(HASHES[:300]))
    with pytest.raises(EvidenceMissing):
        office.evidence.entry(300, under=earlier)


def test_consistency_between_any_two_checkpoints(office: Office) -> None:
    for old, new in ((120, 300), (120, 400), (300, 400), (400, 400)):
        proof = office.evidence.consistency(old, new)
        first, second = parse_note(proof.old)[0], parse_note(proof.new)[0]
        verify_consistency(first.size, first.root, second.size, second.root, proof.hashes)
    for old, new in ((300, 120), (121, 300), (0, 300), (300, 500)):
        with pytest.raises(EvidenceMissing):
            office.evidence.consistency(old, new)


def test_no_consistency_is_claimed_over_a_mirror_that_was_altered(office: Office) -> None:
    with office.mirror_store.session() as session:
        tile = session.get_one(MirrorTileRow, (0, 0))
        tile.data = bytes(32) + tile.data[32:]
    with pytest.raises(MirrorBroken):
        office.evidence.consistency(120, 300)


def test_without_a_checkpoint_there_is_no_evidence(tmp_path: Path) -> None:
    empty = Office(tmp_path)
    with pytest.raises(EvidenceMissing):
        empty.evidence.entry(0)
    with pytest.raises(EvidenceMissing):
        empty.inspector.file(Wanted(), inspector="Li")


# inspection files


def test_a_file_verifies_with_the_witness_key_alone(office: Office) -> None:
    data = office.inspector.file(Wanted(party="tax-01"), inspector="李检查员")
    content = verify_inspection(data, office.witness.public)
    expected = [index for index in range(399, -1, -1) if index % 3 == 0]
    assert [each.index for each in content.entries] == expected
    assert (content.found, content.inspector, content.search.party) == (len(expected), "李检查员", "tax-01")
    few = verify_inspection(office.inspector.file(Wanted(), inspector="Li", limit=5), office.witness.public)
    assert (few.found, [each.index for each in few.entries]) == (400, [399, 398, 397, 396, 395])
    in_time = Wanted(since=int(NOW.timestamp()) + 10, until=int(NOW.timestamp()) + 12, type="voprf")
    two = verify_inspection(office.inspector.file(in_time, inspector="Li"), office.witness.public)
    assert [each.index for each in two.entries] == [11, 10]


def altered_leaf(content: dict[str, Any]) -> None:
    content["entries"][0]["entry"] = content["entries"][0]["entry"].replace("tax-01", "tax-02")


def altered_index(content: dict[str, Any]) -> None:
    content["entries"][0]["index"] -= 1


def altered_search(content: dict[str, Any]) -> None:
    content["search"]["party"] = "bank-01"


def altered_inspector(content: dict[str, Any]) -> None:
    content["inspector"] = "somebody else"


def dropped_entry(content: dict[str, Any]) -> None:
    del content["entries"][3]


def doubled_entry(content: dict[str, Any]) -> None:
    content["entries"].insert(1, content["entries"][0])


def other_roster(content: dict[str, Any]) -> None:
    header, payload, signature = content["roster"].split(".")
    content["roster"] = f"{header}.{payload}.{'A' * len(signature)}"


def other_checkpoint(content: dict[str, Any]) -> None:
    content["checkpoint"] = content["checkpoint"].replace("\n400\n", "\n401\n")


def found_too_few(content: dict[str, Any]) -> None:
    content["found"] = 1


CHANGES: dict[Callable[[dict[str, Any]], None], str] = {
    altered_leaf: "Y4",
    altered_index: "Y4",
    altered_search: "Y5",
    doubled_entry: "Y5",
    found_too_few: "Y5",
    other_roster: "Y2",
    other_checkpoint: "Y3",
}


@pytest.mark.parametrize("change", [*CHANGES, altered_inspector, dropped_entry], ids=lambda each: each.__name__)
def test_whatever_is_changed_in_a_file_breaks_its_signature(
    office: Office, change: Callable[[dict[str, Any]], None]
) -> None:
    document = json.loads(office.inspector.file(Wanted(party="tax-01"), inspector="Li"))
    change(document["content"])
    with pytest.raises(InspectionError) as caught:
        verify_inspection(json.dumps(document).encode(), office.witness.public)
    assert (caught.value.step, caught.value.field) == ("Y1", "signature")


@pytest.mark.parametrize(("change", "step"), CHANGES.items(), ids=lambda each: getattr(each, "__name__", each))
def test_what_the_witness_signed_is_checked_all_the_same(
    office: Office, change: Callable[[dict[str, Any]], None], step: str
) -> None:
    document = json.loads(office.inspector.file(Wanted(party="tax-01"), inspector="Li"))
    change(document["content"])
    content = Inspection.model_validate_json(json.dumps(document["content"]))
    with pytest.raises(InspectionError) as caught:
        verify_inspection(sign_inspection(content, office.witness), office.witness.public)
    assert caught.value.step == step


def test_another_key_or_another_document_is_refused(office: Office) -> None:
    data = office.inspector.file(Wanted(), inspector="Li", limit=2)
    text = data.decode()
    twice = text.replace('"content":', '"content": {}, "content":', 1)
    more = json.dumps({**json.loads(text), "note": "read me"})
    attached = json.loads(text)
    header, _, signature = attached["signature"].split(".")
    attached["signature"] = f"{header}.e30.{signature}"
    for wrong in (b"", b"[]", b"{}", b"\xff", twice.encode(), more.encode(), json.dumps(attached).encode()):
        with pytest.raises(InspectionError, match=r"^Y1"):
            verify_inspection(wrong, office.witness.public)
    with pytest.raises(InspectionError, match=r"^Y1"):
        verify_inspection(data, office.hub.public)
    content = Inspection.model_validate_json(json.dumps(json.loads(data)["content"]))
    with pytest.raises(InspectionError, match=r"^Y2"):
        verify_inspection(sign_inspection(content, office.hub), office.hub.public)


def independent_check(data: bytes, witness_key: bytes) -> int:
    """RFC 7515 F, RFC 8785, C2SP notes and RFC 9162 with none of the product's code; the number of entries."""

    def b64(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    document = json.loads(data)
    content, (header, _, signature) = document["content"], document["signature"].split(".")
    payload = base64.urlsafe_b64encode(rfc8785.dumps(content)).rstrip(b"=").decode()
    key = Ed25519PublicKey.from_public_bytes(witness_key)
    key.verify(b64(signature), f"{header}.{payload}".encode())
    body, _, lines = content["checkpoint"].partition("\n\n")
    size, root = int(body.split("\n")[1]), base64.b64decode(body.split("\n")[2])
    (own,) = (line.split(" ")[2] for line in lines.splitlines() if line.split(" ")[1] == content["witness"])
    raw = base64.b64decode(own)
    time = int.from_bytes(raw[4:12], "big")
    key.verify(raw[12:], f"cosignature/v1\ntime {time}\n{body}\n".encode())
    for each in content["entries"]:
        fn, sn = each["index"], size - 1
        value = hashlib.sha256(b"\x00" + each["entry"].encode()).digest()
        for sibling in map(b64, each["hashes"]):
            if fn % 2 or fn == sn:
                value = hashlib.sha256(b"\x01" + sibling + value).digest()
                while fn % 2 == 0 and fn:
                    fn, sn = fn // 2, sn // 2
            else:
                value = hashlib.sha256(b"\x01" + value + sibling).digest()
            fn, sn = fn // 2, sn // 2
        assert sn == 0
        assert value == root
    return len(content["entries"])


def test_a_verifier_that_shares_no_code_accepts_the_file_and_nothing_altered(office: Office) -> None:
    data = office.inspector.file(Wanted(party="tax-01"), inspector="Li")
    assert independent_check(data, office.witness.public) == 134
    document = json.loads(data)
    altered_inspector(document["content"])
    with pytest.raises(InvalidSignature):
        independent_check(json.dumps(document).encode(), office.witness.public)


def test_the_command_verifies_offline(office: Office, tmp_path: Path) -> None:
    file = tmp_path / "inspection.json"
    file.write_bytes(office.inspector.file(Wanted(party="tax-01"), inspector="Li"))
    key = key_to_text(office.witness.public)
    command = ["witness", "verify-inspection", str(file), "--witness-key", key]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    assert (said["ok"], said["entries"], said["found"], said["checkpoint_size"]) == (True, 134, 134, 400)
    plain = CliRunner().invoke(app, command, env={"DIGUA_LANG": "zh"})
    assert plain.exit_code == 0
    assert "134" in plain.output
    file.write_bytes(file.read_bytes().replace(b"tax-01", b"tax-02", 1))
    refused = CliRunner().invoke(app, [*command, "--json"])
    assert refused.exit_code == 1
    assert "inspection-invalid" in refused.output
    missing = CliRunner().invoke(app, ["witness", "verify-inspection", str(tmp_path / "no"), "--witness-key", key])
    assert missing.exit_code == 1
