"""A comparison as plain JSON values, each figure once with its definition, and as a small HTML fragment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from html import escape
from typing import TYPE_CHECKING, Any

from qrm_forensics.compare.accuracy import Accuracy
from qrm_forensics.compare.change import Change
from qrm_forensics.compare.comparability import Check
from qrm_forensics.compare.definitions import DEFINITIONS
from qrm_forensics.compare.drift import Drift
from qrm_forensics.compare.gates import Gate
from qrm_forensics.compare.lengths import LengthChange
from qrm_forensics.compare.repeats import Repeats
from qrm_forensics.compare.sensitivity import Sensitivity
from qrm_forensics.compare.shares import Interval
from qrm_forensics.compare.slices import SliceColumn

if TYPE_CHECKING:
    from qrm_forensics.compare.comparison import Comparison

SCHEMA = 1


class _Figures:
    """Figures by id.  The definition of a figure is the last part of its id unless another is given."""

    def __init__(self, confidence: float) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._confidence = confidence

    def add(
        self,
        name: str,
        value: float | bool | None,
        unit: str,
        n: int,
        interval: Interval | None = None,
        method: str | None = None,
        *,
        definition: str | None = None,
        confidence: float | None = None,
    ) -> str:
        if name in self.found:
            raise ValueError(f"figure {name!r} is made twice")
        key = definition or name.rpartition("/")[2]
        figure: dict[str, Any] = {"value": _plain(value), "unit": unit, "definition": key, "n": n}
        if interval is not None:
            level = self._confidence if confidence is None else confidence
            figure |= {"low": _plain(interval.low), "high": _plain(interval.high), "confidence": level}
        if method:
            figure["method"] = method
        DEFINITIONS[key]  # every figure has one
        self.found[name] = figure
        return name

    def change(self, name: str, found: Change, unit: str = "share") -> None:
        """Both sides, the difference with its interval, and the test."""
        self.add(f"{name}/baseline", found.baseline, unit, found.n)
        self.add(f"{name}/candidate", found.candidate, unit, found.n)
        self.add(f"{name}/difference", found.difference, unit, found.n, found.interval, found.interval_method)
        self.add(f"{name}/p_exact", found.p_exact, "p", found.n, method=found.test)


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """See ``Comparison.to_dict``.  ``figures`` maps ids to figures; ``gates`` and ``slices`` name theirs by id."""
    rules = comparison.rules
    figures = _Figures(1 - rules.alpha)
    for result in comparison.results or ():
        _accuracy(figures, result, rules.alpha)
    for benchmark, length in (comparison.lengths or {}).items():
        _length(figures, benchmark, length)
    for benchmark, drift in (comparison.drifts or {}).items():
        _drift(figures, benchmark, drift)
    for found in comparison.sensitivity or ():
        _sensitivity(figures, found)
    gates = [_gate(figures, g) for g in comparison.gates or ()]
    columns = [_slices(figures, c) for c in comparison.slices or ()]
    used = {f["definition"] for f in figures.found.values()}
    decision = comparison.decision
    told = comparison.results is not None
    return {
        "schema": SCHEMA,
        "verdict": str(decision.verdict),
        "exit_code": decision.exit_code,
        "reasons": [{"key": r.key, "slots": dict(r.slots), "text": r.text} for r in decision.reasons],
        "baseline": asdict(comparison.baseline),
        "candidate": asdict(comparison.candidate),
        "second_baseline": None if comparison.second_baseline is None else asdict(comparison.second_baseline),
        "rules": _rules(comparison),
        "comparability": {
            "comparable": comparison.comparability.comparable,
            "identical": comparison.comparability.identical,
            "checks": [_check(c) for c in comparison.comparability.checks],
            "shared": [asdict(s) for s in comparison.comparability.shared],
        },
        "figures": figures.found if told else None,
        "gates": gates if told else None,
        "slices": columns if told else None,
        "flips": _flips(comparison) if told else None,
        "definitions": {key: DEFINITIONS[key] for key in sorted(used)},
    }


def _check(check: Check) -> dict[str, Any]:
    names = ("name", "benchmark", "status", "severity", "baseline", "candidate", "note")
    return {name: getattr(check, name) for name in names}


def _rules(comparison: Comparison) -> dict[str, Any]:
    rules = comparison.rules
    values = {f.name: getattr(rules, f.name) for f in fields(rules)}
    return {
        k: sorted(v) if isinstance(v, frozenset) else dict(v) if isinstance(v, Mapping) else v
        for k, v in values.items()
    }


def _flips(comparison: Comparison) -> list[dict[str, Any]]:
    rows = comparison.flips().astype(object)
    return [{str(k): _scalar(v) for k, v in row.items()} for row in rows.where(rows.notna(), None).to_dict("records")]


def _scalar(value: Any) -> Any:
    """A Python value for a numpy one."""
    return _plain(value.item() if hasattr(value, "item") else value)


def _accuracy(figures: _Figures, r: Accuracy, alpha: float) -> None:
    name = f"accuracy/{r.benchmark}/{r.scorer}"
    add = figures.add
    add(f"{name}/baseline", r.change.baseline, "share", r.n, r.baseline_interval, r.interval_method)
    add(f"{name}/candidate", r.change.candidate, "share", r.n, r.candidate_interval, r.interval_method)
    add(f"{name}/difference", r.change.difference, "share", r.n, r.change.interval, r.change.interval_method)
    add(f"{name}/p_exact", r.change.p_exact, "p", r.n, method=r.change.test)
    add(f"{name}/p_mid", r.change.p_mid, "p", r.n, method=r.change.test)
    counts = {"both": r.both, "lost": r.lost, "gained": r.gained, "neither": r.neither, "not_judged": r.not_judged}
    for key, value in counts.items():
        add(f"{name}/{key}", value, "problems", r.n)
    for side, statuses in (("baseline", r.baseline_statuses), ("candidate", r.candidate_statuses)):
        for status, count in statuses.items():
            add(f"{name}/{side}_{status}", count, "responses", sum(statuses.values()), definition=f"status_{status}")
    add(f"{name}/detectable", r.detectable, "share", r.n)
    add(f"{name}/design_effect", r.change.design_effect, "ratio", r.n)
    if r.needed is not None:
        add(f"{name}/needed", r.needed, "problems", r.n)
    if r.equivalence is not None:
        level = 1 - 2 * alpha
        add(f"{name}/equivalent", r.equivalence.equivalent, "yes-no", r.n, r.equivalence.interval, confidence=level)
        if r.equivalence.p_value is not None:
            add(f"{name}/equivalence_p", r.equivalence.p_value, "p", r.n, method="tost-tango-score")
    if r.recovery is not None:
        add(f"{name}/recovery", r.recovery.ratio, "ratio", r.n, r.recovery.interval, "bootstrap-problems")
    add(f"{name}/flips", r.flips.rate, "share", r.n, r.flips.interval, r.flips.method)
    add(f"{name}/flips_lost", r.flips.lost, "share", r.n)
    add(f"{name}/flips_gained", r.flips.gained, "share", r.n)
    if r.noise_floor is not None:
        excess, source = r.noise_floor.excess, r.noise_floor.source
        add(f"{name}/noise_flips", excess.baseline, "share", excess.n, method=source)
        add(f"{name}/excess_flips", excess.difference, "share", excess.n, excess.interval, excess.interval_method)
        add(f"{name}/excess_p", excess.p_exact, "p", excess.n, method=excess.test)
        again = r.noise_floor.baseline_change
        if again is not None:
            add(f"{name}/second_baseline", again.difference, "share", again.n, again.interval, again.interval_method)
            add(f"{name}/second_baseline_p", again.p_exact, "p", again.n, method=again.test, definition="p_exact")
    if r.repeats is not None:
        _repeats(figures, name, r.repeats, r.n)


def _repeats(figures: _Figures, name: str, found: Repeats, n: int) -> None:
    for at in found.pass_at:
        for side, value in (("baseline", at.change.baseline), ("candidate", at.change.candidate)):
            figures.add(f"{name}/{side}_pass_at_{at.k}", value, "share", n, definition="pass_at_k")
        method = at.change.interval_method
        value, interval = at.change.difference, at.change.interval
        figures.add(
            f"{name}/pass_at_{at.k}_difference", value, "share", n, interval, method, definition="pass_at_k_difference"
        )
    kinds = ("always", "sometimes", "never")
    for i, before in enumerate(kinds):
        for j, after in enumerate(kinds):
            figures.add(f"{name}/{before}_to_{after}", found.moves[i][j], "problems", n, definition="moves")
    for side, split, passes in zip(("baseline", "candidate"), found.variance, found.passes, strict=True):
        if split is not None:
            figures.add(f"{name}/{side}_variance_items", split.items, "variance", n, definition="variance_items")
            figures.add(
                f"{name}/{side}_variance_sampling", split.sampling, "variance", n, definition="variance_sampling"
            )
        if passes is not None:
            figures.add(f"{name}/{side}_passes", passes.count, "passes", n, definition="passes")
            figures.add(f"{name}/{side}_passes_deviation", passes.deviation, "share", n, definition="passes_deviation")
            figures.add(f"{name}/{side}_passes_lowest", passes.low, "share", n, definition="passes_lowest")
            figures.add(f"{name}/{side}_passes_highest", passes.high, "share", n, definition="passes_highest")


def _length(figures: _Figures, benchmark: str, found: LengthChange) -> None:
    name = f"length/{benchmark}"
    n = found.every.n
    figures.add(f"{name}/baseline_median", found.baseline, found.unit, n, definition="length_median")
    figures.add(f"{name}/candidate_median", found.candidate, found.unit, n, definition="length_median")
    for key, ratio in (("ratio", found.every), ("ratio_uncut", found.uncut), ("ratio_both_right", found.both_right)):
        if ratio is not None:
            method = "bootstrap-problems"
            figures.add(
                f"{name}/{key}", ratio.ratio, "ratio", ratio.n, ratio.interval, method, definition=f"length_{key}"
            )
    figures.add(f"{name}/p_exact", found.p_value, "p", n, method="paired-permutation")
    if found.cut is not None:
        figures.add(f"{name}/cut", found.cut, "problems", n, definition="length_cut")
    figures.add(f"{name}/empty", found.empty, "problems", n + found.empty, definition="length_empty")


def _drift(figures: _Figures, benchmark: str, found: Drift) -> None:
    name = f"outcomes/{benchmark}"
    figures.add(f"{name}/distance", found.distance, "share", found.n)
    figures.add(f"{name}/distance_by_chance", found.by_chance, "share", found.n)
    figures.add(f"{name}/distance_p", found.p_value, "p", found.n, method="exchange-of-sides")
    for c in found.categories:
        figures.change(f"{name}/{c.category}", c.change)
        figures.add(f"{name}/{c.category}/p_adjusted", c.p_adjusted, "p", c.change.n, method="holm")


def _sensitivity(figures: _Figures, found: Sensitivity) -> None:
    name = f"scorers/{found.benchmark}/{found.first}/{found.second}"
    figures.add(f"{name}/robust", found.robust, "yes-no", found.n)
    for side, gap, count in (
        ("baseline", found.baseline_gap, found.baseline_disagreements),
        ("candidate", found.candidate_gap, found.candidate_disagreements),
    ):
        figures.add(f"{name}/{side}_gap", gap, "share", found.n, definition="scorer_gap")
        figures.add(f"{name}/{side}_disagreements", count, "responses", found.n, definition="scorer_disagreements")


def _gate(figures: _Figures, gate: Gate) -> dict[str, Any]:
    """A gate with the ids of its figures; those that accuracy, flips and length already have are not made again."""
    found: dict[str, Any] = {
        key: getattr(gate, key) for key in ("name", "benchmark", "scorer", "unit", "margin", "n", "family", "detail")
    }
    found |= {"status": str(gate.status), "why": str(gate.why)}
    name = f"gate/{gate.name}/{gate.benchmark}" + (f"/{gate.scorer}" if gate.scorer else "")
    accuracy = f"accuracy/{gate.benchmark}/{gate.scorer}"
    if gate.change is None:
        return found
    if gate.name == "accuracy":
        found["change"] = f"{accuracy}/difference"
    elif gate.name == "flips":
        found["change"] = f"{accuracy}/excess_flips"
    elif gate.name == "length":
        found["change"] = f"length/{gate.benchmark}/ratio"
    elif gate.name == "outcomes":
        found["change"] = f"outcomes/{gate.benchmark}/{gate.detail}/difference" if gate.detail else None
    else:
        for side, value in (("baseline", gate.baseline), ("candidate", gate.candidate)):
            found[side] = figures.add(f"{name}/{side}", value, "share", gate.n)
        found["change"] = figures.add(f"{name}/difference", gate.change, "share", gate.n, gate.interval, gate.method)
        found["p_value"] = figures.add(f"{name}/p_value", gate.p_value, "p", gate.n, method=gate.method)
    found["p_adjusted"] = figures.add(f"{name}/p_adjusted", gate.p_adjusted, "p", gate.n, method="holm")
    return found


def _slices(figures: _Figures, column: SliceColumn) -> dict[str, Any]:
    names = {}
    for s in column.slices:
        name = f"slice/{s.benchmark}/{s.scorer}/{s.column}/{s.value}"
        figures.change(name, s.change)
        figures.add(f"{name}/p_adjusted", s.p_adjusted, "p", s.n, method="benjamini-hochberg")
        names[s.value] = name
    return {
        "benchmark": column.benchmark,
        "scorer": column.scorer,
        "column": column.column,
        "family": column.slices[0].family,
        "left_out": column.left_out,
        "outcome_blind": column.blind,
        "tiers": [list(tier) for tier in column.ranking.tiers],
        "figures": names,
    }


#: Ids of lost and of gained problems that are shown; ``flips`` has all of them.
_LISTED = 40


def as_html(comparison: Comparison) -> str:
    """Verdict, reasons and one row per accuracy, or the checks that block; every text is escaped."""
    title = escape(f"{comparison.candidate.name} against {comparison.baseline.name}")
    verdict = escape(comparison.verdict.replace("_", " "))
    parts = [f"<div><p><b>{title}: {verdict}</b></p>"]
    parts.append("<ul>" + "".join(f"<li>{escape(r.text)}</li>" for r in comparison.decision.reasons) + "</ul>")
    if comparison.results:
        heads = (
            "benchmark",
            "scorer",
            "n",
            "baseline %",
            "candidate %",
            "difference",
            "lost",
            "gained",
            "p",
            "detectable",
        )
        parts.append("<table><thead><tr>" + "".join(f"<th>{h}</th>" for h in heads) + "</tr></thead><tbody>")
        for r in comparison.results:
            limits = r.change.interval
            shown = f"{100 * r.change.difference:+.1f}"
            if limits is not None:
                shown += f" [{100 * limits.low:+.1f}, {100 * limits.high:+.1f}]"
            cells = (
                *(r.benchmark, r.scorer, str(r.n), f"{100 * r.change.baseline:.1f}", f"{100 * r.change.candidate:.1f}"),
                *(shown, str(r.lost), str(r.gained), f"{r.change.p_exact:.2g}", f"{100 * r.detectable:.1f}"),
            )
            parts.append("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>")
        parts.append("</tbody></table>")
        groups = comparison.flips().groupby(["benchmark", "scorer", "direction"], sort=False)["problem_id"]
        for group, ids in groups:
            more = f" and {len(ids) - _LISTED} more" if len(ids) > _LISTED else ""
            listed = escape(", ".join(map(str, ids[:_LISTED])) + more)
            head = escape(", ".join(map(str, group)))
            parts.append(f"<p>{head} ({len(ids)}): {listed}</p>")
    return "".join([*parts, "</div>"])
