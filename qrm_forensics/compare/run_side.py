"""One variant of a run folder as a side of a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from qrm_forensics.benchmarks.coverage import coverage
from qrm_forensics.benchmarks.registry import expected_size
from qrm_forensics.compare.items import (
    ITEM_SCHEMA,
    Facts,
    Side,
    SideKind,
    content_hash,
    items_frame,
    listed,
    short_hash,
)
from qrm_forensics.errors import InputError
from qrm_forensics.export import export_table
from qrm_forensics.importers import has_responses
from qrm_forensics.records import TRACE_KEY, Status, Variant
from qrm_forensics.score.stamp import golds_hash, lenient_of, verdict_stamp
from qrm_forensics.store import Store

#: Where a column of the items comes from: the first of these columns of the export that is there.
_SOURCES: dict[str, tuple[str, ...]] = {
    "truncated": ("symptom_truncated", "truncated"),
    "loop": ("symptom_looped", "loop"),
    "missing_answer": ("symptom_no_answer",),
}
#: Text that measuring finds in a short list of names, and not in the response.
_NAMES = ("outcome", "loop_class")
_PREFIX = "imported_"
#: What a table of scores may call a column of the items, beside the name of the column itself.
ALIASES: dict[str, tuple[str, ...]] = {
    "n_tokens": ("token_count", "tokens", "completion_tokens", "output_tokens"),
    "n_words": ("word_count", "words"),
    "boxed": ("has_boxed",),
    "loop": ("looped", "has_loop"),
    "truncated": ("is_truncated",),
    "missing_answer": ("no_answer",),
}


def run_side(store: Store, variant: str) -> Side:
    """The responses of one variant; raises InputError where the run has no such variant or none of its responses."""
    known = {v.id: v for v in store.variants}
    if variant not in known:
        raise InputError(f"{store.root}: no variant is called {variant!r}; there are {listed(known)}")
    table = export_table(store, variant)
    if not table.num_rows:
        raise InputError(f"{store.root}: {variant!r} has no responses yet; make them with 'qrm-forensics run'")
    items = items_frame(_items(store, variant, table))
    return Side(_facts(store, known[variant], items), items)


# ---------------------------------------------------------------------------- the items
def _items(store: Store, variant: str, table: pa.Table) -> pa.Table:
    names = table.column_names
    columns: dict[str, Any] = {c: table[c] for c in TRACE_KEY if c != "variant"}
    problems = store.problems()
    asked = [
        problems.get(key) for key in zip(*(table[c].to_pylist() for c in ("benchmark", "problem_id")), strict=True)
    ]
    columns["gold_hash"] = pa.array([short_hash(p.gold) if p else None for p in asked], pa.string())
    # What was asked, not what the problem says: some imported responses got another prompt than the rest.
    prompts = store.traces(["prompt"], variant=variant)["prompt"].to_pylist()
    columns["prompt_hash"] = pa.array([short_hash(p) for p in prompts], pa.string())
    for name in names:
        if name.endswith("_status"):
            columns[f"status_{name.removesuffix('_status')}"] = table[name]
    for name in ("subject", "level", "finish", *_NAMES):
        if name in names:
            columns[name] = table[name]
    for name, sources in _SOURCES.items():
        source = next((s for s in sources if s in names), None)
        if source is not None:
            columns[name] = table[source]
    if "missing_answer" not in columns and pc.any(pc.is_valid(table["strict_status"])).as_py():
        columns["missing_answer"] = pc.equal(table["strict_status"], str(Status.MISSING))
    figures = {f.name: table[f.name] for f in table.schema if _figure(f.type) and f.name not in (*columns, *TRACE_KEY)}
    if not has_responses(store):
        figures = _own_names(figures)
    figures.pop("source_index", None)
    return pa.table(columns | figures)


def _figure(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _own_names(figures: Mapping[str, pa.ChunkedArray]) -> dict[str, pa.ChunkedArray]:
    """The figures of a table of scores under the names of the items where they mean the same."""
    imported = {name.removeprefix(_PREFIX): column for name, column in figures.items() if name.startswith(_PREFIX)}
    return named_figures(imported)


def named_figures(figures: Mapping[str, pa.ChunkedArray]) -> dict[str, pa.ChunkedArray]:
    """Figures of a table of scores as columns of items: those that are one by name or alias get its name and type.

    A missing answer is one without a box where the table says nothing better.
    """
    made = dict(figures)
    for field in ITEM_SCHEMA:
        for name in (field.name, *ALIASES.get(field.name, ())):
            if name in made and (_figure(field.type)):
                typed = _typed(made.pop(name), field.type)
                made[field.name] = typed
                break
    if "boxed" in made and "missing_answer" not in made:
        made["missing_answer"] = pc.invert(made["boxed"])
    return made


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A column of numbers as whole numbers or yes/no (not 0 is yes)."""
    if pa.types.is_boolean(kind):
        return pc.not_equal(column, 0)
    return pc.cast(pc.round(column), kind)


# ---------------------------------------------------------------------------- the facts
class MadeWith(NamedTuple):
    """How the responses of a run were asked for and made, as in :class:`Facts`; None where that is not known."""

    sampling: dict[str, str] | None
    max_new_tokens: int | None
    engine: str | None


def made_with(store: Store) -> MadeWith:
    study = store.study
    settings = study["request"].get("study")
    sampling: dict[str, Any] | None = settings.get("sampling") if isinstance(settings, dict) else None
    return MadeWith(
        None if sampling is None else {k: f"{v:g}" for k, v in sampling.items() if k in _DECODING},
        None if sampling is None else int(sampling["max_new_tokens"]),
        _engine(run for run in study["runs"] if run.get("traces_made")),
    )


def _facts(store: Store, variant: Variant, items: pd.DataFrame) -> Facts:
    study = store.study
    request: dict[str, Any] = study["request"]
    runs: list[dict[str, Any]] = study["runs"]
    made = [run for run in runs if run.get("traces_made")]
    how = made_with(store)
    kind: SideKind = "run" if request.get("kind") == "run" else "import" if has_responses(store) else "scores"
    return Facts(
        name=variant.id,
        source=str(store.root),
        kind=kind,
        variant=variant.id,
        recipe=variant.recipe,
        model=variant.model,
        sampling=how.sampling,
        max_new_tokens=how.max_new_tokens,
        scorer=_scorer(store, variant.id),
        engine=how.engine,
        # Importing is not making: when imported responses were made is not known.
        created=max((str(run["ended"]) for run in made if run.get("ended")), default=None) if kind == "run" else None,
        request_hash=str(study["request_hash"]),
        versions={str(k): str(v) for run in runs for k, v in dict(run.get("versions", {})).items()},
        content_hash=content_hash(items),
        coverage=_coverage(store, items),
    )


def _coverage(store: Store, items: pd.DataFrame) -> dict[str, str]:
    """Which part of each benchmark was answered, as the report says it."""
    size_known: dict[str, bool] = store.study["request"].get("size_known", {})
    known: dict[str, list[str]] = {}
    for benchmark, problem_id in store.problems():
        known.setdefault(benchmark, []).append(problem_id)
    return {
        str(benchmark): str(
            coverage(
                set(ids),
                known.get(str(benchmark)) if size_known.get(str(benchmark), True) else None,
                expected_size(str(benchmark)),
            )
        )
        for benchmark, ids in items.groupby("benchmark", sort=False)["problem_id"]
    }


_DECODING = ("temperature", "top_p", "top_k")


def _scorer(store: Store, variant: str) -> str | None:
    """The version of our scorer, where it is what made every verdict of the variant from what is there now."""
    from qrm_forensics.score import POLICIES, scorer_version

    golds = golds_hash(store.problems())
    for owner, benchmark in store.cells():
        if owner == variant:
            stamp = verdict_stamp(store, variant, benchmark, golds)
            if any(store.derived_stamp("verdicts", policy, variant, benchmark) != stamp for policy in POLICIES):
                return None
    return scorer_version(lenient_of(store))


def _engine(made: Iterable[Mapping[str, Any]]) -> str | None:
    """The backends that made the responses, each with the versions of what it runs on."""
    found = []
    for run in made:
        backend = run.get("backend")
        if backend:
            versions = run.get("versions", {})
            stack = [f"{name} {versions[name]}" for name in ("vllm", "torch", "transformers") if name in versions]
            found.append(", ".join([str(backend), *(stack if backend not in ("scripted", "replay") else [])]))
    return " + ".join(dict.fromkeys(found)) or None
