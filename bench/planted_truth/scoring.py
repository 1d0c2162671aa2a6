"""What a detector makes of planted loops, of clean responses and of hard negatives."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from .bases import Base
from .negatives import PERIODIC
from .peers import Detector, Found
from .plant import KINDS, Case

LONG = 400
LONG_PERIOD = 100


@dataclass(frozen=True, slots=True)
class Share:
    """``k`` of ``n`` with the Wilson score interval at 95 %; no interval where n is 0."""

    k: int
    n: int

    @property
    def value(self) -> float | None:
        return self.k / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        if not self.n:
            return None
        ci = binomtest(self.k, self.n).proportion_ci(0.95, "wilson")
        return float(ci.low), float(ci.high)

    def json(self) -> dict[str, object]:
        return {"k": self.k, "n": self.n, "value": self.value, "wilson_95": self.interval}


@dataclass(frozen=True, slots=True)
class Hit:
    """What a detector made of one planted response: ``loops`` overlap the plant, earliest first, ``others`` do not."""

    case: Case
    loops: list[Found]
    others: list[Found]

    @property
    def found(self) -> bool:
        return bool(self.loops)

    @property
    def onset_error(self) -> int | None:
        """|onset found - onset planted| in characters, of the earliest loop; None where there is no place."""
        onset = self.loops[0].onset_char if self.loops else None
        return None if onset is None else abs(onset - self.case.truth.onset_char)

    @property
    def end_error(self) -> int | None:
        ends = [f.end_char for f in self.loops if f.end_char is not None]
        return abs(max(ends) - self.case.truth.end_char) if ends else None

    @property
    def terminal(self) -> bool:
        return any(f.terminal for f in self.loops)

    @property
    def main(self) -> Found | None:
        """The longest of the loops that have a place."""
        placed = [f for f in self.loops if f.onset_char is not None]
        return max(placed, key=lambda f: (f.end_char or 0) - (f.onset_char or 0), default=None)


def matched(case: Case, found: list[Found]) -> Hit:
    """Sort what was found: a loop counts for the plant if it has no place, or if [onset, end) of both overlap."""
    loops: list[Found] = []
    others: list[Found] = []
    for f in found:
        placed = f.onset_char is not None and f.end_char is not None
        apart = placed and not (f.onset_char < case.truth.end_char and f.end_char > case.truth.onset_char)  # type: ignore[operator]
        (others if apart else loops).append(f)
    loops.sort(key=lambda f: -1 if f.onset_char is None else f.onset_char)
    return Hit(case, loops, others)


@dataclass(frozen=True, slots=True)
class Score:
    """One detector.  ``recall`` by group of plants, errors in characters, time per planted response.

    ``period`` and ``classes`` are of the plants of 400 tokens or more that were found by a detector that tells them.
    """

    name: str
    recall: dict[str, Share]
    by_class: dict[str, Share]
    false_alarms: Share
    borderline: Share
    looped: Share
    negatives: Share
    negatives_periodic: Share
    negatives_flagged: list[str]
    onset_errors: list[int]
    onset_errors_long: list[int]
    end_errors: list[int]
    terminal: Share
    extra: Share
    period: Share
    classes: dict[str, Share]
    milliseconds: float
    hits: list[Hit]

    def onset(self, q: float, long: bool = True) -> float | None:
        errors = self.onset_errors_long if long else self.onset_errors
        return float(np.percentile(errors, q)) if errors else None

    def end(self, q: float) -> float | None:
        return float(np.percentile(self.end_errors, q)) if self.end_errors else None

    def json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "recall": {k: v.json() for k, v in self.recall.items()},
            f"recall_by_class_from_{LONG}_tokens": {k: v.json() for k, v in self.by_class.items()},
            "false_alarms_on_clean": self.false_alarms.json(),
            "flagged_borderline": self.borderline.json(),
            "flagged_with_a_recovered_loop": self.looped.json(),
            "hard_negatives": self.negatives.json(),
            "hard_negatives_periodic": self.negatives_periodic.json(),
            "hard_negatives_flagged": self.negatives_flagged,
            "onset_error_chars": {"p50": self.onset(50, False), "p90": self.onset(90, False)},
            f"onset_error_chars_from_{LONG}_tokens": {"p50": self.onset(50), "p90": self.onset(90)},
            "end_error_chars": {"p50": self.end(50), "p90": self.end(90)},
            "terminal_right_of_found": self.terminal.json(),
            "plants_with_a_loop_found_elsewhere": self.extra.json(),
            "period_within_10_percent": self.period.json(),
            "class_right": {k: v.json() for k, v in self.classes.items()},
            "ms_per_response": self.milliseconds,
        }


def groups(cases: Sequence[Case]) -> dict[str, list[int]]:
    """Indices of the plants of each column of the table; all but ``all`` hold plants of 400 tokens or more."""
    long = [i for i, c in enumerate(cases) if c.truth.tokens >= LONG]
    out = {"all": list(range(len(cases))), f">={LONG}": long}
    for kind in KINDS:
        out[kind] = [i for i in long if cases[i].truth.kind == kind]
    out[f"p>{LONG_PERIOD}"] = [i for i in long if cases[i].truth.period > LONG_PERIOD]
    return out


def score(
    name: str,
    detect: Detector,
    cases: Sequence[Case],
    clean: Sequence[Base],
    borderline: Sequence[Base],
    looped: Sequence[Base],
    negatives: Sequence[tuple[str, str]],
) -> Score:
    """Run one detector over everything.  ``cases`` must not be empty."""
    detect(cases[0].text, cases[0].closed)  # compiles what is compiled on first use
    began = time.process_time()
    every = [detect(c.text, c.closed) for c in cases]
    seconds = time.process_time() - began
    hits = [matched(c, f) for c, f in zip(cases, every, strict=True)]

    def share(indices: Sequence[int]) -> Share:
        return Share(sum(hits[i].found for i in indices), len(indices))

    def flagged(bases: Sequence[Base]) -> Share:
        return Share(sum(bool(detect(b.text, b.closed)) for b in bases), len(bases))

    long = [h for h in hits if h.case.truth.tokens >= LONG]
    placed = [h for h in hits if h.onset_error is not None]
    told = [h for h in long if h.main is not None and h.main.period is not None]
    classes = sorted({h.case.truth.loop_class for h in long})
    marked = [n for n, text in negatives if detect(text, n.endswith("/embedded"))]
    periodic = [n for n, _ in negatives if n.rsplit("/", 1)[0] in PERIODIC]
    n_periodic = sum(n in periodic for n in marked)
    return Score(
        name=name,
        recall={g: share(i) for g, i in groups(cases).items()},
        by_class={
            c: Share(
                sum(h.found for h in long if h.case.truth.loop_class == c),
                sum(h.case.truth.loop_class == c for h in long),
            )
            for c in classes
        },
        false_alarms=flagged(clean),
        borderline=flagged(borderline),
        looped=flagged(looped),
        negatives=Share(len(marked) - n_periodic, len(negatives) - len(periodic)),
        negatives_periodic=Share(n_periodic, len(periodic)),
        negatives_flagged=marked,
        onset_errors=[e for h in hits if (e := h.onset_error) is not None],
        onset_errors_long=[e for h in long if (e := h.onset_error) is not None],
        end_errors=[e for h in hits if (e := h.end_error) is not None],
        terminal=Share(sum(h.terminal == h.case.truth.terminal for h in placed), len(placed)),
        extra=Share(sum(bool(h.others) for h in hits), len(hits)),
        period=Share(sum(_near(h.main.period, h.case.truth.period) for h in told if h.main), len(told)),
        classes=_classes(told),
        milliseconds=1e3 * seconds / len(cases),
        hits=hits,
    )


def _near(period: float | None, truth: float) -> bool:
    return period is not None and abs(period - truth) <= max(0.5, 0.1 * truth)


def _classes(told: Sequence[Hit]) -> dict[str, Share]:
    """How often the class of a written unit is named right; copied units have no class to compare with."""
    by_class: dict[str, list[bool]] = {}
    for h in told:
        if h.case.truth.loop_class != "copied" and h.main is not None:
            by_class.setdefault(h.case.truth.loop_class, []).append(h.main.loop_class == h.case.truth.loop_class)
    return {name: Share(sum(right), len(right)) for name, right in sorted(by_class.items())}
