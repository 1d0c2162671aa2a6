r"""Judge responses: ``score(problem, trace, policy) -> Verdict``, and ``Grader`` for many.

Two policies, whose difference is a finding in itself:

``strict``
    The answer is the last balanced ``\boxed{...}`` after the last ``</think>``; without
    one the verdict is ``missing``.
``lenient``
    What lighteval's extractive match credits: math-verify's extraction over the whole
    response, reasoning included, boxes before other anchors before any expression.  Where lighteval is installed its own
    match can judge instead (``qrm-forensics score --lenient lighteval``); the rule of a verdict says so.

Programs (problems of kind ``code``) are run on their tests in a sandbox (see
:mod:`qrm_forensics.sandbox`), up to the first that fails, under both policies; ``strict``
takes the last closed ```` ```python ```` block after the last ``</think>``, ``lenient`` what
stands between the last two lines with a fence.  Where nothing keeps programs in, the
verdict is ``unscored`` and the note says why and what to do.

``rule`` of a verdict says where the answer was found and what judged it
(``boxed/number``, ``text/math-verify``, ...).  ``unscored`` (no gold, a failed
generation, an answer that is refused or whose worker was killed) is not wrong; the
note says which.

Work is bounded: a string and number comparison first, then refusals, then a cache, and
only then math-verify in a worker process that is killed after ``seconds``.  Of a
response math-verify is given only the piece that it would read first, or the whole
text where that does not parse.  No model output is evaluated or reaches an algebra
system in this process.
"""

from __future__ import annotations

import atexit
import functools
from typing import Final

from qrm_forensics.records import Problem, Trace, Verdict
from qrm_forensics.score.grader import DEFAULT_SECONDS, LENIENT, POLICIES, Grader

__all__ = ["DEFAULT_SECONDS", "LENIENT", "POLICIES", "Grader", "equivalent", "score", "scorer_version"]

#: Raised with every change that can alter a verdict.
RULES_VERSION: Final = 2


def scorer_version(lenient: str = "own") -> str:
    """What verdicts depend on: our rules and the versions of the libraries behind them; lighteval's where its rules are used."""
    from importlib.metadata import version

    libraries = [f"{name}-{version(name)}" for name in ("math-verify", "latex2sympy2_extended", "sympy")]
    if lenient == "lighteval":
        from qrm_forensics.score.lighteval_match import version_here

        libraries.append(f"lenient:lighteval-{version_here()}")
    return "/".join([f"rules-{RULES_VERSION}", *libraries])


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
