from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from crypto.layout import KindBlocks, TableLayout
from models.codes import ABSENT, DEFAULTED
from models.errors import DataError
from models.tables import cells, from_codes, from_vector, joined_codes
from tests.credit_world import FEATURES, draw_cohort


@pytest.fixture(scope="module")
def cohort():
    return draw_cohort(600, seed=3, absent={"tax": 0.3, "utility": 0.2}, unlabelled=0.1)


def test_counts_equal_a_count_by_hand(cohort) -> None:
    table = cohort.table()
    joined = joined_codes(FEATURES, cohort.codes, 600)
    bad = cohort.outcomes == DEFAULTED
    for f, feature in enumerate(FEATURES):
        for b in range(feature.width):
            here = joined[:, f] == b
            assert table.classes[f][b].tolist() == [(here & bad).sum(), (here & ~bad).sum()]
    for f, g in combinations(range(len(FEATURES)), 2):
        for a in range(FEATURES[f].width):
            for b in range(FEATURES[g].width):
                assert table.pairs[(f, g)][a, b] == ((joined[:, f] == a) & (joined[:, g] == b)).sum()
    tax, utility = cohort.codes["tax"][:, 0] != ABSENT, cohort.codes["utility"][:, 0] != ABSENT
    assert table.kind_totals == {"bank": 600, "tax": tax.sum(), "utility": utility.sum()}
    assert table.pair_totals[("tax", "utility")] == (tax & utility).sum()


def test_the_vector_has_the_order_of_the_protocol(cohort) -> None:
    table = cohort.table()
    kinds = tuple(
        KindBlocks(kind, tuple(f.width for f in FEATURES if f.kind == kind)) for kind in ("bank", "tax", "utility")
    )
    layout = TableLayout(kinds, "bank")
    vector = table.to_vector()
    assert len(vector) == cells(FEATURES) == layout.n_class_cells + layout.n_pair_cells
    classes, pairs = layout.split(vector)
    for ours, theirs in zip(table.classes, classes, strict=True):
        assert np.array_equal(ours, theirs)
    assert all(np.array_equal(table.pairs[pair], pairs[pair]) for pair in table.pairs)
    assert set(pairs) == set(table.pairs)


def test_vector_and_table_round_trip(cohort) -> None:
    table = cohort.table()
    again = from_vector(
        table.to_vector(),
        FEATURES,
        cohort_size=600,
        kind_totals=table.kind_totals,
        pair_totals=table.pair_totals,
        sigma_class=0.0,
        sigma_pair=0.0,
    )
    assert again.digest() == table.digest()


def test_the_digest_covers_every_cell_and_the_public_numbers(cohort) -> None:
    table = cohort.table()
    vector = table.to_vector()
    seen = {table.digest()}
    known = {"cohort_size": 600, "kind_totals": table.kind_totals, "pair_totals": table.pair_totals}
    for place in (0, len(vector) // 2, len(vector) - 1):
        other = vector.copy()
        other[place] += 0.5  # the grid of tables with little noise
        seen.add(from_vector(other, FEATURES, **known, sigma_class=0.0, sigma_pair=0.0).digest())
    seen.add(from_vector(vector, FEATURES, **known, sigma_class=1.0, sigma_pair=0.0).digest())
    seen.add(cohort.table(labelled=500).digest())
    assert len(seen) == 6


def test_minus_one_is_read_as_absent(cohort) -> None:
    signed = {kind: codes.astype(np.int16) for kind, codes in cohort.codes.items()}
    for codes in signed.values():
        codes[codes == ABSENT] = -1
    assert from_codes(FEATURES, signed, cohort.outcomes).digest() == cohort.table().digest()


def test_rows_that_do_not_fit_are_refused(cohort) -> None:
    def altered(row: int, column: int, code: int) -> dict[str, np.ndarray]:
        codes = {kind: block.copy() for kind, block in cohort.codes.items()}
        codes["bank"][row, column] = code
        return codes

    for codes in (altered(7, 0, 5), altered(7, 1, ABSENT)):
        with pytest.raises(DataError, match="row 7"):
            from_codes(FEATURES, codes, cohort.outcomes)
    with pytest.raises(DataError, match="no codes of kind tax"):
        from_codes(FEATURES, {"bank": cohort.codes["bank"]}, cohort.outcomes)
    with pytest.raises(DataError, match="shape"):
        from_codes(FEATURES, {**cohort.codes, "tax": cohort.codes["tax"][:, :2]}, cohort.outcomes)


def test_a_vector_of_another_layout_is_refused(cohort) -> None:
    table = cohort.table()
    known = {"sigma_class": 0.0, "sigma_pair": 0.0, "cohort_size": 600}
    with pytest.raises(DataError, match="cells"):
        from_vector(
            table.to_vector()[:-1], FEATURES, kind_totals=table.kind_totals, pair_totals=table.pair_totals, **known
        )
    with pytest.raises(DataError, match="bank–utility"):
        from_vector(
            table.to_vector(),
            FEATURES,
            kind_totals=table.kind_totals,
            pair_totals={("bank", "tax"): 1, ("tax", "utility"): 1},
            **known,
        )
    with pytest.raises(DataError, match="larger than the cohort"):
        from_vector(
            table.to_vector(),
            FEATURES,
            kind_totals={**table.kind_totals, "tax": 601},
            pair_totals=table.pair_totals,
            **known,
        )
