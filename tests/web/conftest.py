"""Fixtures of tests of pages: Chromium once a run, and a reader whose faults fail the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.web.harness import Reader, launch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need the browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.web)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser; fails where it is missing."""
    expect.set_options(timeout=30_000)  # services and browser share few cores
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def reader_of(chromium: Browser) -> Iterator[Callable[[str], Reader]]:
    """Makes readers of an application by its origin; what they must not do fails the test at its end."""
    readers: list[Reader] = []

    def make(origin: str) -> Reader:
        readers.append(Reader(chromium, origin))
        return readers[-1]

    yield make
    for each in readers:
        each.close()
