"""Pages: nothing a page is given becomes markup, languages, addresses that stay here, texts that are all translated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from fastapi.testclient import TestClient
from jinja2 import Environment
from jinja2 import nodes as syntax

from models.i18n import catalogue
from models.web.formats import TONES, coded, moment, significant
from models.web.pages import NavItem, Pages
from tests.gallery import create_gallery

ROOT = Path(__file__).parents[2]
HOSTILE = """<script>alert("x")</script>'><img src=x onerror=alert(1)> {lang} {{ 7 * 7 }} &amp; javascript:alert(1)"""
HTML = {"accept": "text/html,application/xhtml+xml"}
TEMPLATES = sorted(
    path
    for package in ("models", "hub", "hub/platform", "nodes")
    for path in (ROOT / package / "web" / "templates").rglob("*.j2")
)


class Seen(HTMLParser):
    """Tags and attributes of a page, and whether all that was opened was closed."""

    VOID = frozenset({"meta", "link", "img", "input", "br", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def shape(word: str, path: str = "/gallery") -> Seen:
    with TestClient(create_gallery(word)) as client:
        answer = client.get(path, headers=HTML)
    return Seen(answer.text)


def test_hostile_text_in_every_part_stays_text() -> None:
    tame, hostile = shape("tame, and too long for a short identifier"), shape(HOSTILE)
    assert hostile.tags == tame.tags
    assert [(tag, name) for tag, name, _ in hostile.attributes] == [(tag, name) for tag, name, _ in tame.attributes]
    assert not hostile.open
    assert sum(HOSTILE in text for text in hostile.texts) > 30
    assert [value for _, name, value in hostile.attributes if name == "content" and "alert" in value] == []


def test_hostile_text_in_a_refusal_stays_text() -> None:
    assert shape(HOSTILE, "/refused").tags == shape("tame", "/refused").tags


@pytest.mark.parametrize("asked", [HOSTILE, '"><script>alert(1)</script>', "日本"])
def test_hostile_queries_of_a_table_stay_text(asked: str) -> None:
    with TestClient(create_gallery("tame")) as client:
        names = ("q", "sort", "dir", "page", "state", "n_sort", "other")
        tame = Seen(client.get("/gallery", params=dict.fromkeys(names, "zzz")).text)
        hostile = Seen(client.get("/gallery", params=dict.fromkeys(names, asked)).text)
    assert hostile.tags == tame.tags
    assert not hostile.open


def test_a_reader_gets_chinese_until_english_is_chosen() -> None:
    with TestClient(create_gallery()) as client:
        assert '<html lang="zh-Hans">' in client.get("/gallery").text
        chosen = client.get("/gallery?q=a%26b&lang=en&page=2", follow_redirects=False)
        assert chosen.status_code == 303
        assert chosen.headers["location"] == "/gallery?q=a%26b&page=2"
        assert "httponly" in chosen.headers["set-cookie"].lower()
        page = client.get("/gallery")
        assert '<html lang="en">' in page.text
        assert page.headers["content-language"] == "en"
        assert '<html lang="en">' in client.get("/gallery?lang=klingon").text
        client.cookies.clear()
        client.cookies.set("digua_lang", "<x>")
        assert '<html lang="zh-Hans">' in client.get("/gallery").text


@pytest.mark.parametrize(
    "path", ["//evil.example/a", "/%5Cevil.example", "///evil.example", "/\\/evil.example", "/%2F%2Fevil.example"]
)
def test_the_choice_of_a_language_leads_nowhere_else(path: str) -> None:
    with TestClient(create_gallery(), base_url="http://hub.example") as client:
        answer = client.get(f"http://hub.example{path}?lang=en", follow_redirects=False)
    assert answer.status_code == 303
    assert re.match(r"/[^/\\]", answer.headers["location"])
    assert answer.next_request is not None
    assert answer.next_request.url.host == "hub.example"


def test_programs_choose_their_language_themselves_and_get_problem_details() -> None:
    with TestClient(create_gallery()) as client:
        assert client.get("/v1/refused?lang=en", headers=HTML).headers["content-type"] == "application/problem+json"
        assert client.get("/refused").headers["content-type"] == "application/problem+json"
        page = client.get("/refused", headers=HTML)
    assert page.status_code == 422
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["retry-after"] == "7"
    assert "签名无效" in page.text
    assert re.search(r"支持编号</dt><dd><code>[0-9a-f]{8}<", page.text)


def test_an_alarm_is_on_every_page_and_refusal() -> None:
    with TestClient(create_gallery("word")) as client:
        for path in ("/gallery", "/refused"):
            assert "Checkpoint word was refused" in client.get(path, headers=HTML).text
    with TestClient(create_gallery("word", alarms=False)) as client:
        assert 'class="alarm"' not in client.get("/gallery", headers=HTML).text


def test_static_files_are_served_and_no_others() -> None:
    with TestClient(create_gallery()) as client:
        assert client.get("/static/web/digua.css").headers["content-type"].startswith("text/css")
        for path in (
            "/static/web/../pages.py",
            "/static/web/%2e%2e/pages.py",
            "/static/web//etc/passwd",
            "/static/web/",
        ):
            assert client.get(path).status_code in (404, 405)


def test_the_navigation_is_that_of_the_role() -> None:
    pages = Pages("models.web")
    pages.nav = [NavItem("b", "/bank/b", frozenset({"owner"}), 2), NavItem("a", "/a", order=1), NavItem("c", "/bank")]
    owner = type("Person", (), {"roles": frozenset({"owner"})})()
    assert [item.text for item in pages.nav_for("/bank/b", owner)] == ["b", "c"]
    assert [item.text for item in pages.nav_for("/a", None)] == ["a"]
    assert [item.text for item in pages.nav_for("/account", owner)] == ["b"]


def literal_texts(path: Path) -> Iterator[str]:
    """Message ids of a template: what is given to `_`, `ngettext` and to the macros that translate."""
    environment = Environment(extensions=[])
    tree = environment.parse(path.read_text(encoding="utf-8"))
    for call in tree.find_all(syntax.Call):
        name = getattr(call.node, "name", None) or getattr(call.node, "attr", None)
        if name in ("figures", "timeline"):
            for pair in call.find_all(syntax.Pair):
                if getattr(pair.key, "value", "") in ("name", "title") and isinstance(pair.value, syntax.Const):
                    yield str(pair.value.value)
        if name == "facts":
            for fact in call.find_all(syntax.Tuple):
                if isinstance(fact.items[0], syntax.Const):
                    yield str(fact.items[0].value)
        taken = {"_": 1, "ngettext": 1, **MACROS}.get(str(name), 0)
        for argument in [*call.args[:taken], *(each.value for each in call.kwargs if each.key in TRANSLATED)]:
            for constant in [argument] if isinstance(argument, syntax.Const) else argument.find_all(syntax.Const):
                if isinstance(constant.value, str) and any(char.isalpha() for char in constant.value):
                    yield constant.value


MACROS = {"badge": 1, "empty": 2, "notice": 1, "submit": 1, "button_link": 1, "plain_table": 2}
TRANSLATED = {"hint", "error", "empty_title", "empty_remedy", "what_to_do", "label"}


def labels(path: Path) -> Iterator[str]:
    """Message ids that macros take at later places."""
    places = {"field": (1,), "tick": (1,), "data_table": (1, 2, 3), "progress": (2,), "confirm": (0, 2)}
    for call in Environment().parse(path.read_text(encoding="utf-8")).find_all(syntax.Call):
        for place in places.get(getattr(call.node, "attr", ""), ()):
            if place < len(call.args):
                argument = call.args[place]
                if isinstance(argument, syntax.Const) and argument.value:
                    yield str(argument.value)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_text_of_a_template_is_translated(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    known = [catalogue(name) for name in dict.fromkeys((package, "models"))]
    texts = {*literal_texts(path), *labels(path)}
    missing = sorted(text for text in texts if not any(each.has("zh", text) for each in known))
    assert not missing, f"without a Chinese text in {package}/locale/zh/LC_MESSAGES/*.po: {missing}"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_template_has_text_outside_the_catalogues_or_anything_inline(path: Path) -> None:
    source = re.sub(r"{% set \w+ %}.*?{% endset %}", "", path.read_text(encoding="utf-8"), flags=re.S)
    source = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", " ", source, flags=re.S)
    assert not re.search(r"<style|\sstyle\s*=|\son[a-z]+\s*=|javascript:", source, re.I)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", source))
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", source)
    bare = re.sub(r"<[^>]*>", " ", source)
    assert set(re.findall(r"[A-Za-z]{3,}|[\u4e00-\u9fff]+", bare)) <= {
        "English",
        "中文",
        "nbsp",
        "middot",
        "gt",
        "lt",
    }, path


def test_the_states_that_have_a_colour_have_a_name_in_chinese() -> None:
    assert [name for name in TONES if not catalogue("models").has("zh", name)] == []


@pytest.mark.parametrize("package", ["hub", "nodes", "models"])
def test_files_of_one_catalogue_agree(package: str) -> None:
    texts: dict[str, tuple[object, str]] = {}
    for file in sorted((ROOT / package / "locale" / "zh" / "LC_MESSAGES").glob("*.po")):
        for message in read_po(file.open("rb"), locale="zh"):
            if message.id:
                said = texts.setdefault(str(message.id), (message.string, file.name))
                assert said[0] == message.string, f"{message.id!r}: {said} and {file.name}: {message.string}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1e-5, "10⁻⁵"), (2.5e-07, "2.5×10⁻⁷"), (12345.6, "12,346"), (-0.5, "−0.5"), (3.0, "3"), (None, "–")],
)
def test_numbers_are_written_for_people(value: float | None, shown: str) -> None:
    assert significant(value) == shown


def test_commands_in_texts_are_code_and_stay_escaped() -> None:
    assert coded("run `digua-hub <x>` & ` <b>") == "run <code>digua-hub &lt;x&gt;</code> &amp; ` &lt;b&gt;"


def test_moments_are_beijing_time() -> None:
    assert moment(0) == '<time datetime="1970-01-01T08:00:00+08:00">1970-01-01 08:00</time>'
    assert moment("2026-03-01T23:30:00Z", True).endswith(">2026-03-02 07:30:00</time>")
    assert moment(None) == "–"
