"""`digua-hub demo`: the main job on real data, every party a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for all parties' files and report.json. 输出目录。")] = Path(
        "out/demo"
    ),
    merchants: Annotated[int, typer.Option(min=2000, max=100_000, help="Cross-source merchants. 商户数。")] = 28_000,
    exit_: Annotated[
        bool, typer.Option("--exit", help="End after the summary instead of staying up. 完成后退出。")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the draw of rows; keys and noise never depend on it.")] = 0,
) -> None:
    """Watch the main job: train under differential privacy, score with consent, verify the log. 运行演示。"""
    from hub.demo.driver import Demo  # noqa: PLC0415  (polars and scikit-learn are slow to import)

    report = Demo(out.resolve(), merchants, stay=not exit_, seed=seed).run()
    if not (report.log_verified and report.revoked_refused and report.queries_reconciled and report.answered):
        raise typer.Exit(1)
