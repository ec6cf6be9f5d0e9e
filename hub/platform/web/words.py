"""What the platform's pages say of codes and figures: money in yuan, rates in per cent, places by name, states.

Names are message ids; the Chinese ones are in the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from hub.platform.merchants import Facts, Fault, Industries
from models.said import Said, said
from models.web.listing import State
from models.web.pages import Pages

KINDS: Mapping[str, str] = {"supermarket": "Small supermarket", "inn": "Small inn"}
ID_TYPES: Mapping[str, str] = {
    "uscc": "Unified social credit code (business licence)",
    "resident-id": "Resident identity number (owner)",
}
INDUSTRIES: Mapping[str, str] = {
    "5212": "Supermarkets",
    "5213": "Convenience stores",
    "5219": "Other general retail",
    "6121": "Economy hotels",
    "6129": "Other hostels",
    "6130": "Homestays",
    "6190": "Other lodging",
}
COUNTIES: Mapping[str, str] = {
    "331102": "Liandu",
    "331121": "Qingtian",
    "331122": "Jinyun",
    "331123": "Suichang",
    "331124": "Songyang",
    "331125": "Yunhe",
    "331126": "Qingyuan",
    "331127": "Jingning",
    "331181": "Longquan",
}
"""Lishui's counties and districts, GB/T 2260."""
PROVINCES: Mapping[str, str] = {
    "110000": "Beijing",
    "120000": "Tianjin",
    "130000": "Hebei",
    "140000": "Shanxi",
    "150000": "Inner Mongolia",
    "210000": "Liaoning",
    "220000": "Jilin",
    "230000": "Heilongjiang",
    "310000": "Shanghai",
    "320000": "Jiangsu",
    "330000": "Zhejiang",
    "340000": "Anhui",
    "350000": "Fujian",
    "360000": "Jiangxi",
    "370000": "Shandong",
    "410000": "Henan",
    "420000": "Hubei",
    "430000": "Hunan",
    "440000": "Guangdong",
    "450000": "Guangxi",
    "460000": "Hainan",
    "500000": "Chongqing",
    "510000": "Sichuan",
    "520000": "Guizhou",
    "530000": "Yunnan",
    "540000": "Tibet",
    "610000": "Shaanxi",
    "620000": "Gansu",
    "630000": "Qinghai",
    "640000": "Ningxia",
    "650000": "Xinjiang",
}
"""The mainland's provinces, GB/T 2260."""
FACTS: Mapping[str, str] = {
    "kind": "Kind",
    "name": "Name as on the licence",
    "industry": "Industry (GB/T 4754)",
    "origin": "Home county in Lishui",
    "place": "Place of business",
    "state": "State",
}
WHO: Mapping[str, str] = {
    "merchant": "by the merchant",
    "bank": "by the bank",
    "operator": "by the platform's operator",
    "government": "by the programme office",
    "platform": "by the platform",
    "regulator": "by the regulator",
}
ACCOUNTS: Mapping[str, State] = {
    "active": State("account open", "good"),
    "closed": State("account closed", "neutral"),
    "merged": State("account merged", "neutral"),
}
ALLOWANCES: Mapping[str, State] = {
    "never": State("may not look", "neutral"),
    "asked": State("waits for your signature", "warn"),
    "allowed": State("may look", "good"),
    "ended": State("consent ended", "neutral"),
    "stopped": State("stopped by you", "neutral"),
}
OFFERS: Mapping[str, State] = {
    "open": State("offer open", "info"),
    "accepted": State("offer accepted", "good"),
    "declined": State("offer declined", "neutral"),
    "stopped": State("offer stopped", "neutral"),
    "expired": State("offer expired", "neutral"),
}
FINANCINGS: Mapping[str, State] = {
    "applied": State("applied for", "info"),
    "scored": State("scored, with the bank", "info"),
    "offered": State("offered by the bank", "info"),
    "contracted": State("contract signed", "good"),
    "disbursed": State("paid out", "good"),
    "closed": State("paid back", "good"),
    "defaulted": State("in default", "bad"),
    "withdrawn": State("application withdrawn", "neutral"),
    "refused": State("refused by the bank", "bad"),
    "expired": State("application expired", "neutral"),
}
COVERS: Mapping[str, str] = {
    "property": "Property",
    "public-liability": "Public liability",
    "employees": "Employees",
    "accident": "Accident",
    "interruption": "Interruption of business",
}
POLICY_COVERED = State("in force", "good")
POLICY_OVER = State("run out", "neutral")
POLICY_ENDS: Mapping[str, State] = {
    "cancelled": State("cancelled", "neutral"),
    "lapsed": State("lapsed", "bad"),
    "total-loss": State("ended by a total loss", "neutral"),
}
GRANTS: Mapping[str, State] = {
    "running": State("subsidy runs", "good"),
    "settled": State("subsidy settled", "neutral"),
    "taken-back": State("subsidy taken back", "bad"),
}
GUARANTEES: Mapping[str, str] = {
    "credit": "Unsecured",
    "guarantor": "A guarantor",
    "policy-guarantee": "Policy guarantee",
    "collateral": "Collateral",
    "joint-liability": "Joint liability of several merchants",
}
REPAYMENTS: Mapping[str, str] = {
    "equal-instalments": "Equal instalments",
    "equal-principal": "Equal parts of the principal",
    "interest-then-principal": "Interest monthly, principal at the end",
}
STEPS: Mapping[str, str] = {
    "financing-apply": "Application made",
    "financing-score": "Score received",
    "financing-offer": "Offer made",
    "financing-contract": "Contract signed",
    "financing-disburse": "Money paid out",
    "financing-repay": "Payment received",
    "financing-default": "Default declared",
    "financing-withdraw": "Application withdrawn",
    "financing-refuse": "Application refused",
    "financing-expire": "Application expired",
    "score-ask": "Consent to a score asked for",
    "score-show": "Score looked at",
    "score-delete": "Score deleted",
    "subsidy-grant": "Interest subsidy granted",
    "subsidy-take-back": "Interest subsidy taken back",
}
"""Actions of the audit record on a financing, in words."""
STEP_TONES: Mapping[str, str] = {
    "financing-contract": "good",
    "financing-disburse": "good",
    "financing-repay": "good",
    "subsidy-grant": "good",
    "financing-default": "bad",
    "financing-refuse": "bad",
    "subsidy-take-back": "bad",
}


def yuan(fen: int) -> str:
    """Fen as yuan: two decimals, separators, the sign before all."""
    return f"{'-' if fen < 0 else ''}¥{abs(fen) // 100:,}.{abs(fen) % 100:02d}"


def fen_of(text: str) -> int | None:
    """Yuan as typed, with at most two decimals, as fen; None where it is no positive amount."""
    given = text.replace(",", "").replace("，", "").replace("¥", "").strip()
    whole, _, part = given.partition(".")
    if not whole.isascii() or not whole.isdigit() or len(whole) > 12 or len(part) > 2:
        return None
    if part and not (part.isascii() and part.isdigit()):
        return None
    fen = int(whole) * 100 + int((part + "00")[:2])
    return fen or None


def rate(millionths: int) -> str:
    """A yearly rate as per cent, without zeros at its end beyond two decimals."""
    value = Decimal(millionths) / 10_000
    shown = f"{value:.4f}".rstrip("0")
    whole, _, part = shown.partition(".")
    return f"{whole}.{part.ljust(2, '0')} %"


def percentage(share: Decimal) -> str:
    """A yearly rate as a share, e.g. of a product's terms, as per cent."""
    return rate(int(share * 1_000_000))


def county(code: str) -> Said:
    """A county of Lishui by name; a code that is none as it stands."""
    return said(COUNTIES.get(code, code))


def place(code: str) -> Said:
    """A place of business: its province by name, and the code."""
    name = PROVINCES.get(f"{code[:2]}0000")
    return said(code) if name is None else said("{name} ({code})", name=said(name), code=code)


def industry(code: str) -> Said:
    """A class of GB/T 4754 by name, and its code; one that only the configuration knows by its code alone."""
    return said("{name} ({code})", name=said(INDUSTRIES[code]), code=code) if code in INDUSTRIES else said(code)


def fact(facts: Facts, name: str) -> object:
    """One of a merchant's facts as a cell."""
    value: str = getattr(facts, name)
    shown: dict[str, object] = {
        "kind": said(KINDS.get(value, value)),
        "industry": industry(value),
        "origin": county(value),
        "place": place(value),
    }
    return shown.get(name, value)


def place_options(now: str) -> list[tuple[str, str | Said]]:
    """Every province as an option of a form, after a place within one that is nearer."""
    nearer = [] if now in PROVINCES or not now else [(now, place(now))]
    return [*nearer, *PROVINCES.items()]


def industry_options(industries: Industries, now: str = "") -> list[tuple[str, Said]]:
    """Every eligible class as an option of a form, those of supermarkets first; before them a present one that is none.

    Without that one a browser would choose the first in its place, and nobody would see it.
    """
    eligible = [code for kind in KINDS for code in industries.of(kind)]
    return [(code, industry(code)) for code in [*([now] if now and now not in eligible else []), *eligible]]


def faults_shown(faults: Sequence[Fault]) -> dict[str, Said | str]:
    """What stands beside each field that is wrong; what a check of an identifier found names parts of it."""
    shown: dict[str, Said | str] = {each.field: each.what for each in reversed(faults)}
    if "identifier" in shown:
        shown["identifier"] = said(
            "The identifier does not pass its check digit: compare it with the licence or the identity card."
        )
    return shown


def who(actor: str) -> str:
    """Who did something, by kind: the message id; names of people stay in the record."""
    return WHO.get(actor.partition(":")[0], "by the platform")


def install(pages: Pages) -> None:
    """Let templates say money and rates."""
    pages.environment.filters.update({"yuan": yuan, "rate": rate, "percentage": percentage})
