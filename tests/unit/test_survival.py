from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from qrm_forensics.compare.bootstrap import RESAMPLES, SEED
from qrm_forensics.compare.incidence import incidence, incidence_variance
from qrm_forensics.compare.survival import DEFINITIONS, MAX_STEPS, Curve, TimeToLoop, time_to_loop

# Freireich et al. (1963), weeks of remission under 6-mercaptopurine: 9 relapses and 12 censored; and under placebo.
RELAPSED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
CENSORED = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def curves(
    onset: list[int | None], length: list[int], ending: str | list[str] = "truncated", **more: object
) -> TimeToLoop:
    endings = [ending] * len(length) if isinstance(ending, str) else ending
    return time_to_loop(onset, length, endings, **more)


def remission(**more: object) -> TimeToLoop:
    return curves([*RELAPSED, *[None] * 12], [*RELAPSED, *CENSORED], **more)


def estimates(curve: Curve) -> list[float | None]:
    return [p.estimate for p in curve.steps]


def test_kaplan_meier_of_the_remission_data_is_the_published_one() -> None:
    found = remission().loop_free
    assert [(p.tokens, p.at_risk) for p in found.steps] == [
        (6, 21),
        (7, 17),
        (10, 15),
        (13, 12),
        (16, 11),
        (22, 7),
        (23, 6),
    ]
    assert estimates(found) == pytest.approx([0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], abs=5e-4)
    # Greenwood's standard errors as tabulated with these data, turned into log-log limits by hand
    for point, error in zip(found.steps, [0.0764, 0.0869, 0.0963, 0.1068, 0.1141, 0.1282, 0.1346], strict=True):
        share = point.estimate
        width = 1.959964 * error / (share * -np.log(share))
        assert point.interval == pytest.approx((share ** np.exp(width), share ** np.exp(-width)), abs=1e-3)
    assert (found.median, found.median_interval) == (23, (13, None))


def test_median_and_its_interval_without_censoring() -> None:
    found = curves(PLACEBO, PLACEBO).loop_free
    assert (found.median, found.median_interval) == (8, (4, 11))
    assert found.steps[-1].estimate == 0
    assert found.steps[-1].interval is None


def test_a_curve_that_never_reaches_one_half_has_no_median() -> None:
    found = curves([5, None, None, None], [9, 10, 10, 10])
    assert found.loop_free.median is None
    assert found.loop_free.median_interval.high is None


def test_one_half_reached_exactly_counts() -> None:
    assert curves([*range(1, 8), None, None, None, None, None, None, None], [20] * 14).loop_free.median == 7


# Ten responses.  loop at 2, 4, 4, 7; answered at 3, 4, 9; cut off at 4, 5, 10.
HAND_ONSET = [2, 4, 4, 7, None, None, None, None, None, None]
HAND_LENGTH = [12, 6, 9, 8, 3, 4, 9, 4, 5, 10]
HAND_ENDING = ["truncated", "answered", "truncated", "answered", *["answered"] * 3, "truncated", "unknown", "truncated"]


def test_incidence_worked_by_hand() -> None:
    found = curves(HAND_ONSET, HAND_LENGTH, HAND_ENDING, marks=(1, 4, 8, 10, 11))
    # t  at risk  loops  answers  S before
    # 2    10       1       0      1
    # 3     9       0       1      9/10
    # 4     8       2       1      8/10      (the one cut off at 4 is still at risk)
    # 7     3       1       0      1/2
    # 9     2       0       1      1/3
    loop = [Fraction(1, 10), Fraction(3, 10), Fraction(3, 10) + Fraction(1, 6)]
    answer = [Fraction(1, 10), Fraction(1, 5), Fraction(1, 5) + Fraction(1, 6)]
    assert estimates(found.looped) == pytest.approx([float(f) for f in loop])
    assert [p.tokens for p in found.looped.steps] == [2, 4, 7]
    assert [p.at_risk for p in found.looped.steps] == [10, 8, 3]
    assert estimates(found.answering) == pytest.approx([float(f) for f in answer])
    assert [p.tokens for p in found.answering.steps] == [3, 4, 9]
    # Kaplan-Meier, answers censored: 9/10, then 6/8, then 2/3
    assert estimates(found.loop_free) == pytest.approx([0.9, 0.9 * 6 / 8, 0.9 * 6 / 8 * 2 / 3])
    assert [p.estimate for p in found.looped.marks] == pytest.approx([0, 0.3, 7 / 15, 7 / 15, None])
    assert (found.n, found.loops, found.answered, found.censored, found.unknown) == (10, 4, 3, 3, 1)


def test_variance_worked_by_hand() -> None:
    at_risk, events, loops = [np.array(x, dtype=float) for x in ([10, 9, 8], [1, 1, 3], [1, 0, 2])]
    f = [Fraction(1, 10), Fraction(1, 10), Fraction(3, 10)]
    before, n, d, k = [Fraction(1), Fraction(9, 10), Fraction(8, 10)], (10, 9, 8), (1, 1, 3), (1, 0, 2)
    expected = sum(
        (f[2] - f[j]) ** 2 * Fraction(d[j], n[j] * (n[j] - d[j]))
        + before[j] ** 2 * Fraction(k[j] * (n[j] - k[j]), n[j] ** 3)
        - 2 * (f[2] - f[j]) * before[j] * Fraction(k[j], n[j] ** 2)
        for j in range(3)
    )
    assert incidence_variance(at_risk, events, loops)[2] == pytest.approx(float(expected), rel=1e-12)


def test_interval_of_the_incidence_covers_the_truth_about_as_often_as_it_says() -> None:
    # Hazards of looping, answering and being cut off per step: 1, 2 and 1 in 40; F(20) by the geometric series.
    loop, answer, cut = 1 / 40, 2 / 40, 1 / 40
    stay = 1 - loop - answer
    truth = loop * (1 - stay**20) / (1 - stay)
    rng = np.random.default_rng(7)
    inside = []
    for _ in range(300):
        happens = rng.choice(3, p=[loop / (1 - stay), answer / (1 - stay), 0], size=120)
        at, cut_at = rng.geometric(1 - stay, 120), rng.geometric(cut, 120)
        seen = at <= cut_at
        onset = [int(t) if s and h == 0 else None for t, s, h in zip(at, seen, happens, strict=True)]
        ending = ["answered" if s else "truncated" for s in seen]
        (point,) = time_to_loop(onset, np.minimum(at, cut_at), ending, marks=(20,)).looped.marks
        inside.append(point.interval is not None and point.interval.low <= truth <= point.interval.high)
    assert 0.91 <= np.mean(inside) <= 0.985


def test_values_behind_the_last_response() -> None:
    # all have looped or answered: nothing more can happen, but of the loop-free world nothing is known
    settled = curves([3, None], [5, 8], "answered", marks=(9,))
    assert settled.looped.marks[0].estimate == pytest.approx(0.5)
    assert settled.loop_free.marks[0].estimate is None
    # one was cut off: it might still have looped
    assert curves([3, None], [5, 8], "truncated", marks=(9,)).looped.marks[0].estimate is None
    assert curves([3, 8], [5, 8], "truncated", marks=(9,)).loop_free.marks[0].estimate == 0


def test_no_loop_at_all() -> None:
    found = curves([None] * 3, [4, 5, 6], "answered", marks=(5,))
    assert found.loop_free.steps == () == found.looped.steps
    assert found.loop_free.marks[0].estimate == 1
    assert found.looped.marks[0].estimate == 0
    assert found.looped.marks[0].interval is None
    assert found.looped.median is None


def test_recovered_loop_counts_from_its_onset() -> None:
    found = curves([3, None], [100, 50], "answered")
    assert (found.loops, found.answered, found.censored) == (1, 1, 0)
    assert found.looped.steps[0].tokens == 3


def test_repeated_samples_switch_to_draws_of_problems() -> None:
    rng = np.random.default_rng(2)
    onset = [int(x) if x < 100 else None for x in rng.exponential(60, 40)]
    length = [100 if o is None else o + 5 for o in onset]
    once = curves(onset, length, marks=(50,))
    copies = curves(onset * 6, length * 6, problems=list(range(40)) * 6, marks=(50,))
    pretended = curves(onset * 6, length * 6, marks=(50,))
    assert (once.interval_method, once.seed, once.resamples) == ("log-log", None, None)
    assert (copies.interval_method, copies.seed, copies.resamples) == ("bootstrap-problems", SEED, RESAMPLES)
    assert (copies.n, copies.problems) == (240, 40)
    for name in ("loop_free", "looped"):
        single, six, naive = (getattr(x, name).marks[0] for x in (once, copies, pretended))
        assert six.estimate == pytest.approx(single.estimate)
        assert tuple(six.interval) == pytest.approx(tuple(single.interval), abs=0.04)
        assert naive.interval.high - naive.interval.low < 0.6 * (six.interval.high - six.interval.low)
    assert copies.loop_free.median == once.loop_free.median
    low, high = copies.loop_free.median_interval
    assert low < copies.loop_free.median < high
    assert copies == curves(onset * 6, length * 6, problems=list(range(40)) * 6, marks=(50,))


def test_samples_of_one_problem_give_no_interval() -> None:
    found = curves([3, None, 4], [9, 9, 9], problems=["p"] * 3)
    assert {p.interval for p in (*found.loop_free.steps, *found.looped.steps)} == {None}
    assert found.loop_free.median_interval == (None, None)


def test_long_curves_are_thinned_and_keep_both_ends() -> None:
    onset = list(range(1, 1501))
    for problems in (None, [i // 2 for i in range(1500)]):
        found = curves(onset, onset, problems=problems, marks=(777,))
        assert len(found.looped.steps) == MAX_STEPS
        assert [found.looped.steps[i].tokens for i in (0, -1)] == [1, 1500]
        assert found.looped.marks[0].estimate == pytest.approx(777 / 1500)
        assert found.looped.marks[0].interval is not None
        assert found.looped.median == 750


def test_incidence_of_weights_is_that_of_repeated_responses() -> None:
    at_risk, events, loops = (np.array(x, dtype=float) for x in ([5, 3, 1], [2, 1, 1], [1, 1, 0]))
    assert incidence(3 * at_risk, 3 * events, 3 * loops) == pytest.approx(incidence(at_risk, events, loops))


@pytest.mark.parametrize(
    ("onset", "length", "ending", "message"),
    [
        ([], [], [], "aligned"),
        ([1], [2, 3], ["answered"] * 2, "aligned"),
        ([None], [-1], ["answered"], "length"),
        ([None], [float("nan")], ["answered"], "length"),
        ([5], [4], ["answered"], "behind the end"),
        ([None], [4], ["finished"], "finished"),
    ],
)
def test_impossible_tables_are_refused(
    onset: list[int | None], length: list[float], ending: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        time_to_loop(onset, length, ending)


def test_problems_must_align() -> None:
    with pytest.raises(ValueError, match="problems of shape"):
        curves([None], [4], problems=["a", "b"])


def test_every_curve_is_defined_in_both_languages() -> None:
    found = remission()
    for name in (found.loop_free.name, found.looped.name, found.answering.name, "median", "interval"):
        assert set(DEFINITIONS[name]) == {"en", "ko"}
