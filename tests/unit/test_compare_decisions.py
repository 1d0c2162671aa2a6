"""Deciding: against published values, libraries and limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from qrm_forensics.compare import detectable_difference, mcnemar_exact, tango
from qrm_forensics.compare.decisions import (
    benjamini_hochberg,
    clopper_pearson,
    mcnemar_mid_p,
    needed_problems,
    tost,
)
from qrm_forensics.compare.samples import mean_pass_at_k, pass_at_k, steadiness, variance_split


def test_mid_p_of_the_published_example() -> None:
    # Fagerland, Lydersen and Laake 2013: b = 1, c = 7 has exact p .0703 and mid-p .0391
    assert mcnemar_exact(1, 7) == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar_mid_p(1, 7) == pytest.approx(0.0391, abs=5e-5)
    assert mcnemar_mid_p(0, 0) == 1.0
    assert mcnemar_mid_p(5, 5) <= 1.0


def test_exact_interval_contains_and_tightens() -> None:
    assert clopper_pearson(0, 10).low == 0.0
    assert clopper_pearson(0, 10).high == pytest.approx(1 - 0.025**0.1)  # the rule of (alpha/2)^(1/n)
    wide, narrow = clopper_pearson(5, 10), clopper_pearson(500, 1000)
    assert wide.low < narrow.low < 0.5 < narrow.high < wide.high


def test_benjamini_hochberg_of_the_published_example() -> None:
    # Benjamini and Hochberg 1995, table of 15: four are rejected at .05
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1,
    ]
    adjusted = benjamini_hochberg(p)
    assert sum(a <= 0.05 for a in adjusted) == 4
    assert benjamini_hochberg([]) == []


def test_interval_widens_with_confidence() -> None:
    for b, c, n in ((31, 23, 500), (0, 0, 50), (9, 171, 500), (1, 0, 1)):
        narrow, wide = tango(b, c, n, 0.9), tango(b, c, n)
        assert wide.low <= narrow.low <= (c - b) / n <= narrow.high <= wide.high


def test_equivalence_agrees_with_its_interval() -> None:
    for b, c, n in ((31, 23, 500), (5, 6, 500), (0, 0, 500), (0, 0, 40), (3, 30, 400)):
        result = tost(b, c, n, 0.02)
        assert result.p_value is not None
        assert result.equivalent == (result.p_value < 0.05)
    assert tost(0, 0, 500, 0.02).equivalent
    assert not tost(0, 0, 40, 0.02).equivalent
    assert not tost(31, 23, 500, 0.02).equivalent
    assert tost(3, 30, 400, 0.02).not_inferior


def test_needed_problems_inverts_the_detectable_difference() -> None:
    n = needed_problems(0.11, 0.02)
    assert detectable_difference(0.11, n) <= 0.02 < detectable_difference(0.11, n - 1)


def test_pass_at_k_equals_counting() -> None:
    rng = np.random.default_rng(0)
    drawn = [rng.permutation([1, 1, 0, 0, 0])[:2].any() for _ in range(40_000)]
    assert pass_at_k(5, 2, 2) == pytest.approx(np.mean(drawn), abs=0.01)
    assert pass_at_k(5, 0, 5) == 0.0
    assert pass_at_k(5, 4, 2) == 1.0
    assert mean_pass_at_k([1, 0], [1, 1], 1) == 0.5
    with pytest.raises(ValueError, match="pass@6"):
        pass_at_k(5, 1, 6)


def test_variance_is_split_as_it_was_made() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(2, 2, 4000)
    drawn = rng.binomial(8, p) / 8
    split = variance_split(drawn, np.full(4000, 8))
    assert split is not None
    assert split.items == pytest.approx(p.var() / 4000, rel=0.08)
    assert split.sampling == pytest.approx((p * (1 - p)).mean() / 8 / 4000, rel=0.08)
    assert split.enough_samples
    assert variance_split([0.5], [4]) is None
    assert variance_split([0.5, 1.0], [1, 1]) is None


def test_steadiness_counts_every_problem_once() -> None:
    assert (lambda s: (s.always, s.sometimes, s.never))(steadiness([1, 1, 0.5, 0])) == (2, 1, 1)


def test_exact_test_is_the_binomial_one() -> None:
    assert mcnemar_exact(17, 5) == pytest.approx(binomtest(5, 22).pvalue)
