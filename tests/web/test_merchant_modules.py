"""The merchant's modules in Chromium against the product's own Python: each verifies what the other made."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, assemble, sign_note
from crypto.errors import SignatureError
from crypto.jws import generate_merchant_key, merchant_public, parse_canonical, sign_merchant, verify_merchant
from crypto.keys import IdentityKey
from crypto.merkle import inclusion_path, leaf_hash, root
from crypto.wire.consent import ConsentEvent, ConsentRecord
from crypto.wire.service import MerchantRequest
from tests.web.merchant_scripts import served_modules

PSEUDONYM = hashlib.sha256(b"a shop").digest()
KID = PSEUDONYM.hex()
DRAFT: dict[str, Any] = {
    "privacy_notice": {"version": "1", "language": "zh", "sha256": "0" * 64},
    "purposes": ["credit-scoring", "model-training"],
    "pii_information": [{"category": name, "data_class": "C2"} for name in ("bank", "tax", "reasons")],
    "sources": {"bank": "bank-01", "tax": "tax-01"},
    "recipients": ["bank-01", "platform"],
    "separate_consent": [
        {"recipient": recipient, "category": category}
        for recipient in ("bank-01", "platform")
        for category in ("bank", "tax", "reasons")
    ],
    "fetch_type": "PERIODIC",
    "frequency": {"count": 10, "per": "month"},
    "data_life": {"unit": "month", "value": 6},
    "valid_from": "2026-01-01T00:00:00Z",
    "valid_until": "2027-01-01T00:00:00Z",
    "jurisdiction": "CN",
    "legal_article": "个人信息保护法 13(1)、23、29；征信业管理条例 13、14",
    "withdrawal_method": "商户网页 “我的授权”",
}


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with served_modules() as origin:
        yield origin


@pytest.fixture
def page(chromium: Browser, origin: str) -> Iterator[Page]:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(origin + "/")
    yield page
    context.close()


def run(page: Page, body: str, argument: object = None) -> Any:
    """Run the body of an async function with all modules at hand, by their names."""
    names = ("bytes", "canonical", "keys", "jws", "store", "artefacts", "proofs", "sheet")
    imports = "".join(f"const {name} = await import('/static/hub/merchant/{name}.js');" for name in names)
    return page.evaluate(f"async (given) => {{ {imports} {body} }}", argument)


MAKE = "const made = await keys.makeKey({alg: given.alg}); const own = {...made, kid: given.kid};"


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_the_product_verifies_what_the_browser_signed(page: Page, alg: str) -> None:
    made = run(
        page,
        f"""{MAKE}
        const request = await artefacts.requestToken(own);
        const event = await artefacts.eventToken(own, "a".repeat(32), "revoked");
        return {{jwk: own.jwk, request, event}};""",
        {"alg": alg, "kid": KID},
    )
    jwk = merchant_public(made["jwk"])
    assert jwk == made["jwk"]
    request = parse_canonical(verify_merchant(made["request"], jwk, typ="merchant-request", kid=KID), MerchantRequest)
    assert request.pii_principal_id == PSEUDONYM
    assert abs(request.issued_at - datetime.now(UTC)) < timedelta(minutes=1)
    event = parse_canonical(verify_merchant(made["event"], jwk, typ="consent-event", kid=KID), ConsentEvent)
    assert (event.event, event.record_id, event.pii_principal_id) == ("revoked", "a" * 32, PSEUDONYM)
    with pytest.raises(SignatureError):
        verify_merchant(made["event"], jwk, typ="consent", kid=KID)


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_the_browser_verifies_what_the_product_signed(page: Page, alg: str) -> None:
    private = generate_merchant_key("ES256" if alg == "ES256" else "Ed25519")
    token = sign_merchant(b'{"a":1}', private, typ="consent", kid=KID)
    verify = """
        const key = await keys.importPublic(given.alg, given.jwk);
        const [header, payload, signature] = given.token.split(".");
        return keys.verifyBytes(given.alg, key, bytes.fromBase64url(signature), bytes.utf8(`${header}.${payload}`));"""
    given = {"alg": alg, "jwk": merchant_public(private), "token": token}
    assert run(page, verify, given) is True
    head, payload, signature = token.split(".")
    altered = f"{head}.{payload[:-1]}{'A' if payload[-1] != 'A' else 'B'}.{signature}"
    assert run(page, verify, given | {"token": altered}) is False


def test_a_key_is_ed25519_where_the_browser_has_it_and_es256_where_not(page: Page) -> None:
    assert run(page, "return (await keys.makeKey()).alg;") == "Ed25519"
    without = """
        const real = crypto.subtle.generateKey.bind(crypto.subtle);
        const missing = () => Promise.reject(new DOMException("no", "NotSupportedError"));
        SubtleCrypto.prototype.generateKey = (algorithm, ...rest) =>
          algorithm.name === "Ed25519" ? missing() : real(algorithm, ...rest);
        return (await keys.makeKey()).alg;"""
    assert run(page, without) == "ES256"


def test_a_kept_key_signs_after_a_reload_and_cannot_be_read_out(page: Page) -> None:
    jwk = run(page, f"{MAKE} await store.keep(own); return own.jwk;", {"alg": "Ed25519", "kid": KID})
    page.reload()
    again = run(
        page, "const own = await store.load(); return {jwk: own.jwk, token: await artefacts.requestToken(own)};"
    )
    assert again["jwk"] == jwk
    verify_merchant(again["token"], jwk, typ="merchant-request", kid=KID)
    read_out = """
        const own = await store.load();
        try { await crypto.subtle.exportKey("pkcs8", own.privateKey); } catch (error) { return error.name; }"""
    assert run(page, read_out) == "InvalidAccessError"
    assert run(page, "await store.wipe(); return (await store.load()) === undefined;") is True


VALUES: list[Any] = [
    None,
    {"z": 1, "a": [True, False, None], "ä": "é", "\u20ac": "Euro", "\U0001f600": "beyond", "\ufb33": "late"},
    {"text": '"\\/\b\f\n\r\t\u0000\u001f\u007f\u2028 征信'},
    [0, -1, 2**53 - 1, -(2**53 - 1)],
    {"10": 1, "9": 2, "": 3},
]


@pytest.mark.parametrize("value", VALUES)
def test_canonical_form_is_the_products(page: Page, value: Any) -> None:
    made = run(page, "return bytes.toBase64(canonical.canonical(given));", value)
    assert base64.b64decode(made) == canonical_bytes(value)


@pytest.mark.parametrize("bad", ["1.5", "2**53", "'\\ud800'", "undefined", "new Date()", "{a: () => 1}"])
def test_what_has_no_canonical_form_is_refused(page: Page, bad: str) -> None:
    caught = f"try {{ canonical.canonical({bad}); }} catch (error) {{ return error.name; }}"
    assert run(page, caught) == "TypeError"


def test_the_keys_name_is_its_rfc_7638_thumbprint(page: Page) -> None:
    # RFC 8037, appendix A.3
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert run(page, "return keys.thumbprint(given);", jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    digest = hashlib.sha256(canonical_bytes(jwk)).hexdigest()[:24]
    assert run(page, "return keys.comparison(given);", jwk) == " ".join(digest[i : i + 4] for i in range(0, 24, 4))


BUILD = f"""{MAKE}
    const record = artefacts.consentRecord(own, given.draft, given.ticked, {{collectionMethod: "browser"}});
    return {{jwk: own.jwk, record, token: await artefacts.consentToken(own, record)}};"""


def test_a_consent_holds_exactly_what_was_ticked(page: Page) -> None:
    ticked = {
        "purposes": ["credit-scoring"],
        "recipients": ["bank-01"],
        "separate": [["bank-01", "tax"], ["bank-01", "bank"], ["platform", "reasons"]],
        "adverse": True,
    }
    made = run(page, BUILD, {"alg": "Ed25519", "kid": KID, "draft": DRAFT, "ticked": ticked})
    record = parse_canonical(verify_merchant(made["token"], made["jwk"], typ="consent", kid=KID), ConsentRecord)
    assert record.purposes == ("credit-scoring",)
    assert record.recipients == ("bank-01",)
    assert {(each.recipient, each.category) for each in record.separate_consent} == {
        ("bank-01", "tax"),
        ("bank-01", "bank"),
    }
    assert {each.category for each in record.pii_information} == {"bank", "tax"}
    assert record.sources == {"bank": "bank-01", "tax": "tax-01"}
    assert record.adverse_consequences_notice is True
    assert record.legal_article == DRAFT["legal_article"]
    untouched = run(page, BUILD, {"alg": "Ed25519", "kid": KID, "draft": DRAFT, "ticked": ticked | {"adverse": None}})
    assert untouched["record"]["adverse_consequences_notice"] is False


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 100])
def test_inclusion_proofs_of_the_product_verify_in_the_browser(page: Page, size: int) -> None:
    entries = [json.dumps({"n": n}) for n in range(size)]
    hashes = [leaf_hash(each.encode()) for each in entries]
    hub, witness = IdentityKey.generate(), IdentityKey.generate()
    checkpoint = Checkpoint("hub.example/log", size, root(hashes))
    lines = [
        sign_note(checkpoint.body(), "hub.example/log", hub),
        sign_note(checkpoint.body(), "witness", witness, cosignature_time=1_700_000_000),
    ]

    def text(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode()

    given: dict[str, Any] = {
        "note": assemble(checkpoint.body(), lines),
        "info": {
            "origin": "hub.example/log",
            "sign_key": text(hub.public),
            "witness": {"party_id": "witness", "sign_key": text(witness.public)},
        },
        "proofs": [
            [entries[n], n, [text(each) for each in inclusion_path(n, size, lambda a, b: root(hashes[a:b]))]]
            for n in range(size)
        ],
    }
    check = """
        const checkpoint = await proofs.verifyCheckpoint(given.note, given.info);
        for (const [entry, index, path] of given.proofs) await proofs.checkInclusion(entry, index, path, checkpoint);
        return checkpoint.cosignedAt;"""
    assert run(page, check, given) == 1_700_000_000
    caught = f"try {{ {check} }} catch (error) {{ return error.code; }}"
    entry, index, path = given["proofs"][-1]
    for wrong in ([entry + " ", index, path], [entry, index + 1, path], [entry, index, [*path, text(b"\0" * 32)]]):
        assert run(page, caught, given | {"proofs": [wrong]}) == "proof-wrong"
    forged = sign_note(checkpoint.body(), "witness", hub, cosignature_time=1_700_000_000)
    bent = {"note": assemble(checkpoint.body(), [lines[0], forged])}
    assert run(page, caught, given | bent) == "checkpoint-wrong"
    assert run(page, caught, given | {"note": assemble(checkpoint.body(), lines[:1])}) == "checkpoint-wrong"


def test_a_key_sheet_opens_with_its_password_only(page: Page) -> None:
    sealed = run(
        page,
        """
        const made = await keys.makeKey({extractable: true});
        const own = {...made, kid: given.kid, made: "2026-03-01T08:00:00Z"};
        return JSON.stringify(await sheet.seal(own, given.password));""",
        {"kid": KID, "password": "白菜 八角 花椒 十三"},
    )
    content = json.loads(sealed)
    assert content["iterations"] >= 600_000
    assert "d" not in content["jwk"]
    opened = """
        try {
          const own = await sheet.open(given.sheet, given.password);
          return {jwk: own.jwk, extractable: own.privateKey.extractable, token: await artefacts.requestToken(own)};
        } catch (error) { return error.code; }"""
    own = run(page, opened, {"sheet": sealed, "password": "白菜 八角 花椒 十三"})
    assert own["extractable"] is False
    verify_merchant(own["token"], content["jwk"], typ="merchant-request", kid=KID)
    assert run(page, opened, {"sheet": sealed, "password": "白菜 八角 花椒 十四"}) == "sheet-locked"
    other = json.dumps(content | {"kid": "00" * 32})
    assert run(page, opened, {"sheet": other, "password": "白菜 八角 花椒 十三"}) == "sheet-locked"
    weak = json.dumps(content | {"iterations": 1})
    assert run(page, opened, {"sheet": weak, "password": "白菜 八角 花椒 十三"}) == "sheet-wrong"
    short = "try { await sheet.seal({}, 'short'); } catch (error) { return error.code; }"
    assert run(page, short) == "password-short"


def test_an_insecure_address_is_said_clearly(chromium: Browser, origin: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    # A name that is not this machine's own is no secure context over plain HTTP.
    page.route(
        "http://shop.example/**",
        lambda route: route.continue_(url=route.request.url.replace("http://shop.example", origin)),
    )
    page.goto("http://shop.example/")
    code = run(page, "try { await keys.makeKey(); } catch (error) { return error.code; }")
    assert code == "insecure-address"
    context.close()
