"""Merchants of the demo: pseudonyms from the platform, keys enrolled and countersigned, consents signed and sent."""

from __future__ import annotations

import base64
import csv
import json
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from crypto.wire.party import MerchantKeyLeaf
from hub.demo.data import Population
from hub.demo.federation import PLATFORM, Federation
from hub.demo.merchants import ConsentPlan, Merchant, make_keys, public_key, sign_all

TRAINING_ONLY_EVERY = 100
"""One merchant in so many consents to training alone; its score must be refused."""
PLATFORM_ONLY_EVERY = 77
"""One merchant in so many names the platform alone as recipient; its own bank must be refused."""
PLATFORM_TOO_EVERY = 4
"""One merchant in so many lets the platform ask as well as its bank."""
_BATCH = 20_000
_CHUNKS_UNDER_WAY = 4


@dataclass(frozen=True)
class Signed:
    """A merchant with the consent that it signed."""

    merchant: Merchant
    record_id: str
    plan: ConsentPlan


def pseudonymise(federation: Federation, populations: list[Population]) -> dict[str, bytes]:
    """The platform's agent turns its merchants' identifiers into pseudonyms; returns id → pseudonym."""
    folder = federation.folder(PLATFORM.party_id)
    listed, made = folder / "merchants.csv", folder / "pseudonyms.json"
    with listed.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id"])
        writer.writerows([merchant_id] for population in populations for merchant_id in population.ids)
    federation.node_command(PLATFORM.party_id, "merchants", "pseudonyms", "--ids", str(listed), "--out", str(made))
    found = json.loads(made.read_text(encoding="utf-8"))
    return {merchant_id: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) for merchant_id, text in found.items()}


def merchants_of(population: Population, pseudonyms: dict[str, bytes]) -> list[Merchant]:
    """Each merchant with a fresh key of its own."""
    keys = make_keys(len(population.ids))
    return [
        Merchant(merchant_id, pseudonyms[merchant_id], key, population.sources(row))
        for row, (merchant_id, key) in enumerate(zip(population.ids, keys, strict=True))
    ]


def enrol_keys(federation: Federation, merchants: list[Merchant], progress: Callable[[int], None]) -> None:
    """The platform batches keys; each merchant's bank countersigns for its own customers; the platform submits."""
    by_bank: dict[str, list[Merchant]] = defaultdict(list)
    for merchant in merchants:
        by_bank[merchant.sources["bank"]].append(merchant)
    parts = [
        (bank, start, customers[start : start + _BATCH])
        for bank, customers in by_bank.items()
        for start in range(0, len(customers), _BATCH)
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for done in pool.map(lambda part: _enrol_batch(federation, *part), parts):
            progress(done)


def _enrol_batch(federation: Federation, bank: str, start: int, part: list[Merchant]) -> int:
    """One batch: drafted by the platform, countersigned by the bank, submitted by the platform."""
    platform, stem = federation.folder(PLATFORM.party_id), f"{bank}-{start}"
    keys, batch = platform / f"{stem}.keys.ndjson", platform / f"{stem}.batch.json"
    signed = federation.folder(bank) / f"{stem}.signed.json"
    leaves = (MerchantKeyLeaf(pseudonym=each.pseudonym, jwk=public_key(each)) for each in part)
    keys.write_text("".join(leaf.model_dump_json() + "\n" for leaf in leaves), encoding="utf-8")
    drafted = ("--keys", str(keys), "--countersigner", bank, "--out", str(batch))
    federation.node_command(PLATFORM.party_id, "merchants", "batch", *drafted)
    federation.node_command(bank, "merchants", "countersign", "--batch", str(batch), "--out", str(signed))
    federation.node_command(PLATFORM.party_id, "merchants", "submit", "--batch", str(signed))
    return len(part)


def plans_of(merchants: list[Merchant], *, recipients: bool) -> list[ConsentPlan]:
    """What each merchant signs: training and scoring, one in four for the platform too; a few sign less."""
    plans: list[ConsentPlan] = []
    for place, merchant in enumerate(merchants):
        bank = merchant.sources["bank"]
        if not recipients or place % TRAINING_ONLY_EVERY == TRAINING_ONLY_EVERY - 1:
            plans.append(ConsentPlan(merchant, ("model-training",), (bank,)))
        elif place % PLATFORM_ONLY_EVERY == PLATFORM_ONLY_EVERY - 1:
            plans.append(ConsentPlan(merchant, ("credit-scoring", "model-training"), (PLATFORM.party_id,)))
        else:
            others = (PLATFORM.party_id,) if place % PLATFORM_TOO_EVERY == 0 else ()
            plans.append(ConsentPlan(merchant, ("credit-scoring", "model-training"), (bank, *others)))
    return plans


def scorable_by_own_bank(signed: list[Signed]) -> frozenset[str]:
    """Ids of merchants whose consent lets their own bank have a score."""
    return frozenset(
        each.merchant.merchant_id
        for each in signed
        if "credit-scoring" in each.plan.purposes and each.merchant.sources["bank"] in each.plan.recipients
    )


def submit_consents(federation: Federation, plans: list[ConsentPlan], progress: Callable[[int], None]) -> list[Signed]:
    """Sign every consent with its merchant's key and bring it to the hub."""
    done: list[Signed] = []

    def send(chunk: list[tuple[str, str]]) -> list[tuple[str, str]]:
        federation.post("/v1/consents", {"tokens": [token for _, token in chunk]})
        return chunk

    def keep(sent: Future[list[tuple[str, str]]]) -> None:
        for record_id, _ in sent.result():
            plan = plans[len(done)]
            done.append(Signed(plan.merchant, record_id, plan))
        progress(len(sent.result()))

    with ThreadPoolExecutor(max_workers=2) as pool:
        under_way: deque[Future[list[tuple[str, str]]]] = deque()
        for chunk in sign_all(plans, lambda _: None):
            under_way.append(pool.submit(send, chunk))
            if len(under_way) == _CHUNKS_UNDER_WAY:
                keep(under_way.popleft())
        while under_way:
            keep(under_way.popleft())
    return done


def write_wallet(signed: list[Signed], path: Path) -> None:
    """Keep the synthetic merchants' consents for a look (ids and record ids; keys are not written)."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "consent_id", "purposes", "recipients"])
        for each in signed:
            purposes, recipients = " ".join(each.plan.purposes), " ".join(each.plan.recipients)
            writer.writerow([each.merchant.merchant_id, each.record_id, purposes, recipients])
