"""Looks whether merchants have answered: when one opens its pages, and of all others by and by.

Of each account: consents to offers that were asked for or given (`Prequalification.refresh`), and applications that
wait for a score (`FinancingScores.refresh`). What is due is asked of the gateway in order of accounts, some at a time,
so that neither it nor the database is busy with all of them at once; after the last one it begins anew.
"""

from __future__ import annotations

import structlog

from hub.errors import HubError
from hub.platform.financing_states import State
from hub.platform.lending_errors import GatewayAwayError
from hub.platform.merchant_book import MerchantBook
from hub.platform.merchant_errors import MerchantStateError, MerchantUnknownError
from hub.platform.services import Platform

AT_ONCE = 100
"""Accounts in one round."""
_logger = structlog.get_logger("hub.platform.following")


class Following:
    """Follows what merchants answer.

    Args:
        register: has the identifiers by which the gateway knows them.
    """

    def __init__(self, platform: Platform, register: MerchantBook) -> None:
        self._platform = platform
        self._register = register
        self._after = ""

    def account(self, account_id: str) -> None:
        """Look at one merchant's answers.

        Raises:
            MerchantUnknownError, MerchantStateError: there is no such active account.
            GatewayError: the gateway is away or refused.
        """
        platform = self._platform
        with platform.db.reading() as session:
            borrower = self._register.borrower(session, account_id)
        for allowance in platform.offers.allowances_of(account_id):
            if allowance.state in ("asked", "allowed"):
                platform.offers.refresh(account_id, allowance.bank, borrower.identifier)
        for standing in platform.financings.page(account_id=account_id, state=State.APPLIED):
            platform.scores.refresh(standing.financing.financing_id, borrower)

    def round(self, at_once: int = AT_ONCE) -> int:
        """Look at the next accounts; returns how many.

        A gateway that is away ends the round; the next one goes on there.
        """
        accounts = self._platform.offers.accounts_to_follow(self._after, at_once)
        done = 0
        for each in accounts:
            try:
                self.account(each)
            except GatewayAwayError as error:
                _logger.warning("following-paused", code=error.code, done=done)
                return done
            except (MerchantUnknownError, MerchantStateError):
                pass  # a closed account answers nothing any more
            except HubError as error:
                _logger.info("following-refused", code=error.code)
            self._after = each
            done += 1
        if len(accounts) < at_once:
            self._after = ""
        return done
