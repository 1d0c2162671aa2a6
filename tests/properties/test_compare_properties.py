from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.compare import holm, mcnemar_exact, median_interval, overlap, paired, tango, wilson

small = settings(max_examples=60, deadline=None)


@st.composite
def paired_table(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 300))
    b = draw(st.integers(0, n))
    return b, draw(st.integers(0, n - b)), n


@small
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_contains_the_share_and_is_symmetric(case: tuple[int, int]) -> None:
    k, n = case
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    mirrored = wilson(n - k, n)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high), abs=1e-12)


@small
@given(paired_table())
def test_swapping_the_sides_flips_the_sign(case: tuple[int, int, int]) -> None:
    b, c, n = case
    low, high = tango(b, c, n)
    assert -1 <= low <= (c - b) / n + 1e-9
    assert (c - b) / n - 1e-9 <= high <= 1
    swapped = tango(c, b, n)
    assert (-swapped.high, -swapped.low) == pytest.approx((low, high), abs=1e-8)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)
    assert 0 <= mcnemar_exact(b, c) <= 1


@small
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_tables_of_problems_sum_to_n(rows: list[tuple[bool, bool, bool]]) -> None:
    cells = overlap(rows)
    assert len(cells) == 8
    assert sum(cells.values()) == len(rows)
    for cell, count in cells.items():
        assert count == rows.count(cell)
    result = paired([r[0] for r in rows], [r[1] for r in rows])
    assert result.both + result.lost + result.gained + result.neither == result.n == len(rows)
    assert result.difference == pytest.approx(result.variant_mean - result.reference_mean, abs=1e-12)


@small
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    ranked = [a for _, a in sorted(zip(p_values, adjusted, strict=True))]
    assert ranked == sorted(ranked)


@small
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_median_interval_stays_inside_the_values(values: list[float]) -> None:
    interval = median_interval(values)
    assert interval is not None
    assert min(values) <= interval.low <= interval.high <= max(values)
    assert interval == median_interval(np.array(values)[::-1])
