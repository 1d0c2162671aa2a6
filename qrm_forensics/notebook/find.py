"""Finding the problems that are worth a look."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qrm_forensics.errors import InputError
from qrm_forensics.records import Status

if TYPE_CHECKING:
    from qrm_forensics.notebook.run import Run

_SHOWN = (
    *("case", "variant", "sample", "seed", "status", "baseline_status", "outcome", "finish", "answer"),
    *("loop", "loop_unit", "loop_repeats", "n_tokens", "n_words", "subject", "level"),
)
_KEY = ["benchmark", "problem_id", "sample", "seed"]


def find_problems(
    run: Run,
    responses: pd.DataFrame,
    *,
    variant: str | None,
    benchmark: str | None,
    outcome: str | None,
    status: str | None,
    lost: bool | None,
    gained: bool | None,
    loop: bool | None,
    subject: str | None,
    level: str | None,
    policy: str | None,
) -> pd.DataFrame:
    """See ``Run.problems``; in the order of the run, the variants of a problem together."""
    _known("variant", variant, [v.id for v in run.variants])
    _known("benchmark", benchmark, run.benchmarks)
    _known("policy", policy, run.policies)
    _known("status", status, list(Status))
    if outcome is not None:
        if "outcome" not in responses:
            raise InputError(f"{run.path}: outcomes were not judged; measure the run again with this program")
        from qrm_forensics.symptoms import OUTCOME_NAMES

        _known("outcome", outcome, OUTCOME_NAMES)
    if loop is not None and "loop" not in responses:
        raise InputError(f"{run.path}: loops were not measured; measure the run again with this program")
    chosen = policy or next(iter(run.policies), None)
    frame = responses.copy()
    frame["case"] = frame["benchmark"] + "/" + frame["problem_id"]
    frame["status"] = frame[f"{chosen}_status"] if chosen is not None else None
    keep = np.ones(len(frame), dtype=bool)
    if run.baseline is not None:
        own = frame["variant"] == run.baseline
        base = frame.loc[own, [*_KEY, "status"]].rename(columns={"status": "baseline_status"})
        frame = frame.merge(base, on=_KEY, how="left", validate="many_to_one")
        right, was = frame["status"] == Status.CORRECT, frame["baseline_status"] == Status.CORRECT
        judged = frame["status"].isin(_JUDGED) & frame["baseline_status"].isin(_JUDGED)
        keep &= _asked(lost, judged & was & ~right) & _asked(gained, judged & ~was & right)
    elif lost is not None or gained is not None:
        raise InputError(f"{run.path}: has no baseline, so nothing is lost or gained; use status=")
    for column, wanted in (
        *(("variant", variant), ("benchmark", benchmark), ("outcome", outcome)),
        *(("status", status), ("subject", subject), ("level", level)),
    ):
        if wanted is not None:
            keep &= (frame[column] == wanted).fillna(False).to_numpy(dtype=bool)
    if loop is not None:
        keep &= _asked(loop, (frame["loop"] == True).fillna(False))  # noqa: E712  null is neither
    return frame.loc[keep, [c for c in _SHOWN if c in frame]].reset_index(drop=True)


_JUDGED = (Status.CORRECT, Status.WRONG, Status.MISSING)


def _asked(wanted: bool | None, found: pd.Series) -> np.ndarray:
    there = found.to_numpy(dtype=bool)
    return np.ones(len(there), dtype=bool) if wanted is None else there == wanted


def _known(what: str, name: str | None, names: Iterable[str]) -> None:
    known = [str(n) for n in names]
    if name is not None and name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise InputError(
            f"{what} {name!r}: not in this run; "
            + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}")
        )
