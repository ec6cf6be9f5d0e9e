"""The parts that pages are made of, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.gallery import create_gallery
from tests.web.harness import WIDTHS, Reader, axe, fits, served, shots


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with served(create_gallery()) as at:
        yield at


def test_every_part_is_accessible_in_both_languages_and_widths(origin: str, reader_of: Callable[[str], Reader]) -> None:
    page = reader_of(origin).open("/gallery")
    shots(page, "gallery/parts")


@pytest.mark.parametrize("width", WIDTHS)
def test_every_part_is_accessible_in_the_dark(origin: str, reader_of: Callable[[str], Reader], width: int) -> None:
    page = reader_of(origin).open("/gallery", scheme="dark", width=width)
    axe(page)
    fits(page)


def test_a_reader_changes_the_language_by_one_click_and_stays_on_the_page(
    origin: str, reader_of: Callable[[str], Reader]
) -> None:
    page = reader_of(origin).open("/gallery?sort=amount&dir=desc&q=1")
    page.get_by_role("link", name="English").click()
    assert page.url == f"{origin}/gallery?sort=amount&dir=desc&q=1"
    assert page.locator("html").get_attribute("lang") == "en"
    page.get_by_role("link", name="中文").click()
    assert page.locator("html").get_attribute("lang") == "zh-Hans"


def test_a_table_is_sorted_filtered_and_paged_without_scripts(origin: str, reader_of: Callable[[str], Reader]) -> None:
    page = reader_of(origin).open("/gallery", language="en", scripts=False)
    table = page.locator("table.data").first
    table.get_by_role("link", name="Number").click()
    assert table.locator("thead th").nth(3).get_attribute("aria-sort") == "descending"
    page.get_by_label("Search").first.fill("Bank 11")
    page.get_by_role("button", name="Filter").first.click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == [f"银行 Bank {n}" for n in (119, 118, 117, 116, 114, 113, 112, 111, 11, 110, 115)]
    page.get_by_role("link", name="Show all").first.click()
    assert "sort=amount" in page.url
    page.get_by_role("link", name="Next").click()
    assert "page=2" in page.url


def test_the_keyboard_reaches_the_content_first(origin: str, reader_of: Callable[[str], Reader]) -> None:
    page = reader_of(origin).open("/gallery", language="en")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_refusal_is_a_page(origin: str, reader_of: Callable[[str], Reader]) -> None:
    page = reader_of(origin).open("/refused", language="en")
    assert page.locator("h1").inner_text() == "Invalid signature"
    shots(page, "gallery/refusal")


def test_a_part_is_renewed_until_it_has_ended(origin: str, reader_of: Callable[[str], Reader]) -> None:
    page = reader_of(origin).open("/live/ends")
    expect(page.locator(".turn")).to_have_text("2")
    expect(page.locator("#live:not([data-live])")).to_be_attached(timeout=60_000)  # read anew as a whole at its end
    expect(page.locator("[data-live-stopped]")).to_be_hidden()


def test_a_part_that_can_no_longer_be_read_says_so(origin: str, reader_of: Callable[[str], Reader]) -> None:
    page = reader_of(origin).open("/live/breaks")
    expect(page.locator("[data-live-stopped]")).to_be_visible(timeout=40_000)
    expect(page.locator(".turn")).to_have_text("1")


def test_a_part_that_nobody_looks_at_keeps_no_session_open(origin: str, reader_of: Callable[[str], Reader]) -> None:
    page = reader_of(origin).open("/gallery")
    page.clock.install()
    page.goto(f"{origin}/live/goes-on")
    page.clock.run_for(1_500)
    expect(page.locator(".turn")).to_have_text("2")
    page.clock.fast_forward(26 * 60 * 1000)
    expect(page.locator("[data-live-stopped]")).to_be_visible()
