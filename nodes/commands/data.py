"""`check-data`: does the owner's table fit the schema, before anything is sent?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import typer

from models.errors import SchemaError
from models.i18n import language_from_env
from models.schema import Schema
from models.schema_file import load_schema
from nodes.commands.setup import ConfigOption
from nodes.config import DatasetConfig, load_node_config
from nodes.console import REFUSED, JsonOption, describe, print_error, print_json, print_table, reported, say
from nodes.errors import ConfigError, SourceError
from nodes.sources.csv import CsvSource
from nodes.sources.table import NodeTable

OUTCOMES = ("defaulted", "performing", "no label")


@reported
def check_data(config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Check the configured tables against their schemas. 按模式检查数据表。"""
    loaded = load_node_config(config)
    if not loaded.datasets:
        raise ConfigError(
            f"{config} names no datasets", field="datasets", remedy="add a schema and a csv under datasets"
        )
    reports: list[dict[str, Any]] = []
    refused = False
    for dataset in loaded.datasets:
        try:
            report = _report(dataset, loaded.kind)
        except (SourceError, SchemaError) as problem:
            refused = True
            report = {"csv": str(dataset.csv), "schema_file": str(dataset.schema_file), "problem": describe(problem)}
            if not as_json:
                print_error(problem)
        else:
            if not as_json:
                _print(report)
        reports.append(report)
    if as_json:
        print_json({"datasets": reports})
    if refused:
        raise typer.Exit(REFUSED)


def _report(dataset: DatasetConfig, kind: str) -> dict[str, Any]:
    schema = load_schema(dataset.schema_file)
    table = NodeTable.load(CsvSource(dataset.csv), schema, kind)
    rows = len(table.ids)
    labels = None
    if table.outcome is not None:
        counts = np.bincount(table.outcome, minlength=len(OUTCOMES))
        labels = {name: int(count) for name, count in zip(OUTCOMES, counts, strict=True)}
    return {
        "csv": str(dataset.csv),
        "schema_file": str(dataset.schema_file),
        "schema": schema.name,
        "schema_sha256": schema.hash(),
        "rows": rows,
        "features": _features(schema, kind, table),
        "labels": labels,
        "problem": None,
    }


def _features(schema: Schema, kind: str, table: NodeTable) -> list[dict[str, Any]]:
    language = language_from_env()
    found = []
    for index, feature in enumerate(schema.features(kind)):
        counts = np.bincount(table.codes[:, index], minlength=feature.width)
        top = int(counts.argmax())
        labels = feature.spec.bin_labels(language)
        found.append(
            {
                "name": feature.name,
                "bins": feature.width,
                "missing_share": round(float(counts[feature.spec.missing_bin]) / max(len(table.ids), 1), 6),
                "largest_bin": labels[top],
                "largest_share": round(float(counts[top]) / max(len(table.ids), 1), 6),
                "empty_bins": int((counts == 0).sum()),
            }
        )
    return found


def _print(report: dict[str, Any]) -> None:
    title = f"{report['csv']} · {report['schema']} · {say('{rows} rows', rows=report['rows'])}"
    columns = ("feature", "bins", "missing", "largest bin", "its share", "empty bins")
    rows = [
        (
            each["name"],
            each["bins"],
            f"{each['missing_share']:.1%}",
            each["largest_bin"],
            f"{each['largest_share']:.1%}",
            each["empty_bins"],
        )
        for each in report["features"]
    ]
    print_table(title, columns, rows)
    if report["labels"] is not None:
        labels = report["labels"]
        total = max(report["rows"], 1)
        print_table(
            say("labels"), ("outcome", "rows", "share"), [(say(n), c, f"{c / total:.1%}") for n, c in labels.items()]
        )
