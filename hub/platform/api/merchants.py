"""The register of merchants: for operators and the programme office, who write, and the regulator, who reads."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.responses import Response

from hub.platform.api.dependencies import CallerOf, ChangeOf, takes
from hub.platform.merchant_book import MAX_PAGE, MerchantBook
from hub.platform.merchants import Facts, Merchant, State

router = APIRouter(prefix="/v1/merchants", tags=["merchants"])
AccountId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,32}$")]
_Text = Annotated[str, Field(max_length=256)]


def register_of(request: Request) -> MerchantBook:
    """Return the register that the application was made with."""
    book: MerchantBook = request.app.state.register
    return book


RegisterOf = Annotated[MerchantBook, Depends(register_of)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class IdentifierIn(_Closed):
    """An identifier: in bodies alone, never in an address."""

    id_type: Literal["uscc", "resident-id"]
    identifier: _Text


class FactsIn(_Closed):
    """Facts of a merchant; see `hub.platform.merchants.Facts`."""

    kind: Literal["supermarket", "inn"]
    name: _Text
    industry: _Text
    origin: _Text
    place: _Text

    def facts(self) -> Facts:
        """As the register takes them."""
        return Facts(self.kind, self.name, self.industry, self.origin, self.place)


class RegistrationIn(IdentifierIn, FactsIn):
    """A merchant to be registered."""


class ChangeIn(FactsIn):
    """All facts as they are to be; `version` is that of the account as it was read."""

    version: Annotated[int, Field(ge=1)]


class CloseIn(_Closed):
    """An account to be ended; `merged_into` takes its place where the merchant has two."""

    version: Annotated[int, Field(ge=1)]
    merged_into: Annotated[str, Field(pattern=r"^[0-9a-z]{1,32}$")] | None = None


class MerchantOut(BaseModel):
    """An account; the identifier is not told."""

    account_id: str
    kind: str
    name: str
    industry: str
    origin: str
    place: str
    state: State
    registered_at: datetime
    version: int
    merged_into: str | None


class MerchantList(BaseModel):
    """Accounts in order of their ids; `next` is the `after` of the next page, or null."""

    merchants: list[MerchantOut]
    next: str | None


class PastOut(BaseModel):
    """An account as it stood after a change, and who made it."""

    at: datetime
    actor: str
    merchant: MerchantOut


class History(BaseModel):
    """The oldest first."""

    versions: list[PastOut]


@router.post("", status_code=201, openapi_extra=takes(RegistrationIn), response_model=MerchantOut)
def register(change: ChangeOf, book: RegisterOf) -> Response:
    """Register a merchant; refused where its identifier has an account already."""
    caller = change.caller.one_of("operator", "government")
    body = change.parsed(RegistrationIn)
    entrant = book.checked(body.id_type, body.identifier, body.facts())
    return change.once(lambda session: _out(book.register_in(session, caller.actor, entrant)), status=201)


@router.post("/find")
def find(body: IdentifierIn, caller: CallerOf, book: RegisterOf) -> MerchantOut:
    """Find the account of an identifier."""
    caller.one_of("operator", "government")
    return _out(book.find(body.id_type, body.identifier))


@router.get("")
def list_merchants(
    caller: CallerOf,
    book: RegisterOf,
    after: Annotated[str, Query(pattern=r"^[0-9a-z]{0,32}$")] = "",
    origin: Annotated[str | None, Query(pattern=r"^[0-9]{6}$")] = None,
    kind: Literal["supermarket", "inn"] | None = None,
) -> MerchantList:
    """List accounts, up to 500 at a time."""
    caller.one_of("operator", "government", "regulator")
    found = book.listed(after=after, origin=origin, kind=kind)
    following = found[-1].account_id if len(found) == MAX_PAGE else None
    return MerchantList(merchants=list(map(_out, found)), next=following)


@router.get("/{account_id}")
def read_merchant(caller: CallerOf, book: RegisterOf, account_id: AccountId) -> MerchantOut:
    """Read an account."""
    caller.one_of("operator", "government", "regulator")
    return _out(book.merchant(account_id))


@router.get("/{account_id}/history")
def read_history(caller: CallerOf, book: RegisterOf, account_id: AccountId) -> History:
    """Read an account as it stood after each change."""
    caller.one_of("operator", "government", "regulator")
    past = book.history(account_id)
    return History(versions=[PastOut(at=each.at, actor=each.actor, merchant=_out(each.merchant)) for each in past])


@router.post("/{account_id}/change", openapi_extra=takes(ChangeIn), response_model=MerchantOut)
def change_merchant(change: ChangeOf, book: RegisterOf, account_id: AccountId) -> Response:
    """Change an account's facts; refused where somebody changed it since it was read."""
    caller = change.caller.one_of("operator", "government")
    body = change.parsed(ChangeIn)

    def made(session: Session) -> MerchantOut:
        return _out(book.change_in(session, caller.actor, account_id, body.facts(), version=body.version))

    return change.once(made)


@router.post("/{account_id}/close", openapi_extra=takes(CloseIn), response_model=MerchantOut)
def close_merchant(change: ChangeOf, book: RegisterOf, account_id: AccountId) -> Response:
    """End an account, or merge it into another of the same merchant."""
    caller = change.caller.one_of("operator", "government")
    body = change.parsed(CloseIn)

    def ended(session: Session) -> MerchantOut:
        return _out(
            book.close_in(session, caller.actor, account_id, version=body.version, merged_into=body.merged_into)
        )

    return change.once(ended)


def _out(merchant: Merchant) -> MerchantOut:
    facts = merchant.facts
    return MerchantOut(
        account_id=merchant.account_id,
        kind=facts.kind,
        name=facts.name,
        industry=facts.industry,
        origin=facts.origin,
        place=facts.place,
        state=merchant.state,
        registered_at=merchant.registered_at,
        version=merchant.version,
        merged_into=merchant.merged_into,
    )
