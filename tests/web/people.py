"""People at the pages: signed up with a one-time link, a password and an authenticator app, as they do it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pyotp
from playwright.sync_api import Page, expect

from models.web.access import Access
from models.web.rights import Role
from tests.web.harness import Reader

PASSWORD = "four words in a row"


def signed_up(
    reader: Reader, access: Access, name: str, role: Role, *, language: str = "en", width: int = 1280
) -> Page:
    """Open a browser in which a new person of this role has just signed up; the page is the one they come to."""
    token = access.people.add(name, (role,))
    page = reader.open(f"/signup/{token}", language=language, width=width)
    secret = re.sub(r"\s", "", page.locator("form details code").text_content() or "")
    page.locator("input[name=code]").fill(pyotp.TOTP(secret).at(datetime.now(UTC)))
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("input[name=repeated]").fill(PASSWORD)
    page.locator("form:has(input[name=repeated]) button[type=submit]").click()
    expect(page.locator("input[name=repeated]")).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_count(0)
    return page
