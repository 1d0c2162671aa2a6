"""Whether the gate keeps its promises: false alarms, coverage of intervals, power at the printed MDE, equivalence.

    python bench/gate_simulation.py [--studies 2000] [--seed 1] [--json FILE] [--markdown docs/gate-simulation.md]

Every study goes through the project's own functions (``paired_change``, ``noise_floor``, ``judge``, ``tier``), not
through formulas written again for this table.  Studies with one response per problem are settled by their counts
(lost, gained, n), so that equal counts are computed once.

A cell that a promise is made for is checked against it, with the Monte Carlo error of the number of
studies (three standard errors) on top; ``!`` marks one that misses.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from qrm_forensics.compare.change import Change, paired_change
from qrm_forensics.compare.gates import Gate, GateStatus, judge, with_change
from qrm_forensics.compare.noise import noise_floor
from qrm_forensics.compare.rules import GATE
from qrm_forensics.compare.shares import detectable_difference, score_statistic
from qrm_forensics.compare.verdict import Tier, tier

Floats = NDArray[np.float64]

RULES = GATE
MID_P = replace(GATE, test="mid-p")
MARGIN = RULES.margin("accuracy") or 0.02


@dataclass(frozen=True)
class Cell:
    """One setting.  Rates are shares of the studies; None where the question does not arise.

        ``regression`` and ``improvement``: verdicts by the exact test; ``power``: told apart in the true direction;
    XX
    """

    part: str
    setting: str
    n: int
    truth: float
    regression: float
    improvement: float
    mid_p: float
    coverage: float
    equivalent: float
    detectable: float
    width: float
    exact_coverage: float | None = None


def outcome(change: Change, truth: float) -> tuple[bool, bool, bool, bool, bool, float, float]:
    """What one study gives: regression, improvement, told apart by mid-p, covered, equivalent, MDE, width."""
    found = tier(change, change.p_exact, RULES)
    told = tier(change, change.p_mid, MID_P) in (Tier.WORSE, Tier.BETTER)
    limits = change.interval
    assert limits is not None
    covered = limits.low - 1e-12 <= truth <= limits.high + 1e-12
    equivalent = change.equivalence(RULES, MARGIN).equivalent
    detectable, width = change.detectable(RULES), limits.high - limits.low
    return (found is Tier.WORSE, found is Tier.BETTER, told, covered, equivalent, detectable, width)


def cell(part: str, setting: str, n: int, truth: float, rows: Sequence[tuple[float, ...]]) -> Cell:
    return Cell(part, setting, n, truth, *(float(v) for v in np.mean(np.array(rows, dtype=np.float64), axis=0)))


@lru_cache(maxsize=200_000)
def counted(lost: int, gained: int, n: int) -> Change:
    """The change of a study with one response per problem."""
    x, y = np.zeros(n), np.zeros(n)
    x[:lost] = 1
    y[lost : lost + gained] = 1
    return paired_change(x, y, RULES)


def exact_coverage(n: int, flips: float, truth: float) -> float:
    """Chance that Tango's interval holds the truth, by adding up every table of counts that is not out of the question."""
    z = float(norm.ppf(1 - RULES.alpha / 2))
    covered = 0.0
    for moved in range(n + 1):
        weight = float(binom.pmf(moved, n, flips))
        if weight < 1e-7:
            continue
        chances = binom.pmf(np.arange(moved + 1), moved, (flips + truth) / (2 * flips))
        for gained in np.flatnonzero(chances > 1e-7).tolist():
            if abs(score_statistic(moved - gained, gained, n, truth)) <= z:
                covered += weight * float(chances[gained])
    return covered


def single(n: int, flips: float, truth: float, studies: int, rng: np.random.Generator) -> Cell:
    """One response per problem: lost and gained are multinomial with flip rate ``flips`` and difference ``truth``."""
    counts = rng.multinomial(n, [(flips - truth) / 2, (flips + truth) / 2, 1 - flips], studies)
    kinds, index = np.unique(counts[:, :2], axis=0, return_inverse=True)
    rows = [outcome(counted(int(b), int(c), n), truth) for b, c in kinds]
    found = cell("one response per problem", f"flips {100 * flips:g} %", n, truth, [rows[i] for i in index])
    return replace(found, exact_coverage=exact_coverage(n, flips, truth))


def singles(studies: int, rng: np.random.Generator) -> list[Cell]:
    found = []
    for n in (30, 90, 200, 500, 1000):
        for flips in (0.05, 0.11, 0.20, 0.36):
            detectable = detectable_difference(flips, n)
            truths = [0.0, -MARGIN, MARGIN] + ([-detectable] if detectable < flips else [])
            found += [single(n, flips, truth, studies, rng) for truth in truths]
    return found


#: Chance right per problem: many easy, some hopeless, the rest between, as on mathematics benchmarks.
EASY, HARD = 1.2, 0.5


def chances(rng: np.random.Generator, n: int) -> Floats:
    return rng.beta(EASY, HARD, n)


MEAN_CHANCE = EASY / (EASY + HARD)


def sampled(p: Floats, k: int, rng: np.random.Generator) -> Floats:
    return rng.binomial(k, p) / k


def repeated(n: int, k: int, m: int, harm: float, studies: int, rng: np.random.Generator) -> Cell:
    """``k`` samples of the baseline and ``m`` of the candidate, whose chances are lower by the factor 1 - harm."""
    truth = -harm * MEAN_CHANCE + 0.0
    rows = []
    for _ in range(studies):
        p = chances(rng, n)
        rows.append(outcome(paired_change(sampled(p, k, rng), sampled(p * (1 - harm), m, rng), RULES), truth))
    return cell("several samples per problem", f"{k} and {m} samples", n, truth, rows)


def repeats(studies: int, rng: np.random.Generator) -> list[Cell]:
    """Per setting: no difference, the margin, and a difference that is as large as the MDE that its studies print."""
    found = []
    for n in (30, 90, 500):
        for k, m in ((4, 4), (1, 4), (16, 16)):
            harm = MARGIN / MEAN_CHANCE
            found += [repeated(n, k, m, h, studies, rng) for h in (0.0, harm)]
            for _ in range(4):  # harm adds variance, so the MDE depends on it
                harm = repeated(n, k, m, harm, max(studies // 20, 20), rng).detectable / MEAN_CHANCE
            found.append(repeated(n, k, m, harm, studies, rng))
    return found


def grouped(n: int, size: int, k: int, harm: float, groups: bool, studies: int, rng: np.random.Generator) -> Cell:
    """Groups of ``size`` problems of one difficulty, which the candidate harms or helps together, by chance in either direction."""
    index = np.repeat(np.arange(n // size), size)
    truth = -harm * MEAN_CHANCE + 0.0
    rows = []
    for _ in range(studies):
        p = chances(rng, n // size)
        q = (p + rng.choice([-0.6, 0.6], n // size) * p * (1 - p)) * (1 - harm)
        x, y = (sampled(np.repeat(chance, size), k, rng) for chance in (p, q))
        rows.append(outcome(paired_change(x, y, RULES, index if groups else None), truth))
    kind = "as groups" if groups else "ignored"
    return cell("groups of problems", f"groups of {size}, {k} sample(s), {kind}", n, truth, rows)


@dataclass(frozen=True)
class Family:
    """A family of gates on one set of problems: share of studies where any gate is worse."""

    setting: str
    n: int
    gates: int
    any_worse: float
    accuracy_worse: float


def family(n: int, harm: float, studies: int, rng: np.random.Generator) -> Family:
    """Accuracy and five yes/no gates; without harm nothing differs, with it accuracy alone falls."""
    names = ("accuracy", "loop", "truncated", "missing_answer", "outcomes", "flips")
    rates = (0.12, 0.04, 0.05, 0.03, 0.06, 0.15)  # share of problems that differ between two equal runs
    any_worse = accuracy_worse = 0
    for _ in range(studies):
        gates = []
        for name, rate in zip(names, rates, strict=True):
            truth = -harm if name == "accuracy" else 0.0
            b, c, _ = rng.multinomial(n, [(rate - truth) / 2, (rate + truth) / 2, 1 - rate])
            empty = Gate(name, "b", None, "points", -1 if name == "accuracy" else 1, RULES.margin(name) or 0.02, n)
            gates.append(with_change(empty, counted(int(b), int(c), n), RULES))
        judged = judge(gates, RULES)
        any_worse += any(g.status is GateStatus.WORSE for g in judged)
        accuracy_worse += judged[0].status is GateStatus.WORSE
    setting = "nothing differs" if not harm else f"accuracy falls by {100 * harm:.1f} points"
    return Family(setting, n, len(names), any_worse / studies, accuracy_worse / studies)


@dataclass(frozen=True)
class Noise:
    """Flips in excess of the baseline's own: mean estimate and truth, coverage, and how often they are called real."""

    setting: str
    n: int
    truth: float
    mean: float
    coverage: float
    told_apart: float


def noise(n: int, k: int, harm: float, second: bool, studies: int, rng: np.random.Generator) -> Noise:
    """A candidate that is another run of the baseline (no harm), or that loses a part of its chances."""
    # E (q - p)(1 - 2p) with q = p (1 - harm)
    second_moment = EASY * (EASY + 1) / ((EASY + HARD) * (EASY + HARD + 1))
    truth = -harm * (MEAN_CHANCE - 2 * second_moment)
    means, covered, told = [], 0, 0
    for _ in range(studies):
        p = chances(rng, n)
        x, y = sampled(p, k, rng), sampled(p * (1 - harm), k, rng)
        again = sampled(p, k, rng) if second else None
        floor = noise_floor(x, y, np.full(n, k), again, RULES)
        assert floor is not None and floor.excess.interval is not None
        means.append(floor.excess.difference)
        covered += floor.excess.interval.low <= truth + 1e-12 and truth - 1e-12 <= floor.excess.interval.high
        told += floor.excess.p_exact <= RULES.alpha
    source = "second run" if second else "own samples"
    setting = f"{source}, {k} sample(s), " + ("same checkpoint" if not harm else f"chances x {1 - harm:g}")
    return Noise(setting, n, truth, float(np.mean(means)), covered / studies, told / studies)


def error(rate: float, studies: int) -> float:
    """Three standard errors of a simulated rate."""
    return 3 * math.sqrt(rate * (1 - rate) / studies)


def misses(c: Cell, studies: int) -> list[str]:
    """Promises that a cell breaks; none is made where groups are ignored."""
    found: list[str] = []
    if "ignored" in c.setting:
        return found
    if c.truth == 0 and c.regression > RULES.alpha + error(RULES.alpha, studies):
        found.append("false regressions")
    if abs(c.truth) >= MARGIN - 1e-9 and c.equivalent > RULES.alpha + error(RULES.alpha, studies):
        found.append("equivalence")
    known = c.exact_coverage
    if (c.coverage + error(0.94, studies) if known is None else known) < 0.94:
        found.append("coverage")
    return found


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def cell_table(cells: Sequence[Cell], studies: int) -> list[str]:
    lines = [
        "| setting | n | true difference | called regression | called improvement | told apart by mid-p | coverage | exact coverage | called equivalent | printed MDE | interval width |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for c in cells:
        mark = "".join(f" ! {m}" for m in misses(c, studies))
        values = (
            c.regression,
            c.improvement,
            c.mid_p,
            c.coverage,
            c.exact_coverage,
            c.equivalent,
            c.detectable,
            c.width,
        )
        shown = " | ".join("–" if v is None else percent(v) for v in values)
        lines.append(f"| {c.setting}{mark} | {c.n} | {100 * c.truth:+.1f} | {shown} |")
    return lines


def markdown(
    parts: dict[str, list[Cell]], families: Sequence[Family], noises: Sequence[Noise], studies: int, seed: int
) -> str:
    lines = [
        "# What the gate promises, simulated",
        "",
        f"Made by `python bench/gate_simulation.py --markdown docs/gate-simulation.md`: {studies} studies per row, "
        f"seed {seed}. All numbers are per cent, differences percentage points. Level 5 % (two-sided), power 80 %, margin "
        f"{100 * MARGIN:g} points, floor {RULES.floor:g} point, {RULES.resamples} resamples.",
        "",
        "How to read it:",
        "",
        "- *Called regression* where the true difference is 0 is the false alarm rate. The test is two-sided at 5 %, so one "
        "direction has 2.5 %, and the exact test spends less than that where few problems flip.",
        "- Where the true difference is the MDE (the last row of a setting), *called regression* is the power that 80 % was printed "
        "for. The exact test has a little less than the formula says, mid-p about what it says.",
        "- *Coverage* of a 95 % interval is meant to be 95 ± 1; the exact one adds up every possible table of counts. With a handful of flips (n times flip rate below about 10) an "
        "interval of counts cannot hit 95 exactly and is wide of it on the safe side.",
        "- *Called equivalent* where the true difference is the margin or more is the error of that verdict, at most 5 %.",
        "- `!` marks a row that breaks a promise by more than the simulation's own error.",
        "",
    ]
    for title, cells in parts.items():
        lines += [f"## {title[:1].upper()}{title[1:]}", "", *cell_table(cells, studies), ""]
    lines += [
        "Rows that ignore the groups show what doing so costs: too narrow intervals, and false alarms.",
        "",
        "## All gates together",
        "",
        "Six gates, one family for Holm's adjustment; the chance that any of them is red without reason.",
        "",
        "| setting | n | gates | any gate worse | accuracy worse |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {f.setting} | {f.n} | {f.gates} | {percent(f.any_worse)} | {percent(f.accuracy_worse)} |"
            for f in families
        ),
        "",
        "## Flips in excess of the noise",
        "",
        "| setting | n | true excess | mean estimate | coverage | told apart |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {x.setting} | {x.n} | {100 * x.truth:+.1f} | {100 * x.mean:+.1f} | {percent(x.coverage)} | {percent(x.told_apart)} |"
            for x in noises
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    studies = options.studies
    rng = np.random.default_rng(options.seed)
    started = time.perf_counter()
    parts = {
        "one response per problem": singles(studies, rng),
        "several samples per problem": repeats(studies, rng),
        "groups of problems": [
            grouped(n, 5, k, harm, groups, studies, rng)
            for n in (100, 500)
            for k in (1, 4)
            for harm, groups in ((0.0, True), (0.0, False), (MARGIN / MEAN_CHANCE, True))
        ],
    }
    families = [family(n, harm, studies, rng) for n in (90, 500, 1000) for harm in (0.0, 0.05)]
    noises = [
        noise(n, k, harm, second, studies, rng)
        for n in (90, 500)
        for k, second in ((1, True), (4, True), (4, False))
        for harm in (0.0, 0.3)
    ]
    text = markdown(parts, families, noises, studies, options.seed)
    print(text)
    print(f"{time.perf_counter() - started:.0f} s")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        found = {
            "studies": studies,
            "seed": options.seed,
            "cells": [asdict(c) for cells in parts.values() for c in cells],
            "families": [asdict(f) for f in families],
            "noise": [asdict(x) for x in noises],
        }
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
