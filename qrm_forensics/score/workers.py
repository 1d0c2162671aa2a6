"""Killable worker processes for math-verify: started when first needed, ended by SIGKILL, replaced after it.

A worker is a separate interpreter that is spoken to over pipes, so that it behaves the
same on Linux and macOS, in a notebook, in a thread and in a script without a
``__main__`` guard.  This process waits for a reply for a limited time and then kills:
neither signals nor further threads nor the worker's cooperation are needed.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from qrm_forensics.errors import EnvironmentMissing

MEMORY_LIMIT: Final = 2 << 30
START_SECONDS: Final = 240.0
_SCRIPT: Final = Path(__file__).with_name("math_worker.py")
_CHUNK: Final = 1 << 16


class Judgement(NamedTuple):
    """math-verify's outcome on one answer.

    ``equal`` is its own verdict and ``exact`` the one of ``strict``; both are None where
    there is none, with the reason in ``note``, and where ``unread`` says that the piece
    asked about does not parse.  ``answer`` is None where nothing was found.
    """

    equal: bool | None
    exact: bool | None
    answer: str | None
    note: str | None = None
    unread: bool = False


class MathWorker:
    """One process.  ``judge`` always returns within about ``seconds`` (plus a start where one is due).

    ``script`` runs in the Python ``python``, which may be that of another environment.
    """

    def __init__(self, seconds: float, script: Path = _SCRIPT, python: str = sys.executable) -> None:
        self._seconds = seconds
        self._command = [python, "-P", str(script)]
        self._name = "math-verify" if script == _SCRIPT else "lighteval"
        self._process: subprocess.Popen[bytes] | None = None
        self._greeted = False
        self._closed = False
        self._lock = threading.Lock()  # over the starting and closing of the process

    def judge(self, request: dict[str, Any]) -> Judgement:
        """What the worker replies to a request (see ``math_worker.judge``)."""
        line = json.dumps(request).encode("ascii") + b"\n"
        if self._process is not None and self._process.poll() is not None:
            self._end()  # it died while idle, which says nothing about this request
        self._start()
        reply, timed_out = self._exchange(line, self._seconds)
        if reply is None:
            self._end()
            self._spawn()  # the next one imports what it needs while other answers are judged
            why = (
                f"killed after {self._seconds:g} s"
                if timed_out
                else "the worker died (memory or CPU limit, or a crash)"
            )
            return Judgement(None, None, None, f"{self._name}: {why}")
        if "unread" in reply:
            return Judgement(None, None, None, unread=True)
        if "error" in reply:
            return Judgement(None, None, None, str(reply["error"]))
        return Judgement(bool(reply["equal"]), bool(reply["exact"]), reply["answer"])

    def close(self) -> None:
        """Kill the process.  A ``judge`` in another thread returns at once; then call ``end``."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def end(self) -> None:
        """Kill the process, wait for its end and close its pipes.  Not while ``judge`` runs."""
        self.close()
        self._end()

    # ------------------------------------------------------------------ the process

    def _spawn(self) -> None:
        """Start a process, unless closed, without waiting for it."""
        limits = ["--memory", str(MEMORY_LIMIT), "--cpu", str(int(self._seconds) + 2)]
        with self._lock:
            if self._closed:
                return
            self._greeted = False
            self._process = subprocess.Popen(
                [*self._command, *limits],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the caller, who then closes the workers
                # sympy's order of terms follows the hash seed
                env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
            )
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)

    def _start(self) -> None:
        if self._process is None:
            self._spawn()
        elif self._greeted:
            return
        ready, _ = (None, False) if self._process is None else self._exchange(b"", START_SECONDS)
        if ready is None:
            self._end()
            if self._closed:
                raise RuntimeError("the grader is closed")
            raise EnvironmentMissing(
                "the grading worker does not start; see why with: "
                f"{' '.join(self._command)} --memory {MEMORY_LIMIT} --cpu 9"
            )
        self._greeted = True

    def _exchange(self, request: bytes, seconds: float) -> tuple[dict[str, Any] | None, bool]:
        """Write a request, read a reply; (None, whether time was up) where there is none.  Kills when time is up."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        line = _converse(process.stdin, process.stdout, request, time.monotonic() + seconds)
        if line is None:
            process.kill()
            return None, True
        try:
            return (json.loads(line) if line.endswith(b"\n") else None), False
        except json.JSONDecodeError:
            return None, False

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _converse(stdin: IO[bytes], stdout: IO[bytes], request: bytes, deadline: float) -> bytes | None:
    """Write a request and read one line, or what there is of it when the process ends; None when time is up."""
    poll = select.poll()
    poll.register(stdout, select.POLLIN)
    if request:
        poll.register(stdin, select.POLLOUT)
    unsent = memoryview(request)
    reply = bytearray()
    while not reply.endswith(b"\n"):
        left = deadline - time.monotonic()
        events = dict(poll.poll(max(0, left) * 1000)) if left > 0 else {}
        if not events:
            return None
        if stdin.fileno() in events:
            try:
                unsent = unsent[os.write(stdin.fileno(), unsent[:_CHUNK]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:  # it ended; what it said before is still to be read
                unsent = unsent[:0]
            if not unsent:
                poll.unregister(stdin)
        if stdout.fileno() in events:
            chunk = os.read(stdout.fileno(), _CHUNK)
            if not chunk:
                break
            reply += chunk
    return bytes(reply)


class WorkerPool:
    """``size`` workers, handed out one request each; safe to use from ``size`` threads."""

    def __init__(self, size: int, seconds: float, script: Path = _SCRIPT, python: str = sys.executable) -> None:
        self._workers = [MathWorker(seconds, script, python) for _ in range(size)]
        self._idle: queue.SimpleQueue[MathWorker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def judge(self, request: dict[str, Any]) -> Judgement:
        worker = self._idle.get()
        try:
            return worker.judge(request)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Kill all workers; ``judge`` in other threads returns.  Call ``end`` after those threads ended."""
        for worker in self._workers:
            worker.close()

    def end(self) -> None:
        for worker in self._workers:
            worker.end()
