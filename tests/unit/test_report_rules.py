"""What a report says of the rules: their thresholds, what they could not decide, topics, and the early warning."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from factories import AIME, BF16, MATH, Scripted, problem_set, small_run, write_run

from qrm_forensics.benchmarks.taxonomy import problem_categories
from qrm_forensics.errors import StoreError
from qrm_forensics.records import TRACE_KEY
from qrm_forensics.report.claims import share
from qrm_forensics.report.context import build_context
from qrm_forensics.report.evidence import evidence
from qrm_forensics.report.model import BenchmarkReport, Claim, Sentence
from qrm_forensics.store import Store
from qrm_forensics.symptoms import SPECS


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return small_run(tmp_path / "run")


def _said(report: BenchmarkReport, target: str) -> list[str]:
    return [s.key for s in report.early_warning if target in s.key]


def test_thresholds_are_those_stored_with_the_outcomes(store: Store) -> None:
    context = build_context(store)
    kept = json.loads(store.measure_metadata("symptoms.v1")["thresholds"])["items"]
    assert [(r.name, r.value.value) for r in context.thresholds] == [(k["name"], k["value"]) for k in kept]
    assert len(kept) == len(SPECS)
    rows = {r.name: r for r in context.thresholds}
    # fewer correct responses than calibration needs, so a published constant, which says how many there were
    low = rows["low_diversity"].origin
    assert low.key == "threshold.published"
    assert low.slots["variant"] == BF16
    assert isinstance(low.slots["n"], Claim)
    assert rows["loop_share"].origin.key == "threshold.fixed"
    (row,) = evidence(store, rows["low_diversity"].value).to_dict("records")
    assert (row["value"], row["n"]) == (rows["low_diversity"].value.value, low.slots["n"].value)


def test_symptoms_are_counted_and_selected_sets_have_no_share(store: Store) -> None:
    context = build_context(store)
    for report in context.benchmarks:
        selected = {c.variant for c in report.cells if c.coverage == "selected"}
        for row in report.symptoms:
            assert {"looped", "gibberish"} <= set(row.symptoms)
            assert {"severe_wait", "missing_answer"} <= set(row.reference)
            for name, claim in row.symptoms.items():
                assert (claim.value is None) >= (row.variant in selected)
                if claim.denominator:
                    there = evidence(store, claim)[f"symptom_{name}"].dropna().astype(bool)
                    assert (int(there.sum()), len(there)) == (claim.numerator, claim.denominator)


def test_what_could_not_be_decided_is_said_with_its_rule(store: Store) -> None:
    for report in build_context(store).benchmarks:
        unassigned = sum(int(row.counts["unassigned"].value or 0) for row in report.outcomes)
        counted = 0
        for reason in report.unassigned:
            number = reason.slots["count"]
            assert isinstance(number, Claim)
            assert number.value == len(evidence(store, number))
            assert reason.slots["columns"]
            counted += int(number.value or 0)
        assert counted == unassigned
        assert unassigned > 0  # unscored responses, and wrong ones without a count of gibberish


def test_topics_overlap_and_hold_every_problem(store: Store) -> None:
    problems = store.problems()
    for report in build_context(store).benchmarks:
        topics = {c.name: c for c in report.categories if c.dimension == "topic"}
        asked = {p: set(problem_categories(problems[report.name, p].question)) for b, p in problems if b == report.name}
        assert set(topics) == set().union(*asked.values())
        for name, topic in topics.items():
            assert {s.key for s in topic.sentences} <= {"category.drop"}
            for row in topic.rows:
                there = set(evidence(store, row.n)["problem_id"])
                assert len(there) == row.n.value
                assert all(name in asked[p] for p in there)


def test_topics_need_a_question(tmp_path: Path) -> None:
    nameless = [replace(p, question="") for p in problem_set(AIME, 3)]
    cells = {(BF16, AIME): {i: Scripted("right") for i in range(3)}}
    (report,) = build_context(write_run(tmp_path / "run", {AIME: nameless}, cells)).benchmarks
    assert [c for c in report.categories if c.dimension == "topic"] == []


def test_problems_are_not_counted_by_their_samples(tmp_path: Path) -> None:
    report = next(r for r in build_context(small_run(tmp_path / "run", samples=3)).benchmarks if r.name == MATH)
    (note,) = (n for n in report.notes if n.key == "note.prefix")
    number = note.slots["n"]
    assert isinstance(number, Claim)
    assert number.value == 10


def _share(count: int, n: int) -> dict[str, Any]:
    return {"count": count, "n": n, "interval": None}


def _operation(caught: int) -> dict[str, Any]:
    lead = {"n": caught, "low": 1.0, "median": 2.0, "high": 3.0} if caught else None
    shares = {"recall": _share(caught, 20), "false_alarms": _share(1, 40)}
    return {**shares, "lead": lead, "tokens_saved": 5 * caught, "tokens_failed": 200}


def _predictor(one: int | None, five: int | None) -> dict[str, Any]:
    told = {"0.01": None if one is None else _operation(one), "0.05": None if five is None else _operation(five)}
    return {"auc": 0.75, "auc_interval": [0.6, 0.9], "operations": told}


def _warned(store: Store, one: int | None, five: int | None) -> BenchmarkReport:
    judged = {"shortage": None, "n": 60, "failed": 20, "beats_length": True}
    judged |= {"model": _predictor(one, five), "length": _predictor(one, five)}
    short = {"shortage": {"what": "failed", "found": 3, "needed": 15}}
    store.write_analysis("early_warning", {MATH: {"unclosed": judged, "loop": short}}, "stamp")
    return next(r for r in build_context(store).benchmarks if r.name == MATH)


@pytest.mark.parametrize(
    ("one", "five", "said"), [(0, 4, ["nothing", "at"]), (None, 0, ["unset", "nothing"]), (3, 4, ["at", "at"])]
)
def test_an_early_warning_that_catches_nothing_is_said(
    store: Store, one: int | None, five: int | None, said: list[str]
) -> None:
    report = _warned(store, one, five)
    assert _said(report, "unclosed") == [f"early.unclosed.{key}" for key in ("beats", *said)]
    assert _said(report, "loop") == ["early.loop.shortage.failed"]
    # one variant answers problems that somebody selected
    first = report.early_warning[0]
    assert first.key == "early.selected"
    number = first.slots["selected"]
    assert isinstance(number, Claim)
    assert (number.value, number.denominator) == (6, 136)


@pytest.mark.parametrize("kept", [[1, 2], {MATH: {"unclosed": {}}}, {MATH: {"unclosed": {"shortage": None}}}])
def test_a_damaged_analysis_says_what_to_do(store: Store, kept: Any) -> None:
    store.write_analysis("early_warning", kept, "stamp")
    with pytest.raises(StoreError, match=r"early_warning\.json: .* delete it and run or import again"):
        build_context(store)


def test_loops_that_are_placed_by_pseudo_tokens_are_noted(store: Store) -> None:
    def noted() -> list[Sentence]:
        return [n for r in build_context(store).benchmarks for n in r.notes if n.key == "note.pseudo_tokens"]

    assert noted() == []
    for variant, benchmark in store.cells():
        keys = store.traces(TRACE_KEY, variant=variant, benchmark=benchmark)
        column = pa.array(["pseudo"] * keys.num_rows)
        store.write_measure("places.v1", variant, benchmark, keys.append_column("loop_onset_source", column), "stamp")
    assert {n.slots["benchmark"] for n in noted()} == {MATH, AIME}


def _made(values: list[float], problems: list[int], **more: Any) -> Claim:
    source = {"table": "t", "filter": "f"}
    return share("a", np.array(values), np.array(problems), "definition.rate", selected=False, **source, **more)


def test_what_is_known_only_where_it_is_true_has_no_share() -> None:
    told = _made([1, 1], [0, 1], of=38)
    assert (told.value, told.numerator, told.denominator, told.note) == (None, 2, 38, "claim.one_sided")
    assert _made([1, 1], [0, 1], of=2).value == 1
    assert _made([1, 0], [0, 1], of=38).denominator == 2


def test_several_samples_that_agree_leave_room_for_doubt() -> None:
    none, every = _made([0.0] * 20, [i // 2 for i in range(20)]), _made([1.0] * 20, [i // 2 for i in range(20)])
    assert none.ci_method == every.ci_method == "wilson-problems"
    assert (none.ci_low, none.ci_high) == pytest.approx((0, 1 - every.ci_low))  # type: ignore[operator]
    assert none.ci_high == pytest.approx(3.8415 / (10 + 3.8415), abs=1e-4)  # Wilson's upper limit of 0 in 10
