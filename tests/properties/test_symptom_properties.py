"""What must hold for every wide table: outcomes add up, follow the verdicts, and depend on one row only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.records import KEY_FIELDS, Finish, Status
from qrm_forensics.symptoms import OUTCOME_NAMES, OUTCOMES, SYMPTOMS, calibrate, judge, outcome_shares
from qrm_forensics.symptoms.facts import Facts

FLAG = st.sampled_from([None, False, True])
COUNT = st.sampled_from([None, 0, 1, 20, 21, 5000])
SHARE = st.sampled_from([None, 0.0, 0.1, 0.2039, 0.5, 0.51, 1.0, float("nan")])
STATUS = st.sampled_from([None, *map(str, Status)])
COLUMNS: dict[str, tuple[st.SearchStrategy[Any], pa.DataType]] = {
    **dict.fromkeys(("strict_status", "lenient_status"), (STATUS, pa.string())),
    "finish": (st.sampled_from([None, *map(str, Finish)]), pa.string()),
    **dict.fromkeys(
        ("closed", "boxed", "loop", "loop_terminal", "loop_recovered", "loop_enumeration", "had_correct", "gibberish"),
        (FLAG, pa.bool_()),
    ),
    "loop_tier": (st.sampled_from([None, 1, 2, 3]), pa.int64()),
    **dict.fromkeys(("n_words", "false_equations", "gibberish_count", "random_digit_windows", "ref_wait", "ref_repeated_chars"), (COUNT, pa.int64())),
    **dict.fromkeys(("loop_coverage", "loop_onset_fraction", "mattr_500", "ttr"), (SHARE, pa.float64())),
}  # fmt: skip
READ = {column for rule in (*OUTCOMES, *SYMPTOMS) for column in rule.reads}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A wide table that may lack any measured column."""
    n = draw(st.integers(0, 12))
    there = [name for name in COLUMNS if draw(st.integers(0, 9))]
    keys = {
        "variant": draw(st.lists(st.sampled_from(["bf16", "awq"]), min_size=n, max_size=n)),
        "benchmark": ["B"] * n,
        "problem_id": [str(i) for i in range(n)],
        "sample": [0] * n,
        "seed": [42] * n,
    }
    made = pa.table(keys, schema=pa.schema(KEY_FIELDS))
    for name in there:
        values, kind = COLUMNS[name]
        made = made.append_column(name, pa.array(draw(st.lists(values, min_size=n, max_size=n)), kind))
    return made


def test_every_column_that_a_rule_reads_is_drawn() -> None:
    assert set(COLUMNS) >= READ


@settings(max_examples=150, deadline=None)
@given(tables())
def test_outcomes_are_exclusive_and_add_up(table: pa.Table) -> None:
    judged = judge(table, calibrate(table, "bf16", min_correct=3))
    assert judged.select([f.name for f in KEY_FIELDS]).equals(table.select([f.name for f in KEY_FIELDS]))
    outcomes, reasons = judged["outcome"].to_pylist(), judged["outcome_reason"].to_pylist()
    assert all((o == "unassigned") == (r is not None) for o, r in zip(outcomes, reasons, strict=True))
    shares = outcome_shares(judged).to_pylist()
    for variant in set(table["variant"].to_pylist()):
        mine = [r for r in shares if r["variant"] == variant]
        n = table["variant"].to_pylist().count(variant)
        assert [r["outcome"] for r in mine] == list(OUTCOME_NAMES)
        assert sum(r["count"] for r in mine) == n == mine[0]["n"]
        assert abs(sum(r["share"] for r in mine) - 1) < 1e-12


@settings(max_examples=100, deadline=None)
@given(tables())
def test_correct_outcomes_are_what_strict_accuracy_counts(table: pa.Table) -> None:
    judged = judge(table, calibrate(table, None))
    status = table["strict_status"].to_pylist() if "strict_status" in table.column_names else [None] * len(table)
    for verdict, outcome in zip(status, judged["outcome"].to_pylist(), strict=True):
        if outcome in ("correct", "correct_after_recovered_loop"):
            assert verdict == "correct"
        elif verdict == "correct":
            assert outcome == "unassigned"
        elif verdict in (None, "unscored"):
            # a failure that is plain without the verdict, or nothing
            assert outcome in ("empty_or_error", "unassigned")


@settings(max_examples=60, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_a_row_is_judged_by_itself(table: pa.Table, random: Any) -> None:
    thresholds = calibrate(table, None)
    whole = judge(table, thresholds)
    order = list(range(len(table)))
    random.shuffle(order)
    assert judge(table.take(pa.array(order, pa.int64())), thresholds).equals(whole.take(pa.array(order, pa.int64())))
    parts = [judge(table.slice(i, 1), thresholds) for i in range(len(table))]
    assert not parts or pa.concat_tables(parts).equals(whole)


@settings(max_examples=150, deadline=None)
@given(tables(), st.data())
def test_knowing_less_leaves_a_decision_or_unassigns(table: pa.Table, data: st.DataObject) -> None:
    # a failed response is told by its finish, so the verdict is not among what is taken away
    thresholds = calibrate(table, None)
    masked = table
    for i, name in enumerate(table.column_names):
        if name in COLUMNS and name != "strict_status":
            hidden = data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table)), label=name)
            column = table[name].combine_chunks()
            kept = pc.if_else(pa.array(hidden, pa.bool_()), pa.scalar(None, column.type), column)
            masked = masked.set_column(i, name, kept)
    before, after = judge(table, thresholds), judge(masked, thresholds)
    for full, less in zip(before["outcome"].to_pylist(), after["outcome"].to_pylist(), strict=True):
        assert less in (full, "unassigned")
    for flag in (rule.column for rule in SYMPTOMS):
        for full, less in zip(before[flag].to_pylist(), after[flag].to_pylist(), strict=True):
            assert less in (full, None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=100, max_size=400), st.lists(st.integers(0, 9), min_size=400))
def test_at_most_one_percent_of_the_calibrating_responses_are_beyond(mattr: list[float], counts: list[int]) -> None:
    n = len(mattr)
    table = pa.table(
        {
            "variant": ["bf16"] * n,
            "strict_status": ["correct"] * n,
            "mattr_500": mattr,
            "false_equations": counts[:n],
        }
    )
    made = calibrate(table, "bf16")
    facts = Facts(table, made.values)
    for beyond in (facts.below("mattr_500", "low_diversity"), facts.above("false_equations", "false_equations")):
        assert np.asarray(beyond).mean() <= 0.01
    assert made["low_diversity"].how == "calibrated"
