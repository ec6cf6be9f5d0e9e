"""The banks' tailored products: what they lend, to whom, on what terms; and why a merchant does not get one.

A product is published in versions that never change; a financing or an offer names the version it was made under.
Pure: `hub.platform.product_book` keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Generic, Literal, Protocol, Self, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from crypto.wire.base import PartyId
from hub.platform.instalments import MAX_MONTHS, MILLION, RepaymentKind

Band: TypeAlias = Literal["A", "B", "C", "D", "E"]
MerchantKind: TypeAlias = Literal["supermarket", "inn"]
Guarantee: TypeAlias = Literal["credit", "guarantor", "policy-guarantee", "collateral", "joint-liability"]
Region = Annotated[str, Field(pattern=r"^[1-9][0-9]{5}$")]
ProductId = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
Fen = Annotated[int, Field(ge=1, le=10**13, strict=True)]
Months = Annotated[int, Field(ge=1, le=MAX_MONTHS, strict=True)]
Rate = Annotated[Decimal, Field(ge=0, le=1, decimal_places=6), AfterValidator(Decimal.normalize)]
"""One spelling of one rate: ``0.0480`` is ``0.048``, so that a file sent again makes no new version."""
Text = Annotated[str, Field(min_length=1, max_length=400)]
Unmet: TypeAlias = Literal[
    "kind-not-eligible",
    "origin-not-eligible",
    "place-not-eligible",
    "band-not-eligible",
    "amount-out-of-range",
    "term-out-of-range",
    "rate-out-of-range",
    "not-on-offer",
]
T = TypeVar("T", int, Decimal)


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Span(_Closed, Generic[T]):
    """From `least` to `most`, both included."""

    least: T
    most: T

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise ValueError("most: must not be below least")
        return self

    def holds(self, value: T) -> bool:
        """Whether a value lies within."""
        return self.least <= value <= self.most


class Bilingual(_Closed):
    """One text in both languages."""

    zh: Text
    en: Text


class MerchantRule(_Closed):
    """Who may have a product.

    Attributes:
        kinds: small supermarkets, small inns, or both.
        origins: GB/T 2260 codes of counties where merchants come from; none named means all.
        places: GB/T 2260 codes of provinces (``330000``), prefectures (``331100``) or counties of business; likewise.
        bands: of the consented score.
    """

    kinds: Annotated[tuple[MerchantKind, ...], Field(min_length=1)]
    origins: tuple[Region, ...] = ()
    places: tuple[Region, ...] = ()
    bands: Annotated[tuple[Band, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _no_duplicates(self) -> Self:
        for name in ("kinds", "origins", "places", "bands"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name}: has a duplicate")
        return self


class ProductTerms(_Closed):
    """A product as a bank publishes it.

    Attributes:
        product_id: the bank's own name of it, the same for all versions.
        amount_fen: what is lent, in fen.
        annual_rate: as a decimal string of at most six places, e.g. ``"0.0435"``.
        on_offer_from, on_offer_until: civil dates in Asia/Shanghai, both included; without an end until replaced.
    """

    product_id: ProductId
    bank: PartyId
    title: Bilingual
    summary: Bilingual
    amount_fen: Span[Fen]
    term_months: Span[Months]
    annual_rate: Span[Rate]
    guarantee: Guarantee
    repayment: RepaymentKind
    rule: MerchantRule
    on_offer_from: date
    on_offer_until: date | None = None

    @model_validator(mode="after")
    def _lasting(self) -> Self:
        if self.on_offer_until is not None and self.on_offer_until < self.on_offer_from:
            raise ValueError("on_offer_until: must not lie before on_offer_from")
        return self

    def on_offer(self, day: date) -> bool:
        """Whether it may be applied for on a day."""
        return self.on_offer_from <= day and (self.on_offer_until is None or day <= self.on_offer_until)


class ProductFile(_Closed):
    """A YAML or JSON file of products, to be imported as a whole or not at all."""

    products: Annotated[tuple[ProductTerms, ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [(each.bank, each.product_id) for each in self.products]
        if len(set(names)) != len(names):
            raise ValueError("products: one stands in the file twice")
        return self


@dataclass(frozen=True)
class Published:
    """A version of a product, as it stays."""

    version: int
    terms: ProductTerms
    sha256: str
    """Of the terms' canonical form."""


class Applicant(Protocol):
    """What a product's rule asks of a merchant besides its band."""

    @property
    def kind(self) -> str:
        """``supermarket`` or ``inn``."""

    @property
    def origin(self) -> str:
        """GB/T 2260 code of the county that it comes from."""

    @property
    def place(self) -> str:
        """GB/T 2260 code of its place of business."""


def unmet_by(rule: MerchantRule, applicant: Applicant, band: Band | None) -> tuple[Unmet, ...]:
    """Return every condition of the rule that a merchant does not meet; none if it meets them all.

    Args:
        band: of its consented score; the condition is left out where there is no score yet.
    """
    found: list[Unmet] = []
    if applicant.kind not in rule.kinds:
        found.append("kind-not-eligible")
    if rule.origins and applicant.origin not in rule.origins:
        found.append("origin-not-eligible")
    if rule.places and not any(lies_in(applicant.place, each) for each in rule.places):
        found.append("place-not-eligible")
    if band is not None and band not in rule.bands:
        found.append("band-not-eligible")
    return tuple(found)


def unmet_terms(
    terms: ProductTerms,
    *,
    amount_fen: int,
    term_months: int,
    on: date,
    annual_rate: int | None = None,
) -> tuple[Unmet, ...]:
    """Return what of an application or an offer lies outside the product; nothing if it fits.

    Args:
        on: the day of the application.
        annual_rate: of an offer, in millionths.
    """
    found: list[Unmet] = []
    if not terms.amount_fen.holds(amount_fen):
        found.append("amount-out-of-range")
    if not terms.term_months.holds(term_months):
        found.append("term-out-of-range")
    if annual_rate is not None and not terms.annual_rate.holds(Decimal(annual_rate) / MILLION):
        found.append("rate-out-of-range")
    if not terms.on_offer(on):
        found.append("not-on-offer")
    return tuple(found)


def lies_in(place: str, region: str) -> bool:
    """Whether a GB/T 2260 code is a region's own or one below it: zeros at its end stand for all of it."""
    for length, rest in ((2, "0000"), (4, "00")):
        if region.endswith(rest):
            return place[:length] == region[:length]
    return place == region
