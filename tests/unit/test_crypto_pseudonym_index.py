"""Rows by pseudonym, in tables of their own and in shared ones; and parcels that pass bytes on without copying."""

from __future__ import annotations

import numpy as np
import pytest

from crypto.parcel import Parcel, array_fields, array_from_fields, as_array
from crypto.pseudonym_index import PseudonymIndex, SharedRows


def pseudonyms(count: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)
    made[::3, :31] = 0  # alike but for their last byte, which may be zero too
    made[::3, 31] = np.arange(len(made[::3]))
    return made


@pytest.mark.parametrize("count", [0, 1, 200])
def test_rows_are_found_as_a_dictionary_would(count: int) -> None:
    table, strangers = pseudonyms(count), pseudonyms(50, seed=1)[1::3]
    known = {row.tobytes(): number for number, row in enumerate(table)}
    wanted = np.concatenate([table[::-1], strangers])
    due = [known.get(row.tobytes(), -1) for row in wanted]
    assert PseudonymIndex(table).find(wanted).tolist() == due
    order = np.argsort(table.view("V32").ravel())
    ascending = PseudonymIndex(table[order])
    assert [order[row] if row >= 0 else -1 for row in ascending.find(wanted)] == due
    assert PseudonymIndex(table).find(table[:0]).tolist() == []


def test_shared_rows_are_those_of_the_table_alone() -> None:
    everybody = pseudonyms(300)
    index = PseudonymIndex(everybody)
    places = np.random.default_rng(2).choice(300, 80, replace=False)
    wanted = np.concatenate([everybody, pseudonyms(30, seed=3)[1::3]])
    assert np.array_equal(SharedRows(index, places).find(wanted), PseudonymIndex(everybody[places]).find(wanted))
    assert (SharedRows(index, places[:0]).find(wanted) == -1).all()


def test_bytes_travel_as_they_came() -> None:
    box = bytes(range(200))
    parcel = Parcel(arrays={"to.a": as_array(box)})
    assert array_fields(parcel.arrays["to.a"])[2] is box
    assert parcel.blob("to.a") is box
    back = Parcel.of_fields({"attempt": "a", "not a text": 1}, parcel.fields())
    assert (back.texts, back.blob("to.a")) == ({"attempt": "a"}, box)


@pytest.mark.parametrize(
    "array",
    [
        as_array(bytes(range(64)))[::-1],
        as_array(bytes(range(64)))[1:],
        as_array(bytes(range(64))).reshape(8, 8).T,
        as_array(bytes(range(64))).view("<u4").reshape(4, 4),
        np.frombuffer(bytes(range(64)), ">u4"),
        np.arange(6.0).reshape(2, 3),
        np.zeros((0, 32), np.uint8),
    ],
)
def test_whatever_lies_behind_an_array_it_comes_back_equal(array: np.ndarray) -> None:
    assert np.array_equal(array_from_fields(*array_fields(array)), array)
