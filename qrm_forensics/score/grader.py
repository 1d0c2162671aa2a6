"""The grader: responses in, verdicts out, in order, with bounded time and memory.

A verdict is reached at the first of: no algebra needed (``answers.settle``,
``shortcut.settle``), refused (``shield``), asked before (a bounded cache), and
math-verify in a worker process (``workers``).
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

from qrm_forensics import answers
from qrm_forensics.benchmarks.code_tests import about
from qrm_forensics.errors import InputError
from qrm_forensics.records import Kind, Problem, Status, Trace, Verdict
from qrm_forensics.score import extraction, lighteval_match, shortcut
from qrm_forensics.score.code_blocks import find_code
from qrm_forensics.score.code_judge import CodeJudge
from qrm_forensics.score.latex_spans import BOX
from qrm_forensics.score.shield import MAX_CHARS, explosion, refusal
from qrm_forensics.score.workers import Judgement, WorkerPool

POLICIES: Final = ("strict", "lenient")

#: Whose rules the policy ``lenient`` can follow.
LENIENT: Final = ("own", "lighteval")

#: Wall-clock seconds for one comparison; with the start of a new worker after a kill it stays below 5.
DEFAULT_SECONDS: Final = 3.5

#: Comparisons remembered; each takes about 2 kB.
CACHED: Final = 4096

_Outcome = tuple[Status, str | None, str | None, str | None]  # status, answer, rule, note
_Pending = Callable[[], _Outcome]


class Grader:
    """Judges pairs of problem and trace with ``workers`` worker processes, started when first needed.

    ``seconds`` is the wall-clock limit of one comparison.  ``lenient``: whose rules the policy of that name follows, this
    package's (``own``) or those of lighteval's extractive match (``lighteval``, where it is installed; raises
    EnvironmentMissing).  Use as a context manager, or call ``close``.
    """

    def __init__(self, workers: int = 1, seconds: float = DEFAULT_SECONDS, lenient: str = "own") -> None:
        if workers < 1:
            raise InputError(f"a grader needs at least one worker, got {workers}")
        if lenient not in LENIENT:
            raise InputError(f"unknown rules {lenient!r} for the policy lenient; known: {', '.join(LENIENT)}")
        self._lighteval = lighteval_match.Match(workers) if lenient == "lighteval" else None
        self._pool = WorkerPool(workers, seconds)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="grader")
        self._programs = CodeJudge()
        self._ahead = 8 * workers
        self._cache: OrderedDict[bytes, Future[Judgement]] = OrderedDict()
        self._lock = threading.Lock()
        self._piecewise = extraction.supported()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers.  Verdicts not yet taken from ``grade`` are lost."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._programs.close()
        self._pool.close()
        if self._lighteval is not None:
            self._lighteval.close()
        self._threads.shutdown(wait=True)
        self._pool.end()
        if self._lighteval is not None:
            self._lighteval.end()

    def grade(self, pairs: Iterable[tuple[Problem, Trace]], policies: Sequence[str] = POLICIES) -> Iterator[Verdict]:
        """Verdicts in the order of ``pairs``, and for each pair in the order of ``policies``.

        Pairs are read a bounded number ahead of what has been yielded.  Raises InputError
        for an unknown policy and for a trace of another problem.
        """
        for policy in policies:
            _check_policy(policy)
        waiting: deque[tuple[Trace, str, _Pending]] = deque()
        for problem, trace in pairs:
            for policy in policies:
                waiting.append((trace, policy, self._begin(problem, trace, policy)))
            while len(waiting) > self._ahead:
                yield _verdict(*waiting.popleft())
        while waiting:
            yield _verdict(*waiting.popleft())

    def score(self, problem: Problem, trace: Trace, policy: str) -> Verdict:
        """The verdict on one trace."""
        _check_policy(policy)
        return _verdict(trace, policy, self._begin(problem, trace, policy))

    def equivalent(self, gold: str, answer: str) -> bool | None:
        """Whether a short answer equals the gold answer as ``strict`` judges it; None where it is undecided."""
        settled = answers.settle(answers.gold_answer(gold), answer)
        if settled is not None:
            return settled.equal
        if not gold.strip() or not answer.strip() or refusal(answer):
            return None
        return self._judged_alone(answer, gold)().exact

    def forget(self) -> None:
        """Drop the judgements that are remembered, so that every comparison is made anew."""
        self._programs.forget()
        with self._lock:
            self._cache.clear()

    # ------------------------------------------------------------------ one verdict

    def _begin(self, problem: Problem, trace: Trace, policy: str) -> _Pending:
        """Start judging; the returned function waits for the outcome."""
        if (problem.benchmark, problem.id) != (trace.benchmark, trace.problem_id):
            raise InputError(
                f"a trace of {trace.benchmark} {trace.problem_id} was paired with problem "
                f"{problem.benchmark} {problem.id}; pair each trace with its own problem"
            )
        if trace.text is None:
            return _known(_unscored(f"no response: {trace.error or 'generation failed'}"))
        if not problem.gold.strip():
            return _known(_unscored("the problem has no gold answer"))
        if problem.kind is Kind.CODE:
            return self._code(problem.gold, trace.text, policy)
        if policy == "lenient" and self._lighteval is not None:
            asked = self._threads.submit(self._lighteval.judge, problem, trace.text)
            return lambda: _by_lighteval(asked.result(), self._lighteval)
        if problem.kind is Kind.CHOICE:
            return _known(_choice(problem.gold, trace.text, policy))
        if policy == "strict":
            return self._strict(problem.gold, trace.text)
        return self._lenient(problem.gold, trace.text)

    def _strict(self, gold: str, text: str) -> _Pending:
        found = answers.find_boxed(text)
        if isinstance(found, answers.Missing):
            return _known((Status.MISSING, None, None, found.reason))
        settled = answers.settle(answers.gold_answer(gold), found.answer)
        if settled is not None:
            return _known(_judged(settled.equal, found.answer, f"{found.rule}/{settled.how}"))
        refused = refusal(found.answer)
        if refused is not None:
            return _known(_unscored(f"refused: {refused}", found.answer, found.rule))
        judgement = self._judged_alone(found.answer, gold)
        return lambda: _by_algebra(judgement(), True, found.rule, found.answer)

    def _lenient(self, gold: str, text: str) -> _Pending:
        rule = "boxed" if text.rfind(BOX) >= 0 else "text"
        try:
            reading = extraction.first_reading(text) if self._piecewise else None
        except extraction.Unclear:
            return self._lenient_by_whole(gold, text, rule)
        if reading is None:
            if self._piecewise and shortcut.read_gold(gold) is not None:
                return _known(_NOTHING_FOUND)
            return self._lenient_by_whole(gold, text, rule)
        settled = shortcut.settle(gold, reading)
        answer = shortcut.content(reading)
        if settled is not None and answer is not None:
            return _known(_judged(settled.equal, answer, f"{rule}/{settled.how}"))
        if isinstance(reading, extraction.Latex) and reading.boxed and answer is not None:
            refused = explosion(answer) if len(answer) <= MAX_CHARS else None
            if refused is not None:
                return _known(_unscored(f"refused: {refused}", answer, rule))
        judgement = self._judged(reading, text, gold)
        return lambda: _by_algebra(judgement(), False, rule, None)

    def _lenient_by_whole(self, gold: str, text: str, rule: str) -> _Pending:
        span = answers.last_box(text)
        if span is not None and span[1] - span[0] <= MAX_CHARS:
            box = text[span[0] : span[1]]
            refused = explosion(box)
            if refused is not None:
                return _known(_unscored(f"refused: {refused}", box, rule))
        future = self._ask(_whole(text, gold))
        return lambda: _by_algebra(future.result(), False, rule, None)

    def _code(self, gold: str, text: str, policy: str) -> _Pending:
        try:
            about(gold)
        except InputError as error:
            return _known(_unscored(str(error)))
        found = find_code(text, policy)
        if isinstance(found, answers.Missing):
            return _known((Status.MISSING, None, None, found.reason))
        future = self._threads.submit(self._programs.judge, found.answer, gold)

        def wait() -> _Outcome:
            status, note = future.result()
            return (status, found.answer, f"{found.rule}/tests", note)

        return wait

    # ------------------------------------------------------------------ math-verify

    def _judged_alone(self, answer: str, gold: str) -> Callable[[], Judgement]:
        """Start judging a short answer as if it stood in a box; the returned function waits."""
        text = f"{BOX}{answer}}}"
        try:
            reading = extraction.first_reading(text) if self._piecewise else None
        except extraction.Unclear:
            reading = None
        return self._judged(reading, text, gold)

    def _judged(self, reading: extraction.Reading | None, text: str, gold: str) -> Callable[[], Judgement]:
        """Start judging the piece that is read first, and, where it does not parse, the whole text after it."""
        if reading is None:
            return self._ask(_whole(text, gold)).result
        first = self._ask({"gold": gold, "pieces": [_piece(reading)]})

        def wait() -> Judgement:
            judgement = first.result()
            if judgement.unread and isinstance(reading, extraction.Latex) and reading.boxed:
                pieces = [_piece(one) for one in extraction.boxed_readings(text)]
                judgement = self._ask({"gold": gold, "pieces": pieces}).result()
            return self._ask(_whole(text, gold)).result() if judgement.unread else judgement

        return wait

    def _ask(self, request: dict[str, Any]) -> Future[Judgement]:
        """math-verify's judgement, from the cache where the same was asked lately."""
        key = hashlib.blake2b(repr(request).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            future = self._cache.get(key)
            if future is None:
                future = self._cache[key] = self._threads.submit(self._pool.judge, request)
                if len(self._cache) > CACHED:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(key)
            return future


#: Loops write 0.3333... to the token limit, and sympy needs seconds for 20,000 places.  Cutting
#: them at 1000 changes neither which match is taken nor its value to 5 places.
_ENDLESS_DECIMAL = re.compile(r"([.,]\d{1000})\d+")


def _whole(text: str, gold: str) -> dict[str, Any]:
    return {"gold": gold, "text": _ENDLESS_DECIMAL.sub(r"\1", text)}


def _piece(reading: extraction.Reading) -> dict[str, Any]:
    groups: dict[str, str] = {}
    if isinstance(reading, extraction.Plain):
        groups.update((name, _ENDLESS_DECIMAL.sub(r"\1", value)) for name, value in reading.groups)
        return {"kind": "plain", "groups": groups}
    for number, part in enumerate(reading.parts):
        name = f"next{number}" if number else "first"
        groups[f"{name}_latex"] = _ENDLESS_DECIMAL.sub(r"\1", part.content) or " "  # an empty group counts as none
        if part.percent:
            groups[f"{name}_percent"] = "%"
    return {"kind": "latex", "groups": groups}


# --------------------------------------------------------------------------- outcomes


def _known(outcome: _Outcome) -> _Pending:
    return lambda: outcome


def _judged(equal: bool, answer: str, rule: str) -> _Outcome:
    return (Status.CORRECT if equal else Status.WRONG, answer, rule, None)


def _unscored(note: str, answer: str | None = None, rule: str | None = None) -> _Outcome:
    return (Status.UNSCORED, answer, rule, note)


_NOTHING_FOUND: Final[_Outcome] = (Status.MISSING, None, None, "nothing in the response reads as an answer")


def _by_algebra(judgement: Judgement, exact: bool, rule: str, answer: str | None) -> _Outcome:
    rule = f"{rule}/math-verify"
    equal = judgement.exact if exact else judgement.equal
    if equal is None:
        return _unscored(judgement.note or "undecided", answer, rule)
    if judgement.answer is None:
        return _NOTHING_FOUND
    return _judged(equal, judgement.answer if answer is None else answer, rule)


def _by_lighteval(judgement: Judgement, match: lighteval_match.Match | None) -> _Outcome:
    rule = match.rule if match is not None else ""
    if judgement.equal is None:
        return _unscored(judgement.note or "undecided", judgement.answer, rule)
    if judgement.answer is None:
        return _NOTHING_FOUND
    return _judged(judgement.equal, judgement.answer, rule)


def _choice(gold: str, text: str, policy: str) -> _Outcome:
    want = answers.choice_letter(answers.gold_answer(gold))
    if want is None:
        return _unscored(f"the gold answer {_shortened(gold)!r} is not a letter")
    found = answers.find_choice(text, policy)
    if isinstance(found, answers.Missing):
        return (Status.MISSING, None, None, found.reason)
    return _judged(found.answer == want, found.answer, f"{found.rule}/letter")


def _verdict(trace: Trace, policy: str, pending: _Pending) -> Verdict:
    status, answer, rule, note = pending()
    return Verdict(
        variant=trace.variant,
        benchmark=trace.benchmark,
        problem_id=trace.problem_id,
        sample=trace.sample,
        seed=trace.seed,
        policy=policy,
        status=status,
        answer=None if answer is None else _shortened(answer),
        rule=rule,
        note=note,
    )


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"


def _check_policy(policy: str) -> None:
    if policy not in POLICIES:
        raise InputError(f"unknown scoring policy {policy!r}; known policies: {', '.join(POLICIES)}")
