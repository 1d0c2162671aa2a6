"""What a reader has to know before believing a number: whether the sides are alike, and whether the data are whole.

Comparability is that of :mod:`qrm_forensics.compare.comparability`, asked for every pair that the report compares;
the worst answer is told.  The rest counts responses over the whole run.  Limits are those of a comparison's
default rules, so that the report and the gate agree on what is put up with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from qrm_forensics.compare.comparability import Check, CheckStatus, Severity, check
from qrm_forensics.compare.items import Facts, Side, items_frame, short_hash
from qrm_forensics.compare.rules import DEFAULT
from qrm_forensics.compare.run_side import MadeWith, made_with
from qrm_forensics.records import TRACE_KEY, Finish, Status
from qrm_forensics.report.claims import Ledger, count, where
from qrm_forensics.report.data import RunData
from qrm_forensics.report.model import HealthItem
from qrm_forensics.report.nouns import Claim, Sentence

#: What has to be the same on both sides, in the order in which it is told; names of comparability checks.
SAME = ("problems", "gold", "prompts", "sampling", "max_new_tokens", "engine")
#: What is counted over the run.
WHOLE = ("truncated", "unscored", "tokens", "finish", "errors")


def build_health(run: RunData, compared: Mapping[str, Mapping[str, str]], ledger: Ledger) -> tuple[HealthItem, ...]:
    """``compared``: benchmark -> variant -> its reference, as the report compares them."""
    return (*_alike(run, compared), *_whole(run, ledger))


# ---------------------------------------------------------------------------- alike
def _alike(run: RunData, compared: Mapping[str, Mapping[str, str]]) -> list[HealthItem]:
    pairs: dict[tuple[str, str], set[str]] = {}
    for benchmark, references in compared.items():
        for variant, reference in references.items():
            if variant != reference:
                pairs.setdefault((reference, variant), set()).add(benchmark)
    if not pairs:
        return [HealthItem("comparison", "unknown", Sentence("health.comparison.none"))]
    how = made_with(run.store)
    sides = {v: _side(run, v, how) for v in dict.fromkeys(v for pair in pairs for v in pair)}
    found: dict[str, list[tuple[str, Check]]] = {name: [] for name in SAME}
    for (reference, variant), benchmarks in pairs.items():
        for c in check(sides[reference], sides[variant]).checks:
            if c.name in found and (c.benchmark is None or c.benchmark in benchmarks):
                found[c.name].append((variant, c))
    return [_worst(name, checks) for name, checks in found.items() if checks]


def _side(run: RunData, variant: str, how: MadeWith) -> Side:
    """The variant as a side of a comparison, with what the checks of ``SAME`` look at; the gate's has far more."""
    keys = [c for c in TRACE_KEY if c != "variant"]
    asked = run.store.traces([*keys, "prompt"], variant=variant).to_pandas()
    gold = [run.problems.get((b, p)) for b, p in zip(asked["benchmark"], asked["problem_id"], strict=True)]
    asked["gold_hash"] = [None if p is None else short_hash(p.gold) for p in gold]
    asked["prompt_hash"] = [short_hash(text) for text in asked.pop("prompt")]
    asked["finish"] = ""  # not looked at
    facts = Facts(
        name=variant,
        source=str(run.store.root),
        kind="run",
        variant=variant,
        recipe=None,
        model=run.variants[variant].model,
        sampling=how.sampling,
        max_new_tokens=how.max_new_tokens,
        scorer=None,
        engine=how.engine,
        created=None,
        request_hash=None,
        versions={},
        content_hash="",
    )
    return Side(facts, items_frame(pa.Table.from_pandas(asked, preserve_index=False)))


def _worst(name: str, checks: Sequence[tuple[str, Check]]) -> HealthItem:
    """The item of one check over all pairs; those who differ, or are not known, are named."""
    for status, severities in (("bad", (Severity.BLOCKS,)), ("warning", (Severity.WARNS, Severity.INFO))):
        differing = [v for v, c in checks if c.status is CheckStatus.DIFFERS and c.severity in severities]
        if differing:
            return HealthItem(name, status, Sentence(f"health.{name}.differs", {"variants": _names(differing)}))
    unknown = [v for v, c in checks if c.status is CheckStatus.UNKNOWN]
    if unknown:
        key = "health.unknown" if len(set(unknown)) < len({v for v, _ in checks}) else "health.unknown_all"
        return HealthItem(name, "unknown", Sentence(key, {"variants": _names(unknown)}))
    shown = checks[0][1].baseline if name in ("sampling", "max_new_tokens", "engine") else ""
    key = f"health.{name}.ok" if not shown else "health.value"
    return HealthItem(name, "ok", Sentence(key, {"what": shown} if shown else {}))


def _names(variants: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(variants))


# ---------------------------------------------------------------------------- whole
def _whole(run: RunData, ledger: Ledger) -> list[HealthItem]:
    frames = [data.of(v) for data in run.benchmarks.values() for v in data.variants]
    n = sum(map(len, frames))
    policy = run.policy
    items = []
    for name, column, definition, limit in (
        ("truncated", "truncated", "definition.health_truncated", DEFAULT.max_baseline_truncated),
        ("tokens", "n_tokens", "definition.health_tokens", 1.0),
    ):
        if column not in run.tables:
            items.append(HealthItem(name, "unknown", Sentence("health.not_measured")))
            continue
        values = [f[column].to_numpy(np.float64) for f in frames]
        hit = [(v == 1) if name == "truncated" else np.isnan(v) for v in values]
        known = int(sum(np.isfinite(v).sum() for v in values)) if name == "truncated" else n
        if not known:
            items.append(HealthItem(name, "unknown", Sentence("health.not_measured")))
            continue
        rows = f"{column} == True" if name == "truncated" else f"{column}.isna()"
        claim = _claim(name, int(sum(h.sum() for h in hit)), known, definition, run.tables[column], rows)
        items.append(_counted(name, ledger.add(claim), max(_shares(hit)), limit))
    unscored = [(f[f"status:{policy}"] == Status.UNSCORED).to_numpy() for f in frames]
    judged = int(sum(f[f"status:{policy}"].notna().sum() for f in frames))
    if judged:
        rows = where(policy=policy, status=str(Status.UNSCORED))
        claim = _claim("unscored", int(sum(h.sum() for h in unscored)), judged, "definition.unscored", "verdicts", rows)
        items.append(_counted("unscored", ledger.add(claim), max(_shares(unscored)), DEFAULT.max_unscored))
    else:
        items.append(HealthItem("unscored", "unknown", Sentence("health.not_measured")))
    for name, finish, definition, limit in (
        ("finish", Finish.UNKNOWN, "definition.finish_unknown", 1.0),
        ("errors", Finish.ERROR, "definition.errors", DEFAULT.max_unscored),
    ):
        ended = [(f["finish"] == finish).to_numpy() for f in frames]
        claim = _claim(name, int(sum(h.sum() for h in ended)), n, definition, "traces", where(finish=str(finish)))
        items.append(_counted(name, ledger.add(claim), max(_shares(ended)), limit))
    return sorted(items, key=lambda item: WHOLE.index(item.name))


def _claim(name: str, value: int, of: int, definition: str, table: str, rows: str) -> Claim:
    return count(f"health/{name}", value, definition, of=of, table=table, filter=rows)


def _shares(hit: Sequence[np.ndarray]) -> list[float]:
    """Share of each variant's responses to each benchmark."""
    return [float(h.mean()) for h in hit if len(h)] or [0.0]


def _counted(name: str, claim: Claim, worst: float, limit: float) -> HealthItem:
    """None: good; more than ``limit`` of one variant's responses to a benchmark: bad; else a warning."""
    status = "ok" if not claim.value else "bad" if worst > limit else "warning"
    key = f"health.{name}.none" if status == "ok" else f"health.{name}.some"
    return HealthItem(name, status, Sentence(key, {"count": claim}))
