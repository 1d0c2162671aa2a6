from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.stats import binomtest

from qrm_forensics.early_warning import (
    DEFINITIONS,
    FEATURES,
    MIN_FAILED,
    EarlyWarning,
    Shortage,
    curve,
    evaluate,
    fit,
)
from qrm_forensics.early_warning.concordance import RESAMPLES, draws, pairs_at, pooled_pairs, share_interval
from qrm_forensics.early_warning.features import default_step, prefixes
from qrm_forensics.early_warning.kernel import copies, types
from qrm_forensics.early_warning.model import FOLDS, fit_logistic, folds
from qrm_forensics.early_warning.protocol import Points, by_length, first_above, out_of_fold, threshold

STEP = 32
WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in "bdgklmnprst"]


def column(name: str) -> int:
    return list(FEATURES).index(name)


def prose(rng: random.Random, n: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(n))


def looping(rng: random.Random, before: int, n: int) -> str:
    unit = prose(rng, 15)
    return prose(rng, before) + " " + " ".join([unit] * (1 + (n - before) // 15))


class Study:
    """120 responses to 40 problems, one in four failing; the failing loop, or are only longer, or nothing sets them apart."""

    def __init__(self, failing: str, seed: int = 1, problems: int = 40) -> None:
        rng = random.Random(seed)
        self.texts: list[str | None] = []
        self.closed: list[bool | None] = []
        self.groups: list[str] = []
        self.onset: list[float | None] = []
        for i in range(3 * problems):
            fails = rng.random() < 0.25
            length = rng.randrange(150, 700)
            begins = rng.randrange(60, 300)
            if fails and failing == "loop":
                text = looping(rng, begins, 900)
            else:
                text = prose(rng, 900 if fails and failing == "longer" else length)
            self.texts.append(text if fails else text + "\n</think>\nSo \\boxed{1}." + prose(rng, 200))
            self.closed.append(not fails)
            self.groups.append(f"p{i // 3}")
            self.onset.append(begins + 15 if fails and failing == "loop" else None)

    def evaluate(self, **more: object) -> EarlyWarning:
        return evaluate(self.texts, self.closed, self.groups, **{"step": STEP, **more})


@pytest.fixture(scope="module")
def loops() -> Study:
    return Study("loop")


@pytest.fixture(scope="module")
def warned(loops: Study) -> EarlyWarning:
    return loops.evaluate(onset=loops.onset)


def test_copies_and_types_counted_by_hand() -> None:
    ids = np.array([0, 1, 2, 0, 1, 2, 0, 1, 3, 0, 1], dtype=np.int32)
    lag, run = copies(ids, 2)
    assert lag.tolist() == [0, 0, 0, 0, 3, 3, 3, 3, 0, 0, 3]
    assert run.tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 1]
    distinct, first = types(ids, 3)
    assert distinct.tolist() == [1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3]
    assert np.flatnonzero(first).tolist() == [0, 1, 2, 8]
    assert types(np.zeros(5, np.int32), 3)[0].tolist() == [1] * 5


def test_features_read_by_hand() -> None:
    read = prefixes("wait 12 " * 64, False, 64)  # 3 tokens each: wait, 1, 2
    assert read.points.tolist() == [64, 128, 192]
    last = read.values[-1]
    assert last[column("length")] == 192
    assert last[column("log_length")] == pytest.approx(np.log(192))
    # 8 tokens end a known 8-gram from token 10 on (the first copy is 3 later); the window is the last 128
    assert last[column("copied")] == 1
    assert last[column("copied_ever")] == pytest.approx((192 - 10) / 192)
    assert last[column("near_copied")] == pytest.approx(np.log1p(182))
    assert last[column("longest_copy")] == pytest.approx(np.log1p(182))
    assert last[column("periodic")] == 1
    assert last[column("distinct")] == pytest.approx(3 / 128)
    assert last[column("novel")] == 0
    assert read.values[0, column("novel")] == pytest.approx(3 / 64)
    assert last[column("digits")] == pytest.approx(np.mean([i % 3 > 0 for i in range(64, 192)]))
    assert last[column("hesitation")] == pytest.approx(np.mean([i % 3 == 0 for i in range(63, 191)]))


def test_only_what_stands_before_the_close_is_read() -> None:
    text = "a b c d " * 20 + "</think> " + "e f " * 50
    closed, unclosed = prefixes(text, True, 16), prefixes(text, False, 16)
    assert (closed.thinking, closed.tokens, len(closed.points)) == (80, 184, 5)
    assert (unclosed.thinking, unclosed.tokens) == (184, 184)
    assert (closed.values == unclosed.values[:5]).all()
    assert prefixes("no mark at all", True, 2).thinking == 4
    assert prefixes("", False, 16).values.shape == (0, len(FEATURES))


def test_step_follows_the_length() -> None:
    assert default_step(["x" * 30_000]) == 256
    assert default_step(["x" * 6_000]) == 64
    assert default_step(["x"]) == 16
    assert default_step([]) == 16


def test_out_of_fold_never_sees_the_problem_that_it_scores() -> None:
    rng = np.random.default_rng(0)
    problem = np.repeat(np.arange(30), 4)
    failed = rng.random(120) < 0.3
    points = Points(rng.normal(size=(360, 2)), np.tile([1, 2, 3], 120), np.repeat(np.arange(120), 3), failed, problem)
    fold = folds(failed, problem, 0)
    seen: list[int] = []

    def spy(train: Points, test: Points) -> np.ndarray:
        assert not set(train.problem) & set(test.problem)
        assert set(train.response) == set(range(len(train.failed)))
        assert train.failed.any() and test.failed.any()
        seen.extend(test.problem)
        return test.values[:, 0]

    score = out_of_fold(points, spy, fold)
    assert (score == points.values[:, 0]).all()
    assert sorted(seen) == sorted(problem)
    assert set(fold) == set(range(FOLDS))


def test_length_learns_from_the_other_folds_which_way_it_points() -> None:
    position, response = np.array([1, 2, 3, 1, 2]), np.array([0, 0, 0, 1, 1])
    for failed, sign in (([True, False], 1), ([False, True], -1)):
        points = Points(np.zeros((5, 0)), position, response, np.array(failed), np.arange(2))
        assert by_length(points, points).tolist() == (sign * position).tolist()


def test_threshold_lets_no_more_than_the_allowed_share_alarm() -> None:
    failed = np.array([False] * 40 + [True])
    points = Points(np.zeros((82, 0)), np.tile([1, 2], 41), np.repeat(np.arange(41), 2), failed, np.arange(41))
    score = np.arange(82.0)
    level = threshold(points, score, 0.05)
    assert level is not None
    alarm = first_above(points, score, np.full(41, level))
    assert np.flatnonzero(~np.isnan(alarm)).tolist() == [38, 39, 40]
    assert alarm[38:].tolist() == [1, 1, 1]
    assert threshold(points, score, 0.01) is None


def test_logistic_is_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(3)
    values = rng.normal(size=(200, 3)) * [1, 10, 0]
    failed = rng.random(200) < 1 / (1 + np.exp(-values[:, 0]))
    scaled = StandardScaler().fit_transform(values)
    theirs = LogisticRegression(max_iter=1000).fit(scaled, failed).predict_proba(scaled)[:, 1]
    assert fit_logistic(values, failed, np.ones(200)).score(values) == pytest.approx(theirs, abs=1e-6)


def _ranked(seed: int = 5) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    response = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    failed = np.arange(60) % 3 == 0
    problem = np.arange(60) // 4
    score = np.round(rng.normal(size=len(response)) + failed[response], 1)  # with ties
    position = np.concatenate([np.arange(1, n + 1) for n in np.bincount(response)])
    return score, failed[response], 1 / np.bincount(response)[response], problem[response], position


def test_area_is_the_weighted_area_under_the_curve() -> None:
    from sklearn.metrics import roc_auc_score

    score, failed, weight, problem, _ = _ranked()
    pairs = pooled_pairs(score, failed, weight, problem, 15)
    assert pairs.area == pytest.approx(roc_auc_score(failed, score, sample_weight=weight))
    # a resample by its matrices is the area of the table with the problems written out as often as drawn
    for b in (0, 1, RESAMPLES - 1):
        times = draws(15, 9)[b][problem]
        expected = roc_auc_score(failed, score, sample_weight=weight * times)
        assert pairs.resampled(9)[b] == pytest.approx(expected)


def test_length_alone_ranks_nothing_at_equal_length() -> None:
    score, failed, _, problem, position = _ranked()
    assert pairs_at(position, position.astype(float), failed, problem, 15).area == pytest.approx(0.5)
    right = total = 0.0
    for i in np.flatnonzero(failed):
        for j in np.flatnonzero(~failed & (position == position[i])):
            right += (score[i] > score[j]) + (score[i] == score[j]) / 2
            total += 1
    pairs = pairs_at(position, score, failed, problem, 15)
    assert pairs.area == pytest.approx(right / total)
    assert pairs.all.sum() == total


def test_share_of_all_or_none_counts_problems_not_responses() -> None:
    problem = np.repeat(np.arange(6), 5)
    for hits, k in ((np.ones(30, bool), 6), (np.zeros(30, bool), 0)):
        expected = binomtest(k, 6).proportion_ci(method="wilson")
        assert share_interval(hits, problem, 6, 0) == pytest.approx((expected.low, expected.high))
    low, high = share_interval(np.arange(30) % 2 == 0, problem, 6, 0)
    assert low < 0.5 < high
    assert share_interval(np.zeros(0, bool), np.zeros(0, int), 6, 0) is None


def test_loops_are_warned_of_before_the_end(warned: EarlyWarning, loops: Study) -> None:
    assert warned.shortage is None
    assert (warned.n, warned.failed + warned.others) == (120, 120)
    assert warned.beats_length is True
    assert warned.model.auc > warned.length.auc + 0.05
    assert warned.auc_difference.interval[0] > 0
    operation = warned.model.operations[0.05]
    assert operation.recall.value > 0.9
    assert operation.false_alarms.value < 0.15
    assert operation.lead.median > 300
    assert operation.before_loop.n == operation.recall.count
    assert warned.model.operations[0.01] is None  # 1 % of some seventy responses is not even one
    assert warned.saved_differences[0.05].interval[0] > 0


def test_figures_of_an_operation_follow_from_its_alarms(warned: EarlyWarning, loops: Study) -> None:
    for predictor in (warned.model, warned.length):
        operation = predictor.operations[0.05]
        whole = [prefixes(t, c, STEP).tokens for t, c in zip(loops.texts, loops.closed, strict=True)]
        rows = list(zip(operation.alarms, whole, loops.closed, loops.onset, strict=True))
        after = {kind: [n - a for a, n, c, _ in rows if a is not None and c == kind] for kind in (True, False)}
        assert operation.tokens_saved == sum(after[False])
        assert operation.tokens_cut == sum(after[True])
        assert operation.tokens_all == sum(whole)
        assert (operation.recall.count, operation.false_alarms.count) == (len(after[False]), len(after[True]))
        assert operation.lead.median == np.median(after[False])
        ahead = [o - a for a, _, c, o in rows if a is not None and not c]
        assert operation.lead_before_loop.median == pytest.approx(np.median(ahead))
        assert operation.before_loop.count == sum(x > 0 for x in ahead)


def test_model_tokens_scale_the_figures_and_nothing_else(warned: EarlyWarning, loops: Study) -> None:
    tokens = [3 * prefixes(t, c, STEP).tokens for t, c in zip(loops.texts, loops.closed, strict=True)]
    onset = [None if o is None else 3 * o for o in loops.onset]
    tripled = loops.evaluate(onset=onset, tokens=tokens)
    assert (tripled.unit, warned.unit) == ("tokens", "pseudo-tokens")
    assert tripled.model.auc == warned.model.auc
    ours, theirs = warned.model.operations[0.05], tripled.model.operations[0.05]
    assert theirs.lead.median == pytest.approx(3 * ours.lead.median)
    assert theirs.lead_before_loop.high == pytest.approx(3 * ours.lead_before_loop.high)
    assert theirs.alarms == tuple(None if a is None else 3 * a for a in ours.alarms)


def test_longer_text_alone_does_not_beat_length() -> None:
    found = Study("longer").evaluate()
    assert found.length.auc > 0.7
    assert found.beats_length is False
    assert found.model.auc_same_length_interval[0] < 0.5 < found.model.auc_same_length_interval[1]


def test_nothing_to_see_is_seen_as_nothing() -> None:
    found = Study("nothing", seed=4).evaluate()
    assert found.beats_length is False
    assert found.model.auc_interval[0] < 0.5


def test_target_loop_reads_up_to_the_onset_only(loops: Study) -> None:
    found = loops.evaluate(target="loop", onset=loops.onset)
    assert (found.target, found.failed) == ("loop", sum(o is not None for o in loops.onset))
    # before the onset these texts are random words like the others
    assert found.model.auc_same_length_interval[0] < 0.5
    for alarm, onset in zip(found.length.operations[0.05].alarms, loops.onset, strict=True):
        assert onset is None or alarm is None or alarm <= onset
    with pytest.raises(ValueError, match="onsets"):
        loops.evaluate(target="loop")


def test_too_few_failures_are_not_judged() -> None:
    study = Study("loop", problems=12)
    found = study.evaluate()
    assert found.failed < MIN_FAILED
    assert found.shortage == Shortage("failed", found.failed, MIN_FAILED)
    assert found.model is found.length is found.beats_length is found.auc_difference is None
    with pytest.raises(ValueError, match=f"too few to learn from: {found.failed} failed"):
        fit(study.texts, study.closed, study.groups, step=STEP)
    few_problems = evaluate(
        [prose(random.Random(i), 100) for i in range(90)],
        [i % 3 > 0 for i in range(90)],
        [f"p{i % 6}" for i in range(90)],
    )
    assert few_problems.shortage == Shortage("failed_problems", 2, 10)


def test_what_is_not_known_is_left_out(loops: Study) -> None:
    texts, closed = list(loops.texts), list(loops.closed)
    short = closed.index(True, 2)
    texts[0], closed[1], texts[short] = None, None, "x </think>"
    found = evaluate(texts, closed, loops.groups, step=STEP)
    assert (found.n, found.left_out) == (118, 2)
    assert len(found.model.operations[0.05].alarms) == 120
    assert found.too_short == 1


def test_lost_answers_are_counted_among_the_correct(loops: Study) -> None:
    correct = [c and i % 2 == 0 for i, c in enumerate(loops.closed)]
    operation = loops.evaluate(correct=correct).model.operations[0.05]
    assert operation.lost.n == sum(correct)
    assert operation.lost.count == sum(a is not None for a, c in zip(operation.alarms, correct, strict=True) if c)


def test_same_input_same_result(warned: EarlyWarning, loops: Study) -> None:
    again = loops.evaluate(onset=loops.onset)
    assert again == warned


def test_curve_of_one_response_by_a_model_of_the_others(loops: Study) -> None:
    at = loops.closed.index(False)
    model = fit(loops.texts, loops.closed, loops.groups, without=loops.groups[at], step=STEP)
    assert (model.n, model.without) == (117, loops.groups[at])
    drawn = curve(loops.texts[at], model, closed=False)
    assert drawn.tokens[:2] == (STEP, 2 * STEP)
    assert len(drawn.tokens) == len(drawn.scores)
    alarm = drawn.alarms[0.05]
    assert alarm is not None
    assert drawn.scores[drawn.tokens.index(alarm)] > model.thresholds[0.05]
    assert max(drawn.scores[: drawn.tokens.index(alarm)]) <= model.thresholds[0.05]
    assert model.thresholds[0.01] is None is drawn.alarms[0.01]
    assert curve("too short", model).scores == ()
    other = list(loops.texts)
    other[at] = prose(random.Random(9), 500)
    assert fit(other, loops.closed, loops.groups, without=loops.groups[at], step=STEP) == model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "wrong"}, "no target"),
        ({"step": 0}, "step"),
        ({"onset": [None]}, "aligned"),
        ({"correct": [True]}, "aligned"),
        ({"tokens": [None] * 120}, "number of tokens"),
    ],
)
def test_impossible_arguments_are_refused(loops: Study, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loops.evaluate(**arguments)


def test_definitions_are_in_both_languages() -> None:
    assert all(set(texts) == {"en", "ko"} and all(texts.values()) for texts in DEFINITIONS.values())
