"""Outcomes, flags and thresholds on tables made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from qrm_forensics.errors import InputError
from qrm_forensics.symptoms import (
    MIN_CORRECT,
    OUTCOME_NAMES,
    OUTCOMES,
    REFERENCE_CATEGORIES,
    SPECS,
    SYMPTOMS,
    Thresholds,
    calibrate,
    catalogue,
    describe,
    judge,
    outcome_shares,
    reason_text,
    thresholds_of,
)
from qrm_forensics.symptoms.facts import Facts
from qrm_forensics.symptoms.rule import Rule

TYPES = {
    **dict.fromkeys(["variant", "benchmark", "problem_id", "strict_status", "lenient_status", "finish"], pa.string()),
    **dict.fromkeys(["sample", "seed", "n_words", "loop_tier", "false_equations", "gibberish_count"], pa.int64()),
    **dict.fromkeys(["random_digit_windows", "ref_wait", "ref_repeated_chars"], pa.int64()),
    **dict.fromkeys(["closed", "boxed", "loop", "loop_terminal", "loop_recovered", "loop_enumeration"], pa.bool_()),
    **dict.fromkeys(["had_correct", "gibberish"], pa.bool_()),
    **dict.fromkeys(["loop_coverage", "loop_onset_fraction", "mattr_500", "ttr"], pa.float64()),
}

#: A response with nothing to remark.
HEALTHY: dict[str, Any] = {
    "variant": "bf16",
    "benchmark": "B",
    "problem_id": "p",
    "sample": 0,
    "seed": 42,
    "strict_status": "correct",
    "lenient_status": "correct",
    "finish": "stop",
    "closed": True,
    "boxed": True,
    "n_words": 900,
    "loop": False,
    "loop_tier": None,
    "loop_terminal": None,
    "loop_recovered": None,
    "loop_coverage": 0.0,
    "loop_onset_fraction": None,
    "loop_enumeration": False,
    "had_correct": True,
    "false_equations": 0,
    "gibberish": False,
    "gibberish_count": 0,
    "random_digit_windows": 0,
    "mattr_500": 0.35,
    "ttr": 0.3,
    "ref_wait": 3,
    "ref_repeated_chars": 0,
}
WRONG = {"strict_status": "wrong", "lenient_status": "wrong", "had_correct": False}
MISSING = {"strict_status": "missing", "lenient_status": "wrong", "boxed": False, "had_correct": False}
LOOP = {
    "loop": True,
    "loop_tier": 1,
    "loop_terminal": True,
    "loop_recovered": False,
    "loop_coverage": 0.8,
    "loop_onset_fraction": 0.3,
}
LEFT = {
    "loop": True,
    "loop_tier": 2,
    "loop_terminal": False,
    "loop_recovered": True,
    "loop_coverage": 0.2,
    "loop_onset_fraction": 0.5,
}
RUN = {"loop_tier": 3, "loop_enumeration": True, "loop_terminal": False, "loop_recovered": False}
CUT = {"finish": "length", "closed": False}
UNSAID = {"finish": "unknown", "closed": False}


def wide(*rows: dict[str, Any], drop: tuple[str, ...] = ()) -> pa.Table:
    """Rows that differ from the healthy one as given, each another problem."""
    full = [{**HEALTHY, "problem_id": f"p{i}", **row} for i, row in enumerate(rows)]
    kept = {name: kind for name, kind in TYPES.items() if name not in drop}
    return pa.table({name: pa.array([row[name] for row in full], kind) for name, kind in kept.items()})


def published() -> Thresholds:
    return calibrate(wide(), None)


def outcome(*parts: dict[str, Any], **more: Any) -> tuple[str, str | None]:
    row: dict[str, Any] = {}
    for part in parts:
        row |= part
    judged = judge(wide(row | more), published())
    return judged["outcome"][0].as_py(), judged["outcome_reason"][0].as_py()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        # nothing to see
        ([{"finish": "error", "n_words": None, "strict_status": "unscored", "lenient_status": "unscored"}], "empty_or_error"),
        ([MISSING, {"n_words": 0, "closed": False}], "empty_or_error"),
        # correct, whatever else: the two outcomes are what strict accuracy counts
        ([], "correct"),
        ([{"lenient_status": "wrong"}], "correct"),
        ([LOOP, {"finish": "length"}], "correct"),
        ([RUN], "correct"),
        ([{"gibberish_count": 500, "false_equations": 9}], "correct"),
        ([LEFT], "correct_after_recovered_loop"),
        # how it ended comes first among failures
        ([MISSING, CUT, LOOP], "looped_to_limit"),
        ([MISSING, UNSAID, LOOP], "looped_to_limit"),
        ([MISSING, CUT, RUN], "ran_out_without_loop"),
        ([MISSING, {"finish": "loop-stopped", "closed": False}], "looped_to_limit"),
        ([MISSING, CUT, LEFT, {"loop_coverage": 0.36}], "looped_to_limit"),
        ([MISSING, CUT, LEFT, {"loop_coverage": 0.35}], "ran_out_without_loop"),
        ([MISSING, CUT, LOOP, {"lenient_status": "correct", "had_correct": True}], "looped_to_limit"),
        ([MISSING, CUT, LOOP, {"gibberish_count": 4000}], "looped_to_limit"),
        ([WRONG, LOOP, {"finish": "unknown"}], "looped_to_limit"),
        ([MISSING, CUT, {"gibberish_count": 21}], "gibberish_collapse"),
        ([MISSING, {"gibberish_count": 21}], "gibberish_collapse"),
        ([MISSING, CUT, {"gibberish_count": None, "random_digit_windows": 1}], "gibberish_collapse"),
        ([WRONG, {"gibberish_count": 91}], "gibberish_collapse"),
        ([WRONG, {"gibberish_count": 90, "gibberish": True}], "wrong_no_visible_slip"),
        ([MISSING, {"gibberish_count": 20}], "closed_no_answer"),
        ([MISSING, CUT], "ran_out_without_loop"),
        ([MISSING, UNSAID], "ran_out_without_loop"),
        ([MISSING, CUT, LEFT], "ran_out_without_loop"),
        ([MISSING, CUT, {"lenient_status": "correct"}], "ran_out_without_loop"),
        # ended by itself
        ([MISSING], "closed_no_answer"),
        ([MISSING, LEFT], "closed_no_answer"),
        ([MISSING, {"closed": False}], "closed_no_answer"),
        ([MISSING, {"lenient_status": "missing"}], "closed_no_answer"),
        ([MISSING, {"lenient_status": "correct"}], "right_answer_wrong_format"),
        ([WRONG, {"lenient_status": "correct"}], "right_answer_wrong_format"),
        ([WRONG, {"had_correct": True, "false_equations": 7}], "reached_right_then_lost"),
        ([WRONG, {"false_equations": 1}], "wrong_false_equation"),
        ([WRONG], "wrong_no_visible_slip"),
        ([WRONG, {"mattr_500": 0.01}], "wrong_no_visible_slip"),
    ],
)  # fmt: skip
def test_outcome(parts: list[dict[str, Any]], expected: str) -> None:
    assert outcome(*parts) == (expected, None)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([{"strict_status": "unscored"}], "correct: strict_status"),
        ([LEFT, {"strict_status": "unscored"}], "correct_after_recovered_loop: strict_status"),
        ([{"strict_status": None, "lenient_status": None}], "correct: strict_status"),
        ([{"loop": None}], "correct_after_recovered_loop: loop, loop_tier, loop_recovered"),
        ([MISSING, CUT, {"loop": True, "loop_tier": 1}], "looped_to_limit: loop_terminal"),
        ([MISSING, LOOP, {"finish": None}], "empty_or_error: finish"),
        ([MISSING, UNSAID, {"closed": None}], "ran_out_without_loop: closed, loop_terminal"),
        ([WRONG, {"gibberish_count": None, "random_digit_windows": None}], "gibberish_collapse: gibberish_count"),
        ([MISSING, {"lenient_status": "unscored"}], "closed_no_answer: lenient_status"),
        ([WRONG, {"had_correct": None}], "reached_right_then_lost: had_correct"),
        ([WRONG, {"false_equations": None}], "wrong_false_equation: false_equations"),
        ([WRONG, {"n_words": None}], "empty_or_error: n_words"),
    ],
)
def test_what_cannot_be_known_is_not_guessed(parts: list[dict[str, Any]], reason: str) -> None:
    name, why = outcome(*parts)
    assert name == "unassigned"
    assert why is not None and why.startswith(reason), why


def test_words_that_cannot_be_judged_in_a_small_run_do_not_leave_every_failure_unassigned() -> None:
    assert outcome(WRONG, gibberish_count=None, random_digit_windows=0)[0] == "wrong_no_visible_slip"
    assert outcome(MISSING, CUT, gibberish_count=None, random_digit_windows=2)[0] == "gibberish_collapse"


def test_a_null_that_decides_nothing_does_no_harm() -> None:
    # no loop settles "ends in a loop"; a correct response is not asked for its arithmetic
    assert outcome(WRONG, loop_terminal=None, loop_recovered=None, loop_tier=None, ref_wait=None)[0] != "unassigned"
    assert outcome(gibberish_count=None, false_equations=None, had_correct=None, mattr_500=None)[0] == "correct"
    # the run loops to the end, however much of it
    assert outcome(MISSING, CUT, LOOP, loop_coverage=None)[0] == "looped_to_limit"


@pytest.mark.parametrize(
    ("column", "ends"),
    [
        *[(c, WRONG) for c in ("had_correct", "false_equations", "n_words", "finish")],
        *[(c, MISSING | CUT) for c in ("loop", "random_digit_windows")],
        ("loop", {}),
        ("closed", MISSING | UNSAID),
    ],
)
def test_a_column_that_is_not_there_is_unknown(column: str, ends: dict[str, Any]) -> None:
    judged = judge(wide(ends, drop=(column,)), published())
    assert judged["outcome"].to_pylist() == ["unassigned"]
    assert column in judged["outcome_reason"][0].as_py()


def test_flags() -> None:
    judged = judge(
        wide(
            MISSING | CUT | LOOP | {"had_correct": True, "mattr_500": 0.1, "gibberish": True, "ref_wait": 1001},
            {},
            LEFT | RUN | {"loop_tier": 2, "false_equations": 2, "mattr_500": None, "n_words": 80, "ref_wait": 1000},
            RUN | {"loop": True, "ref_wait": 100, "ref_repeated_chars": 1, "ttr": 0.0999},
        ),
        published(),
    )

    def set_in(row: int) -> set[str]:
        values = judged.slice(row, 1).to_pylist()[0]
        return {k for k, v in values.items() if v is True}

    assert set_in(0) == {
        *("symptom_looped", "symptom_terminal_loop", "symptom_truncated", "symptom_unclosed", "symptom_no_answer"),
        *("symptom_no_box", "symptom_had_correct_lost", "symptom_gibberish", "symptom_low_diversity"),
        *("reference_severe_wait", "reference_missing_answer"),
    }
    assert set_in(1) == set()
    assert judged["symptom_low_diversity"][2].as_py() is None
    assert set_in(2) == {
        *("symptom_looped", "symptom_enumeration_run", "symptom_false_equation", "reference_moderate_wait"),
    }
    # tier 3 is an enumeration and never a loop
    assert set_in(3) == {"symptom_enumeration_run", "reference_garbled", "reference_low_diversity"}


def test_wrong_format_flag_and_unscored_verdicts() -> None:
    rows = [MISSING | {"lenient_status": "correct"}, {"strict_status": "unscored"}]
    judged = judge(wide(*rows), published())
    assert judged["symptom_wrong_format"].to_pylist() == [True, None]
    assert judged["symptom_no_answer"].to_pylist() == [True, None]


def test_a_data_frame_gives_the_same() -> None:
    table = wide(MISSING | CUT | LOOP, WRONG | {"had_correct": None, "mattr_500": None, "n_words": None}, {})
    frame: pd.DataFrame = table.to_pandas()
    assert frame["n_words"].isna().any()
    assert judge(frame, calibrate(frame, "bf16")).equals(judge(table, calibrate(table, "bf16")))


def test_shares_name_every_outcome_and_print_the_unassigned() -> None:
    judged = judge(wide({}, WRONG, {"loop": None}, {"variant": "awq"}), published())
    shares = outcome_shares(judged)
    assert shares.num_rows == 2 * len(OUTCOME_NAMES)
    table = {(r["variant"], r["outcome"]): r for r in shares.to_pylist()}
    assert {k[1]: r["count"] for k, r in table.items() if k[0] == "bf16" and r["count"]} == {
        "correct": 1,
        "wrong_no_visible_slip": 1,
        "unassigned": 1,
    }
    assert table["bf16", "unassigned"]["share"] == pytest.approx(1 / 3)
    assert table["awq", "unassigned"]["count"] == 0
    assert outcome_shares(judged, by=()).column("n").to_pylist() == [4] * len(OUTCOME_NAMES)


# ------------------------------------------------------------------------ thresholds


def baseline_rows(n: int) -> list[dict[str, Any]]:
    """``n`` correct ones with rising values, and others that must not count."""
    mine = [{"mattr_500": 0.2 + i / 1000, "false_equations": i, "gibberish_count": 0} for i in range(n)]
    return [
        *mine,
        *[WRONG | {"mattr_500": 0.01, "false_equations": 9999} for _ in range(50)],
        *[{"variant": "awq", "mattr_500": 0.01, "false_equations": 9999} for _ in range(50)],
    ]


def test_calibrated_on_the_correct_responses_of_the_baseline_only() -> None:
    made = calibrate(wide(*baseline_rows(201)), "bf16")
    low = made["low_diversity"]
    # 201 values: the 1st percentile is the third lowest, two of 201 lie below
    assert (low.value, low.how, low.n, low.variant, low.quantile) == (0.202, "calibrated", 201, "bf16", 0.01)
    assert made["false_equations"].value == 198
    # 0 in every correct response: still not one occurrence makes gibberish
    assert (made["gibberish"].value, made["gibberish"].how) == (20, "calibrated")
    assert (made["loop_share"].value, made["loop_share"].how) == (0.7, "fixed")


@pytest.mark.parametrize(("n", "baseline", "seen"), [(MIN_CORRECT - 1, "bf16", MIN_CORRECT - 1), (300, None, 0)])
def test_published_where_there_is_too_little(n: int, baseline: str | None, seen: int) -> None:
    made = calibrate(wide(*baseline_rows(n)), baseline)
    assert {t.name: t.value for t in made} == {s.name: s.published for s in SPECS}
    assert (made["low_diversity"].how, made["low_diversity"].n) == ("published", seen)


def test_thresholds_travel_with_the_result() -> None:
    made = calibrate(wide(*baseline_rows(201)), "bf16")
    assert Thresholds.from_dict(json.loads(made.to_json())) == made
    judged = judge(wide({}), made)
    assert thresholds_of(judged) == made
    with pytest.raises(InputError, match="judge it again"):
        thresholds_of(judged.replace_schema_metadata(None))


@pytest.mark.parametrize("broken", [{}, {"baseline": None, "items": []}, {"baseline": None, "items": [{"name": "x"}]}])
def test_broken_thresholds_are_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="calibrate again"):
        Thresholds.from_dict(broken)


def test_calibration_decides_flags() -> None:
    table = wide(*baseline_rows(201), WRONG | {"false_equations": 198}, WRONG | {"false_equations": 199})
    judged = judge(table, calibrate(table, "bf16"))
    assert judged["outcome"].to_pylist()[-2:] == ["wrong_no_visible_slip", "wrong_false_equation"]


# -------------------------------------------------------------------- bad input, rules


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (wide({}).drop_columns(["seed"]), "key column.*seed"),
        (wide({"strict_status": "right"}), "strict_status.*right"),
        (wide({"finish": "done"}), "finish.*done"),
        (wide({}).set_column(5, "finish", pa.array([[1]])), "finish"),
        (wide({}).drop_columns(["closed"]).append_column("closed", pa.array(["maybe"])), "closed"),
    ],
)
def test_bad_tables_are_refused(table: pa.Table, what: str) -> None:
    with pytest.raises(InputError, match=what):
        judge(table, published())


def test_a_rule_reads_what_it_declares_and_needs_each_of_it() -> None:
    # what is not declared is refused
    sneaky = Rule("symptom", "sneaky", OUTCOMES[0].label, OUTCOMES[0].label, ("closed",), lambda f: f.yes("boxed"))
    with pytest.raises(KeyError, match="boxed"):
        sneaky(Facts(wide({}), {}))
    # what is declared is read
    for rule in (*OUTCOMES, *SYMPTOMS, *REFERENCE_CATEGORIES):
        for column in rule.reads:
            lean = Rule(
                *(rule.family, rule.name, rule.label, rule.definition),
                tuple(c for c in rule.reads if c != column),
                *(rule.holds, rule.limits),
            )
            with pytest.raises(KeyError, match=column):
                lean(Facts(wide({}), published().values))


def test_every_rule_is_described_in_every_language() -> None:
    told = describe()
    assert [o["name"] for o in told["outcomes"]] == list(OUTCOME_NAMES)
    assert [o["order"] for o in told["outcomes"]] == list(range(1, 13))
    names = [r["name"] for family in told.values() for r in family]
    assert len(names) == len(OUTCOME_NAMES) + len(SYMPTOMS) + len(REFERENCE_CATEGORIES) + len(SPECS)
    known = {s.name for s in SPECS}
    assert {limit for family in told.values() for r in family for limit in r.get("thresholds", [])} == known
    json.dumps(told)
    en, ko = catalogue("en"), catalogue("ko")
    assert en.keys() == ko.keys() and all(v.strip() for v in (*en.values(), *ko.values()))
    assert all(en[k] != ko[k] for k in en)
    assert "loop_terminal" in reason_text("looped_to_limit: loop_terminal", "ko")


# ------------------------------------------------------------- against the reference study

REFERENCE = Path(__file__).parents[2].parent / "shared/reference/MATH-500"


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference study's tables are not here")
def test_reference_categories_count_as_the_reference_study() -> None:
    frames = [pd.read_csv(f, encoding="utf-8") for f in sorted(REFERENCE.glob("*.csv"))]
    study = pd.concat(frames, ignore_index=True)
    table = pa.table(
        {
            "variant": study["model"],
            "benchmark": study["dataset"],
            "problem_id": study["idx"].astype(str),
            "sample": [0] * len(study),
            "seed": [42] * len(study),
            "ref_wait": study["wait_count"],
            "ref_repeated_chars": study["repeated_char_count"],
            "boxed": study["has_boxed"],
            "ttr": study["token_diversity"],
            "lenient_status": study["is_correct"].map({True: "correct", False: "wrong"}),
        }
    )
    judged = judge(table, published()).to_pandas()
    wrong = judged[~study["is_correct"]]
    assert len(wrong) == 702
    awq3 = wrong[wrong["variant"].str.contains("awq-w3")]
    # printed in the report on MATH-500: 94 of 237 above 1,000 (by the stored counts), 88.6 % without a box
    assert awq3["reference_severe_wait"].sum() == 94
    assert round(100 * awq3["reference_missing_answer"].mean(), 1) == 88.6
    flags = [c for c in wrong if c.startswith("reference_")]
    counts = {c: int(wrong[c].sum()) for c in flags}
    # MATH-500 is a part of what the report counts: 141, 579, 160, 438, 588 of 1,151
    printed = dict(zip(flags, (141, 579, 160, 438, 588), strict=True))
    assert all(0 < counts[c] <= printed[c] for c in flags), counts
    # they overlap, which the outcomes never do
    assert sum(counts.values()) > len(wrong) > (wrong[flags].any(axis=1)).sum()
    # and no outcome is made up from these columns alone
    assert set(judged["outcome"]) == {"unassigned"}
