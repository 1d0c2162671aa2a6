"""The problems that moved, one row each, with the keys of the responses that show it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qrm_forensics.compare.accuracy import judged
from qrm_forensics.compare.alignment import Aligned, Rows

#: Columns of each side, after ``baseline_`` and ``candidate_``.
SIDE_COLUMNS = (
    "status",
    "right",
    "samples",
    "sample",
    "seed",
    "n_tokens",
    "n_words",
    "finish",
    "truncated",
    "loop",
    "outcome",
)
FLIP_COLUMNS = (
    "benchmark",
    "scorer",
    "problem_id",
    "direction",
    "subject",
    "level",
    *(f"{side}_{column}" for column in SIDE_COLUMNS for side in ("baseline", "candidate")),
)


def flip_table(pairs: Sequence[tuple[Aligned, str]]) -> pd.DataFrame:
    """Rows of ``FLIP_COLUMNS`` for every problem that the sides have right unequally often, by benchmark, policy and id.

    ``direction`` is ``lost`` (the candidate has it right less often) or ``gained``.  ``right`` of ``samples`` verdicts
    are right; status, keys and figures are those of the first response that shows the move: of the side
    that has it right more often the first right one, of the other the first that is not.
    """
    rows = [row for aligned, scorer in pairs for row in _rows(aligned, scorer)]
    return pd.DataFrame(rows, columns=list(FLIP_COLUMNS)).convert_dtypes()


def _rows(aligned: Aligned, scorer: str) -> list[dict[str, object]]:
    pair = judged(aligned, scorer)
    moved = pair.candidate - pair.baseline
    sides = {"baseline": aligned.baseline, "candidate": aligned.candidate}
    right = {name: side.right(scorer) for name, side in sides.items()}
    shares = {"baseline": pair.baseline, "candidate": pair.candidate}
    samples = {"baseline": pair.baseline_samples, "candidate": pair.candidate_samples}
    figures = {name: _figures(side, scorer) for name, side in sides.items()}
    places = np.flatnonzero(pair.rows)
    subject, level = (aligned.baseline.first_text(column) for column in ("subject", "level"))
    found = []
    for i in np.flatnonzero(np.abs(moved) > 1e-12):
        problem = int(places[i])
        lost = bool(moved[i] < 0)
        row: dict[str, object] = {
            "benchmark": aligned.benchmark,
            "scorer": scorer,
            "problem_id": str(aligned.ids[problem]),
            "direction": "lost" if lost else "gained",
            "subject": subject[problem],
            "level": level[problem],
        }
        for name, side in sides.items():
            wanted = 1.0 if (name == "baseline") == lost else 0.0
            mine = np.searchsorted(side.index, [problem, problem + 1])
            at = int(mine[0]) + int(np.flatnonzero(right[name][mine[0] : mine[1]] == wanted)[0])
            row |= {
                f"{name}_right": round(float(shares[name][i]) * int(samples[name][i])),
                f"{name}_samples": int(samples[name][i]),
                **{f"{name}_{column}": values[at] for column, values in figures[name].items()},
            }
        found.append(row)
    return found


def _figures(side: Rows, scorer: str) -> dict[str, NDArray[np.object_]]:
    """What each response shows, [rows] per column; None where null or not measured."""
    columns = {"status": f"status_{scorer}"} | {c: c for c in SIDE_COLUMNS if c not in ("status", "right", "samples")}
    found = {}
    for name, column in columns.items():
        values = np.full(len(side.frame), None, dtype=object)
        if column in side.frame:
            known = side.frame[column].notna().to_numpy(dtype=bool)
            values[known] = side.frame[column].to_numpy(dtype=object)[known]
        found[name] = values
    return found
