"""Answers that hang, explode or try to break out: bounded time, no execution, and the next item is still scored."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrm_forensics.records import Finish, Kind, Problem, Status, Trace
from qrm_forensics.score import POLICIES, Grader
from qrm_forensics.score.workers import MEMORY_LIMIT, MathWorker

SECONDS = 1.0
#: One comparison, a restart of the worker (imports of sympy on a busy machine), and some air.
BOUND = SECONDS + 15.0

MATRIX = r"\begin{pmatrix}" + r"\\".join("&".join(str(i * j) for i in range(60)) for j in range(60)) + r"\end{pmatrix}"
PAYLOAD = '__import__("os").system("touch INJECTED")'

BOXES = [
    "9^{9^{9^{9}}}",
    "9^9^9",
    "10^(10^10)",
    "(10^7)!",
    r"\sum_{k=1}^{100000000} \frac{1}{k}",
    r"\binom{100000000}{50000000}",
    r"\prod_{k=1}^{9999} k^{k}",
    "(x+1)^{2000}-(x+1)^{1999}",
    r"\frac{" * 200 + "1" + "}{2}" * 200,
    MATRIX,
    "7" * 20_000,
    PAYLOAD,
    rf"\text{{{PAYLOAD}}}",
    f"eval('{PAYLOAD}')",
]
TEXTS = [
    "the answer is 9**9**9**9 .",
    "the answer is 10^(10^10) .",
    "\\boxed{" * 5_000,
    "$" * 20_001,
    f"the answer is {PAYLOAD}",
]


def pair(text: str) -> tuple[Problem, Trace]:
    problem = Problem("b", "1", "", "", "7", Kind.MATH, None, None)
    return problem, Trace("v", "b", "1", 0, 0, "", text, Finish.STOP)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(seconds=SECONDS) as grader:
        yield grader


@pytest.mark.parametrize(
    "text", [f"<think>x</think> \\boxed{{{box}}}" for box in BOXES] + TEXTS, ids=lambda text: text[:48]
)
def test_hang_list(grader: Grader, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for policy in POLICIES:
        started = time.monotonic()
        verdict = grader.score(*pair(text), policy)
        assert time.monotonic() - started < BOUND
        assert verdict.status in (Status.WRONG, Status.MISSING, Status.UNSCORED)
        assert verdict.status != Status.UNSCORED or verdict.note
    after = grader.score(*pair(r"</think> \boxed{\sqrt{49}}"), "strict")
    assert after.status == Status.CORRECT
    assert list(tmp_path.iterdir()) == []


def test_a_killed_comparison_is_unscored_and_the_next_is_scored(tmp_path: Path) -> None:
    texts = [r"</think>\boxed{\prod_{k=1}^{9999} k^{k}}", r"</think>\boxed{\sqrt{49}}"] * 2
    with Grader(workers=2, seconds=SECONDS) as grader:
        verdicts = list(grader.grade((pair(text) for text in texts), ["strict"]))
    assert [v.status for v in verdicts] == ["unscored", "correct"] * 2
    assert "killed after 1 s" in (verdicts[0].note or "")


def test_a_worker_that_died_while_idle_is_replaced() -> None:
    worker = MathWorker(seconds=30.0)
    try:
        assert worker.judge(r"\boxed{\sqrt{49}}", "7", True).equal is True
        assert worker._process is not None
        worker._process.kill()
        worker._process.wait()
        assert worker.judge(r"\boxed{\sqrt{49}}", "7", True).equal is True
    finally:
        worker.close()


def test_closing_does_not_wait_for_a_hung_comparison() -> None:
    grader = Grader(seconds=60.0)
    verdicts = grader.grade([pair(r"</think>\boxed{\sqrt{49}}"), pair(r"</think>\boxed{\prod_{k=1}^{9999} k^{k}}")])
    assert next(verdicts).status == Status.CORRECT
    started = time.monotonic()
    grader.close()
    assert time.monotonic() - started < 10


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="reads resource limits from /proc")
def test_the_worker_has_given_up_memory_files_and_core_dumps() -> None:
    worker = MathWorker(seconds=5.0)
    try:
        worker.judge("\\boxed{1}", "1", True)
        assert worker._process is not None
        lines = Path(f"/proc/{worker._process.pid}/limits").read_text(encoding="utf-8").splitlines()
        soft = {line[:26].strip(): line[26:].split()[0] for line in lines[1:]}
    finally:
        worker.close()
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
        "worker = MathWorker(5.0)\n"
        "assert worker.judge('\\\\boxed{1}', '1', True).equal\n"
        "print(worker._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
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
    import threading

    statuses: list[Status] = []

    def grade() -> None:
        with Grader() as grader:
            statuses.append(grader.score(*pair(r"</think>\boxed{\sqrt{49}}"), "strict").status)

    thread = threading.Thread(target=grade)
    thread.start()
    thread.join(60)
    assert statuses == [Status.CORRECT]
