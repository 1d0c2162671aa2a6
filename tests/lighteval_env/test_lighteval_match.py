"""lighteval's extractive match as the policy lenient, in its killable process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("lighteval", reason="needs lighteval; run make lighteval-test")

from collections.abc import Iterator

from qrm_forensics.lighteval_bridge import PYTHON, installed, tasks
from qrm_forensics.records import Finish, Kind, Problem, Status, Trace
from qrm_forensics.score import Grader
from qrm_forensics.score.workers import MathWorker
from qrm_forensics.study import BenchmarkSpec


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(lenient="lighteval") as made:
        yield made


def judged(grader: Grader, gold: str, text: str, kind: Kind = Kind.MATH) -> tuple[Status, str | None]:
    problem = Problem("B", "1", "?", "?", gold, kind, None, None)
    verdict = grader.score(problem, Trace("v", "B", "1", 0, 0, "?", text, Finish.UNKNOWN), "lenient")
    assert (
        verdict.status in (Status.MISSING, Status.UNSCORED)
        or verdict.rule == f"lighteval-{installed()}/extractive_match"
    )
    return verdict.status, verdict.answer


def test_what_lighteval_credits(grader: Grader) -> None:
    assert judged(grader, "\\frac{1}{6}", "<think>\n</think> so \\boxed{\\dfrac{2}{12}}")[0] is Status.CORRECT
    assert judged(grader, "It is $\\boxed{\\frac{1}{6}}$.", "\\boxed{1/6}")[0] is Status.CORRECT
    assert judged(grader, "42", "the answer is 41")[0] is Status.WRONG
    assert judged(grader, "42", "The final answer is 42.")[0] is Status.CORRECT  # without a box, as lenient is
    assert judged(grader, "42", "no idea") == (Status.MISSING, None)


def test_letters_of_choices(grader: Grader) -> None:
    assert judged(grader, "B", "so it follows.\nAnswer: B", Kind.CHOICE) == (Status.CORRECT, "B")
    assert judged(grader, "(C)", "Answer: B", Kind.CHOICE)[0] is Status.WRONG
    assert judged(grader, "nine", "Answer: B", Kind.CHOICE)[0] is Status.UNSCORED


def test_a_response_that_explodes_is_refused_and_the_next_is_judged(grader: Grader) -> None:
    assert judged(grader, "42", "\\boxed{9^{9^{9^{9^9}}}}")[0] is Status.UNSCORED
    assert judged(grader, "42", "\\boxed{42}")[0] is Status.CORRECT


def test_a_worker_that_takes_too_long_is_killed_and_named() -> None:
    script = Path(sys.modules["qrm_forensics.score.lighteval_match"].__file__ or "").with_name("lighteval_worker.py")
    worker = MathWorker(0.01, script)
    found = worker.judge({"gold": "1", "text": "x = \\boxed{1} " * 20000, "choice": False})
    worker.end()
    assert found.equal is None and "lighteval: " in str(found.note)


def test_tasks_are_read_in_another_process_where_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"problem": f"What is {n} + 1?", "solution": f"$\\boxed{{{n + 1}}}$"} for n in range(2)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    spec = BenchmarkSpec(name="MINE", lighteval="math_500|0", path=str(tmp_path / "t.jsonl"))
    here = tasks.load(spec)
    monkeypatch.setenv(PYTHON, sys.executable)
    assert tasks.load(spec) == here
