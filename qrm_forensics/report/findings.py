"""What a report says in sentences, each only where its evidence passes.

A drop (or gain) needs McNemar's exact test, Holm-adjusted over all variants and
benchmarks under a policy, of at most 0.05; it is said without reserve only where
every policy agrees.  A rise of loops, missing answers or truncation needs the same test over its own family.
Selected problems are never tested.
"""

from __future__ import annotations

from dataclasses import dataclass

from qrm_forensics.compare import holm, mcnemar_exact
from qrm_forensics.report.claims import Ledger, Source, count, tally, where, with_interval
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.model import BenchmarkReport, Cell, Claim, Pair, Sentence, Unit
from qrm_forensics.report.pairs import compare
from qrm_forensics.report.significance import ALPHA, Rise, TestedPair, adjust_pairs, rises

#: Flips worth a sentence although accuracy is not told apart: this share of the problems, and at least so many.
_FLIPS_SHARE, _FLIPS = 0.05, 5
#: A scorer gap worth a sentence, as a share of the problems.
_GAP = 0.02
#: A length ratio worth a sentence, once its interval excludes 1.
_LONGER = 1.05
#: Looping responses needed before their outcome is described.
_LOOPS = 5


@dataclass(frozen=True, slots=True)
class Evidence:
    """All tests of a report: policy -> (benchmark, variant) -> tested pair; and the rises by column."""

    pairs: dict[str, dict[tuple[str, str], TestedPair]]
    loops: list[Rise]
    missing: list[Rise]
    truncated: list[Rise]


def gather(
    run: RunData, reports: tuple[BenchmarkReport, ...], references: dict[str, dict[str, str]], ledger: Ledger
) -> Evidence:
    """Run every test of the report once."""
    pairs = [p for r in reports for p in r.pairs]
    measured = {c: run.tables[c] for c in ("loop", "truncated") if c in run.tables}

    def risen(column: str) -> list[Rise]:
        return rises(run, column, column, measured[column], references, ledger) if column in measured else []

    return Evidence(
        pairs={policy: adjust_pairs(pairs, policy, ledger) for policy in run.policies},
        loops=risen("loop"),
        missing=rises(run, f"missing:{run.policy}", "missing", "verdicts", references, ledger),
        truncated=risen("truncated"),
    )


def build_findings(
    run: RunData, reports: tuple[BenchmarkReport, ...], evidence: Evidence, ledger: Ledger
) -> tuple[Sentence, ...]:
    """All findings, the gravest first."""
    made = [
        *_accuracy(run, evidence),
        *(Sentence("finding.loops_rise", r.slots, "bad") for r in _worst_first(evidence.loops)),
        *(
            Sentence("finding.missing_rise", r.slots | {"policy": run.policy}, "bad")
            for r in _worst_first(evidence.missing)
        ),
        *(Sentence("finding.truncated_rise", r.slots, "bad") for r in _worst_first(evidence.truncated)),
    ]
    for report in reports:
        data = run.benchmarks[report.name]
        for cell in report.cells:
            made += _scorer_gap(cell, ledger)
            made += _loops_wrong(run, data, cell.variant, ledger)
            made += _selected(run, data, cell, ledger)
        made += [s for p in report.pairs if p.policy == run.policy for s in _length(p, ledger)]
        made += _worst_variant(run, data, report, ledger)
    order = ("bad", "warning", "info", "good")
    return tuple(sorted(made, key=lambda s: order.index(s.severity)))


def _worst_first(found: list[Rise]) -> list[Rise]:
    return sorted((r for r in found if r.rose), key=lambda r: -r.result.difference)


def _accuracy(run: RunData, evidence: Evidence) -> list[Sentence]:
    """One sentence per variant and benchmark: lost, gained, depends on the policy, or not told apart."""
    made: list[tuple[float, Sentence]] = []
    for key, first in evidence.pairs[run.policy].items():
        tests = {policy: tested[key] for policy, tested in evidence.pairs.items() if key in tested}
        lower = [policy for policy, t in tests.items() if t.told_apart and t.difference < 0]
        higher = [policy for policy, t in tests.items() if t.told_apart and t.difference > 0]
        if len(lower) == len(tests):
            made.append((first.difference, Sentence("finding.drop", _pair_slots(first), "bad")))
        elif higher and len(higher) == len(tests):
            made.append((first.difference, Sentence("finding.gain", _pair_slots(first), "good")))
        elif changed := lower or higher:
            policy = changed[0]
            other = next(p for p in tests if p not in changed)
            slots: dict[str, Claim | str] = {
                **{k: v for k, v in _pair_slots(tests[policy]).items() if k not in ("lost", "gained")},
                "other_policy": other,
                "other_difference": tests[other].pair.difference,
                "other_p": tests[other].p,
            }
            made.append((first.difference, Sentence("finding.drop_one_policy", slots, "warning")))
        else:
            made += [(first.difference, s) for s in _not_told_apart(first)]
    return [sentence for _, sentence in sorted(made, key=lambda m: m[0])]


def _pair_slots(tested: TestedPair) -> dict[str, Claim | str]:
    pair = tested.pair
    return {
        "variant": pair.variant,
        "reference": pair.reference,
        "benchmark": pair.benchmark,
        "policy": pair.policy,
        "n": pair.n,
        "lost": pair.lost,
        "gained": pair.gained,
        "difference": pair.difference,
        "p": tested.p,
        "family": tested.family,
    }


def _not_told_apart(tested: TestedPair) -> list[Sentence]:
    pair = tested.pair
    common: dict[str, Claim | str] = {
        "variant": pair.variant,
        "reference": pair.reference,
        "benchmark": pair.benchmark,
        "policy": pair.policy,
        "n": pair.n,
        "difference": pair.difference,
    }
    made = [Sentence("finding.no_difference", {**common, "p": tested.p, "detectable": pair.detectable})]
    lost, gained = int(pair.lost.value or 0), int(pair.gained.value or 0)
    if min(lost, gained) and lost + gained >= max(_FLIPS, _FLIPS_SHARE * int(pair.n.value or 0)):
        flips: dict[str, Claim | str] = {"lost": pair.lost, "gained": pair.gained, "flips": pair.flips}
        made.append(Sentence("finding.flips", common | flips, "warning"))
    return made


def _scorer_gap(cell: Cell, ledger: Ledger) -> list[Sentence]:
    """Where lenient minus strict is at least two points and told apart from 0."""
    gap = cell.scorer_gap
    if gap is None or gap.value is None or abs(gap.value) < _GAP:
        return []
    lenient_only, strict_only = (ledger.get(f"{gap.id}/{kind}") for kind in ("lenient_only", "strict_only"))
    if mcnemar_exact(int(strict_only.value or 0), int(lenient_only.value or 0)) > ALPHA:
        return []
    n = count(*(f"{gap.id}/n", int(gap.denominator or 0), "definition.paired_n"), table=gap.table, filter=gap.filter)
    slots: dict[str, Claim | str] = {
        "variant": cell.variant,
        "benchmark": cell.benchmark,
        "gap": gap,
        "lenient_only": lenient_only,
        "strict_only": strict_only,
        "n": ledger.add(n),
    }
    return [Sentence("finding.scorer_gap", slots, "warning")]


def _loops_wrong(run: RunData, data: BenchmarkData, variant: str, ledger: Ledger) -> list[Sentence]:
    """How looping responses end, beside the others of the same variant."""
    if "loop" not in run.tables or data.is_selected(variant):
        return []
    frame = data.of(variant)
    frame = frame[frame["loop"].notna() & frame[f"right:{run.policy}"].notna()]
    looping = frame["loop"] == 1
    if int(looping.sum()) < _LOOPS:
        return []
    wrong = frame[f"right:{run.policy}"] == 0
    source: Source = {
        "table": f"verdicts+{run.tables['loop']}",
        "filter": where(variant=variant, benchmark=data.name, policy=run.policy),
    }
    slots: dict[str, Claim | str] = {"variant": variant, "benchmark": data.name, "policy": run.policy}
    for kind, rows in (("loops", looping), ("rest", ~looping)):
        n, not_right = int(rows.sum()), int((rows & wrong).sum())
        name = f"loops/{data.name}/{variant}/{run.policy}/{kind}"
        slots[kind] = ledger.add(count(name, n, f"definition.{kind}", of=len(frame), **source))
        slots[f"{kind}_not_right"] = ledger.add(
            count(f"{name}_not_right", not_right, f"definition.{kind}_not_right", of=n, **source)
        )
    if looping.all():
        alone = {name: slot for name, slot in slots.items() if not name.startswith("rest")}
        return [Sentence("finding.loops_wrong_all", alone, "warning")]
    return [Sentence("finding.loops_wrong", slots, "warning")]


def _selected(run: RunData, data: BenchmarkData, cell: Cell, ledger: Ledger) -> list[Sentence]:
    if not data.is_selected(cell.variant):
        return []
    loops = Claim(
        *(f"loops/{data.name}/{cell.variant}/selected", None, Unit.COUNT, "definition.loops"), note="claim.no_measure"
    )
    if "loop" in run.tables:
        values = data.of(cell.variant)["loop"].dropna()
        source: Source = {"table": run.tables["loop"], "filter": where(variant=cell.variant, benchmark=data.name)}
        loops = count(loops.id, int(values.sum()), loops.definition, of=len(values), **source)
    slots: dict[str, Claim | str] = {
        "variant": cell.variant,
        "benchmark": cell.benchmark,
        "policy": run.policy,
        "n": cell.n,
        "correct": cell.correct[run.policy],
        "missing": cell.missing[run.policy],
        "loops": ledger.add(loops),
    }
    return [Sentence("finding.selected_counts", slots, "warning")]


def _length(pair: Pair, ledger: Ledger) -> list[Sentence]:
    """Where the interval of the length ratio excludes 1 and the ratio differs by at least 5 %."""
    ratio = pair.length_ratio
    if ratio.value is None or ratio.ci_low is None or ratio.ci_high is None:
        return []
    longer = ratio.ci_low > 1 and ratio.value >= _LONGER
    shorter = ratio.ci_high < 1 and ratio.value <= 1 / _LONGER
    if not (longer or shorter):
        return []
    slots: dict[str, Claim | str] = {
        "variant": pair.variant,
        "reference": pair.reference,
        "benchmark": pair.benchmark,
        "n": ledger.get(f"{ratio.id}/n"),
        "ratio": ratio,
    }
    return [Sentence("finding.longer" if longer else "finding.shorter", slots)]


def _worst_variant(run: RunData, data: BenchmarkData, report: BenchmarkReport, ledger: Ledger) -> list[Sentence]:
    """The quantized variant that is worse than each other one, or those that the worst is not told apart from."""
    candidates = [v for v in data.variants if not data.is_selected(v) and run.quantized(v)]
    scores = {c.variant: c.accuracy[run.policy] for c in report.cells}
    values = {v: claim.value for v in candidates if (claim := scores[v]) is not None and claim.value is not None}
    if len(values) < 2:
        return []
    lowest = min(values, key=lambda v: float(values[v] or 0))
    against = {
        v: result
        for v in values
        if v != lowest
        and run.variants[v].model == run.variants[lowest].model
        and (result := compare(data, data.right(v, run.policy), data.right(lowest, run.policy))) is not None
    }
    if not against:
        return []
    adjusted = dict(zip(against, holm([r.p_value for r in against.values()]), strict=True))
    common: dict[str, Claim | str] = {"benchmark": data.name, "policy": run.policy}
    made: dict[str, dict[str, Claim]] = {}
    for other, result in against.items():
        name = f"between/{data.name}/{lowest}/{other}/{run.policy}"
        source: Source = {
            "table": "verdicts",
            "filter": where(benchmark=data.name, policy=run.policy, variant=[other, lowest]),
        }
        difference = Claim(
            *(f"{name}/difference", result.difference, Unit.POINTS, "definition.difference"),
            denominator=result.n,
            **source,
        )
        made[other] = {
            "n": ledger.add(count(f"{name}/n", result.n, "definition.paired_n", **source)),
            "difference": ledger.add(with_interval(difference, result.interval, result.interval_method)),
            "p": ledger.add(Claim(f"{name}/holm_p", adjusted[other], Unit.P_VALUE, "definition.holm_p", **source)),
        }
    alike = [v for v, r in against.items() if adjusted[v] > ALPHA or r.difference >= 0]
    if not alike:
        nearest = max(adjusted, key=adjusted.__getitem__)
        return [Sentence("finding.worst", {**common, "variant": lowest, "other": nearest, **made[nearest]}, "warning")]
    starts = f"between/{data.name}/{lowest}/"
    comparisons = tally(
        *(f"comparisons/{data.name}/{lowest}/{run.policy}", len(against), "definition.comparisons"),
        starts=starts,
        ends=f"/{run.policy}/holm_p",
    )
    named: dict[str, Claim | str] = {
        "variants": ", ".join([lowest, *alike]),
        "comparisons": ledger.add(comparisons),
        "smallest_p": made[min(alike, key=adjusted.__getitem__)]["p"],
    }
    return [Sentence("finding.not_told_apart", common | named)]
