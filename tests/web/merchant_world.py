"""A served hub for the merchant's pages: parties on the cosigned roster, the real time, keys made in the browser."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI
from playwright.sync_api import Page

from crypto.jws import sign_model
from crypto.wire.base import SUITE
from crypto.wire.consent import ConsentTerms
from crypto.wire.consent_request import ConsentRequest
from crypto.wire.party import MerchantKeyLeaf
from hub.app import create_app
from tests.hub_merchants import MarketWorld, Merchant
from tests.hub_world import merchant_batch
from tests.served_world import free_port
from tests.web.harness import served


class LiveMarket(MarketWorld):
    """`MarketWorld` by the clock on the wall, which a browser goes by too."""

    def __init__(self, base: Path) -> None:
        self.port = free_port()  # pages are served at the configured address and at no other
        super().__init__(base)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    @now.setter
    def now(self, _moment: datetime) -> None:
        """The wall's clock is not set."""

    def propose(self, pseudonym: bytes, party: str = "bank-01", **changes: object) -> str:
        """Have a party ask a merchant for a consent; returns the request's id. `changes` are of the terms."""
        record = self.record(Merchant(pseudonym, {}), valid_until=self.now + timedelta(days=365), **changes)
        terms = ConsentTerms.model_validate({name: getattr(record, name) for name in ConsentTerms.model_fields})
        request = ConsentRequest(
            suite=SUITE,
            request_id=secrets.token_hex(16),
            party_id=party,
            pii_principal_id=pseudonym,
            terms=terms,
            issued_at=self.now,
            answer_by=self.now + timedelta(days=14),
        )
        signed = sign_model(request, self.members[party].identity, typ="consent-request", kid=party)
        self.hub.consent_requests.propose(signed)
        return request.request_id

    def enrol_public(self, pseudonym: bytes, jwk: dict[str, str]) -> None:
        """Enrol a key of which only the browser has the private part; platform and bank sign as ever."""
        leaf = MerchantKeyLeaf(pseudonym=pseudonym, jwk=jwk)
        issued = {"issued_at": self.now, "batch_id": secrets.token_hex(16)}
        self.hub.merchant_keys.store(
            merchant_batch([leaf], self.members["platform"], self.members["bank-01"], changed=issued)
        )


M = TypeVar("M", bound=LiveMarket)


@dataclass
class Shop:
    """A merchant whose key lies in a page's browser."""

    pseudonym: bytes
    page: Page

    @property
    def kid(self) -> str:
        return self.pseudonym.hex()

    def evaluate(self, body: str, argument: object = None) -> Any:
        """Run the body of an async function with the modules that sign at hand, and `own`, the kept identity."""
        names = ("bytes", "keys", "store", "artefacts", "hub")
        imports = "".join(f"const {name} = await import('/static/hub/merchant/{name}.js');" for name in names)
        return self.page.evaluate(f"async (given) => {{ {imports} const own = await store.load(); {body} }}", argument)

    def make_key(self) -> dict[str, str]:
        """Make and keep a key as the page for joining does; returns its public JWK."""
        jwk: dict[str, str] = self.evaluate(
            "const made = await keys.makeKey();"
            "await store.keep({...made, kid: given, made: '2026-03-01T08:00:00Z'}); return made.jwk;",
            self.kid,
        )
        return jwk

    def take_key(self, private: dict[str, str]) -> None:
        """Keep a key that was made here, in Python; in the browser no script can read it out."""
        self.evaluate(
            """const {d, ...jwk} = given.private;
            const privateKey = await crypto.subtle.importKey("jwk", given.private, {name: "Ed25519"}, false, ["sign"]);
            await store.keep({alg: "Ed25519", jwk, privateKey, kid: given.kid, made: "2026-03-01T08:00:00Z"});""",
            {"private": private, "kid": self.kid},
        )

    def sign(self, record: dict[str, Any]) -> None:
        """Sign and submit a consent in the browser."""
        self.evaluate(
            "await hub.postJson('/v1/consents', {tokens: [await artefacts.consentToken(own, given)]});", record
        )


@contextmanager
def served_market(folder: Path, kind: Callable[[Path], M] = LiveMarket) -> Iterator[tuple[M, str]]:  # type: ignore[assignment]
    """The world and its origin; the log is written and cosigned while it is served."""
    world = kind(folder)
    app: FastAPI = create_app(world.hub)
    with served(app, world.port) as origin:
        yield world, origin
    world.hub.close()


def consent_fields(world: MarketWorld, merchant: Merchant, **changes: Any) -> dict[str, Any]:
    """A consent's record as JSON, to be signed in the browser."""
    record = world.record(merchant, valid_until=datetime.now(UTC) + timedelta(days=365), **changes)
    content: dict[str, Any] = record.model_dump(mode="json")
    return content
