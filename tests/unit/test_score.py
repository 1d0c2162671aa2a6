"""Verdicts: statuses, rules and notes, order, cache, and what the grader refuses."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics.errors import InputError
from qrm_forensics.records import Finish, Kind, Problem, Status, Trace, Verdict
from qrm_forensics.score import POLICIES, Grader, equivalent, score, scorer_version, workers
from qrm_forensics.score.shield import refusal
from qrm_forensics.score.workers import Judgement, WorkerPool


def problem(gold: str, kind: Kind = Kind.MATH, id: str = "p") -> Problem:
    return Problem("bench", id, "?", "?", gold, kind, None, None)


def trace(text: str | None, id: str = "p", error: str | None = None) -> Trace:
    return Trace("v", "bench", id, 0, 42, "?", text, Finish.STOP, error=error)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as grader:
        yield grader


def strict(grader: Grader, gold: str, answer: str) -> Verdict:
    return grader.score(problem(gold), trace(f"<think>x</think> \\boxed{{{answer}}}"), "strict")


@pytest.mark.parametrize(
    ("gold", "answer", "status"),
    [
        (r"x \in [-2,7]", "[-2,7]", "correct"),
        (r"\text{(C)}", "C", "correct"),
        (r"\text{(C)}", r"\text{(B)}", "wrong"),
        ("4210_{5}", "4210", "correct"),
        ("4210_5", "4210_7", "wrong"),
        ("4210_5", "555_{10}", "wrong"),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}", "wrong"),
        ("2^{-99}", "2^{-98}", "wrong"),
        ("2^{-99}", r"\frac{1}{2^{99}}", "correct"),
        (".0000672", "0.0000671", "wrong"),
        (".0000672", r"6.72 \times 10^{-5}", "correct"),
        ("0", "0.000001", "wrong"),
        ("0", r"\sqrt{2}\sqrt{3}-\sqrt{6}", "correct"),
        ("n=2,3,4", "n=1,2,3", "wrong"),
        ("12:00", "1:00", "wrong"),
        ("12:00", "12:00", "correct"),
        (r"\frac13", "0.33333", "correct"),
        (r"\frac13", "0.33", "wrong"),
        ("(1,2)", "[1,2]", "wrong"),
        ("1,-2", "-2,1", "correct"),
        (
            r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}",
            r"\begin{pmatrix} \frac15 \\ -\frac{18}{5} \end{pmatrix}",
            "correct",
        ),
        (r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}", "correct"),
        (r"\text{Evelyn}", r"\text{Navin}", "wrong"),
        (r"864 \mbox{ inches}^2", "864", "correct"),
        (r"Thus $\boxed{\frac{1}{2}}$.", r"\dfrac12", "correct"),
        (r"Thus $\boxed{\sqrt{12}}$.", r"2\sqrt3", "correct"),
    ],
)
def test_traps(grader: Grader, gold: str, answer: str, status: str) -> None:
    assert strict(grader, gold, answer).status == status


def test_lenient_credits_what_strict_does_not(grader: Grader) -> None:
    text = "<think> So it is $45$. Wait, the answer is $45$. Wait"
    by_policy = {v.policy: v for v in grader.grade([(problem("45"), trace(text))])}
    assert by_policy["strict"].status == Status.MISSING and by_policy["strict"].answer is None
    assert "</think>" in (by_policy["strict"].note or "")
    assert by_policy["lenient"].status == Status.CORRECT and by_policy["lenient"].rule == "text/string"


def test_nothing_to_extract_is_missing_under_both(grader: Grader) -> None:
    verdicts = grader.grade([(problem("45"), trace("hm </think> dunno"))])
    assert [v.status for v in verdicts] == [Status.MISSING, Status.MISSING]


def test_a_loop_of_digits_is_not_unscored(grader: Grader) -> None:
    verdicts = list(grader.grade([(problem("45"), trace("so it is 0." + "3" * 20_000))]))
    assert [v.status for v in verdicts] == [Status.MISSING, Status.WRONG]
    verdicts = list(grader.grade([(problem("45"), trace("so it is " + "3" * 20_000))]))
    assert [v.status for v in verdicts] == [Status.MISSING, Status.MISSING]


@pytest.mark.parametrize("policy", POLICIES)
def test_unscored_is_said_with_its_reason(grader: Grader, policy: str) -> None:
    def note(problem: Problem, trace: Trace) -> str:
        verdict = grader.score(problem, trace, policy)
        assert verdict.status == Status.UNSCORED
        return verdict.note or ""

    assert "CUDA" in note(problem("1"), trace(None, error="CUDA out of memory"))
    assert "gold" in note(problem(" "), trace("</think>\\boxed{1}"))
    assert "code" in note(problem("x", Kind.CODE), trace("</think>\\boxed{1}"))
    assert "letter" in note(problem("12", Kind.CHOICE), trace("Answer: C"))
    assert "tower" in note(problem("1"), trace("</think>\\boxed{9^{9^9}}"))


def test_choice(grader: Grader) -> None:
    right = grader.score(problem("C", Kind.CHOICE), trace("</think> Answer: C"), "strict")
    assert (right.status, right.answer, right.rule) == (Status.CORRECT, "C", "answer-line/letter")
    wrong = grader.score(problem(r"\text{(C)}", Kind.CHOICE), trace(r"</think> \boxed{b}"), "lenient")
    assert (wrong.status, wrong.answer, wrong.rule) == (Status.WRONG, "B", "boxed/letter")
    assert grader.score(problem("C", Kind.CHOICE), trace("Answer: C"), "strict").status == Status.MISSING


def test_order_is_that_of_the_input_with_several_workers() -> None:
    pairs = []
    for i in range(60):
        answer = f"{i}" if i % 3 else f"\\sqrt{{{i * i}}}"
        pairs.append((problem(str(i), id=str(i)), trace(f"</think> \\boxed{{{answer}}}", id=str(i))))
    with Grader(workers=2) as grader:
        verdicts = list(grader.grade(iter(pairs)))
    assert [(v.problem_id, v.policy) for v in verdicts] == [(str(i), p) for i in range(60) for p in POLICIES]
    assert {v.status for v in verdicts} == {Status.CORRECT}


def test_pairs_are_read_a_bounded_number_ahead() -> None:
    taken = 0

    def pairs() -> Iterator[tuple[Problem, Trace]]:
        nonlocal taken
        for _ in range(10_000):
            taken += 1
            yield problem("1"), trace("</think> \\boxed{1}")

    with Grader() as grader:
        next(grader.grade(pairs()))
    assert taken < 50


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The requests that reach a worker, in order."""
    requests: list[dict[str, Any]] = []
    judge = WorkerPool.judge

    def record(self: WorkerPool, request: dict[str, Any]) -> Judgement:
        requests.append(request)
        return judge(self, request)

    monkeypatch.setattr(WorkerPool, "judge", record)
    return requests


def test_the_same_comparison_is_asked_once_under_both_policies(asked: list[dict[str, Any]]) -> None:
    pairs = [(problem(r"\sqrt{2}"), trace(rf"<think>{i}</think> So $\boxed{{2^{{1/2}}}}$.")) for i in range(5)]
    with Grader() as grader:
        assert {v.status for v in grader.grade(pairs)} == {Status.CORRECT}
    assert [request["pieces"] for request in asked] == [[{"kind": "latex", "groups": {"first_latex": "2^{1/2}"}}]]


def test_what_is_remembered_is_bounded(asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qrm_forensics.score.grader.CACHED", 3)
    with Grader() as grader:
        for radicand in (2, 3, 2, 5, 6, 2, 7, 2, 3):  # 2 is used again before three others are; 3 is not
            assert grader.equivalent(rf"\sqrt{{{radicand}}}", rf"{radicand}^{{1/2}}") is True
        assert len(grader._cache) == 3
    assert len(asked) == 6


def test_numbers_and_equal_latex_need_no_worker(asked: list[dict[str, Any]]) -> None:
    texts = [f"<think>x</think> It is \\boxed{{{i}}}." for i in range(50)]
    texts += ["so it is 24", "\\boxed{24} or \\boxed{24}", "**Final Answer**: $24$", "it is 0." + "3" * 9000, "= 1,024"]
    with Grader() as grader:
        statuses = [v.status for v in grader.grade((problem("024"), trace(text)) for text in texts)]
        assert statuses.count(Status.CORRECT) == 2 + 3
        same = grader.score(problem(r"\frac{\sqrt{3}}{2}"), trace(r"so $\boxed{\dfrac{\sqrt{3}}{2}}$"), "lenient")
        assert (same.status, same.rule) == (Status.CORRECT, "boxed/string")
    assert asked == []


def test_what_does_not_parse_is_passed_over_as_in_the_whole_text(asked: list[dict[str, Any]]) -> None:
    with Grader() as grader:
        unreadable = r"We get $\boxed{\frac{3}{7}}$, written $\boxed{( 3, \frac{1}{2} \right )}$"
        verdict = grader.score(problem(r"\frac{6}{14}"), trace(unreadable), "lenient")
        assert (verdict.status, verdict.rule) == (Status.CORRECT, "boxed/math-verify")
        assert [len(request["pieces"]) for request in asked] == [1, 3]
        nothing = grader.score(
            problem(r"\frac12"), trace(r"it is $7$, so \boxed{( 3, \frac{1}{2} \right )}"), "lenient"
        )
        assert nothing.status == Status.CORRECT
        assert "text" in asked[-1]


def test_other_versions_of_the_library_read_every_response_themselves(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrm_forensics.score.extraction.VERSIONS", (("math-verify", "0.8.0"),))
    with Grader() as grader:
        assert grader.score(problem("24"), trace("so it is $24$."), "lenient").status == Status.CORRECT
    assert [request["text"] for request in asked] == ["so it is $24$."]


def test_bad_requests_are_named(grader: Grader) -> None:
    with pytest.raises(InputError, match="strict, lenient"):
        grader.score(problem("1"), trace("x"), "exact")
    with pytest.raises(InputError, match="bench q"):
        grader.score(problem("1"), trace("x", id="q"), "strict")
    with pytest.raises(InputError, match="worker"):
        Grader(workers=0)


def test_long_answers_are_shortened_in_the_verdict(grader: Grader) -> None:
    verdict = strict(grader, "1", "x+" * 400)
    assert verdict.status == Status.UNSCORED and "800" in (verdict.note or "")
    assert verdict.answer is not None and len(verdict.answer) == 300


def test_lone_surrogates_are_graded(grader: Grader) -> None:
    verdicts = list(grader.grade([(problem(r"\sqrt2"), trace("\ud800</think> \\boxed{\\sqrt{2}\ud800}"))]))
    assert [v.policy for v in verdicts] == list(POLICIES)


def test_module_functions_share_one_worker() -> None:
    assert equivalent(r"\frac{1}{\sqrt2}", r"\frac{\sqrt2}{2}") is True
    assert equivalent("3", "4") is False
    assert equivalent("3", "9^{9^9}") is None
    assert score(problem("3"), trace("</think>\\boxed{3}"), "strict").status == Status.CORRECT


def test_version_names_rules_and_library() -> None:
    import math_verify  # noqa: F401  (the version belongs to an installed library)

    assert scorer_version().startswith("rules-") and "math-verify-" in scorer_version()


def test_import_is_light() -> None:
    code = (
        "import sys, qrm_forensics.score; "
        "heavy = {'sympy', 'math_verify', 'torch', 'latex2sympy2_extended', 'pandas'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_script_without_main_guard_can_grade() -> None:
    code = "from qrm_forensics.score import equivalent; print(equivalent('\\\\sqrt{8}', '2\\\\sqrt{2}'))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^9}",
        "9^9^9",
        "9**9**9",
        "10^(10^10)",
        "{10}^{{10}^{10}}",
        "(10^7)!",
        "10000001!",
        "9!!!",
        "((3!)!)!",
        r"\sum_{k=1}^{100000000} \frac1k",
        r"\prod_{k=1}^{10^8} k",
        r"\binom{100000000}{50000000}",
        "C(1e8, 5e7)",
        r"\frac{" * 200,
        "(" * 100,
        "1" * 51,
        "1+" * 200,
    ],
)
def test_refused(answer: str) -> None:
    assert refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "2^{1000}",
        "x^{2^{3}}",
        "e^{x^2}",
        r"\frac{1}{2004!}",
        "(n+1)!",
        r"\frac{5!}{(2)!}",
        "(2^{5})^{4}",
        "10^{-10}",
        r"\sum_{k=1}^{\infty} \frac{9}{10^k}",
        r"\binom{100}{3}",
        "x^2+y^2=12345",
        r"C_5 = 123456",
        "3^5 \\cdot 7^{11}",
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        r"\int_0^1 x^{99}\,dx",
        "2^{(n-1)^2}",
    ],
)
def test_not_refused(answer: str) -> None:
    assert refusal(answer) is None


@pytest.mark.parametrize("script", ["math_worker.py", "lighteval_worker.py", "worker_process.py"])
def test_what_runs_in_another_environment_imports_nothing_of_ours(script: str) -> None:
    tree = ast.parse(Path(workers.__file__).with_name(script).read_text("utf-8"))
    names = [n.module or "." for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    assert names and not [name for name in names if name.startswith(("qrm_forensics", "."))]
