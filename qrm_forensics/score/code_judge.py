"""Judge programs: run each in a sandbox on its tests, in order, up to the first that fails.

The tests stay in this process; a sandbox gets one input at a time and never an output.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final, NamedTuple

from qrm_forensics.benchmarks.code_tests import CodeTests, from_gold
from qrm_forensics.errors import InputError
from qrm_forensics.records import Status, Verdict
from qrm_forensics.sandbox import Isolation, Limits, Refusal, Reply, Session, isolation
from qrm_forensics.sandbox.host import DEFAULT_LIMITS, Ended, SandboxError
from qrm_forensics.score import code_compare

#: Raised with every change that can alter a verdict on a program.
CODE_RULES_VERSION: Final = 1

#: How notes begin where a program was not run for a reason that may go away.
NOT_RUN: Final = "not run: "

#: Programs remembered with their outcome.
_CACHED: Final = 65536
_TRIES: Final = 2
_MESSAGE: Final = 200

#: A program may print this many bytes more than twice what is right.
_SPARE: Final = 1 << 20


class CodeOutcome(NamedTuple):
    """``status`` of a program, and the note that says why: which test, what happened, and what kept the program in."""

    status: Status
    note: str


class CodeJudge:
    """Judges programs, from several threads at a time; the same program on the same tests is run once."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._cache: OrderedDict[bytes, Future[CodeOutcome]] = OrderedDict()
        self._open: set[Session] = set()
        self._closed = False
        self._lock = threading.Lock()

    def judge(self, code: str, gold: str) -> CodeOutcome:
        """The outcome of a program; ``unscored`` where it could not be run, which never depends on the program."""
        key = hashlib.blake2b(
            b"\0".join(text.encode("utf-8", "surrogatepass") for text in (gold, code)), digest_size=16
        ).digest()
        with self._lock:
            known = self._cache.get(key)
            future = known or self._cache.setdefault(key, Future())
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        if known is not None:
            return known.result()  # of the thread that runs it, perhaps not yet
        try:
            outcome = self._judge(code, gold)
        except BaseException as error:
            future.set_exception(error)
            self._drop(key)
            raise
        future.set_result(outcome)
        if outcome.note.startswith(NOT_RUN):
            self._drop(key)
        return outcome

    def _drop(self, key: bytes) -> None:
        with self._lock:
            self._cache.pop(key, None)

    def forget(self) -> None:
        """Drop the outcomes that are remembered."""
        with self._lock:
            self._cache.clear()

    def close(self) -> None:
        """End all programs that run now; ``judge`` in other threads returns."""
        with self._lock:
            self._closed = True
            for session in self._open:
                session.kill()

    def _judge(self, code: str, gold: str) -> CodeOutcome:
        try:
            found = isolation()
            if isinstance(found, Refusal):
                return _not_run(found.reason)
            tests = from_gold(gold)
            for _ in range(_TRIES):
                outcome = self._try(found, code, tests)
                if outcome is not None:
                    return outcome
                if self._closed:
                    return _not_run("the grader was closed")
        except InputError as error:
            return _not_run(str(error))
        except SandboxError as error:
            return _not_run(f"the sandbox does not start ({error})")
        return CodeOutcome(Status.WRONG, f"runtime error: its sandbox ended, {_TRIES} times; {found.level}")

    def _try(self, found: Isolation, code: str, tests: CodeTests) -> CodeOutcome | None:
        """The outcome of all tests; None where the sandbox was lost, by the program or from outside."""
        with self._session(found, code, tests.fn_name) as session:
            for number, (given, wanted) in enumerate(zip(tests.inputs, tests.outputs, strict=True), 1):
                reply = session.run(given.encode("utf-8", "surrogatepass"), 2 * len(wanted) + _SPARE)
                if reply.ended is Ended.LOST:
                    return None
                failure = _failure(reply, wanted, functional=tests.fn_name is not None)
                if failure is not None:
                    where = f"test {number} of {len(tests.inputs)}"
                    return CodeOutcome(Status.WRONG, f"{where}: {failure}; {found.level}")
        return CodeOutcome(Status.CORRECT, f"passed {len(tests.inputs)} of {len(tests.inputs)} tests; {found.level}")

    @contextmanager
    def _session(self, found: Isolation, code: str, fn_name: str | None) -> Iterator[Session]:
        with found.start(code, fn_name, self._limits) as session:
            with self._lock:
                self._open.add(session)
                if self._closed:
                    session.kill()
            try:
                yield session
            finally:
                with self._lock:
                    self._open.discard(session)


def _failure(reply: Reply, wanted: str, *, functional: bool) -> str | None:
    """What kind of failure, and what exactly; None for what is right."""
    if reply.ended is Ended.FINISHED:
        compare = code_compare.returned if functional else code_compare.printed
        difference = compare(reply.output, wanted)
        return None if difference is None else f"wrong answer: {difference}"
    kind = "wrong answer" if reply.ended in (Ended.NOT_JSON, Ended.OUTPUT) else str(reply.ended)
    return f"{kind}: {reply.message[:_MESSAGE]}"


def _not_run(reason: str) -> CodeOutcome:
    return CodeOutcome(Status.UNSCORED, f"{NOT_RUN}{reason}")


def provisional(verdicts: Iterable[Verdict]) -> bool:
    """Whether some program was not run for a reason that may go away, so that it is worth trying again."""
    return any(v.status is Status.UNSCORED and (v.note or "").startswith(NOT_RUN) for v in verdicts)
