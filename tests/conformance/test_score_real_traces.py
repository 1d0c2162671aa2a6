"""Verdicts on real responses: lenient equals the stored lighteval score, strict equals what can be counted by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics.records import Finish, Kind, Problem, Status, Trace, Verdict
from qrm_forensics.score import Grader

SHARED = Path(__file__).resolve().parents[3] / "shared"
RESPONSES = sorted((SHARED / "traces" / "outputs" / "inference").glob("*/*.jsonl"))

pytestmark = pytest.mark.skipif(not RESPONSES, reason="needs the real responses in ../shared/traces")


def dataset(benchmark: str) -> list[dict[str, Any]]:
    lines = (SHARED / "datasets" / benchmark / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def responses(gold_from: str) -> Iterator[tuple[Problem, Trace, bool]]:
    for path in RESPONSES:
        benchmark = path.stem
        problems = dataset(benchmark)
        for position, row in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            index = row.get("idx", position)
            gold = problems[index]["answer"] if gold_from == "dataset" else row["gold"][0]
            problem = Problem(benchmark, str(index), problems[index]["problem"], "", gold, Kind.MATH, None, None)
            trace = Trace(path.parent.name, benchmark, str(index), 0, 42, "", row["generated_text"], Finish.UNKNOWN)
            yield problem, trace, row["metrics"]["extractive_match"] == 1.0


def graded(gold_from: str, policies: tuple[str, ...], step: int = 1) -> Iterator[tuple[list[Verdict], Trace, bool]]:
    rows = list(responses(gold_from))[::step]
    with Grader() as grader:
        verdicts = grader.grade(((problem, trace) for problem, trace, _ in rows), policies)
        for _, trace, credited in rows:
            yield [next(verdicts) for _ in policies], trace, credited


@pytest.mark.slow
def test_both_policies_on_every_response() -> None:
    count = 0
    for (strict, lenient), trace, credited in graded("dataset", ("strict", "lenient")):
        count += 1
        # lenient is the stored score of lighteval, and no response is left out of it
        assert lenient.status != Status.UNSCORED, lenient
        assert (lenient.status == Status.CORRECT) == credited, lenient
        # strict is missing exactly where no box follows the reasoning, and reads nothing else
        _, closed, tail = (trace.text or "").rpartition("</think>")
        assert (strict.status == Status.MISSING) == (not closed or "\\boxed{" not in tail), strict
        assert strict.answer is None or strict.answer in tail
        assert strict.status != Status.CORRECT or credited, strict
    assert count == 290


def test_a_worked_solution_serves_as_gold_like_the_bare_answer() -> None:
    for (strict, lenient), _, credited in graded("trace", ("strict", "lenient"), step=4):
        assert (lenient.status == Status.CORRECT) == credited, lenient
        assert strict.status != Status.CORRECT or credited, strict
