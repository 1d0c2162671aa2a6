"""Gates, slices, the seven verdicts, and what a comparison says and writes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from comparison_helpers import make_side, pair_of
from scipy.stats import false_discovery_control

from qrm_forensics.compare.comparison import Comparison, compare
from qrm_forensics.compare.definitions import DEFINITIONS
from qrm_forensics.compare.gates import Gate, GateStatus, Why, judge
from qrm_forensics.compare.items import Side
from qrm_forensics.compare.rules import GATE as FULL
from qrm_forensics.compare.verdict import Verdict
from qrm_forensics.errors import InputError

GATE = replace(FULL, resamples=1000)  # quick, and enough for what is asked here
ACCURACY_ONLY = replace(GATE, margins={"accuracy": 2.0})


def compared(lost: int, gained: int, both: int, neither: int, rules=ACCURACY_ONLY, **columns) -> Comparison:
    x, y = pair_of(lost, gained, both, neither)
    first = {k: v[0] for k, v in columns.items()}
    second = {k: v[1] for k, v in columns.items()}
    return compare(make_side(x, **first), make_side(y, "cand", seed=2, **second), policy=rules)


def keys(found: Comparison) -> list[str]:
    return [r.key for r in found.decision.reasons]


def test_a_regression_is_told_from_the_accuracy() -> None:
    found = compared(40, 10, 400, 50)
    assert (found.verdict, found.exit_code) == (Verdict.REGRESSION, 1)
    assert keys(found) == ["worse_accuracy", "moved"]
    assert "fell by 6.0 points, from 88.0 to 82.0 % of 500 problems" in found.decision.reason.text
    (gate,) = found.gates or ()
    assert (gate.status, gate.why, gate.family) == (GateStatus.WORSE, Why.BEYOND_MARGIN, 1)


def test_too_few_problems_name_the_number_that_would_do() -> None:
    found = compared(31, 23, 394, 52)
    assert (found.verdict, found.exit_code) == (Verdict.INSUFFICIENT_DATA, 4)
    slots = found.decision.reason.slots
    assert slots["needed"] == 2120 and slots["n"] == 500
    assert slots["detectable"] == pytest.approx(4.1, abs=0.05)


def test_equivalent_within_the_margin_though_answers_moved() -> None:
    found = compared(110, 110, 1600, 180, replace(ACCURACY_ONLY, margins={"accuracy": 3.0}))
    assert (found.verdict, found.exit_code) == (Verdict.EQUIVALENT, 0)
    assert keys(found) == ["equivalent", "moved"]
    assert "11.0 % of 2000 answers changed their verdict" in str(found.decision.reasons[1])
    assert "90 % interval" in found.decision.reason.text


def test_improvement_and_no_difference() -> None:
    better = compared(10, 40, 400, 50)
    assert (better.verdict, better.exit_code) == (Verdict.IMPROVEMENT, 0)
    # not inferior, not told apart, not inside the margin above
    open_ = compared(10, 22, 400, 68)
    assert (open_.verdict, open_.exit_code) == (Verdict.NO_DIFFERENCE_SEEN, 0)
    assert "would mostly have been missed" in open_.decision.reason.text
    # told apart, and smaller than the floor
    small = compared(40, 90, 9000, 870, replace(ACCURACY_ONLY, margins={"accuracy": 0.6}))
    assert small.results is not None and small.results[0].change.p_exact < 0.001
    assert small.verdict is Verdict.NO_DIFFERENCE_SEEN


def test_the_same_responses_are_equivalent_and_named() -> None:
    side = make_side([1, 0, 1])
    found = compare(side, side, policy=GATE)
    assert (found.verdict, keys(found)) == (Verdict.EQUIVALENT, ["identical"])
    unjudged = compare(make_side([None, 1]), make_side([1, None], "cand"))
    assert (unjudged.verdict, keys(unjudged)) == (Verdict.INSUFFICIENT_DATA, ["nothing_judged"])
    assert keys(compare(make_side([None]), make_side([None]))) == ["nothing_judged"]


@pytest.mark.parametrize(
    ("columns", "changes", "key"),
    [
        ({"truncated": ([True] * 300 + [False] * 200, [True] * 300 + [False] * 200)}, {}, "baseline_truncated"),
        (
            {"status_lenient": (["wrong"] * 500, ["wrong"] * 500)},
            {},
            "baseline_scorer_gap",
        ),
    ],
)
def test_an_unreliable_baseline(columns: dict, changes: dict, key: str) -> None:
    found = compared(60, 10, 380, 50, replace(ACCURACY_ONLY, **changes), **columns)
    assert (found.verdict, found.exit_code) == (Verdict.UNRELIABLE_BASELINE, 4)
    assert key in keys(found)


def test_a_baseline_that_solves_nothing_cannot_become_worse() -> None:
    found = compared(4, 0, 2, 494)
    assert keys(found)[0] == "baseline_solves_too_little"


def test_a_second_baseline_that_differs_makes_it_unreliable() -> None:
    x, y = pair_of(40, 10, 400, 50)
    again = make_side([0] * 60 + x[60:], "again", seed=3)
    found = compare(make_side(x), make_side(y, "cand", seed=2), policy=ACCURACY_ONLY, second_baseline=again)
    assert found.verdict is Verdict.UNRELIABLE_BASELINE
    assert keys(found)[0] == "baseline_runs_differ"


def test_a_second_baseline_that_is_a_copy_is_not_used() -> None:
    x, y = pair_of(20, 20, 400, 60)
    found = compare(make_side(x), make_side(y, "c", seed=2), policy=GATE, second_baseline=make_side(x))
    assert found.results is not None and found.results[0].noise_floor is None
    (note,) = [c for c in found.comparability.warnings if c.name == "second_baseline"]
    assert "not used" in note.note


def test_flips_are_gated_beside_the_noise_of_a_second_baseline() -> None:
    x = [1] * 400 + [0] * 100
    noisy = [0] * 8 + [1] * 392 + [1] * 8 + [0] * 92
    quiet = [1] * 20 + [0] * 7 + [1] * 373 + [1] * 9 + [0] * 91
    moved = [0] * 40 + [1] * 360 + [1] * 40 + [0] * 60  # accuracy holds exactly
    rules = replace(GATE, margins={"accuracy": 5.0, "flips": 5.0})
    base, again = make_side(x), make_side(noisy, "again", seed=3)
    red = compare(base, make_side(moved, "cand", seed=2), policy=rules, second_baseline=again)
    assert red.verdict is Verdict.REGRESSION and keys(red)[0] == "worse_flips"
    assert red.results is not None and red.results[0].change.difference == 0
    green = compare(base, make_side(quiet, "cand", seed=2), policy=rules, second_baseline=again)
    assert green.verdict is Verdict.EQUIVALENT
    assert "moved_beside_second_baseline" in keys(green)
    alone = compare(base, make_side(moved, "cand", seed=2), policy=rules)
    assert [g.why for g in alone.gates or () if g.name == "flips"] == [Why.NO_NOISE_FLOOR]


@pytest.mark.parametrize("gate", ["loop", "truncated", "missing_answer"])
def test_a_rise_of_a_bad_ending_is_red_though_accuracy_holds(gate: str) -> None:
    before, after = [False] * 500, [True] * 40 + [False] * 460
    found = compared(10, 10, 430, 50, replace(GATE, margins={"accuracy": 5.0, gate: 2.0}), **{gate: (before, after)})
    assert found.verdict is Verdict.REGRESSION and keys(found)[0] == f"worse_{gate}"
    small = compared(
        *(10, 10, 430, 50),
        replace(GATE, margins={"accuracy": 5.0, gate: 20.0}),
        **{gate: (before, after)},
    )
    assert small.verdict is Verdict.EQUIVALENT
    assert [g.status for g in small.gates or () if g.name == gate] == [GateStatus.OK]


def test_length_and_outcomes_are_gated() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(200, 2000, 500)
    longer = (tokens * rng.uniform(1.0, 1.6, 500)).astype(int)
    found = compared(10, 10, 430, 50, n_tokens=(tokens, longer), rules=replace(GATE, margins={"length": 10.0}))
    assert keys(found)[0] == "worse_length"
    kinds = ["correct"] * 440 + ["wrong_no_visible_slip"] * 60
    looped = ["correct"] * 440 + ["looped_to_limit"] * 60
    found = compared(10, 10, 430, 50, outcome=(kinds, looped), rules=replace(GATE, margins={"outcomes": 5.0}))
    assert keys(found)[0] == "worse_outcomes"
    assert "looped_to_limit" in found.decision.reason.text
    same = compared(10, 10, 430, 50, outcome=(kinds, kinds), rules=replace(GATE, margins={"outcomes": 5.0}))
    assert [g.status for g in same.gates or ()] == [GateStatus.OK]


def test_what_was_not_measured_is_unknown_and_may_be_required() -> None:
    found = compared(0, 1, 450, 49, GATE)
    assert {g.name: g.status for g in found.gates or ()}["loop"] is GateStatus.UNKNOWN
    assert found.verdict is Verdict.EQUIVALENT and "untold_not_measured" in keys(found)
    strict = compared(0, 1, 450, 49, replace(GATE, required=frozenset({"loop"})))
    assert strict.verdict is Verdict.INSUFFICIENT_DATA and keys(strict)[0] == "required_not_told"


def test_all_gates_are_one_family() -> None:
    gates = [
        Gate(f"g{i}", "b", None, "points", 1, 0.01, 100, change=0.05, p_value=p)
        for i, p in enumerate((0.02, 0.04, 0.9))
    ]
    judged = judge([*gates, Gate("none", "b", None, "points", 1, 0.01, 0)], GATE)
    assert [g.p_adjusted for g in judged] == [pytest.approx(0.06), pytest.approx(0.08), pytest.approx(0.9), None]
    assert {g.family for g in judged} == {3, 0}
    assert {g.status for g in judged} == {GateStatus.UNKNOWN}


def test_two_policies_must_agree_for_a_green_light() -> None:
    x, y = pair_of(10, 10, 430, 50)
    boxed = ["correct" if v else "wrong" for v in x]
    lost_form = ["correct" if v and i % 8 else "wrong" for i, v in enumerate(y)]
    base = make_side(x, status_lenient=boxed)
    found = compare(base, make_side(y, "c", seed=2, status_lenient=lost_form), policy=ACCURACY_ONLY)
    assert found.verdict is Verdict.REGRESSION
    assert "scorers_disagree" in keys(found)
    (pair,) = found.sensitivity or ()
    assert not pair.robust and pair.candidate_disagreements == sum(
        a == 1 and b == "wrong" for a, b in zip(y, lost_form, strict=True)
    )
    alike = compare(
        base, make_side(y, "c", seed=2, status_lenient=["correct" if v else "wrong" for v in y]), policy=ACCURACY_ONLY
    )
    assert alike.results is not None and alike.results[1].same_as == "strict"
    assert len(alike.gates or ()) == 1


def test_unscored_responses_leave_the_comparison_and_are_counted() -> None:
    base = make_side([1] * 90 + [0] * 10)
    cand = make_side([None] * 10 + [1] * 80 + [0] * 10, "cand", seed=2)
    found = compare(base, cand, policy=ACCURACY_ONLY)
    assert found.results is not None
    (result,) = found.results
    assert (result.n, result.not_judged, result.change.candidate) == (90, 10, pytest.approx(80 / 90))
    assert result.lost == 0 and result.candidate_statuses["unscored"] == 10
    assert found.verdict is Verdict.INSUFFICIENT_DATA and "candidate_unscored" in keys(found)
    swapped = compare(cand, base, policy=ACCURACY_ONLY)
    assert swapped.verdict is Verdict.UNRELIABLE_BASELINE


def test_missing_answers_count_as_not_right() -> None:
    base = make_side([1, 1, 0, 1])
    cand = Side(base.facts, base.items.assign(status_strict=["missing", "correct", "missing", "correct"]))
    found = compare(base, cand, policy=ACCURACY_ONLY)
    assert found.results is not None
    assert (found.results[0].lost, found.results[0].n) == (1, 4)
    assert found.results[0].candidate_statuses["missing"] == 2


def test_several_samples_are_handled_by_problem() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(1.2, 0.5, 120)
    x, y = ([list(map(int, rng.random(4) < q)) for q in p] for _ in range(2))
    found = compare(make_side(x), make_side(y, "cand", seed=9), policy=GATE)
    assert found.results is not None
    (result,) = found.results
    assert result.n == 120 and result.change.test == "paired-permutation"
    assert result.repeats is not None
    assert sum(map(sum, result.repeats.moves)) == 120
    assert [a.k for a in result.repeats.pass_at] == [2, 4]
    assert result.repeats.passes[0] is not None and result.repeats.passes[0].count == 4
    assert result.noise_floor is not None and result.noise_floor.source == "baseline-samples"
    assert result.change.baseline == pytest.approx(np.mean(x))
    moved = found.flips()
    assert len(moved) == result.lost + result.gained
    first = moved[moved["direction"] == "lost"].iloc[0]
    assert first["baseline_status"] == "correct" and first["candidate_status"] == "wrong"
    assert first["baseline_right"] > first["candidate_right"] and first["baseline_samples"] == 4


def test_slices_are_one_family_and_outcome_blind() -> None:
    subject = (["algebra", "geometry"] * 100, ["x"] * 200)  # the candidate's labels are not read
    found = compared(30, 5, 150, 15, subject=subject, n_tokens=(np.arange(200) + 50, np.full(200, 70)))
    rows = found.table("slices")
    assert set(rows["column"]) == {"subject", "length_band"}
    assert set(rows["family"]) == {6} and rows["outcome_blind"].all()
    assert rows["p_adjusted"].tolist() == pytest.approx(false_discovery_control(rows["p"].astype(float)).tolist())
    assert rows.groupby("column")["n"].sum().tolist() == [200, 200]
    with pytest.raises(InputError, match="topic"):
        compared(3, 5, 10, 15, replace(ACCURACY_ONLY, slices=("topic",)))
    ended = compared(
        3, 5, 10, 15, replace(ACCURACY_ONLY, slices=("finish",)), finish=(["stop", "length", "stop"] * 11, "stop")
    )
    assert not ended.table("slices")["outcome_blind"].any()


def test_groups_of_problems_widen_the_interval() -> None:
    x, y = pair_of(40, 10, 400, 50)
    passage = [f"t{i // 10}" for i in range(500)]
    base, cand = make_side(x, passage=passage), make_side(y, "cand", seed=2)
    alone = compare(base, cand, policy=ACCURACY_ONLY)
    together = compare(base, cand, policy=replace(ACCURACY_ONLY, cluster="passage"))
    assert alone.results is not None and together.results is not None
    first, second = alone.results[0].change, together.results[0].change
    assert second.units == 50 and second.design_effect > 2
    assert first.interval is not None and second.interval is not None
    assert second.interval.high - second.interval.low > 1.4 * (first.interval.high - first.interval.low)
    with pytest.raises(InputError, match="chapter"):
        compare(base, cand, policy=replace(ACCURACY_ONLY, cluster="chapter"))


def test_everything_is_written_once_with_its_definition() -> None:
    rng = np.random.default_rng(2)
    kinds = np.array(["correct", "looped_to_limit", "closed_no_answer"], dtype=object)
    columns = {
        "loop": (rng.random(150) < 0.1, rng.random(150) < 0.1),
        "n_tokens": (rng.integers(10, 99, 150), rng.integers(10, 99, 150)),
        "outcome": (kinds[rng.integers(0, 3, 150)], kinds[rng.integers(0, 3, 150)]),
        "subject": (["a", "b", "c"] * 50, None),
        "status_lenient": (["correct"] * 150, ["correct"] * 140 + ["wrong"] * 10),
    }
    x, y = pair_of(20, 10, 100, 20)
    base = make_side(x, **{k: v[0] for k, v in columns.items()})
    cand = make_side(y, "cand", seed=2, **{k: v[1] for k, v in columns.items()})
    found = compare(
        base, cand, policy=replace(GATE, max_scorer_gap=1.0), second_baseline=make_side(x[::-1], "again", seed=5)
    )
    text = json.dumps(found.to_dict(), allow_nan=False)
    written = json.loads(text)
    assert {f["definition"] for f in written["figures"].values()} == set(written["definitions"])
    assert all(f["n"] > 0 for f in written["figures"].values())
    assert written["figures"]["accuracy/b/strict/lost"]["value"] == 20
    for gate in written["gates"]:
        for key in ("change", "p_adjusted", "p_value", "baseline", "candidate"):
            if gate.get(key) is not None:
                assert gate[key] in written["figures"]
    assert len(written["flips"]) == 30 + 10
    assert written["reasons"][0]["text"] == found.decision.reason.text
    assert set(written["definitions"]) <= set(DEFINITIONS)


def test_names_from_files_are_escaped() -> None:
    found = compare(make_side([1, 0, 1], "<b>"), make_side([1, 1, 0], "<script>", seed=2))
    page = found._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "&lt;script&gt;" not in repr(found) and "against <b>" in repr(found)


def test_a_comparison_is_small_and_quick_to_look_at() -> None:
    found = compared(31, 23, 394, 52)
    table = found.table()
    assert table.loc[0, ["n", "lost", "gained"]].tolist() == [500, 31, 23]
    assert table.loc[0, "detectable_in_family"] == pytest.approx(table.loc[0, "detectable"])
    assert len(found._repr_html_()) < 4000
    with pytest.raises(KeyError):
        found.table("nothing")
