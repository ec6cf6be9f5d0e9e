"""`digua-hub demo`: the main job on real data, every party a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub import console


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for all parties' files and report.json. 输出目录。")] = Path(
        "out/demo"
    ),
    merchants: Annotated[int, typer.Option(min=2000, max=100_000, help="Cross-source merchants. 商户数。")] = 28_000,
    exit_: Annotated[
        bool, typer.Option("--exit", help="End after the summary instead of staying up. 完成后退出。")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the draw of rows; keys and noise never depend on it.")] = 0,
    platform: Annotated[
        bool, typer.Option("--platform", help="The Two Small platform and its statistics. 两小创业通平台及政策统计。")
    ] = False,
) -> None:
    """Watch the main job: train under differential privacy, score with consent, verify the log. 运行演示。"""
    if platform:
        _refuse_for_platform(context, "merchants", "seed")
        from hub.platform_demo.driver import PlatformDemo  # noqa: PLC0415

        if not PlatformDemo(out.resolve(), stay=not exit_).run().holds:
            raise typer.Exit(1)
        return
    from hub.demo.driver import Demo  # noqa: PLC0415  (polars and scikit-learn are slow to import)

    report = Demo(out.resolve(), merchants, stay=not exit_, seed=seed).run()
    if not (report.log_verified and report.revoked_refused and report.queries_reconciled and report.answered):
        raise typer.Exit(1)


def _refuse_for_platform(context: typer.Context, *options: str) -> None:
    """End as a wrong usage where an option was named that the platform's demo would leave aside in silence."""
    for name in options:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            from hub.demo.errors import DemoUsageError  # noqa: PLC0415

            said = (
                "{option} has no use with --platform: its worlds say how many merchants they have, and by which seed."
            )
            remedy = "Leave it out; `digua-hub platform load-world FILE` loads a world of your own."
            option = f"--{name}"
            console.show_error(
                DemoUsageError(console.text(said, option=option), field=option, remedy=console.text(remedy))
            )
            raise typer.Exit(2)
