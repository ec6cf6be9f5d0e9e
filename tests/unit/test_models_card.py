"""The model card: one content, two forms, two languages; pages that stand alone, say all in words and never vary."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from models.artefact import EncoderEntry, MetricsEntry, ModelArtefact, PrivacyEntry
from models.card import card_of, model_card, model_page
from models.card_charts import CalibrationChart, PointsChart, RocChart
from models.card_content import CardFacts, Figure, Release
from models.card_plots import INK, draw
from models.card_sections import DIRECTIONS, STATE_NAMES, STATES
from models.i18n import LANGUAGES, catalogue
from models.scorecard import BANDS, band_of, points_range
from tests.card_world import CREATED, CardWorld

ROOT = Path(__file__).parents[2]
VOID = {"meta", "link", "br", "hr", "img"}


@pytest.fixture(scope="module")
def world() -> CardWorld:
    return CardWorld()


@pytest.fixture(scope="module")
def artefact(world: CardWorld) -> ModelArtefact:
    return world.artefact


@pytest.fixture(scope="module")
def pages(world: CardWorld) -> dict[str, str]:
    return {lang: model_page(world.facts(), lang) for lang in LANGUAGES}


class Page(HTMLParser):
    """Elements, ids, references and visible text of a page; raises where elements do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.texts.append(data.strip())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize(("lang", "words"), [("en", ["merchant", "Limits"]), ("zh", ["每位商户", "局限", "缺失"])])
def test_the_card_states_epsilon_first_and_every_point(artefact: ModelArtefact, lang: str, words: list[str]) -> None:
    metrics = MetricsEntry(computed_by="witness", on="held-out merchants", values={"AUC": 0.8512345})
    text = model_card(CardFacts(artefact, metrics=(metrics,)), lang)
    lines = [line for line in text.splitlines() if line]
    assert "ε = 3" in lines[1]
    assert {"en": "- AUC: 0.8512", "zh": "- AUC：0.8512"}[lang] in lines
    assert artefact.model_id in text
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) >= sum(len(entry.points) for entry in artefact.card().features)
    for word in words:
        assert word in text


def test_the_chinese_card_has_no_english_sentence_left(world: CardWorld) -> None:
    english = set(model_card(world.facts(), "en").splitlines())
    shared = {line for line in model_card(world.facts(), "zh").splitlines() if line in english}
    assert not [line for line in shared if len([w for w in line.split() if w.isascii() and w.isalpha()]) > 3]


def test_every_text_of_the_card_is_translated() -> None:
    texts, found = catalogue("models"), {*STATES.values(), *STATE_NAMES.values(), *DIRECTIONS.values()}
    for file in sorted((ROOT / "models").glob("card*.py")):
        found |= set(said(file))
    for template in (ROOT / "models" / "templates").glob("*.j2"):
        found |= set(re.findall(r'say\("([^"]+)"\)', template.read_text(encoding="utf-8")))
    assert len(found) > 100
    assert [text for text in sorted(found) if not texts.has("zh", text)] == []
    assert all(placed(texts.translate("zh", text)) == placed(text) for text in found)


def said(file: Path) -> Iterator[str]:
    """Literals that a module hands to its voice."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            named = isinstance(node.func, ast.Attribute) and node.func.attr == "named"
            if named or getattr(node.func, "id", "") == "say":
                yield str(node.args[0].value)


def placed(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_the_card_says_what_a_score_means(artefact: ModelArtefact) -> None:
    text, card = model_card(CardFacts(artefact), "en"), artefact.card()
    names = {f"| {band} |" for band in BANDS}
    bands = {line.split(" | ")[0][2:]: line.split(" | ")[2][:-2] for line in text.splitlines() if line[:5] in names}
    low, high = points_range(card.features, card.absent)
    reached = [score for band in "EDCBA" if bands[band] != "–" for score in map(int, bands[band].split(" – "))]
    assert (reached[0], reached[-1]) == (card.base + low, card.base + high)
    assert reached == sorted(reached)
    for band, scores in bands.items():
        if scores != "–":
            assert {str(each) for each in band_of(card.pd_of(np.array(scores.split(" – "), dtype=int)))} == {band}
    assert f"| 600 | {100 * float(card.pd_of(600)):.2f} % |" in text.splitlines()


@pytest.mark.parametrize(("lang", "words"), [("en", "table of points"), ("zh", "没有分值表")])
def test_the_card_of_an_encoder_states_epsilon_and_what_it_reads(
    world: CardWorld, artefact: ModelArtefact, lang: str, words: str
) -> None:
    entry = EncoderEntry.of("bank", "{}", np.zeros((3, 4)), (-2.0, 0.0))
    without = {"model_type": "encoder", "scorecard": None, "table_digest": None, "encoder": entry}
    model = ModelArtefact(**{**dict(artefact), **without})
    text = model_card(CardFacts(model), lang)
    assert "ε = 3" in text.splitlines()[2]
    assert words in text
    assert artefact.schema_of().features("bank")[0].spec.title.text(lang) in text
    assert "12" in text
    assert "WoE" not in text
    Page(model_page(world.facts(), lang))


def test_a_card_without_noise_says_so(artefact: ModelArtefact) -> None:
    plain = dict(artefact.privacy) | {
        "noise": "off",
        "epsilon": None,
        "delta": None,
        "epsilon_replace_one": None,
        "mu": None,
        "mechanisms": (),
    }
    model = ModelArtefact(**{**dict(artefact), "privacy": PrivacyEntry(**plain)})
    assert "No privacy" in model_card(CardFacts(model), "en").splitlines()[2]
    assert "Not evaluated yet." in model_card(CardFacts(model), "en")
    assert 'class="lead warning"' in model_page(CardFacts(model), "en")


def test_the_card_tells_private_figures_from_exact_ones(world: CardWorld) -> None:
    text = model_card(world.facts(), "en")
    result = world.evaluation()
    private = text[text.index("### Private evaluation") : text.index("### Exact figures")]
    assert f"{result.auc.value:.4f} ({result.auc.low:.3f} – {result.auc.high:.3f})" in private
    assert "σ = 6" in private
    assert "only a simulation can do this" in text[text.index("### Exact figures") :]
    assert f"- AUC: {result.auc.value:.4f}" in text.splitlines()[7]
    assert "private evaluation" in text.splitlines()[7]
    alone = model_card(world.facts(evaluation=None, exact=None), "en")
    assert "Not evaluated yet." in alone


def test_the_card_says_where_the_model_stands(world: CardWorld) -> None:
    release = Release("withdrawn", "cross-source", 2, False, signed_at=CREATED, witness="w-1", reason="a | <b>bin</b>")
    facts = world.facts(release=release)
    text = model_card(facts, "en")
    assert text.startswith("# Model card: cross-source · version 2\n")
    assert "State: withdrawn: nodes no longer answer with it" in text
    assert "Why withdrawn: a | <b>bin</b>" in text
    assert "&lt;b&gt;bin&lt;/b&gt;" in model_page(facts, "en")
    assert "(the current one)" in model_card(world.facts(), "en")


def test_both_forms_say_the_same(world: CardWorld, pages: dict[str, str]) -> None:
    for lang, page in pages.items():
        shown = set(Page(page).texts)
        for section in card_of(world.facts(), lang).sections:
            assert section.heading in shown
            for block in section.blocks:
                table = block.table if isinstance(block, Figure) else block
                if table.block == "table":
                    assert {cell for row in table.rows for cell in row if cell} <= shown


def test_pages_stand_alone(pages: dict[str, str]) -> None:
    for lang, text in pages.items():
        page = Page(text)
        assert page.of("html")[0]["lang"] == {"zh": "zh-Hans", "en": "en"}[lang]
        assert not page.of("script")
        assert not page.of("img") + page.of("link") + page.of("iframe") + page.of("object")
        assert "url(http" not in text
        assert "@import" not in text
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
        for _, attributes in page.elements:
            assert "src" not in attributes
            for name in ("href", "xlink:href"):
                assert attributes.get(name) is None or str(attributes[name]).startswith("#")
        policy = [meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
        assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_pages_hold_together(pages: dict[str, str]) -> None:
    for text in pages.values():
        page = Page(text)
        ids = [str(attributes["id"]) for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        referred = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", text))
        referred |= {each for _, a in page.elements for each in str(a.get("aria-labelledby") or "").split()}
        assert referred <= set(ids)
        charts = page.of("svg")
        assert len(charts) == len(page.of("figure")) >= 15
        assert all(chart["role"] == "img" and chart["aria-labelledby"] for chart in charts)
        assert text.count("</title>") == len(charts) + 1


def test_charts_take_the_page_s_colours_and_fonts(pages: dict[str, str]) -> None:
    for text in pages.values():
        drawn = text[text.index("<svg") :]
        assert not re.search(r"#0[1-6]0[1-6]0[1-6]", drawn)
        assert "font-family" not in drawn
        assert "var(--accent)" in drawn
        assert "<metadata" not in drawn
    assert INK not in pages["en"]


def test_the_same_facts_give_the_same_bytes(world: CardWorld, pages: dict[str, str]) -> None:
    assert model_page(world.facts(), "zh") == pages["zh"]
    assert model_card(world.facts(), "zh") == model_card(world.facts(), "zh")
    script = "from tests.card_world import CardWorld; from models.card import model_page; import hashlib; "
    script += "print(hashlib.sha256(model_page(CardWorld().facts(), 'zh').encode()).hexdigest())"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(pages["zh"].encode()).hexdigest()


def test_nothing_draws_before_a_page_is_asked_for() -> None:
    script = "import sys, models.card, hub.cli, hub.simulation_run; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_charts_of_odd_data_are_drawn_without_a_word() -> None:
    charts = [
        RocChart((0.0, 1.0), (0.0, 1.0), (), (), "x", "y", "c"),
        CalibrationChart((0.0, 0.5), (0.0, 1.0), (0.0, 0.4), (0.0, 1.0), "x", "y", "完美"),
        CalibrationChart((0.00001,), (0.0,), (0.0,), (0.0,), "x", "y", "c"),
        PointsChart(("≤ 1", "非常长的分箱名称" * 8, "<&>"), (0, -3, 12), (-3, 12)),
        PointsChart(("a",), (0,), (0, 0)),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [draw(chart, name=f"c{at}", title="a <b>", text="&") for at, chart in enumerate(charts)]
    for svg in drawn:
        assert svg.startswith("<svg viewBox=")
        assert "a &lt;b&gt;" in svg
        assert "NaN" not in svg
        assert "inf" not in svg
    assert "+12" in drawn[3]
    assert "−3" in drawn[3]
    assert "…" in drawn[3]
    assert "&lt;&amp;&gt;" in drawn[3]
