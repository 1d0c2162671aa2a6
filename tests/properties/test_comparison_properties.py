"""What must hold of every comparison: itself, the other way round, in any order, and with gaps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from comparison_helpers import STATUS, make_side
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.compare.change import paired_change
from qrm_forensics.compare.comparison import compare
from qrm_forensics.compare.items import Side
from qrm_forensics.compare.resampling import sign_flip
from qrm_forensics.compare.rules import GATE
from qrm_forensics.compare.tiers import tiers

small = settings(max_examples=20, deadline=None)
#: Quick; what is asked here does not depend on the number of resamples.
RULES = replace(GATE, resamples=1000, max_unscored=1.0)

verdict = st.sampled_from([1, 1, 0, None])


@st.composite
def two_sides(draw: st.DrawFn) -> tuple[Side, Side]:
    """Two runs over the same problems, with gaps, several samples, and figures that may be missing."""
    n, k, m = draw(st.integers(1, 14)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    sides = []
    for name, samples, seed in (("base", k, 1), ("cand", m, 50)):
        right = [[draw(verdict) for _ in range(samples)] for _ in range(n)]
        count = n * samples
        flags = st.lists(st.sampled_from([True, False, None]), min_size=count, max_size=count)
        lengths = st.lists(st.one_of(st.none(), st.integers(0, 900)), min_size=count, max_size=count)
        kinds = st.sampled_from(["correct", "looped_to_limit", "closed_no_answer", None])
        columns: dict[str, Any] = {
            "loop": pd.array(draw(flags), dtype="boolean"),
            "n_tokens": pd.array(draw(lengths), dtype="Int64"),
            "outcome": draw(st.lists(kinds, min_size=count, max_size=count)),
            "subject": [f"s{i % 3}" for i in range(n) for _ in range(samples)],
        }
        sides.append(make_side(right, name, seed=seed, **columns))
    return sides[0], sides[1]


def shuffled(side: Side, seed: int) -> Side:
    return Side(side.facts, side.items.sample(frac=1, random_state=seed).reset_index(drop=True))


@small
@given(two_sides())
def test_a_side_against_itself_is_all_zero_and_equivalent(sides: tuple[Side, Side]) -> None:
    side = sides[0]
    found = compare(side, shuffled(side, 1), policy=RULES)
    if side.items["status_strict"].eq("unscored").all():
        assert found.verdict == "insufficient_data"
        return
    assert (found.verdict, found.exit_code) == ("equivalent", 0)
    assert found.results is not None and found.flips().empty
    for r in found.results:
        assert (r.change.difference, r.lost, r.gained, r.change.p_exact) == (0, 0, 0, 1)
    for gate in found.gates or ():
        assert gate.change in (None, pytest.approx(0)) or gate.name == "flips"
        assert gate.status != "worse"
    assert all(s.change.difference == 0 for column in found.slices or () for s in column.slices)
    assert all(d.distance == 0 for d in (found.drifts or {}).values())


@small
@given(two_sides())
def test_the_other_way_round_flips_the_signs(sides: tuple[Side, Side]) -> None:
    there, back = compare(*sides, policy=RULES), compare(*sides[::-1], policy=RULES)
    assert there.results is not None and back.results is not None
    assert len(there.results) == len(back.results)
    for a, b in zip(there.results, back.results, strict=True):
        assert a.change.difference == pytest.approx(-b.change.difference, abs=1e-12)
        assert (a.lost, a.gained, a.both, a.neither, a.n) == (b.gained, b.lost, b.both, b.neither, b.n)
        assert (a.change.p_exact, a.change.p_mid) == pytest.approx((b.change.p_exact, b.change.p_mid))
        assert (a.flips.lost, a.flips.gained) == pytest.approx((b.flips.gained, b.flips.lost))
        assert a.change.interval is not None and b.change.interval is not None
        assert a.change.interval == pytest.approx((-b.change.interval.high, -b.change.interval.low), abs=1e-8)
        assert a.lost + a.gained + a.both + a.neither == a.n
    for name, length in (there.lengths or {}).items():
        other = (back.lengths or {})[name]
        assert length.every.ratio == pytest.approx(1 / other.every.ratio)
        assert length.p_value == pytest.approx(other.p_value)
    for name, drift in (there.drifts or {}).items():
        assert drift.distance == pytest.approx((back.drifts or {})[name].distance)


@small
@given(two_sides(), st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(sides: tuple[Side, Side], seed: int) -> None:
    plain = compare(*sides, policy=RULES)
    mixed = compare(*(shuffled(side, seed + i) for i, side in enumerate(sides)), policy=RULES)
    assert plain.to_dict() == mixed.to_dict()


@small
@given(two_sides())
def test_what_was_not_judged_is_never_wrong(sides: tuple[Side, Side]) -> None:
    """Every mean is over judged responses only, and every response is counted under its status."""
    found = compare(*sides, policy=RULES)
    assert found.results is not None
    for r in found.results:
        for side, statuses in zip(sides, (r.baseline_statuses, r.candidate_statuses), strict=True):
            counts = side.items["status_strict"].value_counts()
            assert all(statuses[s] == counts.get(s, 0) for s in STATUS.values())
        items = [side.items[side.items["status_strict"] != "unscored"] for side in sides]
        means = [i["status_strict"].eq("correct").groupby(i["problem_id"]).mean() for i in items]
        shared = means[0].index.intersection(means[1].index)
        assert r.n == len(shared)
        assert r.change.baseline == pytest.approx(means[0][shared].mean())
        assert r.change.candidate == pytest.approx(means[1][shared].mean())


@small
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40),
    st.integers(1, 6),
)
def test_a_change_holds_its_estimate(shares: list[tuple[int, int]], groups: int) -> None:
    x, y = (np.array([s[i] / 4 for s in shares]) for i in (0, 1))
    index = np.unique(np.arange(len(shares)) % groups, return_inverse=True)[1]
    for found in (paired_change(x, y, RULES), paired_change(x, y, RULES, index)):
        assert 0 <= found.p_mid <= found.p_exact <= 1
        if found.interval is not None and found.narrow is not None:
            assert found.interval.low - 1e-9 <= found.narrow.low <= found.narrow.high <= found.interval.high + 1e-9
            assert -1 <= found.interval.low <= found.difference + 1e-9
            assert found.difference - 1e-9 <= found.interval.high <= 1
        assert found.design_effect >= 1


@small
@given(st.lists(st.integers(-6, 6), max_size=30), st.floats(0.1, 9))
def test_the_permutation_test_knows_no_unit(differences: list[int], unit: float) -> None:
    d = np.array(differences, dtype=float)
    assert sign_flip(d).exact == pytest.approx(sign_flip(-d).exact)
    assert sign_flip(d / 6 * unit).exact == pytest.approx(sign_flip(d / 6).exact)


@small
@given(st.integers(1, 7).flatmap(lambda k: st.tuples(st.lists(st.floats(0, 1), min_size=k, max_size=k), st.randoms())))
def test_tiers_hold_everyone_once_and_part_only_the_told_apart(case: tuple[list[float], Any]) -> None:
    estimates, random = case
    k = len(estimates)
    names = [f"v{i}" for i in range(k)]
    apart = np.array([[i != j and random.random() < 0.6 for j in range(k)] for i in range(k)]).reshape(k, k)
    apart |= apart.T
    found = tiers(names, estimates, apart)
    assert sorted(name for tier in found for name in tier) == sorted(names)
    place = {name: i for i, tier in enumerate(found) for name in tier}
    for i in range(k):
        for j in range(k):
            if place[names[i]] < place[names[j]]:
                assert apart[i, j] and estimates[i] >= estimates[j]
