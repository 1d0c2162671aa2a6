"""The early warning of a set of responses, judged: the model beside "length so far", under one protocol.

Intervals draw problems anew and keep the scores, so that they say how the figures would vary with other
problems, not with another model learned on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qrm_forensics.early_warning.cases import Cases, collect
from qrm_forensics.early_warning.concordance import (
    RESAMPLES,
    Bools,
    Floats,
    Ints,
    draws,
    pairs_at,
    percentiles,
    pooled_pairs,
    share_interval,
)
from qrm_forensics.early_warning.features import FEATURES
from qrm_forensics.early_warning.model import FOLDS, fit_logistic, folds
from qrm_forensics.early_warning.protocol import Scorer, by_length, by_model, first_above, out_of_fold, thresholds
from qrm_forensics.early_warning.results import (
    Difference,
    EarlyWarning,
    Landmark,
    Operation,
    Predictor,
    Quartiles,
    Share,
)

#: Shares of the responses that did not fail and may raise an alarm.
ALLOWED = (0.01, 0.05)
#: Landmarks, in steps, and how many responses of either kind one needs.
LANDMARKS, MIN_LANDMARK = (4, 8, 16, 32, 64, 96), 5


def evaluate(
    texts: Sequence[str | None],
    closed: Sequence[bool | None],
    groups: Sequence[str],
    *,
    target: str = "unclosed",
    onset: Sequence[float | None] | None = None,
    tokens: Sequence[int | None] | None = None,
    correct: Sequence[bool | None] | None = None,
    step: int | None = None,
    seed: int = 0,
) -> EarlyWarning:
    """How well the beginning of a response tells that it will fail, at every ``step`` pseudo-tokens.

    All arguments have one entry per response.  ``closed``: whether it closed (None: not known, left out).
    ``groups``: name of its problem; responses to one problem, of whatever variant, are never on both
    sides of a fold.  ``target``: ``unclosed``, fails where ``closed`` is false; or ``loop``, fails where it
    has an onset, and is then read up to the onset only.  ``onset``: tokens before the first
    repeated token, None without a loop.  ``tokens``: length in model tokens, from which all
    figures are in model tokens (and onsets are taken to be), else in pseudo-tokens.  ``correct``: whether
    its answer is right, None where unknown; only to count what false alarms would have lost.

    Raises ValueError for columns of different length, an unknown target, a target ``loop`` without
    onsets, and a missing number of tokens.
    """
    if correct is not None and len(correct) != len(texts):
        raise ValueError(f"not aligned columns: {len(texts)} texts, {len(correct)} of whether they are correct")
    cases = collect(texts, closed, groups, target=target, onset=onset, tokens=tokens, step=step)
    points, shortage = cases.points, cases.shortage()
    model = length = difference = None
    saved: dict[float, Difference | None] = {}
    coefficients: dict[str, float] = {}
    if shortage is None:
        right = None if correct is None else np.array([correct[i] is True for i in cases.given], dtype=bool)
        judge = _Judge(cases, folds(points.failed, points.problem, seed), seed, right, onset is not None)
        ours, trivial = judge.judged("model", by_model), judge.judged("length", by_length)
        model, length = ours.predictor, trivial.predictor
        difference = Difference(model.auc - length.auc, percentiles(ours.areas - trivial.areas))
        saved = {allowed: judge.saved_difference(ours.after[allowed], trivial.after[allowed]) for allowed in ALLOWED}
        fitted = fit_logistic(points.values, points.failed[points.response], points.weight)
        coefficients = dict(zip(FEATURES, fitted.coefficients, strict=True))
    return EarlyWarning(
        target=target,
        n=cases.size,
        failed=int(points.failed.sum()),
        others=int((~points.failed).sum()),
        problems=cases.problems,
        left_out=cases.count - cases.size,
        too_short=cases.size - len(np.unique(points.response)),
        step=cases.step,
        unit="pseudo-tokens" if tokens is None else "tokens",
        folds=FOLDS,
        seed=seed,
        resamples=RESAMPLES,
        shortage=shortage,
        model=model,
        length=length,
        auc_difference=difference,
        saved_differences=saved,
        beats_length=None if difference is None or difference.interval is None else difference.interval[0] > 0,
        coefficients=coefficients,
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """``areas``: AUC in each resample.  ``after``: tokens behind the alarm of each response [n], for each allowed share."""

    predictor: Predictor
    areas: Floats
    after: Mapping[float, Floats | None]


@dataclass(frozen=True, slots=True)
class _Judge:
    cases: Cases
    fold: Ints
    seed: int
    correct: Bools | None
    onsets: bool

    def judged(self, name: str, scorer: Scorer) -> _Judged:
        points, problems = self.cases.points, self.cases.problems
        score = out_of_fold(points, scorer, self.fold)
        failed, problem = points.failed[points.response], points.problem[points.response]
        pairs = pooled_pairs(score, failed, points.weight, problem, problems)
        area = pairs.area
        assert area is not None  # there are points of either kind
        alike = None if scorer is by_length else pairs_at(points.position, score, failed, problem, problems)
        operations: dict[float, Operation | None] = {}
        after: dict[float, Floats | None] = {}
        for allowed, levels in thresholds(points, scorer, self.fold, ALLOWED, self.seed).items():
            if levels is None:
                operations[allowed] = after[allowed] = None
                continue
            alarm = first_above(points, score, levels[self.fold])
            behind = np.where(np.isnan(alarm), 0.0, (self.cases.length - alarm) * self.cases.scale)
            operations[allowed], after[allowed] = self._operation(allowed, alarm, behind), behind
        areas = pairs.resampled(self.seed)
        predictor = Predictor(
            name=name,
            auc=area,
            auc_interval=percentiles(areas),
            auc_same_length=alike.area if alike else None,
            auc_same_length_interval=alike.interval(self.seed) if alike else None,
            landmarks=tuple(self._landmark(score, n * self.cases.step) for n in LANDMARKS) if alike else (),
            operations=operations,
        )
        return _Judged(predictor, areas, after)

    def saved_difference(self, ours: Floats | None, trivial: Floats | None) -> Difference | None:
        """Of the share of the tokens of failed responses that stopping at the alarm saves."""
        if ours is None or trivial is None:
            return None
        failed, problem, problems = self.cases.points.failed, self.cases.points.problem, self.cases.problems
        more = np.bincount(problem, np.where(failed, ours - trivial, 0.0), problems)
        total = np.bincount(problem, np.where(failed, self.cases.length * self.cases.scale, 0.0), problems)
        weights = draws(problems, self.seed)
        drawn = weights @ total
        interval = percentiles((weights @ more) / drawn) if (drawn > 0).all() else None
        return Difference(float(more.sum() / total.sum()), interval)

    def _landmark(self, score: Floats, at: int) -> Landmark:
        points = self.cases.points
        here = points.position == at
        failed, problem = points.failed[points.response[here]], points.problem[points.response[here]]
        counts = int(failed.sum()), int((~failed).sum())
        if min(counts) < MIN_LANDMARK:
            return Landmark(at, *counts, None, None)
        pairs = pooled_pairs(score[here], failed, np.ones(len(failed)), problem, self.cases.problems)
        return Landmark(at, *counts, pairs.area, pairs.interval(self.seed))

    def _operation(self, allowed: float, alarm: Floats, after: Floats) -> Operation:
        cases, failed = self.cases, self.cases.points.failed
        alarmed = ~np.isnan(alarm)
        ahead = (cases.onset - alarm) * cases.scale
        looped = alarmed & failed & ~np.isnan(cases.onset)
        total = cases.length * cases.scale
        alarms: list[int | None] = [None] * cases.count
        for i in np.flatnonzero(alarmed):
            alarms[cases.given[i]] = round(alarm[i] * cases.scale[i])
        return Operation(
            allowed=allowed,
            recall=self._share(alarmed, failed),
            false_alarms=self._share(alarmed, ~failed),
            lead=_quartiles(after[alarmed & failed]),
            lead_before_loop=_quartiles(ahead[looped]) if self.onsets else None,
            before_loop=self._share(ahead > 0, looped) if self.onsets else None,
            lost=None if self.correct is None else self._share(alarmed, ~failed & self.correct),
            tokens_saved=round(float(after[failed].sum())),
            tokens_failed=round(float(total[failed].sum())),
            tokens_cut=round(float(after[~failed].sum())),
            tokens_all=round(float(total.sum())),
            alarms=tuple(alarms),
        )

    def _share(self, hits: Bools, among: Bools) -> Share:
        chosen = hits[among]
        interval = share_interval(chosen, self.cases.points.problem[among], self.cases.problems, self.seed)
        return Share(int(chosen.sum()), len(chosen), interval)


def _quartiles(values: Floats) -> Quartiles | None:
    if not len(values):
        return None
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    return Quartiles(len(values), low, median, high)
