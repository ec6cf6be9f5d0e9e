"""Products and their reach."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from hub.errors import ForbiddenError
from hub.platform.api.dependencies import CallerOf, ChangeOf, PlatformOf, takes
from hub.platform.products import ProductFile, ProductTerms, Published
from hub.platform.reach import ReachTable

router = APIRouter(prefix="/v1", tags=["products"])


class PublishedOut(BaseModel):
    """A version of a product."""

    version: int
    sha256: str
    terms: ProductTerms


class PublishedList(BaseModel):
    """Versions of products."""

    products: list[PublishedOut]


class ReachOut(BaseModel):
    """How many merchants a product would reach, with its 95 % interval; see `hub.platform.reach`."""

    merchants: int
    low: int
    high: int
    unsegmented: list[str]
    source: str
    model_id: str


class ReachTaken(BaseModel):
    """The number of the table that was taken over."""

    number: int


@router.post("/products", status_code=201, openapi_extra=takes(ProductFile), response_model=PublishedList)
def publish(change: ChangeOf) -> Response:
    """Publish products of the calling bank: those that differ from their newest version get the next one."""
    bank = change.caller.one_of("bank")
    file = change.parsed(ProductFile)
    for number, each in enumerate(file.products):
        if each.bank != bank.party:
            raise ForbiddenError(
                f"{bank.party} cannot publish a product of {each.bank}.",
                field=f"products.{number}.bank",
                remedy="Publish products of your own.",
            )
    published = change.platform.products.publish_in
    return change.once(
        lambda session: PublishedList(products=list(map(_out, published(session, bank.actor, file.products)))),
        status=201,
    )


@router.get("/products")
def list_products(
    platform: PlatformOf, _caller: CallerOf, bank: str | None = None, on_offer: bool = False
) -> PublishedList:
    """List the newest version of every product, or of those on offer today."""
    today = platform.lending.today() if on_offer else None
    return PublishedList(products=[_out(each) for each in platform.products.newest(bank=bank, on=today)])


@router.get("/products/{bank}/{product_id}")
def list_versions(platform: PlatformOf, _caller: CallerOf, bank: str, product_id: str) -> PublishedList:
    """List every version of a product, the oldest first."""
    return PublishedList(products=[_out(each) for each in platform.products.versions(bank, product_id)])


@router.get("/products/{bank}/{product_id}/reach")
def read_reach(
    platform: PlatformOf,
    _caller: CallerOf,
    bank: str,
    product_id: str,
    version: Annotated[int | None, Query(ge=1)] = None,
) -> ReachOut:
    """Tell how many merchants would meet a product's rule, by the newest published table of noisy counts."""
    found = platform.products.reach(platform.products.version(bank, product_id, version).terms)
    return ReachOut(
        merchants=found.merchants,
        low=found.low,
        high=found.high,
        unsegmented=list(found.unsegmented),
        source=found.source,
        model_id=found.model_id,
    )


@router.post("/reach-tables", status_code=201, openapi_extra=takes(ReachTable), response_model=ReachTaken)
def take_reach_table(change: ChangeOf) -> Response:
    """Take over a published table of counts by band; reach is told by the newest."""
    caller = change.caller.one_of("operator", "government")
    table, products = change.parsed(ReachTable), change.platform.products
    return change.once(
        lambda session: ReachTaken(number=products.take_reach_table_in(session, caller.actor, table)), status=201
    )


def _out(published: Published) -> PublishedOut:
    return PublishedOut(version=published.version, sha256=published.sha256, terms=published.terms)
