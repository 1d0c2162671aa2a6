"""The process that runs lighteval's extractive match on hostile text.  Started as a script in lighteval's environment.

As ``math_worker``: it stands alone but for the file ``worker_process``, gives up what it does not need before it reads anything, and is
killed by its parent when it takes too long.  One JSON request per line, ``{"gold", "text", "choice"}``, one reply,
``{"equal", "exact", "answer"}``; ``exact`` is ``equal``, as lighteval knows one judgement.

The matching is that of lighteval's mathematical tasks and of the paper's repository: gold answers by their box, predictions by
boxes first, then anchored and plain expressions, 5 decimal places; letters of choices as GPQA's task reads them.  The whole
response is read, reasoning included.
"""

from __future__ import annotations

import functools
import runpy
from pathlib import Path
from typing import Any

MAX_ANSWER = 1000
_LETTERS = "ABCDEFGHIJ"


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


def warm_up() -> None:
    """Imports and the grammar's tables."""
    judge({"gold": "1", "text": "\\boxed{1}", "choice": False})
    judge({"gold": "A", "text": "Answer: A", "choice": True})


if __name__ == "__main__":
    # By its path: ``python -P`` finds no module beside this one, and lighteval's environment need not have this package.
    shared = runpy.run_path(str(Path(__file__).with_name("worker_process.py")))
    # lighteval brings torch along, whose libraries take address space of their own.
    shared["serve"](judge, "lighteval", warm_up, grown=True)
