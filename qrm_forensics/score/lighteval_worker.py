"""The process that runs lighteval's extractive match on hostile text.  Started as a script in lighteval's environment.

As ``math_worker``: it stands alone, gives up what it does not need before it reads anything, and is killed by its parent when it
takes too long.  One JSON request per line, ``{"gold", "text", "choice"}``, one reply, ``{"equal", "exact", "answer"}``; ``exact`` is
``equal``, as lighteval knows one judgement.

The matching is that of lighteval's mathematical tasks and of the paper's repository: gold answers by their box, predictions by
boxes first, then anchored and plain expressions, 5 decimal places; letters of choices as GPQA's task reads them.  The whole
response is read, reasoning included.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

MAX_ANSWER = 1000
_LETTERS = "ABCDEFGHIJ"


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
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


@functools.lru_cache(maxsize=2)
def metric(choice: bool) -> Any:
    """The matcher for letters of choices, or for mathematical answers."""
    from lighteval.metrics.dynamic_metrics import MultilingualExtractiveMatchMetric
    from lighteval.metrics.utils.extractive_match_utils import (
        ExprExtractionConfig,
        IndicesExtractionConfig,
        LatexExtractionConfig,
    )
    from lighteval.utils.language import Language

    if choice:
        letters = (IndicesExtractionConfig(prefix_for_extraction="NativeLetters", try_extract_without_anchor=True),)
        return MultilingualExtractiveMatchMetric(Language.ENGLISH, letters, letters, precision=6)
    return MultilingualExtractiveMatchMetric(
        language=Language.ENGLISH,
        fallback_mode="first_match",
        precision=5,
        gold_extraction_target=(LatexExtractionConfig(boxed_match_priority=0),),
        pred_extraction_target=(ExprExtractionConfig(), LatexExtractionConfig(boxed_match_priority=0)),
        aggregation_function=max,
    )


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """lighteval's judgement of one response; ``answer`` is None where it extracts nothing."""
    from lighteval.models.model_output import ModelResponse
    from lighteval.tasks.requests import Doc

    gold, choice = request["gold"], request["choice"]
    if choice:
        doc = Doc(query="", choices=list(_LETTERS[: max(4, _LETTERS.index(gold) + 1)]), gold_index=_LETTERS.index(gold))
    else:
        doc = Doc(query="", choices=[gold if "\\boxed{" in gold else f"$\\boxed{{{gold}}}$"], gold_index=0)
    equal = metric(choice).compute(doc, ModelResponse(text=[request["text"]])) == 1.0
    said = doc.specific or {}
    if not said.get("extracted_golds"):
        return {"error": "lighteval reads no answer in the gold text"}
    found = said.get("extracted_predictions") or []
    return {"equal": equal, "exact": equal, "answer": str(found[-1])[:MAX_ANSWER] if found else None}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--memory", type=int, required=True)
    options.add_argument("--cpu", type=int, required=True)
    given = options.parse_args()

    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the replies
    limit("RLIMIT_CORE", 0)
    logging.disable(logging.CRITICAL)
    judge({"gold": "1", "text": "\\boxed{1}", "choice": False})  # imports and the grammar's tables
    judge({"gold": "A", "text": "Answer: A", "choice": True})
    # lighteval brings torch along, whose libraries take address space of their own.
    taken = Path("/proc/self/statm")  # in pages; not on macOS, which refuses the limit anyway
    pages = int(taken.read_text("ascii").split()[0]) if taken.exists() else 0
    limit("RLIMIT_AS", given.memory + pages * os.sysconf("SC_PAGE_SIZE"))
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
            reply({"error": f"lighteval failed with {type(error).__name__}"})


if __name__ == "__main__":
    main()
