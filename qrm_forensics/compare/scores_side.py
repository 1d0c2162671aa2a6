"""One model of a table of scores as a side of a comparison, without a run folder in between."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from qrm_forensics.benchmarks.coverage import coverage
from qrm_forensics.compare.items import Facts, Side, content_hash, items_frame, listed
from qrm_forensics.compare.run_side import named_figures
from qrm_forensics.errors import InputError
from qrm_forensics.importers.scores import POLICY
from qrm_forensics.importers.scores_table import read_table


def scores_side(path: Path, model: str | None) -> Side:
    """The rows of one model in a CSV file, or a folder of them; the model may be left out where there is one.

    Raises InputError.
    """
    table = read_table(path)
    if model is None and len(table.models) > 1:
        raise InputError(f"{path}: holds {len(table.models)} models, so name one: {path}::{table.models[0]}")
    chosen = model if model is not None else table.models[0]
    rows = [score for score in table.scores if score.model == chosen]
    if not rows:
        raise InputError(f"{path}: no model is called {chosen!r}; there are {listed(table.models)}")
    names = list(dict.fromkeys(name for score in rows for name in score.figures))
    figures = {n: pa.chunked_array([[s.figures.get(n) for s in rows]], pa.float64()) for n in names}
    columns = {
        "benchmark": [s.dataset for s in rows],
        "problem_id": [s.problem_id for s in rows],
        "sample": [s.sample for s in rows],
        "seed": [s.seed for s in rows],
        f"status_{POLICY}": [str(s.status) for s in rows],
        "subject": [s.subject for s in rows],
        "level": [s.level for s in rows],
        "finish": [str(s.finish) for s in rows],
    }
    text = ("benchmark", "problem_id", f"status_{POLICY}", "subject", "level", "finish")
    arrays = {c: pa.array(v, pa.string() if c in text else pa.int64()) for c, v in columns.items()}
    items = items_frame(pa.table(arrays | named_figures(figures)))
    facts = Facts(
        name=chosen,
        source=str(path),
        kind="scores",
        variant=chosen,
        recipe=None,
        model=None,
        sampling=None,
        max_new_tokens=None,
        scorer=None,
        engine=None,
        created=None,
        request_hash=None,
        versions={},
        content_hash=content_hash(items),
        coverage={str(b): str(coverage(set(ids), None)) for b, ids in items.groupby("benchmark")["problem_id"]},
    )
    return Side(facts, items)
