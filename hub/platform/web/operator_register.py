"""The operator's desk: the register of merchants. Identifiers stand in bodies of forms alone, and no page shows one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Query, Request, UploadFile
from starlette.responses import RedirectResponse, Response

from hub.platform.api.merchants import RegisterOf
from hub.platform.errors import PlatformError
from hub.platform.merchant_book import MAX_PAGE, MerchantBook
from hub.platform.merchant_errors import MerchantFileError
from hub.platform.merchant_import import MAX_BYTES, Imported, RowFault, import_merchants
from hub.platform.merchants import Merchant
from hub.platform.people import Member
from hub.platform.web import words
from hub.platform.web.members import of_party, people_of
from hub.platform.web.merchant import history_shown
from hub.platform.web.regulator_merchants import account_shown
from models.said import Said, said
from models.web.listing import Cell, Ident, Moment
from models.web.pages import NavItem, Pages, PagesOf
from models.web.problems import problem_of
from models.web.rights import Right, Role

router = APIRouter(prefix="/operator", include_in_schema=False)
Keeper = Annotated[Member, of_party(Right.KEEP_REGISTER)]
KeeperNow = Annotated[Member, of_party(Right.KEEP_REGISTER, fresh=True)]
OPERATORS = frozenset({Role.OPERATOR.value})
NAV = (
    NavItem("Registered merchants", "/operator/merchants", OPERATORS, 20),
    NavItem("Import", "/operator/import", OPERATORS, 30),
)
IMPORT = "/operator/import"
AccountId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,32}$")]
Text = Annotated[str, Form(max_length=512)]
_FAULTS = 500
"""Faults of a file that one page shows; the first ones."""


@router.get("/merchants")
def read_merchants(
    request: Request,
    _member: Keeper,
    register: RegisterOf,
    pages: PagesOf,
    after: Annotated[str, Query(pattern=r"^[0-9a-z]{0,32}$")] = "",
) -> Response:
    """List accounts, up to 500 at a time, with the form that finds one by its identifier."""
    return _list_page(request, pages, register, after=after)


@router.post("/merchants/find")
def find(
    request: Request,
    _member: Keeper,
    register: RegisterOf,
    pages: PagesOf,
    id_type: Text = "",
    identifier: Text = "",
) -> Response:
    """Lead to the account of an identifier."""
    try:
        found = register.find(id_type, identifier)
    except PlatformError as refused:
        return _list_page(request, pages, register, refused=refused)
    return RedirectResponse(f"/operator/merchants/{found.account_id}", 303)


@router.get("/merchants/{account_id}")
def read_merchant(
    request: Request,
    member: Keeper,
    register: RegisterOf,
    pages: PagesOf,
    account_id: AccountId,
    changed: Annotated[str, Query(max_length=8)] = "",
) -> Response:
    """Show an account and its history; the look is written down."""
    return _account_page(request, pages, register, member, account_id, changed=changed == "yes")


@router.post("/merchants/{account_id}/close")
def close(
    request: Request,
    member: KeeperNow,
    register: RegisterOf,
    pages: PagesOf,
    account_id: AccountId,
    version: Annotated[int, Form(ge=1)],
) -> Response:
    """End an account."""
    return _ended(request, member, register, pages, account_id, version, None)


@router.post("/merchants/{account_id}/merge")
def merge(
    request: Request,
    member: KeeperNow,
    register: RegisterOf,
    pages: PagesOf,
    account_id: AccountId,
    version: Annotated[int, Form(ge=1)],
    merged_into: Text = "",
) -> Response:
    """Let another account of the same merchant take the place of one; a name that is left out ends nothing."""
    return _ended(request, member, register, pages, account_id, version, merged_into.strip())


@router.get("/import")
def read_import(request: Request, _member: Keeper, pages: PagesOf) -> Response:
    """Show the form that takes a file of merchants."""
    return _import_page(request, pages)


@router.post("/import")
def import_file(
    request: Request,
    member: Keeper,
    register: RegisterOf,
    pages: PagesOf,
    file: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Register all merchants of a file, or none, with every fault of every row."""
    content = b"" if file is None else file.file.read(MAX_BYTES + 1)
    try:
        done = import_merchants(register, member.actor, content)
    except MerchantFileError as refused:
        return _import_page(request, pages, refused=refused)
    return _import_page(request, pages, done=done)


def _ended(
    request: Request,
    member: Member,
    register: MerchantBook,
    pages: Pages,
    account_id: str,
    version: int,
    merged_into: str | None,
) -> Response:
    try:
        with register.db.session() as session:
            register.close_in(session, member.actor, account_id, version=version, merged_into=merged_into)
    except PlatformError as refused:
        return _account_page(request, pages, register, member, account_id, refused=refused)
    return RedirectResponse(f"/operator/merchants/{account_id}", 303)


def _list_page(
    request: Request, pages: Pages, register: MerchantBook, *, after: str = "", refused: PlatformError | None = None
) -> Response:
    found = register.listed(after=after)
    return pages.render(
        request,
        "operator/merchants.html.j2",
        200 if refused is None else refused.status,
        anew="/operator/merchants",
        rows=[_row(each) for each in found],
        id_types=list(words.ID_TYPES.items()),
        following=found[-1].account_id if len(found) == MAX_PAGE else None,
        first=not after,
        problem=None if refused is None else problem_of(pages, request, refused),
    )


def _account_page(
    request: Request,
    pages: Pages,
    register: MerchantBook,
    member: Member,
    account_id: str,
    *,
    refused: PlatformError | None = None,
    changed: bool = False,
) -> Response:
    merchant, past = register.merchant(account_id), register.history(account_id)
    people_of(request).access.looks.record(member.person, "account", account_id)
    return pages.render(
        request,
        "operator/merchant.html.j2",
        200 if refused is None else refused.status,
        anew=f"/operator/merchants/{account_id}",
        merchant=merchant,
        facts=account_shown(merchant),
        history=history_shown(past),
        people=[each.person.name for each in people_of(request).of_party(account_id)],
        changed=changed,
        problem=None if refused is None else problem_of(pages, request, refused),
    )


def _import_page(
    request: Request, pages: Pages, *, done: Imported | None = None, refused: MerchantFileError | None = None
) -> Response:
    faults: tuple[RowFault, ...] = () if refused is None else refused.faults
    return pages.render(
        request,
        "operator/import.html.j2",
        200 if refused is None else refused.status,
        anew=IMPORT,
        done=done,
        problem=None if refused is None or faults else problem_of(pages, request, refused),
        rows=[(each.line, each.column, _what(each), each.remedy) for each in faults[:_FAULTS]],
        number=len(faults),
    )


def _what(fault: RowFault) -> Said:
    """What is wrong; what a check of an identifier found names parts of it, so it is said in general words."""
    if fault.column == "identifier" and "why" in fault.what.params:
        return said("The identifier does not pass its check digit: compare it with the licence or the identity card.")
    return fault.what


def _row(merchant: Merchant) -> tuple[Cell, ...]:
    facts = merchant.facts
    return (
        Ident(merchant.account_id, f"/operator/merchants/{merchant.account_id}"),
        facts.name,
        words.ACCOUNTS[merchant.state],
        said(words.KINDS.get(facts.kind, facts.kind)),
        words.county(facts.origin),
        words.place(facts.place),
        Moment(merchant.registered_at),
    )
