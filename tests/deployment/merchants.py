"""What merchants and the platform do, run inside the platform's container: pseudonyms, keys, consents, a revocation.

Usage: python merchants.py {keys | consent | revoke} URL CA FOLDER
"""

from __future__ import annotations

import base64
import csv
import json
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx

from crypto.jws import peek_payload
from crypto.wire.consent import PrivacyNotice
from crypto.wire.notice import NoticeStatement
from crypto.wire.party import MerchantKeyLeaf
from hub.demo.merchants import Merchant, consent_of, event_of, make_keys, public_key


def merchants_of(folder: Path) -> list[Merchant]:
    """Merchants with pseudonyms, fresh keys and their sources, from `pseudonyms.json` and `sources.csv`."""
    found = json.loads((folder / "pseudonyms.json").read_text(encoding="utf-8"))
    with (folder / "sources.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keys = make_keys(len(rows))
    return [
        Merchant(
            row["id"],
            base64.urlsafe_b64decode(found[row["id"]] + "=" * (-len(found[row["id"]]) % 4)),
            key,
            {kind: row[kind] for kind in ("bank", "tax", "utility") if row[kind]},
        )
        for row, key in zip(rows, keys, strict=True)
    ]


def write_keys(folder: Path) -> None:
    """One file of keys for each bank, and the merchants' wallets."""
    merchants = merchants_of(folder)
    for bank in sorted({each.sources["bank"] for each in merchants}):
        leaves = [
            MerchantKeyLeaf(pseudonym=each.pseudonym, jwk=public_key(each)).model_dump_json()
            for each in merchants
            if each.sources["bank"] == bank
        ]
        (folder / f"{bank}.keys.ndjson").write_text("\n".join(leaves) + "\n", encoding="utf-8")
    wallet = [
        {"id": each.merchant_id, "pseudonym": each.pseudonym.hex(), "jwk": each.jwk, "sources": each.sources}
        for each in merchants
    ]
    (folder / "wallet.json").write_text(json.dumps(wallet), encoding="utf-8")


def wallet_of(folder: Path) -> list[Merchant]:
    """The merchants as `write_keys` kept them."""
    return [
        Merchant(each["id"], bytes.fromhex(each["pseudonym"]), each["jwk"], each["sources"])
        for each in json.loads((folder / "wallet.json").read_text(encoding="utf-8"))
    ]


def send(path: str, tokens: list[str], url: str, ca: str) -> None:
    """POST signed statements to the hub as a phone would."""
    answer = httpx.post(
        f"{url}{path}",
        json={"tokens": tokens},
        headers={"Idempotency-Key": secrets.token_hex(16)},
        verify=ca,
        timeout=60.0,
        trust_env=False,
    )
    if answer.is_error:
        raise SystemExit(f"POST {path}: {answer.status_code} {answer.text}")


def notice_of(url: str, ca: str) -> PrivacyNotice:
    """The Chinese text of the registered notice, as a phone learns of it."""
    answer = httpx.get(f"{url}/v1/notices", verify=ca, timeout=60.0, trust_env=False).raise_for_status()
    (token,) = answer.json()["statements"]
    statement = NoticeStatement.model_validate_json(peek_payload(token))
    return PrivacyNotice(version=statement.version, language="zh", sha256=statement.texts["zh"])


def main(step: str, url: str, ca: str, folder: Path) -> None:
    """Run one step."""
    if step == "keys":
        write_keys(folder)
        return
    merchants = wallet_of(folder)
    if step == "consent":
        notice = notice_of(url, ca)
        made = [
            consent_of(
                each,
                purposes=("credit-scoring", "model-training"),
                recipients=(each.sources["bank"], "platform"),
                reasons=True,
                count=100,
                now=datetime.now(UTC),
                notice=notice,
            )
            for each in merchants
        ]
        send("/v1/consents", [token for _, token in made], url, ca)
        records = {each.merchant_id: record for each, (record, _) in zip(merchants, made, strict=True)}
        (folder / "records.json").write_text(json.dumps(records), encoding="utf-8")
        return
    records = json.loads((folder / "records.json").read_text(encoding="utf-8"))
    first = merchants[0]
    send("/v1/consent-events", [event_of(first, records[first.merchant_id], "revoked")], url, ca)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
