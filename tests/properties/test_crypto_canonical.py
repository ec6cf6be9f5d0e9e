"""The quick way to canonical JSON gives the library's bytes, for everything that JSON can hold."""

from __future__ import annotations

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from crypto.canonical import canonical_bytes
from crypto.errors import CanonicalFormError

texts = st.text(st.characters(codec="utf-8"), max_size=12)
leaves = (
    st.none()
    | st.booleans()
    | texts
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**53) + 1, 2**53 - 1)
)
names = texts | st.sampled_from(["a", "A", "b", "\x7f", "é", "\ufb33", "\U0001f600", '"', "\\", "\n", ""])
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=20
)
unlikely = st.sampled_from(["\ud800", 2**53, -(2**53), 2**64, float("nan"), float("inf")])


@given(values)
def test_equal_to_the_library(value: object) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(values, unlikely)
def test_refused_wherever_it_stands(value: object, wrong: object) -> None:
    for holder in ([value, wrong], {"x": {"y": [wrong]}}):
        with pytest.raises(CanonicalFormError):
            canonical_bytes(holder)  # type: ignore[arg-type]
