"""`check-data`: does the owner's table fit the schema, and what is it like, before anything is sent?"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from models.errors import SchemaError
from models.i18n import Language, language_from_env
from models.schema import Schema
from models.schema_file import load_schema
from nodes.checks.sources import place_of
from nodes.commands.setup import ConfigOption
from nodes.config import NodeConfig, load_node_config
from nodes.console import (
    REFUSED,
    JsonOption,
    describe,
    print_error,
    print_json,
    print_table,
    reported,
    say,
    speaking,
)
from nodes.dataset_config import DatasetConfig
from nodes.errors import ConfigError, SourceError
from nodes.frozen_counts import FrozenCounts, KeptCounts
from nodes.own_files import STORE_FILE, open_store, write_private
from nodes.quality import OUTCOMES, WARNINGS, as_plain, assess
from nodes.sources.configured import source_of
from nodes.sources.table import NodeTable


@reported
def check_data(
    config: ConfigOption = Path("node.yaml"),
    schema: Annotated[
        str | None, typer.Option(help="Only tables of this schema: its file, or its name. 只检查该模式。")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the report there as JSON, for its owner alone. 报告文件。")
    ] = None,
    bins: Annotated[bool, typer.Option("--bins", help="Show rows per bin. 显示各分箱行数。")] = False,
    lang: Annotated[Language | None, typer.Option(help="zh or en; by DIGUA_LANG without it. 语言。")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the configured tables and report on their quality; nothing is sent. 检查数据表并报告数据质量（不外传）。"""
    with speaking(lang):
        loaded = load_node_config(config)
        if not loaded.datasets:
            raise ConfigError(
                f"{config} names no datasets",
                field="datasets",
                remedy="add a schema and a table under datasets: csv, parquet or sql",
            )
        chosen = [each for each in loaded.datasets if schema is None or _follows(each, schema)]
        if not chosen:
            raise ConfigError(
                f"no dataset of {config} follows {schema}", field="schema", remedy="name one of its schema files"
            )
        reports = [_report(each, loaded, as_json=as_json, bins=bins) for each in chosen]
        if out is not None:
            write_private(out, json.dumps({"datasets": reports}, ensure_ascii=False, indent=2))
        if as_json:
            print_json({"datasets": reports})
        if any(report["problem"] is not None for report in reports):
            raise typer.Exit(REFUSED)


def _report(dataset: DatasetConfig, config: NodeConfig, *, as_json: bool, bins: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "source": place_of(dataset),
        "schema_file": str(dataset.schema_file),
        "problem": None,
    }
    try:
        schema = load_schema(dataset.schema_file)
        facts |= {"schema": schema.name, "schema_sha256": schema.hash()}
        table = NodeTable.load(source_of(dataset), schema, config.kind)
    except (SourceError, SchemaError, ConfigError) as problem:
        if not as_json:
            print_error(problem)
        return {**facts, "problem": describe(problem)}
    quality = assess(table, schema, config.kind, _last_counts(config, schema))
    facts |= as_plain(quality, schema, config.kind, language_from_env())
    for warned in facts["warnings"]:
        warned["text"] = say(WARNINGS[warned["code"]], **warned["params"])
    if not as_json:
        _print(facts, bins=bins)
    return facts


def _last_counts(config: NodeConfig, schema: Schema) -> KeptCounts | None:
    """What the node froze for its last campaign under the schema; a node without a store has taken part in none."""
    if not (config.data_dir / STORE_FILE).exists():
        return None
    store = open_store(config)
    try:
        return FrozenCounts(store).last(schema.hash())
    finally:
        store.close()


def _follows(dataset: DatasetConfig, wanted: str) -> bool:
    if Path(wanted).absolute() == dataset.schema_file.absolute() or Path(wanted) == dataset.schema_file:
        return True
    try:
        return load_schema(dataset.schema_file).name == wanted
    except SchemaError:
        return False


def _print(report: dict[str, Any], *, bins: bool) -> None:
    title = f"{report['source']} · {report['schema']} · {say('{rows} rows', rows=report['rows'])}"
    columns = (
        "feature",
        "missing",
        "other",
        "outside",
        "largest bin",
        "empty",
        "drift",
    )
    rows = [
        (
            each["name"],
            f"{each['missing_share']:.1%}",
            f"{each['other_share']:.1%}",
            "–" if each["out_of_range"] is None else each["out_of_range"],
            f"{each['largest_bin']}  {each['largest_share']:.1%}",
            f"{each['empty_bins']}/{each['bins']}",
            "–" if each["stability_index"] is None else f"{each['stability_index']:.2f}",
        )
        for each in report["features"]
    ]
    print_table(title, columns, rows)
    total = max(report["rows"], 1)
    if bins:
        for each in report["features"]:
            counts = [(one["bin"], one["rows"], f"{one['rows'] / total:.1%}") for one in each["counts"]]
            print_table(f"{each['name']} · {each['title']}", ("bin", "rows", "share"), counts)
    if report["labels"] is not None:
        labels = report["labels"]
        counts = [(say(name), labels[name], f"{labels[name] / total:.1%}") for name in OUTCOMES]
        print_table(say("labels"), ("outcome", "rows", "share"), counts)
    if report["compared_with"] is None:
        typer.echo(say("this node has accepted no campaign under this schema yet: there is nothing to compare with"))
    else:
        typer.echo(
            say(
                "drift: against the rows frozen for campaign {campaign} on {time}",
                campaign=report["compared_with"]["campaign_id"],
                time=f"{datetime.fromisoformat(report['compared_with']['accepted_at']):%Y-%m-%d %H:%M} UTC",
            )
        )
    for warned in report["warnings"]:
        typer.echo(f"! {warned['text']}")
