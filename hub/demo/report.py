"""What the demo showed: printed at the end, and kept as `report.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table


@dataclass
class CampaignReport:
    """One campaign's figures. AUC and KS are the driver's, which made the files; no party could compute them."""

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


@dataclass
class Report:
    """Fields of `report.json`. `auc` and `epsilon` are the cross-source campaign's."""

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
    url: str = ""

    def write(self, path: Path) -> None:
        """Write `report.json`."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def print_summary(console: Console, report: Report, example: dict[str, object] | None) -> None:
    """The closing summary, in both languages."""
    table = Table(title="地瓜演示 · digua demo", show_header=False)
    for campaign in report.campaigns.values():
        table.add_row(
            f"模型 model: {' + '.join(campaign.stages)}",
            f"AUC {campaign.auc:.4f}, KS {campaign.ks:.3f} ({campaign.held_out:,} held out) · "
            f"ε = {campaign.epsilon}, δ = {campaign.delta} · {campaign.seconds:.0f} s",
        )
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
    if example is not None:
        shown = {key: example[key] for key in ("score", "pd", "band", "reasons", "epsilon") if key in example}
        console.print(Panel(json.dumps(shown, ensure_ascii=False), title="一次评分 one consented score"))
