"""`digua-hub synthesize`: synthetic merchants for trials, tests and measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from hub import console
from hub.campaign_errors import SynthesisError
from hub.commands.simulate import node_counts


def synthesize(
    merchants: Annotated[int, typer.Option(help="How many. 商户数。")],
    out: Annotated[Path, typer.Option(help="A folder that is not there yet. 新文件夹。")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same merchants. 随机种子。")] = 0,
    form: Annotated[str, typer.Option("--format", help="csv, parquet or sqlite. 格式。")] = "csv",
    nodes: Annotated[
        str, typer.Option(help="A file per node, e.g. bank=12,tax=6,utility=6; one joined table if empty. 各类节点数。")
    ] = "",
    joined: Annotated[bool, typer.Option("--joined", help="One joined table; the default. 一张合并表。")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Write synthetic merchants in the likeness of Lishui's; nobody in them exists. 生成合成商户数据。"""
    from hub.synthesis import SynthesisOptions, synthesise  # noqa: PLC0415  (polars and NumPy are slow to import)
    from hub.synthetic_files import SUFFIXES  # noqa: PLC0415

    if form not in SUFFIXES:
        raise SynthesisError(f"format {form} is unknown", field="format", remedy=f"use one of: {', '.join(SUFFIXES)}")
    if joined and nodes:
        raise SynthesisError("both --joined and --nodes are given", field="nodes", remedy="give one of the two")
    options = SynthesisOptions(merchants=merchants, seed=seed, out=out, form=form, nodes=node_counts(nodes))
    with Progress(console=Console(stderr=True), disable=as_json) as bar:
        task = bar.add_task(console.text("synthetic merchants"), total=merchants)
        done = synthesise(options, lambda made, _: bar.update(task, completed=made))
    if as_json:
        console.show_json(done.manifest)
        return
    console.say("These data are SYNTHETIC: nobody in them exists.")
    rows = [(each["file"], each["kind"], each["rows"], each["bytes"]) for each in done.manifest["tables"]]
    console.show_table("Synthetic tables", ("File", "Kind", "Rows", "Bytes"), rows)
    rate = done.manifest["default_rate"]
    console.say("Default rate of those with an outcome: {rate}", rate="–" if rate is None else f"{rate:.2%}")
