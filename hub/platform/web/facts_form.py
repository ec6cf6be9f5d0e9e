"""A form that changes a merchant's facts: what was typed is kept, or stands in it again with what is wrong.

Two people who change one account at a time do not overwrite each other: a form counts for the version that its reader
saw. Where that is no longer the newest, their changes are put on the account as it is now, to be looked at once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fastapi import Request

from hub.platform.errors import PlatformError
from hub.platform.merchant_book import MerchantBook
from hub.platform.merchant_errors import MerchantChangedError
from hub.platform.merchants import Facts, Merchant, changed_apart, faults_in
from hub.platform.web import words
from models.said import Said, said
from models.web.pages import Pages
from models.web.problems import PageProblem, problem_of


@dataclass(frozen=True)
class FactsForm:
    """What stands in the form.

    Attributes:
        version: of the account that its reader has seen with it.
        wrong: what stands beside fields.
        status: of the answer.
    """

    given: Facts
    version: int
    wrong: Mapping[str, Said | str] = field(default_factory=dict)
    problem: PageProblem | None = None
    status: int = 200


def form_of(merchant: Merchant) -> FactsForm:
    """The form of an account as it is."""
    return FactsForm(merchant.facts, merchant.version)


def keep_facts(
    request: Request, pages: Pages, register: MerchantBook, actor: str, account_id: str, sent: FactsForm
) -> FactsForm | None:
    """Change an account as a form says, once all of it holds.

    Returns:
        None where it is done; else the form as it is to be shown again.

    Raises:
        MerchantUnknownError: there is no such account.
    """
    faults = faults_in(sent.given, register.industries)
    if faults:
        # The version stays the one that was read: what others changed since shows once the rest is right.
        return replace(sent, wrong=words.faults_shown(faults), status=422)
    try:
        with register.db.session() as session:
            register.change_in(session, actor, account_id, sent.given, version=sent.version)
    except MerchantChangedError as refused:
        return _on_what_is_now(register, account_id, sent, problem_of(pages, request, refused))
    except PlatformError as refused:
        return replace(sent, problem=problem_of(pages, request, refused), status=refused.status)
    return None


def _on_what_is_now(register: MerchantBook, account_id: str, sent: FactsForm, problem: PageProblem) -> FactsForm:
    past = [each.merchant for each in register.history(account_id)]
    now = past[-1]
    # Of a version that never was nothing can be told apart: the form is that of the account as it is.
    read = next((each.facts for each in past if each.version == sent.version), sent.given)
    both, facts = changed_apart(read, sent.given, now.facts)
    return FactsForm(
        facts,
        now.version,
        {name: said("By now it is: {value}", value=words.fact(now.facts, name)) for name in both},
        replace(
            problem,
            detail="Somebody changed the account after you opened this form. Nothing of yours is kept yet.",
            remedy="The form below has the account as it is now, with your changes in it. Look at it, and keep it.",
            field=None,
        ),
        MerchantChangedError.status,
    )
