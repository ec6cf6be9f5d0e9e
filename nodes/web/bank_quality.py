"""The check of the owner's tables as a job of the page: in a thread of its own, with progress, and its report in words.

The same check as `digua-node check-data`; nothing is sent, and no value of any row is shown.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

import polars as pl
import structlog

from crypto.errors import CryptoError
from models.drift import MOVED, MOVED_MUCH
from models.errors import ModelsError
from models.schema import Schema
from models.schema_file import load_schema
from models.web.problems import PageProblem
from nodes.dataset_config import DatasetConfig
from nodes.errors import NodeError
from nodes.frozen_counts import FrozenCounts
from nodes.quality import OUTCOMES, WARNINGS, DataQuality, as_plain, assess
from nodes.runtime import NodeRuntime
from nodes.sources.base import Source
from nodes.sources.configured import source_of
from nodes.sources.table import NodeTable
from nodes.web.bank_scores import percent
from nodes.web.bank_words import moment, refused_error, say

_LOG = structlog.get_logger("nodes.web.bank_quality")
JobState = Literal["none", "running", "finished"]


@dataclass(frozen=True)
class FeatureLine:
    """One feature; shares as texts, `tone` of the drift by the usual limits of the stability index."""

    name: str
    title: str
    missing: str
    other: str
    outside: int | None
    largest: str
    empty: str
    drift: float | None
    tone: str
    bins: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True)
class DatasetReport:
    """One table: its report, or the problem that keeps it out of campaigns."""

    place: str
    schema: str
    rows: int = 0
    features: tuple[FeatureLine, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()
    default_rate: str = ""
    compared: str = ""
    compared_at: str = ""
    warnings: tuple[str, ...] = ()
    problem: PageProblem | None = None


@dataclass(frozen=True)
class QualitySheet:
    """Where the check stands, and the last report.

    Attributes:
        rows: read so far, while it runs.
        done, total: tables.
        checked_at: when the report that is shown was made; "" where there is none.
    """

    state: JobState
    rows: int
    done: int
    total: int
    checked_at: str
    reports: tuple[DatasetReport, ...]

    def as_json(self) -> dict[str, object]:
        """What the page asks for while the check runs."""
        return {"state": self.state, "rows": self.rows, "done": self.done, "total": self.total}


@dataclass(frozen=True)
class _Checked:
    place: str
    folder: str
    schema: Schema | None
    quality: DataQuality | None
    error: CryptoError | ModelsError | NodeError | None


@dataclass
class _Job:
    total: int
    rows: int = 0
    checked: list[_Checked] = field(default_factory=list)
    ended_at: datetime | None = None


class QualityDesk:
    """Runs one check at a time.

    Args:
        runtime: the node.
    """

    def __init__(self, runtime: NodeRuntime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._running: _Job | None = None
        self._last: _Job | None = None

    def start(self) -> None:
        """Begin a check, unless one runs."""
        with self._lock:
            if self._running is not None:
                return
            job = self._running = _Job(total=len(self._runtime.config.datasets))
        threading.Thread(target=self._work, args=(job,), name="check-data", daemon=True).start()

    def look(self, lang: str) -> QualitySheet:
        """Where the check stands, and the last report in a language."""
        with self._lock:
            running, last = self._running, self._last
        reports = () if last is None else tuple(self._report(each, lang) for each in last.checked)
        at = "" if last is None or last.ended_at is None else moment(last.ended_at)
        now = running or last
        state: JobState = "running" if running is not None else "none" if last is None else "finished"
        if now is None:
            return QualitySheet(state, 0, 0, len(self._runtime.config.datasets), at, reports)
        return QualitySheet(state, now.rows, len(now.checked), now.total, at, reports)

    def _work(self, job: _Job) -> None:
        try:
            for dataset in self._runtime.config.datasets:
                job.checked.append(self._check(dataset, job))
        except Exception:
            _LOG.exception("data-check-failed")
        finally:
            job.ended_at = self._runtime.now()
            with self._lock:
                self._running, self._last = None, job

    def _check(self, dataset: DatasetConfig, job: _Job) -> _Checked:
        place, schema = place_of(dataset), None
        folder = "" if dataset.file is None else f"{dataset.file.parent}/"
        try:
            schema = load_schema(dataset.schema_file)
            source = _Counting(source_of(dataset), job)
            kind = self._runtime.config.kind
            table = NodeTable.load(source, schema, kind)
            before = FrozenCounts(self._runtime.store).last(schema.hash())
            return _Checked(place, folder, schema, assess(table, schema, kind, before), None)
        except (CryptoError, ModelsError, NodeError) as error:
            return _Checked(place, folder, schema, None, error)

    def _report(self, checked: _Checked, lang: str) -> DatasetReport:
        name = "" if checked.schema is None else checked.schema.name
        if checked.schema is None or checked.quality is None:
            problem = None if checked.error is None else refused_error(checked.error, lang)
            if problem is not None and checked.folder:
                problem = replace(problem, detail=problem.detail.replace(checked.folder, ""))
            return DatasetReport(checked.place, name, problem=problem)
        return report_of(checked.place, checked.schema, checked.quality, self._runtime.config.kind, lang)


def report_of(place: str, schema: Schema, quality: DataQuality, kind: str, lang: str) -> DatasetReport:
    """A report in words."""
    plain = as_plain(quality, schema, kind, lang)
    rows = max(quality.rows, 1)
    features = tuple(
        FeatureLine(
            name=each["name"],
            title=each["title"],
            missing=f"{each['missing_share']:.1%}",
            other=f"{each['other_share']:.1%}",
            outside=each["out_of_range"],
            largest=f"{each['largest_bin']} · {each['largest_share']:.1%}",
            empty=f"{each['empty_bins']}/{each['bins']}",
            drift=each["stability_index"],
            tone=drift_tone(each["stability_index"]),
            bins=tuple((one["bin"], one["rows"], f"{one['rows'] / rows:.1%}") for one in each["counts"]),
        )
        for each in plain["features"]
    )
    labels = quality.labels
    return DatasetReport(
        place=place,
        schema=schema.name,
        rows=quality.rows,
        features=features,
        labels=() if labels is None else tuple((say(lang, name), labels[name]) for name in OUTCOMES),
        default_rate="" if quality.default_rate is None else percent(quality.default_rate),
        compared="" if quality.compared is None else quality.compared.campaign_id,
        compared_at="" if quality.compared is None else moment(quality.compared.accepted_at),
        warnings=tuple(say(lang, WARNINGS[each.code], **each.params) for each in quality.warnings()),
    )


def drift_tone(index: float | None) -> str:
    """The tone of a stability index."""
    if index is None:
        return "neutral"
    if index >= MOVED_MUCH:
        return "bad"
    return "warn" if index >= MOVED else "good"


def place_of(dataset: DatasetConfig) -> str:
    """Where a table lies, without folders and accounts."""
    return "SQL" if dataset.file is None else dataset.file.name


class _Counting:
    """A source that says how many rows were read of it."""

    def __init__(self, source: Source, job: _Job) -> None:
        self._source, self._job = source, job

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def first_row(self) -> int:
        return self._source.first_row

    def columns(self) -> tuple[str, ...]:
        return self._source.columns()

    def read_blocks(self, columns: Sequence[str], block_rows: int) -> Iterator[pl.DataFrame]:
        for block in self._source.read_blocks(columns, block_rows):
            yield block
            self._job.rows += block.height
