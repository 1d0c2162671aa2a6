from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, bootstrap

from qrm_forensics.compare import (
    detectable_difference,
    holm,
    length_ratio,
    mcnemar_exact,
    mean_interval,
    median_interval,
    overlap,
    paired,
    ratio_interval,
    tango,
    wilson,
)
from qrm_forensics.compare.shares import Z95


@pytest.mark.parametrize(("k", "n"), [(0, 7), (3, 10), (21, 90), (425, 500), (500, 500)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_refuses_impossible_counts() -> None:
    for k, n in ((0, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="no share"):
            wilson(k, n)


@pytest.mark.parametrize(("b", "c"), [(9, 4), (4, 9), (171, 9), (5, 5), (1, 0), (0, 6)])
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    assert mcnemar_exact(b, c) == pytest.approx(binomtest(b, b + c, 0.5).pvalue, rel=1e-9)


def test_no_discordant_pair_is_no_evidence() -> None:
    assert mcnemar_exact(0, 0) == 1.0


def _score_by_maximising(b: int, c: int, n: int, d: float) -> float:
    """Tango's statistic with the constrained likelihood maximised numerically instead of in closed form."""

    def minus_log_likelihood(q: float) -> float:
        rest = 1 - 2 * q - d
        terms = ((b, q), (c, q + d), (n - b - c, rest))
        return -sum(k * math.log(p) for k, p in terms if k and p > 0) + sum(1e9 for k, p in terms if k and p <= 0)

    q = minimize_scalar(
        minus_log_likelihood, bounds=(max(0.0, -d), (1 - d) / 2), method="bounded", options={"xatol": 1e-13}
    ).x
    return float((c - b - n * d) / math.sqrt(n * (2 * q + d - d * d)))


@pytest.mark.parametrize(("b", "c", "n"), [(7, 1, 21), (9, 4, 90), (171, 9, 500), (40, 20, 160), (3, 0, 30)])
def test_tango_limits_solve_the_score_equation(b: int, c: int, n: int) -> None:
    low, high = tango(b, c, n)
    assert _score_by_maximising(b, c, n, low) == pytest.approx(Z95, abs=1e-4)
    assert _score_by_maximising(b, c, n, high) == pytest.approx(-Z95, abs=1e-4)


def test_tango_covers_the_truth_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(1).multinomial(60, [0.15, 0.05, 0.8], size=1500)
    limits = {(b, c): tango(b, c, 60) for b, c in {(int(b), int(c)) for b, c, _ in draws}}
    inside = [limits[int(b), int(c)].low <= -0.10 <= limits[int(b), int(c)].high for b, c, _ in draws]
    assert 0.93 <= np.mean(inside) <= 0.98


@pytest.mark.parametrize(
    ("n", "psi", "expected"), [(500, 0.11, 4.2), (90, 0.16, 11.8), (30, 0.16, 20.5), (1319, 0.08, 2.2)]
)
def test_detectable_difference_at_80_percent_power(n: int, psi: float, expected: float) -> None:
    assert 100 * detectable_difference(psi, n) == pytest.approx(expected, abs=0.05)


def test_detectable_difference_without_any_flip_is_not_zero() -> None:
    assert detectable_difference(0.0, 20) == detectable_difference(1 / 20, 20) > 0.1


def test_holm_steps_down_and_keeps_the_order() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).lognormal(size=200)
    for ours, statistic in ((mean_interval(values), np.mean), (median_interval(values), np.median)):
        theirs = bootstrap((values,), statistic, n_resamples=2000, method="percentile", rng=5).confidence_interval
        assert ours == pytest.approx((theirs.low, theirs.high), rel=0.06)


def test_grouped_median_of_single_samples_is_the_plain_one() -> None:
    values = np.random.default_rng(4).normal(size=41)
    assert median_interval(values, np.arange(41)) == median_interval(values)


def test_samples_of_one_problem_do_not_count_as_independent() -> None:
    values = np.random.default_rng(5).normal(size=30)
    alone = median_interval(values)
    repeated = median_interval(np.repeat(values, 8), np.repeat(np.arange(30), 8))
    pretended = median_interval(np.repeat(values, 8))
    assert tuple(repeated) == pytest.approx(tuple(alone), abs=0.1)
    assert pretended.high - pretended.low < 0.6 * (repeated.high - repeated.low)


def test_ratio_interval_needs_a_denominator_in_every_resample() -> None:
    assert ratio_interval([1, 0], [1, 0]) is None
    assert ratio_interval([1, 2, 3], [10, 20, 30]) == pytest.approx((0.1, 0.1))


def test_paired_counts_flips_and_difference() -> None:
    result = paired([1, 1, 1, 0, 0], [1, 0, 0, 1, 0])
    assert (result.both, result.lost, result.gained, result.neither) == (1, 2, 1, 1)
    assert result.flips == pytest.approx(0.6)
    assert result.difference == pytest.approx(-0.2)
    assert result.interval_method == "tango-score"


def test_paired_with_several_samples_works_on_problems() -> None:
    result = paired([1.0, 0.5, 0.25, 0.0], [0.75, 0.5, 0.5, 0.0])
    assert (result.both, result.lost, result.gained, result.neither) == (1, 1, 1, 1)
    assert result.difference == pytest.approx(0.0)
    assert result.interval_method == "bootstrap-problems"
    assert result.interval is not None


def test_paired_refuses_different_problem_sets() -> None:
    with pytest.raises(ValueError, match="aligned"):
        paired([1, 0], [1, 0, 1])


def test_overlap_has_every_cell() -> None:
    table = overlap([[True, True], [True, False], [True, False]])
    assert table == {(True, True): 1, (True, False): 2, (False, True): 0, (False, False): 0}


def test_length_ratio_is_the_geometric_mean() -> None:
    result = length_ratio([100, 100, 100], [200, 50, 400])
    assert result is not None
    ratio, interval = result
    assert ratio == pytest.approx(4 ** (1 / 3))
    assert interval is not None
    assert interval.low < ratio < interval.high
    assert length_ratio([], []) is None
    with pytest.raises(ValueError, match="above zero"):
        length_ratio([1, 0], [1, 1])
