"""The merchant's pages of banks and offers: let a bank look, stop it, accept an offer or decline it."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from hub.platform.api.dependencies import PlatformOf
from hub.platform.api.merchants import RegisterOf
from hub.platform.errors import PlatformError
from hub.platform.lending_errors import NotEligibleError, ProductUnknownError
from hub.platform.people import Member
from hub.platform.prequalification import Allowance, OfferMade
from hub.platform.products import ProductTerms
from hub.platform.services import Platform
from hub.platform.web import words
from hub.platform.web.merchant_parts import MERCHANTS, FollowingOf, Owner, borrower_of, looked
from models.said import Said, said
from models.web.language import language_of_reader
from models.web.pages import NavItem, PagesOf
from models.web.problems import PageProblem, problem_of
from models.web.signin_pages import Text

router = APIRouter(prefix="/merchant", include_in_schema=False)
NAV = (NavItem("Offers", "/merchant/offers", MERCHANTS, 20),)


@dataclass(frozen=True)
class BankLine:
    """A bank with products on offer, and the merchant's word on it."""

    bank: str
    products: int
    word: Allowance | None


@dataclass(frozen=True)
class OfferLine:
    """An offer with the product that it is of."""

    made: OfferMade
    terms: ProductTerms


@dataclass(frozen=True)
class Wrong:
    """What is wrong with the form of one offer, and what was typed."""

    offer_id: str
    amount: str
    term: str
    amount_error: Said | None
    term_error: Said | None


@router.get("/offers")
def read_offers(
    request: Request, owner: Owner, platform: PlatformOf, following: FollowingOf, pages: PagesOf
) -> Response:
    """Show which banks may look, and what they offer."""
    return _page(request, platform, pages, owner, current=looked(following, owner))


@router.post("/banks/{bank}/allow")
def allow(
    request: Request, owner: Owner, platform: PlatformOf, register: RegisterOf, pages: PagesOf, bank: str
) -> Response:
    """Ask for the consent under which a bank's offers are looked for; the merchant signs it on the hub's own page."""
    if all(line.bank != bank for line in _banks(platform, owner.party)):
        raise ProductUnknownError(
            "This bank has nothing on offer.", field="bank", remedy="Choose one of the banks in the list."
        )
    borrower = borrower_of(register, owner)
    try:
        asked = platform.offers.allow(
            owner.party,
            bank,
            borrower.identifier,
            actor=owner.actor,
            id_type=borrower.id_type,
            recipients=(platform.name, bank),
        )
    except PlatformError as error:
        return _page(request, platform, pages, owner, problem=problem_of(pages, request, error))
    return pages.render(
        request,
        "merchant/consent.html.j2",
        anew="/merchant/offers",
        link=asked.allowance.link,
        first=asked.invitation_link,
        back="/merchant/offers",
        title=said("Let {bank} look for offers", bank=bank),
        what="You sign your consent on the hub's own page, with your own key. Read there what it says before you sign.",
    )


@router.post("/banks/{bank}/stop")
def stop(
    request: Request, owner: Owner, platform: PlatformOf, register: RegisterOf, pages: PagesOf, bank: str
) -> Response:
    """End all offers of a bank at once, and lead to the page where the consent itself is revoked."""
    borrower = borrower_of(register, owner)
    link, problem = None, None
    try:
        link = platform.offers.stop(owner.party, bank, borrower.identifier, actor=owner.actor)
    except PlatformError as error:  # it is stopped here before the gateway is asked for the page
        problem = problem_of(pages, request, error)
    return _page(request, platform, pages, owner, problem=problem, revoke=link, stopped=bank)


@router.post("/offers/{offer_id}/decline")
def decline(request: Request, owner: Owner, platform: PlatformOf, pages: PagesOf, offer_id: str) -> Response:
    """Say that an offer is not wanted."""
    try:
        platform.offers.decline(owner.party, offer_id, actor=owner.actor)
    except PlatformError as error:
        return _page(request, platform, pages, owner, problem=problem_of(pages, request, error))
    return RedirectResponse("/merchant/offers", 303)


@router.post("/offers/{offer_id}/accept")
def accept(
    request: Request,
    owner: Owner,
    platform: PlatformOf,
    pages: PagesOf,
    offer_id: str,
    amount: Text = "",
    term: Text = "",
) -> Response:
    """Take an offer with an amount and a term: it becomes an application."""
    line = next((each for each in _offers(platform, owner.party) if each.made.offer_id == offer_id), None)
    amount_fen, months = words.fen_of(amount), int(term) if term.isascii() and term.isdigit() and len(term) < 4 else 0
    if line is not None:
        wrong = _wrong(line.terms, amount_fen or 0, months)
        if any(wrong):
            return _page(request, platform, pages, owner, wrong=Wrong(offer_id, amount, term, *wrong))
    try:
        standing = platform.offers.accept(
            owner.party, offer_id, amount_fen=amount_fen or 0, term_months=months, actor=owner.actor
        )
    except (PlatformError, NotEligibleError) as error:
        return _page(request, platform, pages, owner, problem=problem_of(pages, request, error))
    return RedirectResponse(f"/merchant/financings/{standing.financing.financing_id}", 303)


def _wrong(terms: ProductTerms, amount_fen: int, months: int) -> tuple[Said | None, Said | None]:
    """What is wrong with amount and term."""
    amount = term = None
    if not terms.amount_fen.holds(amount_fen):
        least, most = words.yuan(terms.amount_fen.least), words.yuan(terms.amount_fen.most)
        amount = said("Write an amount from {least} to {most}.", least=least, most=most)
    if not terms.term_months.holds(months):
        least_months, most_months = terms.term_months.least, terms.term_months.most
        term = said("Write a number of months from {least} to {most}.", least=least_months, most=most_months)
    return amount, term


def _banks(platform: Platform, account_id: str) -> list[BankLine]:
    counts: dict[str, int] = {}
    for each in platform.products.newest(on=platform.lending.today()):
        counts[each.terms.bank] = counts.get(each.terms.bank, 0) + 1
    allowances = {each.bank: each for each in platform.offers.allowances_of(account_id)}
    names = sorted({*counts, *allowances})
    return [BankLine(bank, counts.get(bank, 0), allowances.get(bank)) for bank in names]


def _offers(platform: Platform, account_id: str) -> list[OfferLine]:
    return [
        OfferLine(each, platform.products.version(each.bank, each.product_id, each.product_version).terms)
        for each in platform.offers.offers_to(account_id)
    ]


def _page(
    request: Request,
    platform: Platform,
    pages: PagesOf,
    owner: Member,
    *,
    current: bool = True,
    problem: PageProblem | None = None,
    wrong: Wrong | None = None,
    revoke: str | None = None,
    stopped: str | None = None,
) -> Response:
    offers = _offers(platform, owner.party)
    return pages.render(
        request,
        "merchant/offers.html.j2",
        200 if problem is None and wrong is None else 422,
        anew="/merchant/offers",
        banks=_banks(platform, owner.party),
        offers=[each for each in offers if each.made.state == "open"],
        past=[each for each in offers if each.made.state != "open"],
        tongue=language_of_reader(request),
        allowances=words.ALLOWANCES,
        states=words.OFFERS,
        guarantees=words.GUARANTEES,
        repayments=words.REPAYMENTS,
        current=current,
        problem=problem,
        wrong=wrong,
        revoke=revoke,
        stopped=stopped,
    )
