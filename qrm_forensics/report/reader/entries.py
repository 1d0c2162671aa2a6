"""What a pack holds of a row: the whole question, and each response with its text, marks and measured facts.

An entry is ``{"question", "gold", "responses": [...]}``, the responses in the order of the row's cells.  A response
is an object with these keys, those without a value left out:

===============  ================================================================================
``text``         the whole response, as it was generated
``finish``       why it ended; ``error`` what went wrong, ``source`` the file it was imported from
``answers``      one per policy: ``[answer or null, rule that found it or null, note or null]``
``facts``        measured column -> value
``symptoms``     names of the symptoms that were found
``marks``        kind -> flat list of starts and ends; ``forced`` is what was written for the model
``loops``        ``[start, end, copies or null]`` per loop, in the order of the text
``folds``        ``[start, end, number of the loop]``: what a reader hides at first
``think_end``    where the last ``</think>`` ends
``forced_lost``  ``file:line`` of the damaged record of what was written for the model, where it is
``surprisal``    mean surprisal in hundredths of a nat, per equal share of the tokens, from the first to the last
===============  ================================================================================

Positions are code points of ``text``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qrm_forensics.report.folding import LoopSpan, Part, fold, loop_spans

#: Equal parts of a response that surprisal is averaged over.
BINS = 240
_THINK_END = "</think>"


def response_entry(
    text: str | None,
    *,
    marks: Mapping[str, Sequence[tuple[int, int]]],
    facts: Mapping[str, Any],
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """The entry of one response.

    ``marks``: kind -> (start, end) in the order of the text, ``loop`` among them.  ``facts``: measured values,
    null left out; ``loop_unit``, ``loop_repeats`` and ``loop_episode_count`` are looked at.  ``known``: the keys of
    the entry that need no work.
    """
    entry = {key: value for key, value in known.items() if value not in (None, [], {})}
    if facts:
        entry["facts"] = dict(facts)
    if text is None:
        return entry
    entry["text"] = text
    spans = list(marks.get("loop", ()))
    if spans:
        loops = _loops(text, spans, facts)
        entry["loops"] = [[loop.start, loop.end, loop.repeats] for loop in loops]
        folds = [[s.start, s.end, s.loop] for s in fold(text, loops) if s.part is Part.FOLDED]
        if folds:
            entry["folds"] = folds
    flat = {kind: [int(x) for span in spans for x in span] for kind, spans in marks.items() if kind != "loop" and spans}
    if flat:
        entry["marks"] = flat
    end = text.rfind(_THINK_END)
    if end >= 0:
        entry["think_end"] = end + len(_THINK_END)
    return entry


def _loops(text: str, spans: Sequence[tuple[int, int]], facts: Mapping[str, Any]) -> list[LoopSpan]:
    """The stored loops with what they repeat, found again where the table knows it only of the longest."""
    unit, repeats = facts.get("loop_unit"), facts.get("loop_repeats")
    if len(spans) == 1 and facts.get("loop_episode_count") == 1 and unit is not None:
        return [LoopSpan(*spans[0], unit, repeats)]
    stored = [LoopSpan(start, end) for start, end in spans]
    found = loop_spans(text, closed=_THINK_END in text)
    # Where a program with other rules measured the run, its places are what the rest of the report speaks of.
    covered = all(any(s.start <= f.start and f.end <= s.end for s in stored) for f in found)
    filled = all(any(s.start <= f.start and f.end <= s.end for f in found) for s in stored)
    return sorted(found, key=lambda f: (f.start, f.end)) if covered and filled else stored


def binned(values: Sequence[float] | npt.NDArray[np.floating[Any]], bins: int = BINS) -> list[int] | None:
    """Means over ``bins`` equal parts of ``values``, in hundredths; None without a value.

    Fewer values than bins give one part per value.
    """
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return None
    edges = np.linspace(0, len(array), min(bins, len(array)) + 1).astype(np.int64)
    finite = np.isfinite(array)
    total = np.add.reduceat(np.where(finite, array, 0.0), edges[:-1])
    number = np.maximum(np.add.reduceat(finite, edges[:-1], dtype=np.int64), 1)
    return [int(x) for x in np.rint(100 * total / number)]
