"""What an entry is found by, and the bitmaps of where terms stand."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from crypto.log_index import (
    BLOCK,
    bits_from_bytes,
    bits_to_bytes,
    commitment_key,
    indexed,
    places,
    postings,
)
from crypto.wire.audit import EntryType, LogEntry

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def entry(type: EntryType = "query", subject: bytes | None = None, **facts: str | int | None) -> LogEntry:
    return LogEntry(type=type, time=NOON, actor="bank-01", subject=subject, facts=facts)


def test_a_query_is_found_by_all_whom_it_concerns() -> None:
    found = indexed(
        entry(
            subject=b"s" * 32,
            model_id="sha256:" + "ab" * 32,
            sources="tax-01,utility-01,bank-01",
            consent="cd" * 32,
            request_hash="ef" * 32,
        )
    )
    assert found.parties == ("bank-01", "tax-01", "utility-01")
    assert found.model == "sha256:" + "ab" * 32
    assert found.campaign is None
    assert found.time == int(NOON.timestamp())
    assert found.commitments == (b"s" * 32, bytes.fromhex("cd" * 32))
    assert found.terms() == (
        "type:query",
        "party:bank-01",
        "party:tax-01",
        "party:utility-01",
        "model:sha256:" + "ab" * 32,
    )


def test_a_campaigns_entry_is_found_by_its_campaign() -> None:
    found = indexed(entry("evaluation-points", campaign_id="c-1", source="tax-02", recipient="bank-03"))
    assert found.campaign == "c-1"
    assert found.parties == ("bank-01", "tax-02", "bank-03")


def test_what_is_no_name_or_no_commitment_is_not_indexed() -> None:
    found = indexed(entry(party="Not a Party", parties=7, campaign_id="x" * 200, model_id=None, consent="cd" * 32))
    assert found.parties == ("bank-01",)
    assert found.campaign is None
    assert found.model is None
    assert found.commitments == ()  # without a subject nothing is committed


@given(st.lists(st.sampled_from(["bank-01", "tax-01", "tax-02"]), max_size=40), st.integers(0, 3 * BLOCK))
def test_postings_say_where_each_term_stands(sources: list[str], start: int) -> None:
    bits = postings(start, (indexed(entry(sources=source)) for source in sources))
    for party in ("tax-01", "tax-02"):
        found = sorted(
            BLOCK * block + place
            for (term, block), each in bits.items()
            if term == f"party:{party}"
            for place in places(bits_from_bytes(bits_to_bytes(each)))
        )
        assert found == [start + offset for offset, source in enumerate(sources) if source == party]


def test_a_commitments_key_fits_64_signed_bits() -> None:
    assert commitment_key(b"\xff" * 32) == -1
    assert commitment_key(b"\x7f" + b"\xff" * 31) == (1 << 63) - 1
