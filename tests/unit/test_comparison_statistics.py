"""The statistics of a comparison: against libraries, enumeration, and cases that can be done by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from comparison_helpers import make_side
from scipy import stats

from qrm_forensics.compare import mcnemar_exact, tango
from qrm_forensics.compare.alignment import align
from qrm_forensics.compare.change import mean_limits, paired_change
from qrm_forensics.compare.decisions import mcnemar_mid_p
from qrm_forensics.compare.drift import outcome_drift
from qrm_forensics.compare.lengths import length_change
from qrm_forensics.compare.noise import flip_chance, flips, noise_floor, own_flips
from qrm_forensics.compare.resampling import expanded, ratio_limits, sign_flip
from qrm_forensics.compare.rules import GATE
from qrm_forensics.compare.slices import bands
from qrm_forensics.compare.tiers import rank, rank_groups, tiers

RNG = np.random.default_rng(5)


def test_the_permutation_test_of_zeros_and_ones_is_mcnemars() -> None:
    for b, c in ((34, 30), (171, 9), (0, 3), (1, 7)):
        found = sign_flip(np.array([-1.0] * b + [1.0] * c + [0.0] * 20))
        assert found.exact == pytest.approx(mcnemar_exact(b, c), rel=1e-12)
        assert found.mid == pytest.approx(mcnemar_mid_p(b, c), rel=1e-12)
    assert sign_flip(np.zeros(4)) == (1.0, 1.0)


def test_the_permutation_test_agrees_with_scipy_and_with_enumeration() -> None:
    x, y = RNG.integers(0, 5, 11) / 4, RNG.integers(0, 4, 11) / 3
    d = y - x
    found = sign_flip(d)
    library = stats.permutation_test(
        (y, x), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert found.exact == pytest.approx(library.pvalue, abs=1e-12)
    sums = np.array(list(product((1, -1), repeat=len(d)))) @ d
    observed = abs(d.sum())
    strictly = (np.abs(sums) > observed + 1e-9).mean()
    assert found.mid == pytest.approx(strictly + (np.abs(np.abs(sums) - observed) < 1e-9).mean() / 2, abs=1e-12)


def test_the_permutation_test_turns_a_group_round_as_one() -> None:
    d = RNG.integers(-4, 5, 24) / 4
    groups = np.repeat(np.arange(8), 3)
    sums = d.reshape(8, 3).sum(axis=1)
    every = np.array(list(product((1, -1), repeat=8))) @ sums
    assert sign_flip(d, groups).exact == pytest.approx((np.abs(every) >= abs(d.sum()) - 1e-9).mean(), abs=1e-12)


def test_the_permutation_test_of_real_numbers_is_close_to_the_t_test() -> None:
    d = RNG.normal(0.1, 1, 300)
    assert sign_flip(d).exact == pytest.approx(float(stats.ttest_1samp(d, 0).pvalue), abs=0.01)


def test_the_bootstrap_is_scipys_at_the_expanded_percentiles() -> None:
    d = RNG.integers(-4, 5, 40) / 4
    low, high = expanded(40, 0.95)
    assert 1.5 < low < 2.5 and high == pytest.approx(100 - low)
    library = stats.bootstrap(
        (d,), np.mean, n_resamples=20_000, confidence_level=(high - low) / 100, method="percentile", rng=1
    ).confidence_interval
    (found,) = ratio_limits(d, np.ones(40), None, 10_000, 1)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((library.low, library.high), abs=0.02)


def test_groups_are_drawn_as_one() -> None:
    group_means = RNG.normal(0, 1, 50)
    values = np.repeat(group_means, 4)  # problems of a group all alike: four times as many tell nothing new
    groups = np.repeat(np.arange(50), 4)
    (alone,) = ratio_limits(group_means, np.ones(50), None, 10_000, 1)
    (together,) = ratio_limits(values, np.ones(200), groups, 10_000, 1)
    assert together == pytest.approx(alone)
    change = paired_change(np.zeros(200), values, GATE, groups)
    assert change.design_effect == pytest.approx(4.0)
    assert (change.n, change.units) == (200, 50)
    assert change.detectable(GATE) == pytest.approx(2 * paired_change(np.zeros(200), values, GATE).detectable(GATE))


def test_one_response_per_problem_is_told_by_tango_and_mcnemar() -> None:
    x = np.array([1] * 31 + [0] * 23 + [1] * 446, dtype=float)
    y = np.array([0] * 31 + [1] * 23 + [1] * 446, dtype=float)
    found = paired_change(x, y, GATE)
    assert found.interval == tango(31, 23, 500)
    assert found.narrow == tango(31, 23, 500, 0.9)
    assert found.p_exact == mcnemar_exact(31, 23)
    assert 100 * found.detectable(GATE) == pytest.approx(4.1, abs=0.05)
    assert found.detectable(GATE, 4) > found.detectable(GATE)


def test_several_samples_without_a_move_do_not_prove_that_nothing_moves() -> None:
    x = np.array([0.5, 1.0, 0.25, 0.0])
    found = paired_change(x, x, GATE)
    assert found.interval is not None
    assert found.interval.low < -0.4 and found.interval.high > 0.4
    assert not found.equivalence(GATE, 0.02).equivalent
    limits, method = mean_limits(np.array([1.0, 1.0, 1.0, 0.75]), GATE)
    assert limits is not None and limits.low < 0.6 and method == "bootstrap-problems"


def test_unequal_numbers_of_samples_are_no_reason_for_alarm() -> None:
    # one sample against four of the same chances: problems with 3/4 "fell" from 1 and "rose" from 0
    p = RNG.beta(2, 0.4, 4000)
    found = paired_change(RNG.binomial(1, p).astype(float), RNG.binomial(4, p) / 4, GATE)
    assert mcnemar_exact(found.down, found.up) < 1e-6  # a sign test would be fooled
    assert found.p_exact > 0.01


def test_flips_are_the_difference_split_in_two() -> None:
    x, y = RNG.integers(0, 5, 60) / 4, RNG.integers(0, 5, 60) / 4
    found = flips(x, y, GATE)
    assert found.rate == pytest.approx(found.lost + found.gained)
    assert found.gained - found.lost == pytest.approx(float((y - x).mean()))


def test_own_flips_have_no_bias() -> None:
    p, k = 0.3, 4
    chance = [float(stats.binom.pmf(c, k, p)) for c in range(k + 1)]
    expected = sum(w * own_flips(np.array([c / k]), np.array([k]))[0] for c, w in enumerate(chance))
    assert expected == pytest.approx(flip_chance(np.array([p]), np.array([p]))[0])


def test_flips_in_excess_of_a_second_run() -> None:
    x = np.array([1.0] * 400)
    again = np.array([0.0] * 20 + [1.0] * 380)
    y = np.array([1.0] * 20 + [0.0] * 60 + [1.0] * 320)
    ones = np.ones(400, dtype=np.int64)
    found = noise_floor(x, y, ones, again, GATE)
    assert found is not None and found.source == "second-baseline"
    assert found.excess.difference == pytest.approx(0.1)
    assert found.excess.p_exact == mcnemar_exact(20, 60)
    assert found.baseline_change is not None and found.baseline_change.difference == pytest.approx(-0.05)
    assert noise_floor(x, y, ones, None, GATE) is None
    own = noise_floor(x * 0.5, y * 0.5, ones * 2, None, GATE)
    assert own is not None and own.source == "baseline-samples"


def test_length_is_a_ratio_and_says_what_was_cut() -> None:
    a = make_side([1, 1, 0, 1], n_tokens=[100, 200, 300, 0], truncated=[False, False, True, False])
    b = make_side([1, 1, 0, 1], "cand", n_tokens=[200, 400, 1200, 50], truncated=False)
    aligned = align(a, b, "b")
    right = tuple(s.by_problem(s.right("strict"))[0] for s in (aligned.baseline, aligned.candidate))
    found = length_change(aligned, right, GATE)  # type: ignore[arg-type]
    assert found is not None
    assert found.every.ratio == pytest.approx((2 * 2 * 4) ** (1 / 3))
    assert found.uncut is not None and found.uncut.ratio == pytest.approx(2.0)
    assert found.both_right is not None and found.both_right.n == 2
    assert (found.cut, found.empty, found.unit) == (1, 1, "tokens")
    assert length_change(align(make_side([1]), make_side([1]), "b"), right, GATE) is None  # type: ignore[arg-type]


def test_outcome_drift_is_a_distance_with_its_chance_level() -> None:
    before = ["correct"] * 60 + ["closed_no_answer"] * 20 + ["wrong_no_visible_slip"] * 20
    after = ["correct"] * 60 + ["looped_to_limit"] * 18 + ["closed_no_answer"] * 2 + ["wrong_no_visible_slip"] * 20
    right = [1] * 60 + [0] * 40
    found = outcome_drift(align(make_side(right, outcome=before), make_side(right, "c", outcome=after), "b"), GATE)
    assert found is not None
    assert found.distance == pytest.approx(0.18)
    assert found.p_value < 0.001 < found.by_chance < 0.1
    assert found.foremost is not None and found.foremost.category == "looped_to_limit"
    same = outcome_drift(align(make_side(right, outcome=before), make_side(right, "c", outcome=before), "b"), GATE)
    assert same is not None and same.distance == 0 and same.p_value == 1


def test_tiers_are_cut_only_where_everyone_is_told_apart() -> None:
    names = ["a", "b", "c", "d"]
    apart = np.zeros((4, 4), dtype=bool)
    for i, j in ((0, 2), (0, 3), (1, 3), (2, 3)):
        apart[i, j] = apart[j, i] = True
    # a is told apart from c, but b from neither; d from all
    assert tiers(names, [4, 3, 2, 1], apart) == (("a", "b", "c"), ("d",))
    assert tiers(names, [1, 2, 3, 4], np.zeros((4, 4), dtype=bool)) == (("d", "c", "b", "a"),)
    assert tiers([], [], np.zeros((0, 0), dtype=bool)) == ()


def test_ranking_adjusts_for_all_pairs() -> None:
    base = np.array([1.0] * 90 + [0.0] * 10)
    near = np.array([1.0] * 88 + [0.0] * 12)
    far = np.array([1.0] * 40 + [0.0] * 60)
    found = rank({"far": far, "near": near, "base": base})
    assert str(found) == "base ~ near > far"
    assert found.family == 3 and found.n == 100
    assert [p.told_apart for p in found.pairs] == [False, True, True]


def test_groups_of_problems_are_ranked_by_the_permutation_variance() -> None:
    first, second = RNG.normal(0, 1, 40), RNG.normal(0.5, 1, 60)
    found = rank_groups({"x": first, "y": second})
    library = stats.ttest_ind(first, second)  # pooled variance: the same test, written otherwise
    assert found.pairs[0].p_value == pytest.approx(float(library.pvalue), rel=1e-9)
    assert str(rank_groups({"none": np.zeros(50), "all": -np.ones(50)})) == "none > all"


def test_bands_are_quarters_and_keep_equal_values_together() -> None:
    found = bands(np.array([1.0, 2, 3, 4, 5, 6, 7, 8, np.nan]), "tokens")
    assert list(found) == ["1–2 tokens"] * 2 + ["3–4 tokens"] * 2 + ["5–6 tokens"] * 2 + ["7–8 tokens"] * 2 + [None]
    assert len(set(bands(np.array([5.0] * 9 + [7.0]), ""))) == 2


def test_many_problems_are_resampled_by_their_distinct_values() -> None:
    d = RNG.integers(-4, 5, 6000) / 4
    (found,) = ratio_limits(d, np.ones(6000), None, 10_000, 1)
    half = 1.96 * float(d.std()) / 6000**0.5
    assert found is not None
    assert (found.low, found.high) == pytest.approx((d.mean() - half, d.mean() + half), abs=half / 20)


def test_the_permutation_test_of_very_many_real_numbers_is_its_normal_limit() -> None:
    d = RNG.normal(0.02, 1, 5000)
    assert sign_flip(d).exact == pytest.approx(float(stats.ttest_1samp(d, 0).pvalue), abs=0.002)
