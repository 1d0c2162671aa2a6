"""Symptoms, the reference study's categories, what could not be decided, and the thresholds that decided the rest."""

from __future__ import annotations

import json
from typing import Any

from qrm_forensics.report.cells import finite
from qrm_forensics.report.claims import Ledger, Source, count, share, where
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.model import Claim, Sentence, SymptomRow, ThresholdRow, Unit
from qrm_forensics.symptoms import REFERENCE_CATEGORIES, SPECS, SYMPTOMS, Rule


def build_symptoms(run: RunData, data: BenchmarkData, ledger: Ledger) -> tuple[SymptomRow, ...]:
    """One row per variant: the share of its responses with each flag.  Flags do not exclude each other."""
    if "outcome" not in run.tables:
        return ()

    def shares(variant: str, rules: tuple[Rule, ...]) -> dict[str, Claim]:
        frame = data.of(variant)
        found = {}
        for rule in rules:
            if rule.column not in run.tables:
                continue
            values, problems = finite(frame, rule.column)
            found[rule.name] = ledger.add(
                share(
                    f"{rule.family}/{data.name}/{variant}/{rule.name}",
                    values,
                    problems,
                    f"definition.{rule.family}.{rule.name}",
                    selected=data.is_selected(variant),
                    of=len(frame),
                    table=run.tables[rule.column],
                    filter=where(variant=variant, benchmark=data.name),
                )
            )
        return found

    return tuple(SymptomRow(v, shares(v, SYMPTOMS), shares(v, REFERENCE_CATEGORIES)) for v in data.variants)


def build_unassigned(run: RunData, data: BenchmarkData, ledger: Ledger) -> tuple[Sentence, ...]:
    """Why responses have no outcome: the rule that could not be decided, and the columns that say nothing."""
    if "outcome_reason" not in run.tables:
        return ()
    found = []
    for variant in data.variants:
        reasons = data.of(variant)["outcome_reason"].dropna()
        for reason, number in reasons.value_counts().sort_index(kind="stable").items():
            rule, _, columns = str(reason).partition(": ")
            at = where(variant=variant, benchmark=data.name, outcome_reason=str(reason))
            claim = count(
                *(f"unassigned/{data.name}/{variant}/{rule}/{columns}", int(number), "definition.unassigned"),
                of=int(data.of(variant)["outcome"].notna().sum()),
                table=run.tables["outcome_reason"],
                filter=at,
            )
            slots: dict[str, Claim | str] = {"variant": variant, "count": ledger.add(claim), "outcome": rule}
            found.append(Sentence("unassigned.reason", slots | {"columns": columns}, "warning"))
    return tuple(found)


def build_thresholds(run: RunData, ledger: Ledger) -> tuple[ThresholdRow, ...]:
    """The thresholds that are stored with the outcomes, and where each comes from."""
    table = run.tables.get("outcome")
    if table is None:
        return ()
    kept = run.store.measure_metadata(table.removeprefix("measures/")).get("thresholds")
    stored = {} if kept is None else {item["name"]: item for item in json.loads(kept)["items"]}
    rows = []
    for spec in SPECS:
        item = stored.get(spec.name)
        if item is None:  # an older program had other rules; the next measuring brings them
            continue
        source: Source = {"table": f"{table}#thresholds", "filter": where(name=spec.name)}

        def number(what: str, value: float, unit: Unit, name: str = spec.name, source: Source = source) -> Claim:
            key = "threshold" + (f"_{what}" if what else "")
            at = f"threshold/{name}" + (f"/{what}" if what else "")
            return ledger.add(Claim(at, value, unit, f"definition.{key}", **source))

        whole = float(item["value"]).is_integer() and not spec.name.endswith("_share")
        value = number("", item["value"], Unit.COUNT if whole else Unit.PLAIN)
        explained = item["how"] != "calibrated" or spec.floor is not None
        rows.append(
            ThresholdRow(
                spec.name, value, _origin(item, number), f"threshold.{spec.name}.source" if explained else None
            )
        )
    return tuple(rows)


def _origin(item: dict[str, Any], number: Any) -> Sentence:
    if item["how"] == "fixed":
        return Sentence("threshold.fixed", {})
    if item["how"] == "published" and item["variant"] is None:
        return Sentence("threshold.published_alone", {})
    slots: dict[str, Claim | str] = {"variant": item["variant"], "n": number("n", item["n"], Unit.COUNT)}
    if item["how"] == "published":
        return Sentence("threshold.published", slots)
    return Sentence("threshold.calibrated", slots | {"quantile": number("quantile", item["quantile"], Unit.SHARE)})
