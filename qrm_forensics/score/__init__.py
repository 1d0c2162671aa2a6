r"""Judge responses: ``score(problem, trace, policy) -> Verdict``, and ``Grader`` for many.

Two policies, whose difference is a finding in itself:

``strict``
    The answer is the last balanced ``\boxed{...}`` after the last ``</think>``; without
    one the verdict is ``missing``.
``lenient``
    What lighteval's extractive match credits: math-verify's extraction over the whole
    response, reasoning included, boxes before other anchors before any expression.

``rule`` of a verdict says where the answer was found and what judged it
(``boxed/number``, ``text/math-verify``, ...).  ``unscored`` (no gold, a failed
generation, an answer that is refused or whose worker was killed) is not wrong; the
note says which.

Work is bounded: a string and number comparison first, then refusals, then a cache, and
only then math-verify in a worker process that is killed after ``seconds``.  The
lenient policy reads texts of any length under that same limit.  No model output is
evaluated, and none reaches an algebra system in this process.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from qrm_forensics import answers
from qrm_forensics.errors import InputError
from qrm_forensics.records import Kind, Problem, Status, Trace, Verdict
from qrm_forensics.score.shield import MAX_CHARS, refusal
from qrm_forensics.score.workers import Judgement, WorkerPool

POLICIES: Final = ("strict", "lenient")

#: Raised with every change that can alter a verdict.
RULES_VERSION: Final = 1

DEFAULT_SECONDS: Final = 5.0

_Outcome = tuple[Status, str | None, str | None, str | None]  # status, answer, rule, note
_Pending = Callable[[], _Outcome]


def scorer_version() -> str:
    """What verdicts depend on: our rules and the versions of the libraries behind them."""
    from importlib.metadata import version

    libraries = (f"{name}-{version(name)}" for name in ("math-verify", "latex2sympy2_extended", "sympy"))
    return "/".join([f"rules-{RULES_VERSION}", *libraries])


class Grader:
    """Judges pairs of problem and trace with ``workers`` worker processes, started when first needed.

    ``seconds`` is the wall-clock limit of one comparison.  Use as a context manager, or
    call ``close``.
    """

    def __init__(self, workers: int = 1, seconds: float = DEFAULT_SECONDS) -> None:
        if workers < 1:
            raise InputError(f"a grader needs at least one worker, got {workers}")
        self._pool = WorkerPool(workers, seconds)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="grader")
        self._ahead = 8 * workers
        self._cache: dict[bytes, Future[Judgement]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers.  Verdicts not yet taken from ``grade`` are lost."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.close()
        self._threads.shutdown(wait=True)

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
        return self._ask(_boxed(answer), gold, True).result().equal

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
        if problem.kind is Kind.CODE:
            return _known(_unscored("code answers are not run by this scorer"))
        if not problem.gold.strip():
            return _known(_unscored("the problem has no gold answer"))
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
        return self._by_algebra(_boxed(found.answer), gold, True, found.rule, found.answer)

    def _lenient(self, gold: str, text: str) -> _Pending:
        number = _only_number(text)
        if number is not None:
            settled = answers.settle(gold, number) if _plain(gold.strip()) else None
            if settled is not None:
                return _known(_judged(settled.equal, number, f"boxed/{settled.how}"))
            return self._by_algebra(_boxed(number), gold, False, "boxed", number)
        span = answers.last_box(text)
        if span is not None and span[1] - span[0] <= MAX_CHARS:
            box = text[span[0] : span[1]]
            refused = refusal(box)
            if refused is not None:
                return _known(_unscored(f"refused: {refused}", box, "boxed"))
        return self._by_algebra(
            _ENDLESS_DECIMAL.sub(r"\1", text), gold, False, "boxed" if "\\boxed{" in text else "text", None
        )

    def _by_algebra(self, text: str, gold: str, exacting: bool, rule: str, answer: str | None) -> _Pending:
        future = self._ask(text, gold, exacting)
        return functools.partial(_from_algebra, future, f"{rule}/math-verify", answer)

    def _ask(self, text: str, gold: str, exacting: bool) -> Future[Judgement]:
        """math-verify's judgement, from the cache where the same comparison was asked for before."""
        key = hashlib.blake2b(repr((text, gold, exacting)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            if key not in self._cache:
                self._cache[key] = self._threads.submit(self._pool.judge, text, gold, exacting)
            return self._cache[key]


def score(problem: Problem, trace: Trace, policy: str) -> Verdict:
    """The verdict on one trace, with one shared worker process; for many traces use ``Grader``."""
    return _shared_grader().score(problem, trace, policy)


def equivalent(gold: str, answer: str) -> bool | None:
    """Whether two short answers are equal, with one shared worker process; None where it is undecided."""
    return _shared_grader().equivalent(gold, answer)


@functools.cache
def _shared_grader() -> Grader:
    grader = Grader()
    atexit.register(grader.close)
    return grader


# --------------------------------------------------------------------------- outcomes


def _known(outcome: _Outcome) -> _Pending:
    return lambda: outcome


def _judged(equal: bool, answer: str, rule: str) -> _Outcome:
    return (Status.CORRECT if equal else Status.WRONG, answer, rule, None)


def _unscored(note: str, answer: str | None = None, rule: str | None = None) -> _Outcome:
    return (Status.UNSCORED, answer, rule, note)


def _from_algebra(future: Future[Judgement], rule: str, answer: str | None) -> _Outcome:
    judgement = future.result()
    if judgement.equal is None:
        return _unscored(judgement.note or "undecided", answer, rule)
    if judgement.answer is None:
        return (Status.MISSING, None, None, "nothing in the response reads as an answer")
    return _judged(judgement.equal, answer if answer is not None else judgement.answer, rule)


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


def _boxed(answer: str) -> str:
    return "\\boxed{" + answer + "}"


# --------------------------------------------------------------------------- the lenient short cut

#: Loops write 0.3333... to the token limit, and sympy needs seconds for 20,000 places.  Cutting
#: them at 1000 changes neither which match is taken nor its value to 5 places.
_ENDLESS_DECIMAL = re.compile(r"([.,]\d{1000})\d+")

_PLAIN_NUMBER = re.compile(r"-?\d{1,15}|-?\d{1,9}\.\d{1,9}|-?\\d?frac\{\d{1,9}\}\{[1-9]\d{0,8}\}")


def _plain(answer: str) -> bool:
    return _PLAIN_NUMBER.fullmatch(answer) is not None


def _only_number(text: str) -> str | None:
    r"""The number that decides the lenient verdict, where one decides it whatever else the text says.

    With a single ``\boxed{`` in the whole text, whose content is a plain number, every
    match of the highest priority (a math environment around the box, or the box itself)
    is reduced to that content, and a number always parses; so nothing else is tried.
    Two things could interfere and are excluded: "final answer is ... I hope", which has
    the same priority, and a percent sign behind the environment.
    """
    if text.count("boxed") != 1 or "\\fbox" in text or "I hope" in text:
        return None
    at = text.find("\\boxed{")
    span = answers.last_box(text, at) if at >= 0 else None
    if span is None or span[0] != at + len("\\boxed{"):
        return None
    content = text[span[0] : span[1]].strip()
    return content if _plain(content) and _PERCENT.search(text, span[1]) is None else None


_PERCENT = re.compile(r"%|[Pp]ercent|[Pp]ct")
