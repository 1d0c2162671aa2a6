"""From a claim back to the stored rows that it was made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from qrm_forensics.benchmarks.taxonomy import LABELS, problem_categories
from qrm_forensics.errors import InputError
from qrm_forensics.records import TRACE_KEY
from qrm_forensics.report.checkpoints import tensor_table, token_table, variant_table
from qrm_forensics.report.latency import footprint_table, latency_table
from qrm_forensics.report.model import Claim
from qrm_forensics.report.perplexity import perplexity_table
from qrm_forensics.report.thinking import forced_table
from qrm_forensics.store import Store

#: Ending of the name of a table: the thresholds that are stored beside the columns of a measure.
THRESHOLDS = "#thresholds"

_TRACE_COLUMNS = [*TRACE_KEY, "finish", "completion_tokens", "seconds", "source_file", "source_index"]


def evidence(store: Store, claim: Claim, claims: Sequence[Claim] = ()) -> pd.DataFrame:
    """The rows behind a claim: its tables joined, its filter applied.

    ``claims`` are those of the report, for claims that count claims.  Raises InputError
    for a claim without a table (its note says why it has no value) or a table that is not there.
    """
    if not claim.table:
        raise InputError(f"claim {claim.id}: has no rows behind it ({claim.note or 'no table'})")
    names = claim.table.split("+")
    frame = _table(store, names[0], claims)
    for name in names[1:]:
        more = _table(store, name, claims)
        shared = [c for c in ("policy", *TRACE_KEY) if c in more.columns and c in frame.columns]
        frame = frame.merge(
            more.drop(columns=[c for c in more.columns if c in frame.columns and c not in shared]), on=shared
        )
    return frame.query(claim.filter, engine="python") if claim.filter else frame


def _table(store: Store, name: str, claims: Sequence[Claim]) -> pd.DataFrame:
    if name == "claims":
        return pd.DataFrame([asdict(c) for c in claims])
    if name == "variants":
        return variant_table(store)
    if name == "checkpoints":
        return tensor_table(store)
    if name == "latency":
        return latency_table(store)
    if name == "footprint":
        return footprint_table(store)
    if name == "perplexity":
        return perplexity_table(store)
    if name == "forced":
        return forced_table(store)
    if name == "tokens":
        return token_table(store)
    if name == "traces":
        table = store.traces(_TRACE_COLUMNS)
    elif name == "verdicts":
        table = store.verdicts()
    elif name == "problems":
        return _with_topics(store.problem_table().to_pandas().rename(columns={"id": "problem_id"}))
    else:
        kind, _, metric = name.partition("/")
        if metric.endswith(THRESHOLDS):
            kept_thresholds = store.measure_metadata(metric.removesuffix(THRESHOLDS)).get("thresholds")
            return pd.DataFrame([] if kept_thresholds is None else json.loads(kept_thresholds)["items"])
        if kind == "analyses" and (kept := store.analysis(metric)) is not None:
            told = {(b, t): r for b, targets in kept[1].items() for t, r in targets.items() if isinstance(r, dict)}
            rows = [
                {"benchmark": b, "target": t, **pd.json_normalize(r).iloc[0].to_dict()} for (b, t), r in told.items()
            ]
            return pd.DataFrame(rows)
        table = store.measures().get(metric) if kind == "measures" else None
        if table is None:
            raise InputError(f"{store.root}: has no table {name!r}; measure the run again with this program")
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _with_topics(problems: pd.DataFrame) -> pd.DataFrame:
    """Problems with a yes/no column ``topic_<label>`` for every label of the keyword taxonomy."""
    found = [set(problem_categories(question)) for question in problems["question"]]
    topics = {f"topic_{label}": [label in labels for labels in found] for label in LABELS}
    return pd.concat([problems, pd.DataFrame(topics, index=problems.index)], axis=1)
