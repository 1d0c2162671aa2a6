"""The noise floor: how much two runs of the same requests differ for no reason but floating point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from qrm_forensics.errors import InputError
from qrm_forensics.generate.traces import RunKey, run_key
from qrm_forensics.records import Trace


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where two traces of one key part.

    ``position`` is the 0-based index of the first token that differs, or of the first
    character where either side has no token ids (``unit`` says which).  Where one trace
    is a prefix of the other it is the length of the shorter; it is that length too where
    the contents agree and only the finish reason does not.
    """

    key: RunKey
    position: int
    unit: Literal["token", "character"]


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How many traces of two runs are the same, by key.

    ``n`` counts the keys that both runs have with content to compare; ``incomparable``
    the shared keys where a side has neither tokens nor text (a failed request);
    ``only_a`` and ``only_b`` the keys of one run alone.
    """

    n: int
    identical: int
    divergences: tuple[Divergence, ...]
    incomparable: int
    only_a: int
    only_b: int

    @property
    def share(self) -> float | None:
        """``identical / n``, null where nothing can be compared."""
        return self.identical / self.n if self.n else None


def noise_floor(a: Iterable[Trace], b: Iterable[Trace]) -> NoiseFloor:
    """Compare two runs trace by trace; both need the same variant names.

    Two traces are identical when all their token ids (the text, where ids are unknown)
    and their finish reasons agree.  Timings and log-probabilities are not looked at.
    Raises InputError where a run has a key twice.
    """
    left, right = _by_key(a, "first"), _by_key(b, "second")
    shared = [key for key in left if key in right]
    divergences = []
    incomparable = 0
    for key in shared:
        x, y = left[key], right[key]
        if x.token_ids is not None and y.token_ids is not None:
            position, same = _common_prefix(x.token_ids, y.token_ids)
            unit: Literal["token", "character"] = "token"
        elif x.text is not None and y.text is not None:
            position, same = _common_prefix(x.text, y.text)
            unit = "character"
        else:
            incomparable += 1
            continue
        if not same or x.finish != y.finish:
            divergences.append(Divergence(key, position, unit))
    n = len(shared) - incomparable
    return NoiseFloor(
        n=n,
        identical=n - len(divergences),
        divergences=tuple(divergences),
        incomparable=incomparable,
        only_a=len(left) - len(shared),
        only_b=len(right) - len(shared),
    )


def _common_prefix(x: Sequence[object], y: Sequence[object]) -> tuple[int, bool]:
    """Length of the common prefix, and whether it is all of both."""
    if x == y:
        return len(x), True
    position = 0
    for p, q in zip(x, y, strict=False):
        if p != q:
            break
        position += 1
    return position, False


def _by_key(traces: Iterable[Trace], which: str) -> dict[RunKey, Trace]:
    found: dict[RunKey, Trace] = {}
    for trace in traces:
        key = run_key(trace)
        if key in found:
            raise InputError(f"the {which} run has the trace {key} twice; compare runs with one trace per key")
        found[key] = trace
    return found
