from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import CensoredData, ecdf

from qrm_forensics.compare.incidence import Sample, incidence, incidence_variance
from qrm_forensics.compare.survival import time_to_loop

small = settings(max_examples=60, deadline=None)
# few distinct times, so that ties of every kind occur
responses = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=1, max_size=40)


def sample(rows: list[tuple[int, int]]) -> Sample:
    return Sample(np.array([t for t, _ in rows], dtype=float), np.array([c for _, c in rows]))


def table(rows: list[tuple[int, int]]) -> tuple[list[int | None], list[int], list[str]]:
    return (
        [t if c == 1 else None for t, c in rows],
        [t for t, _ in rows],
        ["answered" if c == 2 else "truncated" for _, c in rows],
    )


@small
@given(responses)
def test_looped_answered_and_still_running_sum_to_one(rows: list[tuple[int, int]]) -> None:
    at_risk, loops, answers = sample(rows).tally()
    both = loops + answers
    running = np.cumprod(1 - both / at_risk)
    assert incidence(at_risk, both, loops) + incidence(at_risk, both, answers) + running == pytest.approx(1)


@small
@given(responses)
def test_one_cause_is_kaplan_meier_with_greenwoods_variance(rows: list[tuple[int, int]]) -> None:
    rows = [(t, min(c, 1)) for t, c in rows]
    at_risk, loops, _ = sample(rows).tally()
    times = [np.array([t for t, c in rows if c == k], dtype=float) for k in (1, 0)]
    survival = ecdf(CensoredData(uncensored=times[0], right=times[1])).sf.probabilities
    assert 1 - incidence(at_risk, loops, loops) == pytest.approx(survival)
    some = survival > 0
    greenwood = survival[some] ** 2 * np.cumsum(loops[some] / (at_risk[some] * (at_risk[some] - loops[some])))
    assert incidence_variance(at_risk, loops, loops)[some] == pytest.approx(greenwood, abs=1e-12)


@small
@given(responses)
def test_without_censoring_it_is_the_plain_share(rows: list[tuple[int, int]]) -> None:
    rows = [(t, max(c, 1)) for t, c in rows]
    at_risk, loops, answers = sample(rows).tally()
    share = np.cumsum(loops) / len(rows)
    assert incidence(at_risk, loops + answers, loops) == pytest.approx(share)
    variance = incidence_variance(at_risk, loops + answers, loops)
    assert variance == pytest.approx(share * (1 - share) / len(rows), abs=1e-12)


@small
@given(responses, st.booleans())
def test_curves_are_monotone_inside_their_intervals_and_blind_to_order(
    rows: list[tuple[int, int]], repeated: bool
) -> None:
    problems = [i // 2 for i in range(len(rows))] if repeated else None
    found = time_to_loop(*table(rows), problems, marks=(3, 6))
    assert found.loops + found.answered + found.censored == found.n == len(rows)
    for curve, sign in ((found.loop_free, -1), (found.looped, 1), (found.answering, 1)):
        values = [p.estimate for p in curve.steps]
        assert (np.diff(values) * sign > -1e-12).all()
        for point in (*curve.steps, *curve.marks):
            assert point.estimate is None or 0 <= point.estimate <= 1
            if point.interval is not None:
                assert 0 <= point.interval.low <= point.interval.high <= 1
                if not repeated:
                    assert point.interval.low <= point.estimate <= point.interval.high
    if not repeated:
        assert found == time_to_loop(*table(rows[::-1]), marks=(3, 6))


@small
@given(responses)
def test_censoring_the_competing_event_never_lowers_the_share(rows: list[tuple[int, int]]) -> None:
    found = time_to_loop(*table(rows))
    for free, looped in zip(found.loop_free.steps, found.looped.steps, strict=True):
        assert 1 - free.estimate >= looped.estimate - 1e-9
