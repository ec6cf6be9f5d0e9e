"""A merchant presses "withdraw": every node's own policy refuses within two seconds; what withholds it is shown."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from crypto.key_line import KeyLine
from crypto.wire.base import SUITE
from crypto.wire.scoring import ScoreItem, ScoreRequest
from hub.feed import NewItem
from hub.reconciliation import reconcile_receipts
from nodes.journal import Journal
from nodes.link import Link
from nodes.policy import Limits, ModelFacts, Uses, decide_item, decide_request
from tests.served_world import ServedWorld, wait_until
from tests.web.harness import Reader

MODEL = ModelFacts(model_id=f"sha256:{'0' * 64}", kinds=("bank", "tax", "utility"), data_class="C2", released=True)
NODES = {"bank": 1, "tax": 1, "utility": 1}
LIMITS = Limits()
COUNTER = itertools.count()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[ServedWorld]:
    world = ServedWorld(tmp_path_factory.mktemp("served"), merchants=40, nodes=NODES, scores=1000)
    yield world
    world.close()


@pytest.fixture
def row(world: ServedWorld) -> int:
    """A merchant that all three nodes hold and whose bank may have a score, another one for each test."""
    while not (world.lets_score(row := next(COUNTER)) and all(held[row] for held in world.sources.values())):
        pass
    return row


def refusal(world: ServedWorld, party: str, row: int, now: datetime | None = None) -> str | None:
    """What a node's policy says now to the bank's query about a merchant; None where it answers."""
    runtime = world.agents[party].runtime
    at = now or datetime.now(UTC)
    merchant = world.merchants[row]
    item = ScoreItem(pseudonym=merchant.pseudonym, consent_id=world.records[row], sources=merchant.sources)
    request = ScoreRequest(
        suite=SUITE,
        requester=merchant.sources["bank"],
        purpose="credit-scoring",
        model_id=MODEL.model_id,
        nonce=b"\x00" * 16,
        issued_at=at,
        expires_at=at + timedelta(seconds=30),
        items=(item,),
    )
    whole = decide_request(
        request, model=MODEL, nonce_reused=False, feed_age=runtime.feed_age(at), limits=LIMITS, now=at
    )
    if whole is not None:
        return whole
    roster = {each.party_id: each for each in world.hub.parties.all()}
    held = world.agents[party].services.consents.get(world.records[row], at)
    return decide_item(
        request, item, me=roster[party], held=held, model=MODEL, uses=Uses(), roster=roster, limits=LIMITS
    )


def open_consents(world: ServedWorld, reader_of: Callable[[str], Reader], row: int) -> Page:
    """The merchant's own browser: it holds the key that is enrolled for the merchant."""
    page = reader_of(world.url).open("/merchant", width=390)
    merchant = world.merchants[row]
    page.evaluate(
        """async ({jwk, kid}) => {
          const store = await import("/static/hub/merchant/store.js");
          const privateKey = await crypto.subtle.importKey("jwk", jwk, {name: "Ed25519"}, false, ["sign"]);
          const {kty, crv, x} = jwk;
          await store.keep({alg: "Ed25519", jwk: {kty, crv, x}, privateKey, kid, made: "2026-03-01T08:00:00Z"});
        }""",
        {"jwk": merchant.jwk, "kid": merchant.kid},
    )
    page.goto(f"{world.url}/merchant/consents")
    expect(page.get_by_role("button", name="立即撤回")).to_be_visible()
    return page


def until(page: Page, ready: Callable[[], bool], *, what: str) -> None:
    """Wait while the browser's requests, which pass through this thread, go on."""
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline, f"{what} did not come within 30 s"
        page.wait_for_timeout(20)


def press_withdraw(page: Page) -> float:
    """Press the button; the moment before the press."""
    button = page.get_by_role("button", name="立即撤回")
    pressed = time.monotonic()
    button.click(no_wait_after=True)
    return pressed


def test_from_the_press_to_every_nodes_refusal_it_takes_less_than_two_seconds(
    world: ServedWorld, reader_of: Callable[[str], Reader], row: int
) -> None:
    nodes = sorted(world.merchants[row].sources.values())
    assert len(nodes) == 3
    assert {refusal(world, party, row) for party in nodes} == {None}
    page = open_consents(world, reader_of, row)
    pressed = press_withdraw(page)
    took: dict[str, float] = {}
    while len(took) < len(nodes):
        for party in nodes:
            if party not in took and refusal(world, party, row) == "consent-revoked":
                took[party] = time.monotonic() - pressed
        assert time.monotonic() - pressed < 10, f"after ten seconds only {sorted(took)} refuse"
        page.wait_for_timeout(5)  # not a plain sleep: the browser's requests pass through this thread
    assert max(took.values()) < 2.0, took
    expect(page.locator("[data-delivery]")).to_contain_text("3 家机构已全部确认")


def test_a_node_that_is_cut_off_refuses_once_its_feed_is_older_than_the_limit(
    world: ServedWorld, reader_of: Callable[[str], Reader], row: int
) -> None:
    cut = world.merchants[row].sources["tax"]
    page = open_consents(world, reader_of, row)
    world.agents[cut].link.stop()
    wait_until(lambda: cut not in world.hub.links.connected(), what="the cut")
    since = datetime.now(UTC)
    press_withdraw(page)
    others = sorted(set(world.merchants[row].sources.values()) - {cut})
    until(page, lambda: all(refusal(world, each, row) == "consent-revoked" for each in others), what="the others")
    expect(page.locator("[data-delivery]")).to_contain_text("3 家机构中已有 2 家确认")
    expect(page.locator("[data-delivery]")).to_contain_text(cut)
    # It has not heard, so it still would answer; by its limit after the cut it cannot any more, whatever happens.
    assert refusal(world, cut, row) is None
    assert refusal(world, cut, row, since + LIMITS.feed_limit + timedelta(seconds=1)) == "feed-stale"
    world.agents[cut].link = Link(world.agents[cut].runtime, world.agents[cut].runtime.handlers)
    world.agents[cut].connect()
    until(page, lambda: refusal(world, cut, row) == "consent-revoked", what="the word after the cut")


def test_a_hub_that_withholds_a_withdrawal_is_shown_by_the_browsers_receipt(
    world: ServedWorld,
    reader_of: Callable[[str], Reader],
    row: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    kept_back = world.merchants[row].sources["utility"]
    publish = world.hub.feed.publish_many

    def withholding(session: Any, items: Any) -> None:
        publish(session, [NewItem(**{**item.__dict__, "parties": item.parties - {kept_back}}) for item in items])

    page = open_consents(world, reader_of, row)
    monkeypatch.setattr(world.hub.feed, "publish_many", withholding)
    press_withdraw(page)
    until(page, lambda: refusal(world, world.merchants[row].sources["tax"], row) == "consent-revoked", what="tax")
    assert refusal(world, kept_back, row) is None
    expect(page.locator("[data-delivery]")).to_contain_text("3 家机构中已有 2 家确认")
    page.goto(f"{world.url}/merchant/record")
    with page.expect_download() as started:
        page.get_by_role("button", name="保存枢纽回执").click()
    receipts = tmp_path / "receipts.ndjson"
    started.value.save_as(receipts)
    assert len(receipts.read_text(encoding="utf-8").splitlines()) == 1

    runtime = world.agents[kept_back].runtime
    node_export = tmp_path / "journal.ndjson"
    later = datetime.now(UTC) + timedelta(minutes=2)  # what comes within a minute is no fault yet
    Journal(runtime.store, kept_back, clock=lambda: later).note("query-sent", {"model_id": "none"})
    world.agents[kept_back].services.journal.export(node_export)
    wait_until(world.hub.log.reader.root_matches, what="the log's order")
    hub_export = tmp_path / "log.ndjson"
    hub_export.write_bytes(b"".join(world.hub.log.reader.export()))
    verdict = reconcile_receipts(receipts, hub_export, node_export, hub_keys=KeyLine.of(world.hub.keys.identity.public))
    assert [(each.kind, each.missing_in) for each in verdict.withheld] == [("consent-event", "node")]
