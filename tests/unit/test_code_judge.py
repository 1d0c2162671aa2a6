"""Judging programs: where they are found, when an output is right, and what is said where one is not."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from qrm_forensics import sandbox
from qrm_forensics.answers import Found, Missing
from qrm_forensics.benchmarks.code_tests import CodeTests, gold_of
from qrm_forensics.errors import InputError
from qrm_forensics.records import Finish, Kind, Problem, Status, Trace
from qrm_forensics.sandbox import Isolation, Limits, Refusal, isolation
from qrm_forensics.sandbox import isolation as found_isolation
from qrm_forensics.sandbox.host import SandboxError
from qrm_forensics.sandbox.levels import VARIABLE, attempt
from qrm_forensics.score import Grader, code_compare, code_judge
from qrm_forensics.score.code_blocks import find_code
from qrm_forensics.score.code_judge import CodeJudge, CodeOutcome, provisional

runs_programs = pytest.mark.skipif(sys.platform != "linux", reason="programs are only run on Linux")


# --------------------------------------------------------------------------- where the program is


def code_in(text: str, policy: str) -> str:
    found = find_code(text, policy)
    return found.answer if isinstance(found, Found) else f"missing: {found.reason}"


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        ("</think>\n```python\nprint(1)\n```\n", "print(1)\n", "print(1)\n"),
        ("```python\na\n```\n</think>```python\nb\n```\nand\n```py\nc\n```", "c\n", "c\n"),
        ("```python\ndraft\n```\n</think> nothing more", "missing: no closed", "draft\n"),
        ("```python\ndraft\n```", "missing: the reasoning", "draft\n"),
        ("</think>\n```python\nb\n```\n```\noutput\n```", "b\n", "output\n"),
        ("</think>\n```cpp\nb\n```", "missing: no closed", "b\n"),
        ("</think>\n  ```Python3  \n  x = 1\n  ```  ", "  x = 1\n", "  x = 1\n"),
        ("</think>\n```python\nnever closed", "missing: no closed", "missing: there are no two"),
        ("</think>\n```python\nold\n```python\nnew\n```", "new\n", "new\n"),
        ("</think>\n```python\n\n```", "missing: the last", "missing: there is nothing"),
        ("</think>\n```python\ns = '```'\n```\n", "s = '```'\n", "missing: there is nothing"),
        ("</think> no code", "missing: no closed", "missing: there are no two"),
        ("", "missing: the reasoning", "missing: there are no two"),
    ],
)
def test_the_program_of_a_response(text: str, strict: str, lenient: str) -> None:
    assert code_in(text, "strict").startswith(strict) and code_in(text, "lenient").startswith(lenient)
    for policy in ("strict", "lenient"):
        found = find_code(text, policy)
        assert isinstance(found, Missing) or text[slice(*found.span)] == found.answer


def test_the_lenient_rule_is_that_of_the_published_harness() -> None:
    def reference(text: str) -> str:
        """Lines between the last two that hold a fence (LiveCodeBench's extraction, in words of its own)."""
        lines = text.split("\n")
        marked = [i for i, line in enumerate(lines) if "```" in line]
        return "\n".join(lines[marked[-2] + 1 : marked[-1]]) if len(marked) > 1 else ""

    for text in (
        "a ``` b\nx\n\n```",
        "```\n```",
        "```py\nx ``` y\nz",
        "```\nx\n```\n```\ny",
        "q```q```q\nx\n`````` \n",
    ):
        found = find_code(text, "lenient")
        got = found.answer.removesuffix("\n") if isinstance(found, Found) else ""
        assert got == reference(text) or not reference(text).strip()


def test_finding_takes_linear_time() -> None:
    for text in ("```python\n" * 200_000, "</think>" + "```python\n" * 200_000, "</think>" + "``` `" * 200_000):
        find_code(text, "strict")
        find_code(text, "lenient")


# --------------------------------------------------------------------------- when an output is right


@pytest.mark.parametrize(
    ("got", "wanted", "right"),
    [
        ("3\n", "3", True),
        ("  3  \n4 \n\n", "3\n4\n", True),
        ("3 4", "3  4", True),  # numbers are compared one by one
        ("a b", "a  b", False),  # words are not
        ("1.50", "1.5", True),
        ("1e3", "1000", True),
        ("0.1", "0.10000000001", False),  # no tolerance
        ("50000000000000000", "50000000000000001", False),
        ("3\n\n4", "3\n4", False),
        ("3", "3\n4", False),
        ("yes", "Yes", False),
        ("", "", True),
        ("nan", "nan", True),
        ("nan", "NaN", False),
        ("sNaN", "3", False),
        ("1" * 9000, "1" * 9000 + ".0", True),
        ("\udcff", "3", False),
    ],
)
def test_printed_output(got: str, wanted: str, right: bool) -> None:
    assert (code_compare.printed(got.encode("utf-8", "surrogateescape"), wanted) is None) is right


@pytest.mark.parametrize(
    ("got", "wanted", "right"),
    [
        ("[1, 2]", "[1,2]", True),
        ("1.0", "1", True),
        ("true", "1", True),  # as Python has it
        ('"1"', "1", False),
        ("0.30000000000000004", "0.3", False),
        ('{"b": 1, "a": [null]}', '{"a": [null], "b": 1}', True),
        ("", "null", False),
        ("null", "null", True),
        ("[1", "[1]", False),
        ("[" * 100_000, "[1]", False),
        ("9" * 6000, "9" * 6000, True),
        ("9" * 6000, "9" * 5999 + "8", False),
    ],
)
def test_returned_values(got: str, wanted: str, right: bool) -> None:
    assert (code_compare.returned(got.encode(), wanted) is None) is right


def test_a_gold_that_is_no_json_is_not_the_programs_fault() -> None:
    with pytest.raises(InputError, match="not JSON"):
        code_compare.returned(b"1", "[1")


# --------------------------------------------------------------------------- programs

SUM = gold_of(CodeTests(["1 2\n", "3 4\n", "5 6\n"], ["3\n", "7\n", "11\n"], None))
PLUS = gold_of(CodeTests(["[1, 2]\n3", "[]\n0"], ["[4, 5]", "[]"], "plus"))


@pytest.fixture(scope="module")
def judge() -> CodeJudge:
    return CodeJudge(Limits(cpu_seconds=2, wall_seconds=60.0, memory=512 << 20))


@runs_programs
@pytest.mark.parametrize(
    ("code", "gold", "note"),
    [
        ("a, b = map(int, input().split())\nprint(a + b)", SUM, "passed 3 of 3 tests"),
        ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", SUM, "passed 3"),
        ("print(sum(map(int, open(0).read().split())))", SUM, "passed 3"),
        ("def main():\n  print(sum(map(int, input().split())))\nif __name__ == '__main__':\n  main()", SUM, "passed 3"),
        ("print(sum(map(int, input().split())))\nexit(3)", SUM, "passed 3"),
        ("d = deque(map(int, input().split()))\nprint(reduce(add, d))", SUM, "passed 3"),  # names that are given
        ("import threading\nthreading.Thread(target=lambda: print(sum(map(int, input().split())))).start()", SUM, "passed"),
        ("import sys, io\nout, sys.stdout = sys.stdout, io.StringIO()\nprint(sum(map(int, input().split())))\n"
         "out.write(sys.stdout.getvalue())", SUM, "passed 3"),
        ("def f(n):\n  return 1 + f(n - 1) if n else 0\na, b = map(int, input().split())\nprint(a + b + f(30000) - 30000)", SUM,
         "passed 3"),
        ("print(7)", SUM, "test 1 of 3: wrong answer: line 1 is '7' instead of '3'"),
        ("a, b = map(int, input().split())\nprint(3 if a == 1 else 7 / (a - 5))", SUM, "test 2 of 3: wrong answer: line 1 is '-3.5'"),
        ("a, b = map(int, input().split())\nprint(a + b if a < 5 else 1 // 0)", SUM,
         "test 3 of 3: runtime error: ZeroDivisionError: integer division or modulo by zero"),
        ("import sys\nprint('debug', file=sys.stderr)\nint('x')", SUM, "test 1 of 3: runtime error: ValueError: invalid literal"),
        ("x = = 1", SUM, "test 1 of 3: runtime error: SyntaxError"),
        ("print('\ud800')", SUM, "test 1 of 3: runtime error: UnicodeEncodeError"),
        ("while True: pass", SUM, "test 1 of 3: time out: more than"),
        ("x = [1] * 10**10", SUM, "test 1 of 3: memory: more than 512 MiB"),
        ("import socket\nsocket.socket()", SUM, "test 1 of 3: forbidden: PermissionError"),
        ("import os\nos.kill(os.getpid(), 9)", SUM, "test 1 of 3: forbidden"),
        ("import ctypes\nctypes.string_at(0)", SUM, "test 1 of 3: runtime error: ended by SIGSEGV"),
        ("import os\nprint(3, flush=True)\nos._exit(4)", SUM, "test 1 of 3: runtime error: exit code 4"),
        ("class Solution:\n  def plus(self, xs: List[int], k: int) -> List[int]:\n    print('debug')\n    return [x + k for x in xs]", PLUS,
         "passed 2 of 2"),
        ("def plus(xs, k):\n  return tuple(x + k for x in xs)", PLUS, "passed 2 of 2"),
        ("import numpy as np\ndef plus(xs, k):\n  return [x + np.int64(k) for x in xs]", PLUS, "passed 2 of 2"),
        ("def plus(xs, k):\n  return [(x + k,) for x in xs]", PLUS, "test 1 of 2: wrong answer: returned tuple"),
        ("def plus(xs, k):\n  return {4, 5}", PLUS, "test 1 of 2: wrong answer: returned set"),
        ("def plus(xs, k):\n  xs[:] = [x + k for x in xs]", PLUS, "test 1 of 2: wrong answer: returned 'null' instead of '[4, 5]'"),
        ("def minus(xs, k):\n  return xs", PLUS, "test 1 of 2: runtime error: AttributeError"),
        ("def plus(xs):\n  return xs", PLUS, "test 1 of 2: runtime error: TypeError"),
    ],
)  # fmt: skip
def test_programs(judge: CodeJudge, code: str, gold: str, note: str) -> None:
    outcome = judge.judge(code, gold)
    assert outcome.note.startswith(note), outcome.note
    assert outcome.status is (Status.CORRECT if note.startswith("passed") else Status.WRONG)
    assert outcome.note.endswith(("; namespaces", "; landlock"))


@runs_programs
def test_the_same_program_gives_the_same_output_again(judge: CodeJudge) -> None:
    code = "import random\nprint(random.random(), list({'a', 'b', 'c', 'd'}), hash('x'))"
    level = found_isolation()
    assert isinstance(level, Isolation)
    outputs = set()
    for _ in range(2):
        with level.start(code) as session:
            outputs |= {session.run(b"", 1000).output for _ in range(2)}
    assert len(outputs) == 1 and outputs != {b""}


def problem(gold: str) -> Problem:
    return Problem("b", "1", "q", "p", gold, Kind.CODE, None, None)


def trace(text: str | None) -> Trace:
    return Trace("v", "b", "1", 0, 0, "p", text, Finish.STOP)


RIGHT = "</think>\n```python\nprint(sum(map(int, input().split())))\n```"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The programs that were really run."""
    started: list[str] = []
    start = Isolation.start

    def counting(self: Isolation, code: str, *rest: object) -> object:
        started.append(code)
        return start(self, code, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Isolation, "start", counting)
    yield started


@runs_programs
def test_verdicts_under_both_policies_from_one_run(counted: list[str]) -> None:
    isolation()  # which tries itself
    counted.clear()
    with Grader(workers=2) as grader:
        strict, lenient = grader.grade([(problem(SUM), trace(RIGHT))])
        assert (strict.status, strict.rule) == (Status.CORRECT, "python-block/tests")
        assert (lenient.status, lenient.rule) == (Status.CORRECT, "last-fences/tests")
        assert strict.answer is not None and strict.answer.startswith("print(sum")
        assert len(counted) == 1
        grader.score(problem(SUM), trace(RIGHT), "strict")
        assert len(counted) == 1
        grader.forget()
        grader.score(problem(SUM), trace(RIGHT), "strict")
        assert len(counted) == 2
        nothing = grader.score(problem(SUM), trace("</think> I give up"), "strict")
        assert (nothing.status, nothing.answer) == (Status.MISSING, None) and len(counted) == 2


@runs_programs
def test_many_threads_run_one_program_once(counted: list[str]) -> None:
    isolation()
    counted.clear()
    judge, together = CodeJudge(), threading.Barrier(4)

    def one(_: int) -> CodeOutcome:
        together.wait()
        return judge.judge("print(sum(map(int, input().split())))", SUM)

    with ThreadPoolExecutor(4) as pool:
        assert {outcome.status for outcome in pool.map(one, range(4))} == {Status.CORRECT}
    assert len(counted) == 1


# --------------------------------------------------------------------------- where programs are not run


@pytest.mark.parametrize(
    ("setting", "platform", "words"),
    [
        ("off", "linux", "QRM_SANDBOX is 'off'"),
        ("", "darwin", "only run on Linux"),
        ("auto", "win32", "only run on Linux"),
    ],
)
def test_without_a_sandbox_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch, setting: str, platform: str, words: str
) -> None:
    sandbox_module = sys.modules["qrm_forensics.sandbox.levels"]
    monkeypatch.setenv(VARIABLE, setting)
    monkeypatch.setattr(sandbox_module.sys, "platform", platform)
    sandbox_module._found.cache_clear()
    monkeypatch.setattr(Isolation, "start", lambda *_: pytest.fail("a program was started"))
    try:
        assert words in sandbox.described()
        outcome = CodeJudge().judge("print(1)", SUM)
    finally:
        sandbox_module._found.cache_clear()
    assert outcome.status is Status.UNSCORED and words in outcome.note and outcome.note.startswith(code_judge.NOT_RUN)


def test_a_misspelt_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "namespace")
    with pytest.raises(InputError, match="QRM_SANDBOX='namespace': expected auto, off, or one of"):
        isolation()


@runs_programs
def test_a_level_that_does_not_hold_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Namespaces in which more can be seen than should."""
    sandbox_module = sys.modules["qrm_forensics.sandbox.levels"]
    config = sandbox_module._config

    def weakened(level: str, filtered: bool) -> object:
        return config("namespaces", False) | {"roots": [*config("namespaces", False)["roots"], ("/tmp", "/tmp")]}

    monkeypatch.setattr(sandbox_module, "_config", weakened)
    with pytest.raises(SandboxError, match="a program could read a file, list a folder"):
        attempt("namespaces", filtered=False)


def test_what_is_not_run_is_worth_trying_again() -> None:
    with Grader() as grader:
        lost = gold_of(CodeTests(["1"], ["1"], None)).replace('"inputs"', '"sha256":"0","tests":1,"inputs"')
        verdict = grader.score(problem(lost), trace(RIGHT), "strict")
        assert verdict.status is Status.UNSCORED and "not on this machine" in (verdict.note or "")
        assert provisional([verdict])
        broken = grader.score(problem("{}"), trace(RIGHT), "strict")
        failed = grader.score(problem(SUM), trace(None), "strict")
        assert broken.status is failed.status is Status.UNSCORED
        assert not provisional([failed, broken])


def test_refusals_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_module = sys.modules["qrm_forensics.sandbox.levels"]

    def fails(level: str) -> Isolation:
        raise SandboxError(f"no {level} here")

    monkeypatch.setattr(sandbox_module, "attempt", fails)
    monkeypatch.setattr(sandbox_module.sys, "platform", "linux")
    refusal = sandbox_module._found.__wrapped__("auto")
    assert isinstance(refusal, Refusal)
    assert "namespaces: no namespaces here; landlock: no landlock here" in refusal.reason
    assert "QRM_SANDBOX=open-files" in refusal.reason and "open-files: no" not in refusal.reason


@runs_programs
def test_closing_ends_what_runs() -> None:
    judge = CodeJudge(Limits(cpu_seconds=60, wall_seconds=60.0))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(judge.judge, "while True: pass", SUM)
        while not judge._open:
            time.sleep(0.01)
        judge.close()
        assert future.result(120) == CodeOutcome(Status.UNSCORED, "not run: the grader was closed")
