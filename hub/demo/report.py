"""What the demo showed: printed at the end, and kept as `report.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hub.demo.campaigns import Measured
from models.evaluation_result import Estimate, EvaluationResult


@dataclass
class EvaluationReport:
    """A campaign's evaluation stage: what the parties published, and the driver's exact AUC of the same merchants.

    Attributes:
        result: the published result, as the hub serves it: AUC and KS with intervals, calibration, parity.
        auc_exact, counted: of the merchants that the banks counted, from the driver's joined rows.
        within: whether the published interval holds the exact AUC.
    """

    result: EvaluationResult
    auc_exact: float | None
    counted: int
    within: bool

    @classmethod
    def of(cls, result: EvaluationResult, found: Measured) -> EvaluationReport:
        """The published result beside what the driver measured."""
        exact = found.auc_counted
        within = exact is not None and result.auc.low <= exact <= result.auc.high
        return cls(result, exact, found.counted, within)


@dataclass
class CampaignReport:
    """One campaign's figures. AUC and KS are the driver's, which made the files; no party could compute them.

    Attributes:
        epsilon, delta: of the whole campaign, all stages together: its evaluation, on other merchants, composes in
            parallel with them.
    """

    campaign_id: str
    model_id: str
    stages: tuple[str, ...]
    epsilon: float | None
    delta: float | None
    auc: float
    ks: float
    held_out: int
    merchants: int
    seconds: float
    evaluation: EvaluationReport | None = None


@dataclass
class Report:
    """Fields of `report.json`. `auc` and `epsilon` are the cross-source campaign's.

    Attributes:
        explained: party → language → what it told one merchant.
    """

    merchants: int
    data_set: str = "Give Me Some Credit (real borrowers); ids, keys and consents are synthetic"
    auc: float = 0.0
    auc_computed_by: str = "the demo driver, which made the nodes' files; no party holds the joined rows"
    epsilon: float | None = None
    delta: float | None = None
    campaigns: dict[str, CampaignReport] = field(default_factory=dict)
    answered: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    revoked_refused: bool = False
    revocation_seconds: float | None = None
    log_verified: bool = False
    log_entries: int = 0
    queries_reconciled: bool = False
    steps: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_mib: int = 0
    explained: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    url: str = ""
    pages: int = 0

    def write(self, path: Path) -> None:
        """Write `report.json`."""
        found = asdict(self)
        for name, campaign in self.campaigns.items():
            if campaign.evaluation is not None:
                found["campaigns"][name]["evaluation"]["result"] = campaign.evaluation.result.model_dump(mode="json")
        path.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def print_summary(console: Console, report: Report, example: dict[str, object] | None) -> None:
    """The closing summary, in both languages."""
    table = Table(title="地瓜演示 · digua demo", show_header=False)
    for campaign in report.campaigns.values():
        table.add_row(
            f"模型 model: {' + '.join(campaign.stages)}",
            f"AUC {campaign.auc:.4f}, KS {campaign.ks:.3f} ({campaign.held_out:,} held out) · "
            f"ε = {campaign.epsilon}, δ = {campaign.delta} 全部阶段 all stages · {campaign.seconds:.0f} s",
        )
        if campaign.evaluation is not None:
            table.add_row("　隐私评估 private evaluation", _evaluated(campaign.evaluation))
    table.add_row("AUC 由谁计算 computed by", "演示程序（文件由它制作） the demo driver, which made the files")
    table.add_row("已回答的查询 answered queries", str(report.answered))
    refused = ", ".join(f"{code} × {count}" for code, count in sorted(report.refused.items()))
    table.add_row("被节点拒绝 refused by the nodes", refused or "–")
    revoked = "是 yes" if report.revoked_refused else "否 NO"
    table.add_row("撤回后拒绝 refused after revocation", f"{revoked} ({report.revocation_seconds} s)")
    verified = "通过 verified" if report.log_verified else "未通过 NOT verified"
    table.add_row("日志离线验证 log, offline", f"{verified} ({report.log_entries:,} entries)")
    table.add_row("对账 reconciled with nodes", "一致 yes" if report.queries_reconciled else "不一致 NO")
    table.add_row("用时与内存 time, memory", f"{report.seconds:.0f} s, {report.peak_memory_mib} MiB")
    console.print(table)
    for campaign in report.campaigns.values():
        if campaign.evaluation is not None:
            _print_evaluation(console, campaign.evaluation.result)
    if example is not None:
        shown = {key: example[key] for key in ("score", "pd", "band", "reasons", "epsilon") if key in example}
        console.print(Panel(json.dumps(shown, ensure_ascii=False), title="一次评分 one consented score"))
    for lang in ("zh", "en"):
        for party, told in report.explained.items():
            console.print(Panel(Text("\n".join(told[lang])), title=f"评分说明 explained by {party}"))


def _evaluated(found: EvaluationReport) -> str:
    result = found.result
    exact = "–" if found.auc_exact is None else f"{found.auc_exact:.4f}"
    cost = "" if result.epsilon is None else f" · ε = {result.epsilon:.4g}, 与训练并行 in parallel to training"
    return (
        f"AUC {_figure(result.auc)}, KS {_figure(result.ks, 3)}, 95 %; 演示程序的精确值 exact, by the driver: "
        f"{exact} ({found.counted:,} 户 merchants){cost}"
    )


def _print_evaluation(console: Console, result: EvaluationResult) -> None:
    """Calibration and parity, as anyone may read them from the published result."""
    bands = Table(title="校准 calibration: 违约概率 PD, 95 %")
    for title in ("评分 score", "预测 predicted", "观测 observed"):
        bands.add_column(title, justify="right")
    for band in result.bands:
        bands.add_row(f"{band.score_low}–{band.score_high}", f"{band.predicted_pd:.1%}", _share(band.observed))
    console.print(bands)
    for name, groups in result.groups.items():
        table = Table(title=f"分组对比 parity: {name}")
        approved = f"PD < {result.approval_pd:.0%}"
        for title in ("组 group", "商户 merchants", "预测 predicted", "观测 observed", approved, "AUC"):
            table.add_column(title, justify="right")
        for group in groups:
            size = f"{max(group.count_good + group.count_bad, 0):,.0f}"
            auc = "–" if group.auc is None else _figure(group.auc, 3)
            table.add_row(
                group.group, size, _share(group.mean_pd), _share(group.default_rate), _share(group.approved), auc
            )
        console.print(table)


def _figure(of: Estimate, digits: int = 4) -> str:
    if (of.low, of.high) == (0.0, 1.0):
        return "噪声过大 lost in the noise"
    return f"{of.value:.{digits}f} ({of.low:.3f}–{of.high:.3f})"


def _share(of: Estimate | None) -> str:
    return "–" if of is None else f"{of.value:.1%} ({of.low:.1%}–{of.high:.1%})"
