"""Which part of a benchmark was answered, and so what a share computed on it may be called."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from qrm_forensics.benchmarks.registry import expected_size
from qrm_forensics.records import Coverage
from qrm_forensics.store import Store

_NUMBERED = re.compile(r"idx-(\d+)")


def coverage(ids: Collection[str], benchmark_ids: Sequence[str] | None, size: int | None = None) -> Coverage:
    """The part of a benchmark that ``ids`` are.

    ``benchmark_ids`` are all its problem ids in its order, or None where its size is
    not known; ``size`` is then how many it should have, where its name says so.  Order and
    repetition of ``ids`` (several seeds) do not matter.  Without the benchmark's ids, gaps in
    the numbers of ``idx-N`` prove a choice (SELECTED); ``idx-0`` … ``idx-(n-1)`` are all of it or
    its beginning, which only its size tells apart (else UNKNOWN).

    Raises ValueError if there are no ids, or ids that the benchmark does not have.
    """
    answered = set(ids)
    if not answered:
        raise ValueError("coverage of no problems at all")
    if benchmark_ids is None:
        numbers = [_NUMBERED.fullmatch(i) for i in answered]
        if None not in numbers and {int(n[1]) for n in numbers if n is not None} != set(range(len(answered))):
            return Coverage.SELECTED
        if len(answered) == size:
            return Coverage.FULL
        return (
            Coverage.PREFIX if size is not None and len(answered) < size and None not in numbers else Coverage.UNKNOWN
        )
    if strange := answered - set(benchmark_ids):
        raise ValueError(f"{len(strange)} ids that the benchmark does not have, such as {min(strange)!r}")
    if len(answered) == len(set(benchmark_ids)):
        return Coverage.FULL
    return Coverage.PREFIX if answered == set(benchmark_ids[: len(answered)]) else Coverage.SELECTED


def run_coverage(store: Store) -> dict[tuple[str, str], Coverage]:
    """(variant, benchmark) -> coverage, for every cell of a run that has traces.

    An import whose problems were read from the prompts does not hold the whole benchmark and
    says so in its request (``size_known``), as does a run whose file had only some of its
    problems; everywhere else the problem table holds the whole benchmark.
    """
    size_known: dict[str, bool] = store.study["request"].get("size_known", {})
    benchmark_ids: dict[str, list[str]] = {}
    for benchmark, problem_id in store.problems():
        benchmark_ids.setdefault(benchmark, []).append(problem_id)
    found = {}
    for variant, benchmark in store.cells():
        ids = {key[0] for key in store.trace_keys(variant, benchmark)}
        found[variant, benchmark] = coverage(
            ids, benchmark_ids.get(benchmark) if size_known.get(benchmark, True) else None, expected_size(benchmark)
        )
    return found
