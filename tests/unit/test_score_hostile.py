"""Answers that hang, explode or try to break out: bounded time, no execution, and the next item is still scored."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from qrm_forensics.records import Finish, Kind, Problem, Status, Trace
from qrm_forensics.score import DEFAULT_SECONDS, POLICIES, Grader
from qrm_forensics.score.extraction import Unclear, boxed_readings, first_reading
from qrm_forensics.score.workers import MEMORY_LIMIT, MathWorker

#: A hundred times what an ordinary comparison takes, so that none is killed because the machine is busy.
SECONDS = 2.0
#: What one verdict may take on a busy machine, the start of another worker after a kill included.
BOUND = 60.0

MATRIX = r"\begin{pmatrix}" + r"\\".join("&".join(str(i * j) for i in range(60)) for j in range(60)) + r"\end{pmatrix}"
PAYLOAD = '__import__("os").system("touch INJECTED")'

#: Known to keep math-verify busy for seconds, or for ever.
HANGS = {
    "deep tower": r"2^{3^{4^{5^{6^{7^{8^{9}}}}}}}",
    "tower": "9^{9^{9}}",
    "tower in brackets": "10^(10^10)",
    "factorial": "(10^7)!",
    "long sum": r"\sum_{k=1}^{100000000} \frac{1}{k}",
    "powers of a sum": "(x+1)^{2000}-(x+1)^{1999}",
    "Python power": "9**9**9",
    "binomial": r"\binom{100000000}{50000000}",
    "binomial in letters": "C(1e8, 5e7)",
    "nested fractions": r"\frac{" * 200 + "1" + "}{2}" * 200,
    "matrix": MATRIX,
    "digits": "7" * 20_000,
}
PLACES = {"box": "<think>x</think> \\boxed{@}", "math": "so the answer is $@$", "bare": "so the answer is @ ."}
OTHERS = [
    *(f"<think>x</think> \\boxed{{{box}}}" for box in (PAYLOAD, rf"\text{{{PAYLOAD}}}", f"eval('{PAYLOAD}')")),
    r"<think>x</think> \boxed{\prod_{k=1}^{9999} k^{k}}",
    "the answer is 9**9**9**9 .",
    "\\boxed{" * 5_000,
    "$" * 20_001,
    f"the answer is {PAYLOAD}",
]
ELSEWHERE = [
    ("deep tower", "math"),
    ("factorial", "math"),
    ("long sum", "math"),
    ("binomial", "math"),
    ("matrix", "math"),
]
ELSEWHERE += [("Python power", "bare"), ("tower in brackets", "bare"), ("powers of a sum", "bare"), ("digits", "bare")]
WHERE = [(hang, "box") for hang in HANGS] + ELSEWHERE
TEXTS = {f"{hang}, {place}": PLACES[place].replace("@", HANGS[hang]) for hang, place in WHERE}
TEXTS |= {text[:48]: text for text in OTHERS}


def pair(text: str, gold: str = "7") -> tuple[Problem, Trace]:
    problem = Problem("b", "1", "", "", gold, Kind.MATH, None, None)
    return problem, Trace("v", "b", "1", 0, 0, "", text, Finish.STOP)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(seconds=SECONDS) as grader:
        yield grader


def children() -> set[int]:
    """The processes started by this one that have not been waited for."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(child) for path in tasks for child in path.read_text(encoding="ascii").split()}


@pytest.mark.parametrize("name", TEXTS)
def test_hang_list(grader: Grader, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for policy in POLICIES:
        started = time.monotonic()
        verdict = grader.score(*pair(TEXTS[name]), policy)
        assert time.monotonic() - started < BOUND
        assert verdict.status in (Status.WRONG, Status.MISSING, Status.UNSCORED)
        assert verdict.status != Status.UNSCORED or verdict.note
    after = grader.score(*pair(r"</think> \boxed{\sqrt{49}}"), "strict")
    assert after.status == Status.CORRECT
    assert list(tmp_path.iterdir()) == []


def test_the_default_limit_leaves_time_to_start_a_worker() -> None:
    assert DEFAULT_SECONDS <= 4.0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts processes in /proc")
def test_hanging_answers_neither_starve_the_rest_nor_leave_anything_behind() -> None:
    # Every one another, so that none is answered from memory: 4 hang until killed, 10 are refused, 90 are ordinary.
    texts = [rf"</think> \boxed{{\frac{{\sqrt{{{4 * n * n}}}}}{{{n}}}\cdot \sqrt{{49}}}}" for n in range(2, 92)]
    for n in range(10):
        texts.insert(7 * n, rf"</think> \boxed{{9^{{9^{{{n + 9}}}}}}}")
    for n in range(4):
        texts.insert(7 * n, rf"</think> \boxed{{\prod_{{k=1}}^{{{9990 + n}}} k^{{k}}}}")
    before, threads = children(), set(threading.enumerate())
    started = time.monotonic()
    with Grader(workers=2, seconds=SECONDS) as grader:
        statuses = [v.status for v in grader.grade((pair(text, "14") for text in texts), ["strict"])]
        assert 1 <= len(children() - before) <= 2
    assert time.monotonic() - started < 4 * BOUND
    assert [status for status in statuses if status != Status.CORRECT] == [Status.UNSCORED] * 14
    assert statuses.count(Status.CORRECT) == 90
    assert children() <= before
    assert set(threading.enumerate()) <= threads


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts processes in /proc")
def test_closing_during_a_start_leaves_nothing_behind() -> None:
    before, threads = children(), set(threading.enumerate())
    for delay in (0.0, 0.05, 0.4):
        grader = Grader(workers=2, seconds=60.0)
        verdicts = grader.grade([pair(rf"</think>\boxed{{\sqrt{{{n}}}}}") for n in range(2, 3000)], ["strict"])
        closing = threading.Timer(delay, grader.close)
        closing.start()
        with pytest.raises((RuntimeError, CancelledError)):
            list(verdicts)
        grader.close()
        closing.join()  # itself a thread, which may end a moment later
    assert children() <= before
    assert set(threading.enumerate()) <= threads


def test_a_killed_comparison_is_unscored_and_the_next_is_scored(tmp_path: Path) -> None:
    texts = [r"</think>\boxed{\prod_{k=1}^{9999} k^{k}}", r"</think>\boxed{\sqrt{49}}"] * 2
    with Grader(workers=2, seconds=SECONDS) as grader:
        verdicts = list(grader.grade((pair(text) for text in texts), ["strict"]))
    assert [v.status for v in verdicts] == ["unscored", "correct"] * 2
    assert f"killed after {SECONDS:g} s" in (verdicts[0].note or "")


def test_a_worker_that_died_while_idle_is_replaced() -> None:
    worker = MathWorker(seconds=30.0)
    try:
        assert worker.judge({"gold": "7", "text": r"\boxed{\sqrt{49}}"}).equal is True
        assert worker._process is not None
        worker._process.kill()
        worker._process.wait()
        assert worker.judge({"gold": "7", "text": r"\boxed{\sqrt{49}}"}).equal is True
    finally:
        worker.end()


def test_closing_does_not_wait_for_a_hung_comparison() -> None:
    grader = Grader(seconds=60.0)
    verdicts = grader.grade([pair(r"</think>\boxed{\sqrt{49}}"), pair(r"</think>\boxed{\prod_{k=1}^{9999} k^{k}}")])
    assert next(verdicts).status == Status.CORRECT
    started = time.monotonic()
    grader.close()
    assert time.monotonic() - started < 30


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="reads resource limits from /proc")
def test_the_worker_has_given_up_memory_files_and_core_dumps() -> None:
    worker = MathWorker(seconds=30.0)
    try:
        worker.judge({"gold": "1", "text": "\\boxed{1}"})
        assert worker._process is not None
        lines = Path(f"/proc/{worker._process.pid}/limits").read_text(encoding="utf-8").splitlines()
        soft = {line[:26].strip(): line[26:].split()[0] for line in lines[1:]}
    finally:
        worker.end()
    assert soft["Max address space"] == str(MEMORY_LIMIT)
    assert soft["Max file size"] == "0"
    assert soft["Max core file size"] == "0"
    assert soft["Max processes"] == "0"
    assert int(soft["Max cpu time"]) < 60


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for a process in /proc")
def test_a_worker_ends_with_its_killed_parent() -> None:
    code = (
        "import os, signal\n"
        "from qrm_forensics.score.workers import MathWorker\n"
        "worker = MathWorker(60.0)\n"
        "assert worker.judge({'gold': '1', 'text': '\\\\boxed{1}'}).equal\n"
        "print(worker._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    deadline = time.monotonic() + 60
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_grading_works_outside_the_main_thread() -> None:
    statuses: list[Status] = []

    def grade() -> None:
        with Grader() as grader:
            statuses.append(grader.score(*pair(r"</think>\boxed{\sqrt{49}}"), "strict").status)

    thread = threading.Thread(target=grade)
    thread.start()
    thread.join(300)
    assert statuses == [Status.CORRECT]


BOX = "\\boxed{"


UNITS = ["$", "$x", "\\[", "\\(", BOX, BOX + "5} ", "$" + BOX + "5}$ ", "\\[" + BOX + "5} ", " [ ", "$x$ and ", "$$ "]
UNITS += ["answer", "answer 5 ", "answer $", "answer \\[", "final answer is ", "final answer is 5 ", "answer = 1 = "]
UNITS += [" ", "\n5", "1 ", "1-", " 1+", "1", " 0.3", "=1", ",123", " (", "\\frac{1}{2}", "-\\f", "{", "\\", "$x$, "]
UNITS += ["I hope final answer is 5. "]


@pytest.mark.parametrize("unit", UNITS)
def test_finding_what_is_read_first_takes_time_in_proportion_to_the_text(unit: str) -> None:
    """math-verify's own expressions take minutes on some of these."""
    for begin, end in (("", ""), (" 1", "x"), ("$", BOX + "5"), ("answer ", " = ")):
        text = begin + unit * (40_000 // len(unit)) + end
        started = time.process_time()
        with contextlib.suppress(Unclear):
            first_reading(text)
        boxed_readings(text)
        assert time.process_time() - started < 3.0  # mostly 0.02
