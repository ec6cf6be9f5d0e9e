"""Any federation, with noise off, opens to the table of the joined data, integer for integer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.blocks import Blocks
from crypto.errors import RangeError
from crypto.keys import BoxKey
from crypto.layout import KindBlocks, TableLayout
from crypto.manifest import check_slices
from crypto.modular import matmul_transpose_mod32
from crypto.secure_sum import mask_vector, open_sum, witness_term
from tests.core_federation import joined_table, make_cohort, masked_terms

widths = st.lists(st.integers(2, 4), min_size=1, max_size=3).map(tuple)


@st.composite
def cohorts(draw):
    names = draw(st.permutations(["bank", "tax", "utility", "customs"]))[: draw(st.integers(1, 4))]
    label = draw(st.sampled_from(names))
    layout = TableLayout(tuple(KindBlocks(name, draw(widths)) for name in names), label)
    nodes = [draw(st.integers(1, 3)) for _ in names]
    if sum(nodes) < 2:
        nodes[0] += 1
    return make_cohort(
        layout,
        nodes,
        draw(st.integers(1, 60)),
        seed=draw(st.integers(0, 2**32 - 1)),
        missing=draw(st.sampled_from([0.0, 0.3, 1.0])),
        unlabelled=draw(st.sampled_from([0.0, 0.3, 1.0])),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cohorts(), st.data())
def test_the_opened_vector_is_the_joined_table_in_whatever_blocks(cohort, data):
    check_slices(cohort.slices, cohort.roster, label_kind=cohort.layout.label_kind)
    size = len(cohort.pseudonyms)
    terms = masked_terms(cohort, blocks=Blocks(size, data.draw(st.integers(1, size), label="rows of a block")))
    assert np.array_equal(open_sum(terms), joined_table(cohort))
    for left_out in range(len(terms)):
        with pytest.raises(RangeError):
            open_sum(terms[:left_out] + terms[left_out + 1 :], bound=len(cohort.pseudonyms))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 40),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(["u1", "u4"]),
    st.sampled_from(["u1", "u4"]),
    st.integers(0, 2**32 - 1),
)
def test_products_equal_python_integers(n, p, q, type_a, type_b, seed):
    rng = np.random.default_rng(seed)
    A = rng.integers(0, np.iinfo(type_a).max, (n, p), dtype=type_a, endpoint=True)
    B = rng.integers(0, np.iinfo(type_b).max, (n, q), dtype=type_b, endpoint=True)
    want = [[sum(int(A[r, i]) * int(B[r, j]) for r in range(n)) % 2**32 for j in range(q)] for i in range(p)]
    assert matmul_transpose_mod32(A, B).tolist() == want


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 6), st.integers(0, 20), st.sampled_from([32, 64]), st.integers(0, 2**32 - 1))
def test_sums_open_exactly_for_any_number_of_nodes(nodes, n, width, seed):
    rng = np.random.default_rng(seed)
    bound = (1 << (width - 1)) - 1
    limit = bound // (2 * nodes)
    boxes = {f"node-{i}": BoxKey.from_bytes(rng.bytes(32)) for i in range(nodes)}
    witness = BoxKey.from_bytes(rng.bytes(32))
    public = {node: box.public for node, box in boxes.items()}
    context = {"h": rng.bytes(32), "attempt": "c/1", "width": width}
    values = {node: rng.integers(-limit, limit, n) for node in boxes}
    noise = {node: rng.integers(-limit, limit, n) for node in boxes}
    terms = [
        mask_vector(
            values[me],
            noise[me],
            me=me,
            box=box,
            peers={p: k for p, k in public.items() if p != me},
            witness_public=witness.public,
            bound=bound,
            **context,
        )
        for me, box in boxes.items()
    ]
    terms.append(witness_term(None, box=witness, nodes=public, n=n, **context))
    assert np.array_equal(open_sum(terms, bound=bound), sum(values.values()) + sum(noise.values()))
