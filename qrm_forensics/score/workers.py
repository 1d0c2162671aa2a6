"""Killable worker processes for math-verify: started when first needed, ended by SIGKILL, restarted after it.

A worker is a separate interpreter that is spoken to over pipes, so that it behaves the
same on Linux and macOS, in a notebook, in a thread and in a script without a
``__main__`` guard.  A timer in this process kills a worker that does not answer in
time: neither signals in the caller nor the worker's cooperation are needed.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from qrm_forensics.errors import EnvironmentMissing

MEMORY_LIMIT: Final = 2 << 30
START_SECONDS: Final = 120.0
_SCRIPT: Final = Path(__file__).with_name("math_worker.py")


class Judgement(NamedTuple):
    """math-verify's outcome: ``equal`` None where it gave none, with the reason in ``note``."""

    equal: bool | None
    answer: str | None
    note: str | None


class MathWorker:
    """One process.  ``judge`` always returns within about ``seconds`` (plus a restart where one is due)."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def judge(self, text: str, gold: str, exacting: bool) -> Judgement:
        """Compare the answer that math-verify extracts from ``text`` with the gold text."""
        request = json.dumps({"text": text, "gold": gold, "exacting": exacting}) + "\n"
        if self._process is not None and self._process.poll() is not None:
            self._end()  # it died while idle, which says nothing about this request
        if self._process is None:
            self._start()
        reply, timed_out = self._exchange(request, self._seconds)
        if reply is None or timed_out:
            self._end()
        if reply is None:
            why = (
                f"killed after {self._seconds:g} s"
                if timed_out
                else "the worker died (memory or CPU limit, or a crash)"
            )
            return Judgement(None, None, f"math-verify: {why}")
        if "error" in reply:
            return Judgement(None, None, str(reply["error"]))
        return Judgement(bool(reply["equal"]), reply["answer"], None)

    def close(self) -> None:
        self._closed = True
        self._end()

    def _start(self) -> None:
        if self._closed:
            raise RuntimeError("the grader is closed")
        limits = ["--memory", str(MEMORY_LIMIT), "--cpu", str(int(self._seconds) + 2)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT), *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the caller, who then closes the workers
            env={
                **os.environ,
                "PYTHONHASHSEED": "0",
                "PYTHONUTF8": "1",
            },  # sympy's order of terms follows the hash seed
        )
        ready, _ = self._exchange("", START_SECONDS)
        if ready is None:
            self._end()
            raise EnvironmentMissing(
                "the grading worker does not start; see why with: "
                f"{sys.executable} -P {_SCRIPT} --memory {MEMORY_LIMIT} --cpu 9"
            )

    def _exchange(self, request: str, seconds: float) -> tuple[dict[str, Any] | None, bool]:
        """Write a request, read a reply; (None, timed out) where the process ended first."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        fired = threading.Event()

        def kill() -> None:
            fired.set()
            process.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            line = _converse(process.stdin, process.stdout, request)
        finally:
            timer.cancel()
            timer.join()  # so that a kill that has begun is seen below
        try:
            return (json.loads(line) if line.endswith("\n") else None), fired.is_set()
        except json.JSONDecodeError:
            return None, fired.is_set()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                _close(stream)


def _converse(stdin: IO[str], stdout: IO[str], request: str) -> str:
    try:
        if request:
            stdin.write(request)
            stdin.flush()
        return stdout.readline()
    except (BrokenPipeError, ValueError):  # it was killed, or closed by another thread
        return ""


def _close(stream: IO[str]) -> None:
    try:
        stream.close()
    except OSError:  # what was still buffered for a dead process cannot be written, and need not be
        return


class WorkerPool:
    """``size`` workers, handed out one request each; safe to use from ``size`` threads."""

    def __init__(self, size: int, seconds: float) -> None:
        self._workers = [MathWorker(seconds) for _ in range(size)]
        self._idle: queue.SimpleQueue[MathWorker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def judge(self, text: str, gold: str, exacting: bool) -> Judgement:
        worker = self._idle.get()
        try:
            return worker.judge(text, gold, exacting)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


Judge = Callable[[str, str, bool], Judgement]
