"""The verdict: one of seven words, the reasons for it, and the exit code.

Asked in this order; the first that holds is the verdict.

1. *not comparable*: a check blocks.
2. *equivalent*, because both sides are the very same responses.
3. *unreliable baseline*: it is too often cut off or not judged, judged too differently by two policies, solves less
   than the margin (so that no fall beyond it is possible), or two runs of it differ by the margin or more.
4. *regression*: a gate is worse.  One policy, one benchmark or one gate is enough.
5. *insufficient data*: nothing was judged, too many responses of the candidate were not, a gate that the rules
   require cannot be told, or, for an accuracy, a fall as large as the margin would go unseen
   (MDE above margin) and the interval holds both no change and a fall of the margin.
6. *equivalent*: two one-sided tests put every accuracy within the margin.
7. *improvement*: under every policy, some benchmark is told apart for the better by at least the floor.
8. *no difference seen*, with what could have been missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from qrm_forensics.compare.accuracy import Accuracy
from qrm_forensics.compare.change import Change
from qrm_forensics.compare.comparability import Comparability
from qrm_forensics.compare.gates import Gate, GateStatus, Why
from qrm_forensics.compare.rules import Rules
from qrm_forensics.compare.sentences import Reason, Slot, reason
from qrm_forensics.compare.shares import Interval


class Verdict(StrEnum):
    NOT_COMPARABLE = "not_comparable"
    UNRELIABLE_BASELINE = "unreliable_baseline"
    REGRESSION = "regression"
    INSUFFICIENT_DATA = "insufficient_data"
    EQUIVALENT = "equivalent"
    IMPROVEMENT = "improvement"
    NO_DIFFERENCE_SEEN = "no_difference_seen"

    @property
    def exit_code(self) -> int:
        return _EXIT_CODES.get(self, 0)


_EXIT_CODES: Mapping[Verdict, int] = {
    Verdict.REGRESSION: 1,
    Verdict.NOT_COMPARABLE: 3,
    Verdict.INSUFFICIENT_DATA: 4,
    Verdict.UNRELIABLE_BASELINE: 4,
}


class Tier(StrEnum):
    """What the data say of one accuracy."""

    WORSE = "worse"
    BETTER = "better"
    EQUIVALENT = "equivalent"
    INSUFFICIENT = "insufficient"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Decision:
    """``reasons``: those for the verdict first, then what else should be known."""

    verdict: Verdict
    reasons: tuple[Reason, ...]

    @property
    def reason(self) -> Reason:
        return self.reasons[0]

    @property
    def exit_code(self) -> int:
        return self.verdict.exit_code


def tier(change: Change, p_adjusted: float, rules: Rules) -> Tier:
    """Where one accuracy stands; ``p_adjusted`` is that of its gate."""
    margin = rules.margin("accuracy")
    if p_adjusted <= rules.alpha and abs(change.difference) >= rules.floor / 100 - 1e-12 and change.difference != 0:
        return Tier.WORSE if change.difference < 0 else Tier.BETTER
    if margin is None:
        return Tier.OPEN
    if change.equivalence(rules, margin).equivalent:
        return Tier.EQUIVALENT
    spans = change.interval is None or change.interval.low < -margin <= 0 <= change.interval.high
    return Tier.INSUFFICIENT if spans and change.detectable(rules) > margin else Tier.OPEN


def decide(
    comparability: Comparability,
    results: Sequence[Accuracy],
    gates: Sequence[Gate],
    truncated: Mapping[str, float],
    rules: Rules,
) -> Decision:
    """``results``, per benchmark the deciding policy first; ``gates`` judged; ``truncated``: benchmark -> the baseline's share."""
    if not comparability.comparable:
        blockers = comparability.blockers
        return Decision(
            Verdict.NOT_COMPARABLE, tuple(reason("not_comparable", check=c.name, note=c.note) for c in blockers)
        )
    if not results:
        return Decision(Verdict.INSUFFICIENT_DATA, (reason("nothing_judged"),))
    moved = tuple(_moved(r, rules) for r in results if r.same_as is None and r.flips.rate > 0)
    if comparability.identical:
        return Decision(Verdict.EQUIVALENT, (reason("identical", n=results[0].n),))
    if unreliable := tuple(_unreliable(results, truncated, rules)):
        return Decision(Verdict.UNRELIABLE_BASELINE, unreliable + moved)
    if worse := [g for g in gates if g.status is GateStatus.WORSE]:
        return Decision(
            Verdict.REGRESSION, (*(_worse(g, rules) for g in worse), *_disagreements(results, gates, rules), *moved)
        )
    told = _tiers(results, gates, rules)
    short = tuple(_insufficient(results, told, gates, rules))
    rest = (*_disagreements(results, gates, rules), *moved, *_untold(gates))
    if short:
        return Decision(Verdict.INSUFFICIENT_DATA, short + rest)
    if told and all(t is Tier.EQUIVALENT for t in told.values()):
        return Decision(Verdict.EQUIVALENT, tuple(_equivalent(r, rules) for r in results if _key(r) in told) + rest)
    if better := _better(told):
        return Decision(
            Verdict.IMPROVEMENT,
            tuple(_gained(r, gates, rules) for r in results if r.benchmark in better and _key(r) in told) + rest,
        )
    return Decision(
        Verdict.NO_DIFFERENCE_SEEN, tuple(_no_difference(r, gates, rules) for r in results if r.same_as is None) + rest
    )


_Key = tuple[str, str]


def _key(result: Accuracy) -> _Key:
    return (result.benchmark, result.scorer)


def _gate_of(result: Accuracy, gates: Sequence[Gate]) -> Gate | None:
    return next((g for g in gates if g.name == "accuracy" and (g.benchmark, g.scorer) == _key(result)), None)


def _tiers(results: Sequence[Accuracy], gates: Sequence[Gate], rules: Rules) -> dict[_Key, Tier]:
    """(benchmark, policy) -> tier, for every accuracy that is gated."""
    found = {}
    for result in results:
        gate = _gate_of(result, gates)
        if gate is not None and gate.p_adjusted is not None:
            found[_key(result)] = tier(result.change, gate.p_adjusted, rules)
    return found


def _better(told: Mapping[_Key, Tier]) -> set[str]:
    """Benchmarks that are better under every policy."""
    return {b for b, _ in told if all(t is Tier.BETTER for (name, _), t in told.items() if name == b)}


def _unreliable(results: Sequence[Accuracy], truncated: Mapping[str, float], rules: Rules) -> list[Reason]:
    found = []
    margin = rules.margin("accuracy")
    first: dict[str, Accuracy] = {}
    for r in results:
        known = first.setdefault(r.benchmark, r)
        if r.unscored("baseline") > rules.max_unscored:
            found.append(_share("baseline_unscored", r, r.unscored("baseline"), rules.max_unscored))
        gap = abs(r.change.baseline - known.change.baseline)
        if gap > rules.max_scorer_gap:
            slots: dict[str, Slot] = {"points": 100 * gap, "first": known.scorer, "second": r.scorer}
            found.append(
                reason("baseline_scorer_gap", benchmark=r.benchmark, limit=100 * rules.max_scorer_gap, **slots)
            )
    for benchmark, r in first.items():
        cut = truncated.get(benchmark, 0.0)
        if cut > rules.max_baseline_truncated:
            found.append(_share("baseline_truncated", r, cut, rules.max_baseline_truncated))
        if margin is not None and r.change.baseline <= margin:
            slots = {"accuracy": 100 * r.change.baseline, "margin": 100 * margin}
            found.append(reason("baseline_solves_too_little", benchmark=benchmark, **slots))
        floor = r.noise_floor
        if floor is None:
            continue
        if floor.excess.baseline > rules.max_noise_flips:
            found.append(_share("baseline_flips", r, floor.excess.baseline, rules.max_noise_flips))
        again = floor.baseline_change
        # A difference within the margin is one that the rules put up with.
        least = rules.floor / 100 if margin is None else max(margin, rules.floor / 100)
        if again is None or abs(again.difference) < least - 1e-12:
            continue
        if again.p_value(rules) <= rules.alpha / len(first):
            slots = {"points": 100 * again.difference, "p": again.p_value(rules), "n": again.n}
            found.append(reason("baseline_runs_differ", benchmark=benchmark, **slots))
    return found


def _share(key: str, result: Accuracy, share: float, limit: float) -> Reason:
    return reason(key, benchmark=result.benchmark, share=100 * share, limit=100 * limit)


def _insufficient(
    results: Sequence[Accuracy], told: Mapping[_Key, Tier], gates: Sequence[Gate], rules: Rules
) -> list[Reason]:
    found = []
    for r in results:
        share = r.unscored("candidate")
        if share > rules.max_unscored:
            found.append(_share("candidate_unscored", r, share, rules.max_unscored))
        margin, interval = rules.margin("accuracy"), r.change.interval
        if told.get(_key(r)) is Tier.INSUFFICIENT and margin is not None and r.needed is not None:
            slots = _seen(r, gates, rules) | _limits(interval, 1 - rules.alpha)
            slots |= {"needed": max(r.needed, r.n + 1), "margin": 100 * margin}
            found.append(reason("insufficient", benchmark=r.benchmark, scorer=r.scorer, **slots))
    for g in gates:
        if g.name in rules.required and g.status is not GateStatus.OK and g.name != "accuracy":
            found.append(reason("required_not_told", gate=g.name, benchmark=g.benchmark, why=str(g.why)))
    return found


def _limits(interval: Interval | None, confidence: float) -> dict[str, Slot]:
    low, high = (-1.0, 1.0) if interval is None else interval
    return {"low": 100 * low, "high": 100 * high, "confidence": 100 * confidence}


def _worse(gate: Gate, rules: Rules) -> Reason:
    slots: dict[str, Slot] = {
        "benchmark": gate.benchmark,
        "n": gate.n,
        "p": gate.p_adjusted or 0.0,
        "family": gate.family,
        "margin": 100 * gate.margin,
        "change": 100 * abs(gate.change or 0.0),
        **_limits(gate.interval, 1 - rules.alpha),
    }
    if gate.name == "length":
        return reason("worse_length", unit=gate.detail, **slots)
    slots |= {"baseline": 100 * (gate.baseline or 0.0), "candidate": 100 * (gate.candidate or 0.0)}
    if gate.name == "accuracy":
        return reason("worse_accuracy", scorer=gate.scorer or "", **slots)
    if gate.name == "outcomes":
        return reason("worse_outcomes", category=gate.detail, **slots)
    return reason("worse_flips" if gate.name == "flips" else f"worse_{gate.name}", **slots)


def _equivalent(r: Accuracy, rules: Rules) -> Reason:
    margin = 100 * (rules.margin("accuracy") or 0.0)
    limits = _limits(r.change.narrow, 1 - 2 * rules.alpha)
    return reason("equivalent", benchmark=r.benchmark, scorer=r.scorer, n=r.n, margin=margin, **_points(r), **limits)


def _points(r: Accuracy) -> dict[str, Slot]:
    return {"difference": 100 * r.change.difference}


def _gained(r: Accuracy, gates: Sequence[Gate], rules: Rules) -> Reason:
    gate = _gate_of(r, gates)
    p = gate.p_adjusted if gate is not None and gate.p_adjusted is not None else r.change.p_value(rules)
    limits = _limits(r.change.interval, 1 - rules.alpha)
    return reason("improvement", benchmark=r.benchmark, scorer=r.scorer, n=r.n, p=p, **_points(r), **limits)


def _no_difference(r: Accuracy, gates: Sequence[Gate], rules: Rules) -> Reason:
    slots = _seen(r, gates, rules) | _points(r) | _limits(r.change.interval, 1 - rules.alpha)
    return reason("no_difference_seen", benchmark=r.benchmark, scorer=r.scorer, p=r.change.p_value(rules), **slots)


def _seen(r: Accuracy, gates: Sequence[Gate], rules: Rules) -> dict[str, Slot]:
    """What could have been seen: by this test alone, and in the worst case of the family that it is adjusted in."""
    gate = _gate_of(r, gates)
    family = max(gate.family, 1) if gate is not None else 1
    in_family = r.change.detectable(rules, family)
    return {"n": r.n, "detectable": 100 * r.detectable, "in_family": 100 * in_family, "family": family}


def _moved(r: Accuracy, rules: Rules) -> Reason:
    """Flips are told with every verdict, whatever accuracy did."""
    slots: dict[str, Slot] = {
        "benchmark": r.benchmark,
        "scorer": r.scorer,
        "n": r.n,
        "rate": 100 * r.flips.rate,
        "lost": 100 * r.flips.lost,
        "gained": 100 * r.flips.gained,
    }
    if r.noise_floor is None:
        return reason("moved", **slots)
    excess = r.noise_floor.excess
    floor = {
        "floor": 100 * excess.baseline,
        "excess": 100 * excess.difference,
        **_limits(excess.interval, 1 - rules.alpha),
    }
    return reason(f"moved_beside_{r.noise_floor.source.replace('-', '_')}", **slots, **floor)


def _disagreements(results: Sequence[Accuracy], gates: Sequence[Gate], rules: Rules) -> list[Reason]:
    """Benchmarks where one policy tells a change apart and another does not, or tells the opposite."""
    told = _tiers(results, gates, rules)
    found = []
    for benchmark in dict.fromkeys(b for b, _ in told):
        mine = {scorer: t for (b, scorer), t in told.items() if b == benchmark}
        if len({t if t in (Tier.WORSE, Tier.BETTER) else None for t in mine.values()}) > 1:
            changes = {r.scorer: r.change.difference for r in results if r.benchmark == benchmark}
            shown = "; ".join(f"{scorer}: {100 * changes[scorer]:+.1f} points, {t}" for scorer, t in mine.items())
            found.append(reason("scorers_disagree", benchmark=benchmark, shown=shown))
    return found


def _untold(gates: Sequence[Gate]) -> list[Reason]:
    """Gates that say neither yes nor no."""
    open_ = [g for g in gates if g.status is GateStatus.UNKNOWN and g.name != "accuracy"]
    found = []
    for why in (Why.TOO_FEW, Why.NO_NOISE_FLOOR, Why.NOT_MEASURED):
        names = list(dict.fromkeys(f"{g.name} ({g.benchmark})" for g in open_ if g.why is why))
        if names:
            found.append(reason(f"untold_{why.replace('-', '_')}", gates=", ".join(names)))
    return found
