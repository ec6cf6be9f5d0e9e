"""Somebody at pages that are served, without a browser: opens pages, sends their own forms, signs up."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime

import httpx
import pyotp

from models.web.csrf import FIELD

PASSWORD = "four words in a row"
_SECRET = re.compile(r"<code>([A-Z2-7 ]+)</code>")


class PagePerson:
    """One browser's cookies.

    Args:
        origin: of the pages.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._http = httpx.Client(
            base_url=origin, headers={"accept": "text/html"}, follow_redirects=True, trust_env=False, timeout=60
        )

    def open(self, path: str) -> str:
        """A page's text."""
        answer = self._http.get(path)
        assert answer.is_success, (path, answer.status_code, answer.text[-800:])
        return answer.text

    def send(self, page: str, action: str, **fields: str) -> httpx.Response:
        """Send a form of a page; the page must have it."""
        text = self.open(page)
        assert f'action="{action}"' in text, (page, action, text[-2000:])
        token = within(text, f'name="{FIELD}" value="', '"')
        headers = {"origin": self._origin, "sec-fetch-site": "same-origin"}
        answer = self._http.post(action, data={FIELD: token, **fields}, headers=headers)
        assert answer.is_success, (action, answer.status_code, answer.text[-2000:])
        return answer

    def sign_up(self, link: str) -> None:
        """Choose a password and an authenticator app behind a one-time link."""
        path = link.removeprefix(self._origin)
        secret = _SECRET.search(self.open(path))
        assert secret is not None
        code = pyotp.TOTP(secret[1].replace(" ", "")).at(datetime.now(UTC))
        self.send(path, path, code=code, password=PASSWORD, repeated=PASSWORD)

    def close(self) -> None:
        self._http.close()


def within(text: str, before: str, after: str) -> str:
    """What stands between two marks of a page."""
    _, found, rest = text.partition(before)
    assert found, (before, text[-2000:])
    return html.unescape(rest.partition(after)[0])
