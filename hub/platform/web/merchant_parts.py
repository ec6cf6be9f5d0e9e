"""What the merchant's pages share: who it is, and a look at what it has answered since."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from hub.platform.financing_scores import Borrower
from hub.platform.following import Following
from hub.platform.lending_errors import ConsentMissingError, GatewayError
from hub.platform.merchant_book import MerchantBook
from hub.platform.people import Member
from hub.platform.web.members import of_party
from models.web.rights import Right, Role

Owner = Annotated[Member, of_party(Right.OWN_BUSINESS)]
MERCHANTS = frozenset({Role.MERCHANT.value})


def following_of(request: Request) -> Following:
    """Return what follows merchants' answers."""
    return cast(Following, request.app.state.following)


FollowingOf = Annotated[Following, Depends(following_of)]


def looked(following: Following, owner: Member) -> bool:
    """Look what the merchant has answered; False where the gateway is away, so that what is shown may be older."""
    try:
        following.account(owner.party)
    except (GatewayError, ConsentMissingError):
        return False
    return True


def borrower_of(register: MerchantBook, owner: Member) -> Borrower:
    """The merchant as the gateway knows it; MerchantStateError where its account is closed."""
    with register.db.reading() as session:
        return register.borrower(session, owner.party)
