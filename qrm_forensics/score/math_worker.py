"""The process that runs math-verify on hostile text.  Started as a script; never imported by the scorer.

It stands alone (no package import), so that it starts fast and needs no ``__main__``
guard in the caller's script.  Before it reads anything it gives up what it does not
need: memory beyond ``--memory``, core dumps, writing files and starting processes.
One JSON request per line on standard input, one JSON reply per line on standard
output.  Its time limit is the parent's SIGKILL; a CPU limit per request is the
backstop for a worker whose parent is gone.

The targets and the rounding are those of the published evaluations that use
lighteval's extractive match (boxes first, then anchored and plain LaTeX, then plain
numbers; 5 decimal places).
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import logging
import os
import sys
from typing import Any

FLOAT_ROUNDING = 5

#: ``strict`` asks numbers this small to agree to three digits, because rounding to 5 places makes them all zero.
TINY = 1e-2
TINY_RELATIVE = 1e-3


def limit(name: str, value: int) -> None:
    """Lower one soft and hard resource limit, where the platform has it."""
    import resource

    which = getattr(resource, name, None)
    if which is None:
        return
    _, hard = resource.getrlimit(which)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(which, (allowed, allowed))
    except (ValueError, OSError):  # macOS refuses some of them; the parent's SIGKILL remains
        return


def allow_cpu(seconds: int) -> None:
    """Let this process use ``seconds`` more CPU seconds; beyond them the kernel ends it."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + 1 + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


@functools.lru_cache(maxsize=1)
def targets() -> dict[str, list[Any]]:
    """Extraction targets by kind of text."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig

    return {
        "response": [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()],
        "solution": [LatexExtractionConfig()],
    }


def parse(text: str, kind: str) -> list[Any]:
    """What math-verify extracts: a sympy value and/or the string it came from; [] where nothing."""
    from math_verify import parse as math_parse

    found: list[Any] = math_parse(text, targets()[kind], parsing_timeout=None, raise_on_error=True)
    return found


@functools.lru_cache(maxsize=256)
def parse_gold(gold: str) -> list[Any]:
    r"""A worked solution is read by its box, as lighteval's LaTeX gold target does; a bare answer as if boxed."""
    if "\\boxed{" in gold:
        return parse(gold, "solution")
    return parse("\\boxed{" + gold + "}", "response")


def equal(gold: list[Any], found: list[Any], exacting: bool) -> bool:
    """Whether any reading of the answer equals any reading of the gold; a failed comparison is not equal."""
    from math_verify import verify

    for want, got in itertools.product(gold, found):
        try:
            same = verify(want, got, float_rounding=FLOAT_ROUNDING, timeout_seconds=None, raise_on_error=True)
        except MemoryError:
            raise
        except Exception:
            same = False
        if same and not (exacting and vanishing(want, got)):
            return True
    return False


def vanishing(a: Any, b: Any) -> bool:
    """Whether two different tiny numbers only look equal because both round to zero (1/2004! and 1/2006!)."""
    if not (getattr(a, "is_number", False) and getattr(b, "is_number", False)):
        return False
    try:
        x, y = _value(a), _value(b)
        size = max(abs(x), abs(y))
        return bool(0 < size < TINY and abs(x - y) > TINY_RELATIVE * size)
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        return False  # not real numbers: the comparison by math-verify stands


def _value(number: Any) -> Any:
    """15 digits of a sympy number; exactly 0 where sympy found no significant digit (a hidden zero)."""
    value = number.doit().evalf(15)
    return 0 if getattr(value, "_prec", 53) == 1 else value


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """``{"text", "gold", "exacting"}`` to ``{"equal": bool, "answer": str | None}``; no answer where none was found."""
    gold = parse_gold(request["gold"])
    if not gold:
        return {"error": "math-verify reads no answer in the gold text"}
    try:
        found = parse(request["text"], "response")
    except (MemoryError, RecursionError):
        raise
    except Exception:
        # A match that cannot become a number, such as a loop of 20,000 digits: lighteval takes it for no answer.
        found = []
    if not found:
        return {"equal": False, "answer": None}
    strings = [reading for reading in found if isinstance(reading, str)]
    return {"equal": equal(gold, found, request["exacting"]), "answer": strings[0] if strings else str(found[0])}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--memory", type=int, required=True)
    options.add_argument("--cpu", type=int, required=True)
    given = options.parse_args()

    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the replies
    limit("RLIMIT_AS", given.memory)
    limit("RLIMIT_CORE", 0)
    logging.disable(logging.CRITICAL)
    parse_gold("1")  # imports and the grammar's tables, before any time is counted
    limit("RLIMIT_FSIZE", 0)
    limit("RLIMIT_NPROC", 0)

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    reply({"ready": True})
    for line in sys.stdin:
        allow_cpu(given.cpu)
        try:
            reply(judge(json.loads(line)))
        except MemoryError:
            reply({"error": "out of memory"})
            return
        except Exception as error:
            # Library code on hostile text: whatever it raises is an answer that could not be judged.
            reply({"error": f"math-verify failed with {type(error).__name__}"})


if __name__ == "__main__":
    main()
