"""Charts of a model card as inline SVG: text stays text, colours are the page's, and the same data give the same bytes.

Imported only where a page is made: matplotlib takes a second to import. Colours are drawn as marks that stand for the
page's own variables, so that a page can be read in the dark and printed on white.
"""

from __future__ import annotations

import io
import re
import threading
import unicodedata
import warnings
from collections.abc import Sequence
from html import escape
from typing import Any, Final, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from models.card_charts import CalibrationChart, Chart, DistributionChart, IntervalsChart, PointsChart, RocChart

INK: Final = "#010101"
MUTED: Final = "#020202"
RULE: Final = "#030303"
ACCENT: Final = "#040404"
BAD: Final = "#050505"
GOOD: Final = "#060606"
_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    ACCENT: "var(--accent)",
    BAD: "var(--bad)",
    GOOD: "var(--good)",
}
_POINT = 72.0
_TEXT = 9.0
_ROW = 22.9
"""As high as a row of the table beside it, at the width that both have on a screen."""
_LEAST_SHARE = 0.001
_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_DRAWING = threading.Lock()
"""matplotlib's settings belong to the whole process."""


def draw(chart: Chart, *, name: str, title: str, text: str) -> str:
    """A chart as an `<svg>` element, to stand inside a page.

    Args:
        chart: its data.
        name: unique in the page; ids begin with it.
        title, text: for those who do not see it.
    """
    settings: dict[str, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": _TEXT,
        "axes.edgecolor": RULE,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "axes.unicode_minus": True,
    }
    out = io.StringIO()
    with _DRAWING, mpl.rc_context(cast(Any, settings)), warnings.catch_warnings():
        # Fonts are the page's; those that matplotlib lacks glyphs of only serve it to guess widths.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = _figure(chart)
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _embedded(out.getvalue(), name, title, text)


def _figure(chart: Chart) -> Figure:
    if isinstance(chart, PointsChart):
        return _points(chart)
    if isinstance(chart, IntervalsChart):
        return _intervals(chart)
    figure, axes = _square() if isinstance(chart, RocChart | CalibrationChart) else _wide()
    if isinstance(chart, RocChart):
        _roc(axes, chart)
    elif isinstance(chart, CalibrationChart):
        _calibration(axes, chart)
    else:
        _distribution(axes, chart)
    return figure


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(340 / _POINT, 320 / _POINT))
    return figure, figure.add_axes((0.15, 0.14, 0.81, 0.82))


def _wide() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(420 / _POINT, 240 / _POINT))
    return figure, figure.add_axes((0.13, 0.18, 0.85, 0.78))


def _roc(axes: Axes, chart: RocChart) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.text(0.62, 0.56, chart.chance, color=MUTED, rotation=0, ha="left", va="top")
    if chart.low:
        axes.fill_between(chart.false, chart.low, chart.high, color=ACCENT, alpha=0.18, linewidth=0)
    axes.plot(chart.false, chart.true, color=ACCENT, linewidth=1.8, solid_capstyle="round")
    axes.set(xlim=(0, 1), ylim=(0, 1.005), xlabel=chart.x, ylabel=chart.y)
    axes.grid(visible=True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def _calibration(axes: Axes, chart: CalibrationChart) -> None:
    # Most merchants have small probabilities, so the axes are logarithmic; what lies below them is drawn at their edge.
    positive = [each for each in (*chart.predicted, *chart.observed, *chart.low) if each > 0]
    floor = max(0.7 * min(positive, default=_LEAST_SHARE), _LEAST_SHARE)
    top = min(1.3 * max(*chart.predicted, *chart.observed, 2 * floor), 1.0)
    axes.plot([floor, top], [floor, top], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    # Near the lower end of the diagonal, to its right: whatever the model, few bands lie there and none above them.
    axes.text(0.16, 0.08, chart.perfect, transform=axes.transAxes, color=MUTED, ha="left", va="bottom")
    observed = [max(each, floor) for each in chart.observed]
    below = [max(o - max(low, floor), 0.0) for o, low in zip(observed, chart.low, strict=True)]
    above = [max(high - o, 0.0) for o, high in zip(observed, chart.high, strict=True)]
    axes.errorbar(
        [max(each, floor) for each in chart.predicted],
        observed,
        yerr=[below, above],
        color=ACCENT,
        ecolor=ACCENT,
        elinewidth=1.1,
        capsize=2.5,
        marker="o",
        markersize=4,
        linestyle="none",
    )
    axes.set(xscale="log", yscale="log", xlim=(floor, top), ylim=(floor, top), xlabel=chart.x, ylabel=chart.y)
    ticks = [each for each in _SHARES if floor <= each <= top]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, labels=[f"{100 * each:g} %" for each in ticks])
        axis.set_ticks([], minor=True)
    axes.grid(visible=True)


def _distribution(axes: Axes, chart: DistributionChart) -> None:
    low, high = chart.edges[:-1], chart.edges[1:]
    # Ends without merchants tell nothing.
    held = [at for at in range(len(low)) if chart.bad[at] > 0 or chart.good[at] > 0] or [0]
    shown = range(held[0], held[-1] + 1)
    edges = [*(low[at] for at in shown), high[shown[-1]]]
    for values, colour, name in ((chart.good, GOOD, chart.good_name), (chart.bad, BAD, chart.bad_name)):
        heights = [values[at] for at in shown]
        axes.stairs(heights, edges, fill=True, color=colour, alpha=0.22, linewidth=0)
        axes.stairs(heights, edges, color=colour, linewidth=1.4, label=name)
    # Room above the highest bar, wherever it is, for the names.
    top = 1.25 * max(max(chart.good[at], chart.bad[at]) for at in shown) or 1.0
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, top), xlabel=chart.x, ylabel=chart.y)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.grid(visible=True, axis="y")
    axes.legend(frameon=False, loc="upper left", ncols=2, handlelength=1.2)


def _points(chart: PointsChart) -> Figure:
    rows = len(chart.labels)
    left = min(max(_width(label) for label in chart.labels) + 12, 190.0)
    wide, high = 340.0, rows * _ROW + 8
    figure = Figure(figsize=(wide / _POINT, high / _POINT))
    axes = figure.add_axes((left / wide, 0.01, (wide - left - 6) / wide, 0.98))
    low, top = min(chart.reach[0], 0), max(chart.reach[1], 0)
    room = 0.16 * max(top - low, 1)  # for the numbers beyond the bars
    colours = [GOOD if points > 0 else BAD for points in chart.points]
    axes.barh(range(rows), chart.points, height=0.66, color=colours, alpha=0.85, linewidth=0)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for row, points in enumerate(chart.points):
        number = f"{points:+d}".replace("-", "−") if points else "0"
        axes.annotate(
            number,
            (points, row),
            xytext=(3 if points >= 0 else -3, 0),
            textcoords="offset points",
            ha="left" if points >= 0 else "right",
            va="center_baseline",
            fontsize=_TEXT - 1,
        )
    axes.set(xlim=(low - room, top + room), ylim=(rows - 0.4, -0.6))
    axes.set_yticks(range(rows), labels=[_shortened(label, left - 12) for label in chart.labels])
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    for side in ("bottom", "left"):
        axes.spines[side].set_visible(False)
    return figure


def _intervals(chart: IntervalsChart) -> Figure:
    rows = len(chart.labels)
    left = min(max(_width(label) for label in chart.labels) + 12, 190.0)
    wide, high = 420.0, rows * _ROW + 34
    figure = Figure(figsize=(wide / _POINT, high / _POINT))
    axes = figure.add_axes((left / wide, 26 / high, (wide - left - 18) / wide, 1 - 32 / high))
    below = [value - low for value, low in zip(chart.values, chart.low, strict=True)]
    above = [top - value for value, top in zip(chart.values, chart.high, strict=True)]
    axes.errorbar(
        chart.values,
        range(rows),
        xerr=[below, above],
        color=ACCENT,
        ecolor=ACCENT,
        elinewidth=1.4,
        capsize=3,
        marker="o",
        markersize=4.5,
        linestyle="none",
    )
    axes.set(xlim=(0, 1.06 * max(chart.high) or 1.0), ylim=(rows - 0.4, -0.6))
    axes.set_yticks(range(rows), labels=[_shortened(label, left - 12) for label in chart.labels])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    digits = 0 if max(chart.high) > 0.2 else 1
    axes.xaxis.set_major_formatter(
        PercentFormatter(1.0, decimals=digits, symbol=" %") if chart.percent else StrMethodFormatter("{x:,.0f}")
    )
    axes.grid(visible=True, axis="x")
    axes.tick_params(axis="y", length=0)
    return figure


def _width(text: str) -> float:
    """Width in points as a page will set it, about: Chinese is as wide as high, Latin half that."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return _TEXT * (wide + 0.56 * (len(text) - wide))


def _shortened(text: str, room: float) -> str:
    while _width(text) > room and len(text) > 4:
        text = f"{text[:-2].rstrip('…')}…"
    return text


def _embedded(svg: str, name: str, title: str, text: str) -> str:
    """The element alone, with texts for screen readers, the page's fonts and colours, and no ids but those needed."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)
    for mark, variable in _VARIABLES.items():
        body = body.replace(mark, variable)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body))
    kept = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", body)
    for each in _longest_first(used):
        kept = re.sub(rf'(url\(#|href="#| id="){re.escape(each)}(?=[)"])', rf"\g<1>{name}-{each}", kept)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', kept)
    shape = f'viewBox="0 0 {size[1]} {size[2]}" style="max-width: {size[1]}pt"' if size is not None else ""
    opening = (
        f'<svg {shape} role="img" aria-labelledby="{name}-title {name}-text" xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink"><title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-text">{escape(text)}</desc>'
    )
    return re.sub(r"<svg[^>]*>", lambda _: opening, kept, count=1).strip()


def _longest_first(names: set[str]) -> Sequence[str]:
    return sorted(names, key=lambda each: (-len(each), each))
