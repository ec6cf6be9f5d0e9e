"""What the platform's demo showed: printed in both languages, and kept as `report.json`. All of it is synthetic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from hub.platform_demo.statistics import Compared
from models.statistics.words import NAMES, name_of, number, told

SYNTHETIC = "合成数据：商户、银行、贷款均不存在 SYNTHETIC: none of these merchants, banks and loans exists"
LEAST_SHARE = 0.75
"""Of intervals of 95 % that must hold the truth. About 260 figures, many of them of the same noise."""


@dataclass
class WorldReport:
    """A world's report beside its truth.

    Attributes:
        figures: of all merchants, of both classes and of every group.
        within, compared: intervals that hold the truth, of how many.
        refused: why another campaign of the same year was refused; None where none was ordered.
    """

    name: str
    sigma: float
    epsilon: float
    delta: float
    figures: list[Compared]
    within: int
    compared: int
    refused: str | None = None

    @classmethod
    def of(cls, name: str, figures: Sequence[Compared], *, sigma: float, epsilon: float, delta: float) -> WorldReport:
        """Count what holds."""
        found = [each.within for each in figures if each.within is not None]
        return cls(name, sigma, epsilon, delta, list(figures), sum(found), len(found))


@dataclass
class PlatformReport:
    """Fields of `report.json`.

    Attributes:
        load_seconds: merchants, products and financings, with every audit entry.
        subsidy_fen: booked by one accrual to `subsidy_grants` grants.
    """

    data: str = SYNTHETIC
    merchants: int = 0
    financings: int = 0
    audit_entries: int = 0
    load_seconds: float = 0.0
    products: int = 0
    subsidy_grants: int = 0
    subsidy_fen: int = 0
    worlds: list[WorldReport] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    url: str = ""

    @property
    def holds(self) -> bool:
        """Whether all that the demo is to show was shown."""
        near = all(each.within >= LEAST_SHARE * each.compared > 0 for each in self.worlds)
        refused = any(each.refused for each in self.worlds)
        return bool(near and refused and self.financings and self.subsidy_fen > 0)

    def write(self, path: Path) -> None:
        """Write `report.json`."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def print_report(console: Console, report: PlatformReport) -> None:
    """The closing summary, in both languages."""
    console.print(Panel(SYNTHETIC, style="bold yellow"))
    for each in report.worlds:
        _print_world(console, each)
    table = Table(title="两小创业通平台演示（合成数据） · Two Small platform demo (SYNTHETIC)", show_header=False)
    loaded = f"{report.merchants:,} 户 merchants, {report.financings:,} 笔 financings"
    table.add_row("载入 loaded", f"{loaded}, {report.load_seconds:.0f} s")
    table.add_row("审计记录 audit entries", f"{report.audit_entries:,} 校验通过 verified")
    table.add_row("在售产品 products on offer", str(report.products))
    yuan = f"{report.subsidy_fen / 100:,.2f} 元 yuan"
    table.add_row("贴息计提 subsidy accrued", f"{report.subsidy_grants} 笔 grants, {yuan}")
    table.add_row("用时 time", f"{report.seconds:.0f} s")
    console.print(table)


def _print_world(console: Console, world: WorldReport) -> None:
    cost = f"ε = {world.epsilon}, δ = {world.delta:g}, σ = {world.sigma:.1f}"
    table = Table(title=f"{world.name} · 合成数据 SYNTHETIC · {cost}")
    for title in ("指标 figure", "真值 truth", "发布值 published", "95 % 区间 interval", "含真值 holds"):
        table.add_column(title, justify="left" if title.startswith("指标") else "right", overflow="fold")
    for each in world.figures:
        if each.row == "all":
            unit = NAMES[each.figure][1]
            true = "–" if each.true is None else number(each.true, unit)
            holds = "–" if each.within is None else "是 yes" if each.within else "否 no"
            name = f"{name_of(each.figure, 'zh')} {name_of(each.figure, 'en')}"
            table.add_row(name, true, *told(each.published, unit), holds)
    console.print(table)
    every = "全部指标（合计、两类、各县、各地区）中区间含真值 of all figures, by county and area too, intervals hold"
    console.print(f"  {every}: {world.within}/{world.compared} ({world.within / world.compared:.1%})", soft_wrap=True)
    if world.refused:
        console.print(f"  同年再次统计被拒 another campaign this year is refused: {world.refused}", soft_wrap=True)
