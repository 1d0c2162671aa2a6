"""The tables of a run, joined once: one row per response, per benchmark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from qrm_forensics.benchmarks.coverage import run_coverage
from qrm_forensics.metrics import SPAN_TYPE
from qrm_forensics.recipes import Recipe
from qrm_forensics.records import TRACE_KEY, Coverage, Problem, Status, Variant
from qrm_forensics.store import Store

#: Key of a response among those of all variants.
SAMPLE_KEY = ["problem_id", "sample", "seed"]
_MEASURE = re.compile(r"(?P<name>.+)\.v(?P<version>\d+)")
#: Order of display; a policy that is not named here comes after.
_POLICIES = ("strict", "lenient")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BenchmarkData:
    """The responses of all variants to one benchmark.

    ``frame``: one row per response with ``row`` (index of its sample key, the same for
    all variants), ``problem`` (index of its problem), ``variant``, the key, ``finish``,
    ``status:<policy>``, ``answer:<policy>``, ``subject``, ``level`` and every measured
    column (numbers and yes/no as float64 with NaN for null).
    """

    name: str
    size: int | None
    variants: tuple[str, ...]
    coverage: dict[str, Coverage]
    frame: pd.DataFrame
    keys: list[tuple[str, int, int]]
    problem_of_row: NDArray[np.int64]
    problem_ids: list[str]

    def of(self, variant: str) -> pd.DataFrame:
        return self._frames[variant]

    @cached_property
    def _frames(self) -> dict[str, pd.DataFrame]:
        return {v: self.frame[self.frame["variant"] == v] for v in self.variants}

    @cached_property
    def samples(self) -> int:
        """Largest number of responses to one problem by one variant."""
        return int(self.frame.groupby(["variant", "problem_id"]).size().max())

    @cached_property
    def _aligned(self) -> dict[tuple[str, str], Floats]:
        return {}

    def aligned(self, variant: str, column: str) -> Floats:
        """A column of a variant by row, float64 [rows], NaN where it has no response or value."""
        known = self._aligned.get((variant, column))
        if known is None:
            known = np.full(len(self.keys), np.nan)
            frame = self.of(variant)
            if column in frame:
                known[frame["row"].to_numpy()] = frame[column].to_numpy(np.float64)
            self._aligned[variant, column] = known
        return known

    def right(self, variant: str, policy: str) -> Floats:
        """1 for correct, 0 for wrong or missing, NaN for unscored or no response; [rows]."""
        return self.aligned(variant, f"right:{policy}")

    def by_problem(self, values: Floats, rows: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Floats]:
        """Problems with any of the chosen rows, [m], and the mean of their values, [m]."""
        problems = self.problem_of_row[rows]
        total = np.bincount(problems, values[rows], len(self.problem_ids))
        number = np.bincount(problems, minlength=len(self.problem_ids))
        there = np.flatnonzero(number)
        return there, total[there] / number[there]

    def is_selected(self, variant: str) -> bool:
        return self.coverage[variant] is Coverage.SELECTED


@dataclass(frozen=True)
class RunData:
    """All that a report reads of a run."""

    store: Store
    variants: dict[str, Variant]
    problems: dict[tuple[str, str], Problem]
    policies: tuple[str, ...]
    tables: dict[str, str]  # measured column -> table name for claims
    flags: tuple[str, ...]  # measured yes/no columns
    markers: tuple[str, ...]
    metrics: tuple[tuple[str, str], ...]
    benchmarks: dict[str, BenchmarkData]
    spans: dict[str, pa.Table]  # measured column of spans -> trace key and that column
    curves: dict[str, pa.Table]  # measured column of numbers along the response -> trace key and that column
    curve_tables: dict[str, str]  # such a column -> table name for claims

    @property
    def policy(self) -> str:
        """The policy that findings, categories and cases go by."""
        return self.policies[0]

    def bits(self, variant: str) -> int:
        return Recipe.parse(self.variants[variant].recipe).bits

    def quantized(self, variant: str) -> bool:
        return Recipe.parse(self.variants[variant].recipe).quantized


def worst(coverages: list[Coverage]) -> Coverage:
    """What may be said about a set made from several: as much as about the least of them."""
    return min(coverages, key=[Coverage.SELECTED, Coverage.UNKNOWN, Coverage.PREFIX, Coverage.FULL].index)


def load(store: Store) -> RunData:
    """Read and join the tables of a run (everything but the texts)."""
    problems = store.problems()
    variants = {v.id: v for v in store.variants}
    frame = store.traces([*TRACE_KEY, "finish", "source_file", "source_index"]).to_pandas()
    verdicts = store.verdicts()
    found = set(pc.unique(verdicts["policy"]).to_pylist())
    policies = tuple([p for p in _POLICIES if p in found] + sorted(found - set(_POLICIES))) or _POLICIES
    frame = _with_verdicts(frame, verdicts, policies)
    measures = _newest(store.measures())
    tables: dict[str, str] = {}
    flags: list[str] = []
    markers: tuple[str, ...] = ()
    spans: dict[str, pa.Table] = {}
    curves: dict[str, pa.Table] = {}
    curve_tables: dict[str, str] = {}
    for name, table in measures.items():
        spans |= {f.name: table.select([*TRACE_KEY, f.name]) for f in table.schema if f.type == SPAN_TYPE}
        along = [f.name for f in table.schema if pa.types.is_list(f.type) and pa.types.is_floating(f.type.value_type)]
        curves |= {column: table.select([*TRACE_KEY, column]) for column in along}
        curve_tables |= dict.fromkeys(along, f"measures/{name}")
        numbers = [f for f in table.schema if f.name not in TRACE_KEY and f.name not in tables and _usable(f.type)]
        flags += [f.name for f in numbers if pa.types.is_boolean(f.type)]
        tables |= {f.name: f"measures/{name}" for f in numbers}
        if name.startswith("markers."):
            markers = tuple(f.name for f in numbers if pa.types.is_integer(f.type) and f.name.endswith("_count"))
        columns = {
            f.name: table[f.name].to_pandas()
            if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)
            else table[f.name].cast(pa.float64()).to_numpy()
            for f in numbers
        }
        keys = {k: table[k].to_pandas() for k in TRACE_KEY}
        frame = frame.merge(pd.DataFrame({**keys, **columns}), on=TRACE_KEY, how="left", validate="one_to_one")
    coverage = run_coverage(store)
    sizes = _sizes(store, problems)
    benchmarks = {
        str(name): _benchmark(str(name), part, variants, problems, coverage, sizes.get(str(name)))
        for name, part in frame.groupby("benchmark", sort=False)
    }
    order = list(dict.fromkeys(b for b, _ in problems))
    return RunData(
        store=store,
        variants=variants,
        problems=problems,
        policies=policies,
        tables=tables,
        flags=tuple(flags),
        markers=markers,
        metrics=tuple((m["name"], m["version"]) for m in (_MEASURE.fullmatch(n) for n in measures) if m),
        benchmarks={b: benchmarks[b] for b in sorted(benchmarks, key=order.index)},
        spans=spans,
        curves=curves,
        curve_tables=curve_tables,
    )


def _usable(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
        or types.is_string(kind) or types.is_large_string(kind)
    )  # fmt: skip


def _newest(measures: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """Only the highest version of each metric; a folder may still hold what an older program measured."""
    version: dict[str, int] = {}
    for name in measures:
        if match := _MEASURE.fullmatch(name):
            version[match["name"]] = max(version.get(match["name"], 0), int(match["version"]))
    return {f"{name}.v{v}": measures[f"{name}.v{v}"] for name, v in version.items()}


def _with_verdicts(frame: pd.DataFrame, verdicts: pa.Table, policies: tuple[str, ...]) -> pd.DataFrame:
    for policy in policies:
        part = (
            verdicts.filter(pc.equal(verdicts["policy"], policy)).select([*TRACE_KEY, "status", "answer"]).to_pandas()
        )
        part = part.rename(columns={"status": f"status:{policy}", "answer": f"answer:{policy}"})
        frame = frame.merge(part, on=TRACE_KEY, how="left", validate="one_to_one")
        status = frame[f"status:{policy}"]
        judged = status.isin([Status.CORRECT, Status.WRONG, Status.MISSING])
        frame[f"right:{policy}"] = np.where(judged, status == Status.CORRECT, np.nan)
        frame[f"missing:{policy}"] = np.where(judged, status == Status.MISSING, np.nan)
    return frame


def _sizes(store: Store, problems: dict[tuple[str, str], Problem]) -> dict[str, int]:
    known: dict[str, bool] = store.study["request"].get("size_known", {})
    sizes: dict[str, int] = {}
    for benchmark, _ in problems:
        if known.get(benchmark, True):
            sizes[benchmark] = sizes.get(benchmark, 0) + 1
    return sizes


def _benchmark(
    name: str,
    frame: pd.DataFrame,
    variants: dict[str, Variant],
    problems: dict[tuple[str, str], Problem],
    coverage: dict[tuple[str, str], Coverage],
    size: int | None,
) -> BenchmarkData:
    position = {pid: i for i, (b, pid) in enumerate(problems) if b == name}
    keys = sorted(
        set(zip(*(frame[c] for c in SAMPLE_KEY), strict=True)), key=lambda k: (position[k[0]], int(k[1]), int(k[2]))
    )
    problem_ids = list(dict.fromkeys(str(k[0]) for k in keys))
    problem_index = {pid: i for i, pid in enumerate(problem_ids)}
    row = {key: i for i, key in enumerate(keys)}
    there = set(frame["variant"])
    frame = frame.assign(
        row=[row[key] for key in zip(*(frame[c] for c in SAMPLE_KEY), strict=True)],
        problem=frame["problem_id"].map(problem_index),
        subject=frame["problem_id"].map({pid: problems[name, pid].subject for pid in problem_ids}),
        level=frame["problem_id"].map({pid: problems[name, pid].level for pid in problem_ids}),
    )
    ordered = tuple(v for v in variants if v in there)
    return BenchmarkData(
        name=name,
        size=size,
        variants=ordered,
        coverage={v: coverage[v, name] for v in ordered},
        frame=frame,
        keys=[(str(p), int(s), int(e)) for p, s, e in keys],
        problem_of_row=np.array([problem_index[str(k[0])] for k in keys], dtype=np.int64),
        problem_ids=problem_ids,
    )
