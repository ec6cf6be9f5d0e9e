"""Privacy hub and platform as two processes: a merchant's whole path, and neither's folder has the other's half.

The path is over HTTP alone: pages as a browser's forms send them, the bank's calls, the merchant's phone at the hub.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator

import pytest

from crypto.jws import merchant_public
from hub.config import load_config
from hub.db import open_database
from hub.platform.config import load_platform_config
from hub.platform.tables import base as platform_tables
from hub.tables import base as hub_tables
from tests.deployment.two_small import VALUES, TwoSmallProcesses
from tests.halves import cells, files_with, numbers, places, spellings, texts, words
from tests.page_person import PagePerson, within

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(900)]

NAME, PERSON, PHONE = "莲都惠民超市", "huimin.lu", "13857830142"
IDENTIFIERS = b"92331102MA"
"""How the identifiers of all merchants of this federation begin."""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoSmallProcesses]:
    made = TwoSmallProcesses(tmp_path_factory.mktemp("town"))
    yield made
    made.close()


def registered(town: TwoSmallProcesses) -> tuple[PagePerson, str]:
    """The merchant applies, an operator confirms; the merchant signed in, and its account."""
    me, operator = PagePerson(town.origin), PagePerson(town.origin)
    asked = {"id_type": "uscc", "identifier": town.identifier, "name": NAME, "contact": PHONE}
    facts = {"kind": "supermarket", "industry": "5212", "origin": "331102", "place": "310000"}
    number = within(me.send("/register", "/register", **asked, **facts).text, "<dd>", "</dd>")
    operator.sign_up(town.sign_up)
    page = f"/operator/registrations/{number}"
    assert PHONE in operator.open(page)
    confirmed = operator.send(page, f"{page}/confirm", name=PERSON, checked="yes").text
    operator.close()
    me.sign_up(within(confirmed, "<code data-link>", "</code>"))
    return me, found(r"<dd>([0-9a-f]{32})</dd>", confirmed)


def found(pattern: str, page: str) -> str:
    """The part of a page that a pattern's group takes."""
    match = re.search(pattern, page)
    assert match is not None, (pattern, page[-2000:])
    return match[1]


def consent_of(page: str) -> str:
    """The request that a page leads to at the hub."""
    return found(r"/merchant/requests#([0-9a-f]{32})", page)


def test_neither_process_has_the_others_half(town: TwoSmallProcesses) -> None:
    me, account = registered(town)

    # An offer of its bank, under a consent
    offers = "/merchant/offers"
    looking = consent_of(me.send(offers, f"/merchant/banks/{town.bank}/allow").text)
    signed = [town.sign(looking)]
    town.until(lambda: "data-offer=" in me.open(offers), "the offer")
    offer = within(me.open(offers), 'data-offer="', '"')

    # An application, and its score with reasons under another consent
    applied = me.send(offers, f"{offers}/{offer}/accept", amount="20000", term="12")
    page = applied.url.path
    financing = page.rpartition("/")[2]
    scoring = consent_of(me.send(page, f"{page}/score").text)
    signed.append(town.sign(scoring))
    town.until(lambda: f'action="{page}/score/show"' in me.open(page), "the score")
    shown = town.bank_call("GET", f"/financings/{financing}/score")
    assert (shown["score"], shown["model_id"]) == (town.score, town.model_id)
    assert shown["reasons"]
    assert str(town.score) in me.send(page, f"{page}/score/show").text

    # The bank decides and pays out; the merchant stops the bank, and revokes
    (line,) = town.bank_call("GET", "/financings")["financings"]
    reference, day = line["reference"], line["applied_on"]
    terms = {"amount_fen": 2_000_000, "annual_rate": "0.0435", "term_months": 12}
    steps = [{"step": "offer", **terms}, {"step": "contract", "on": day}, {"step": "disburse", "on": day}]
    town.bank_call("POST", "/financings/orders", {"orders": [{"reference": reference, **each} for each in steps]})
    assert looking in me.send(offers, f"/merchant/banks/{town.bank}/stop").text
    signed += [town.revoke(looking), town.revoke(scoring)]
    me.close()

    # What the processes wrote, while they run
    hub_db = open_database(load_config(town.hub / "hub.yaml"))
    platform_db = open_database(load_platform_config(town.platform / "platform.yaml"))
    theirs, ours = cells(hub_db, hub_tables.load_tables()), cells(platform_db, platform_tables.load_tables())
    for db in (hub_db, platform_db):
        db.close()
    log = town.platform.parent / "logs"
    logs = {name: (log / f"{name}.log").read_bytes() for name in ("hub", "two-small")}

    pseudonym = spellings(town.merchant.pseudonym)
    accounts = (account, financing, offer, reference)
    known_here = (IDENTIFIERS, *texts(NAME, PERSON, PHONE, *accounts), *spellings(bytes.fromhex(account)))
    key = merchant_public(town.merchant.jwk)["x"]
    known_there = (
        *(form for each in town.pseudonyms for form in spellings(each)),
        *spellings(urlsafe_b64decode(key + "=")),
        *(token.rpartition(".")[2].encode() for token in signed),
    )
    data = numbers(*VALUES.values())

    # What is each one's own is found there: the search works
    assert {"consents", "consent_requests"} <= places(theirs, *pseudonym)
    assert {"merchants", "financings", "offers", "audit"} <= places(ours, account.encode())
    assert {"merchants", "merchant_versions"} <= places(ours, *texts(NAME))
    assert "people" in places(ours, PERSON.encode())
    assert files_with(town.hub, *pseudonym)
    assert files_with(town.platform, *texts(NAME))
    assert files_with(town.hub.parent / town.bank, IDENTIFIERS)

    # The other's half is nowhere, and neither has anybody's data
    assert places(theirs, *known_here, *data) == set()
    assert files_with(town.hub, *known_here, *data) == set()
    assert places(ours, *known_there, *data, IDENTIFIERS, PHONE.encode()) == set()
    assert files_with(town.platform, *known_there, *data, IDENTIFIERS, PHONE.encode()) == set()
    assert not [each for each in (*known_here, *data) if each in logs["hub"]]
    assert not [each for each in (*known_there, *data, IDENTIFIERS, *texts(NAME, PHONE)) if each in logs["two-small"]]
    node = town.hub.parent / "platform"  # joins identifiers with pseudonyms, and knows no names
    assert files_with(node, IDENTIFIERS)
    assert files_with(node, *pseudonym)
    assert files_with(node, *texts(NAME, PERSON, PHONE), *data) == set()
    assert ours["financing_scores"] == []  # deleted with the bank's decision

    # All that both have is the requests' ids (docs/two-small.md, 4)
    shared = words(theirs) & words(ours, without=f"{town.url}/merchant/requests".encode())
    assert shared == words({"": [looking.encode(), scoring.encode()]})
