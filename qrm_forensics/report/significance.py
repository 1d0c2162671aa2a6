"""The comparisons of a whole report, tested together: which changes are told apart from chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qrm_forensics.compare import PairedCounts, holm
from qrm_forensics.records import Coverage
from qrm_forensics.report.claims import Ledger, Source, count, tally, where
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.model import Claim, Pair, Unit
from qrm_forensics.report.pairs import compare, pair_coverage, shared_rows

#: Family-wise error rate of each family of comparisons.
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class TestedPair:
    """A pair, its Holm-adjusted p, and the size of its family: all variants and benchmarks under one policy."""

    pair: Pair
    adjusted: float
    p: Claim
    family: Claim

    @property
    def difference(self) -> float:
        return float(self.pair.difference.value or 0)

    @property
    def told_apart(self) -> bool:
        return self.adjusted <= ALPHA


def adjust_pairs(pairs: Sequence[Pair], policy: str, ledger: Ledger) -> dict[tuple[str, str], TestedPair]:
    """(benchmark, variant) -> the pair with its adjusted p; pairs over selected problems are not tested at all."""
    tested = [p for p in pairs if p.policy == policy and p.p_value.value is not None]
    adjusted = holm([float(p.p_value.value or 0) for p in tested])
    found = {}
    for pair, value in zip(tested, adjusted, strict=True):
        name = f"paired/{pair.benchmark}/{pair.variant}/{policy}/holm_p"
        source: Source = {"table": pair.p_value.table, "filter": pair.p_value.filter}
        p = ledger.add(Claim(name, value, Unit.P_VALUE, "definition.holm_p", denominator=pair.n.denominator, **source))
        family = ledger.add(
            tally(
                *(f"family/accuracy/{policy}", len(tested), "definition.family"),
                starts="paired/",
                ends=f"/{policy}/mcnemar_p",
            )
        )
        found[pair.benchmark, pair.variant] = TestedPair(pair, value, p, family)
    return found


@dataclass(frozen=True, slots=True)
class Rise:
    """A yes/no column of a variant beside its reference, on the problems that they share."""

    column: str
    benchmark: str
    reference: str
    variant: str
    result: PairedCounts
    adjusted: float
    slots: dict[str, Claim | str]

    @property
    def rose(self) -> bool:
        return self.adjusted <= ALPHA and self.result.difference > 0


def rises(
    run: RunData, column: str, label: str, table: str, references: dict[str, dict[str, str]], ledger: Ledger
) -> list[Rise]:
    """Test one column over all variants and benchmarks (one family), on shared unselected problems.

    ``column`` is a column of the joined frame, ``label`` what the claims call it.
    """
    made: list[tuple[BenchmarkData, str, str, PairedCounts]] = []
    for data in run.benchmarks.values():
        for variant, reference in references[data.name].items():
            if variant == reference or pair_coverage(data, (reference, variant)) is Coverage.SELECTED:
                continue
            result = compare(data, data.aligned(reference, column), data.aligned(variant, column))
            if result is not None:
                made.append((data, reference, variant, result))
    found = []
    for (data, reference, variant, result), value in zip(made, holm([m[3].p_value for m in made]), strict=True):
        name = f"paired/{data.name}/{variant}/{label}"
        at = where(benchmark=data.name, variant=[reference, variant])
        source: Source = {
            "table": table,
            "filter": at + (f" and {where(policy=run.policy)}" if table == "verdicts" else ""),
        }
        x, y = data.aligned(reference, column), data.aligned(variant, column)
        shared = shared_rows(x, y)
        counts = {
            "reference_count": ("paired_rate_count", int(x[shared].sum()), int(shared.sum())),
            "variant_count": ("paired_rate_count", int(y[shared].sum()), int(shared.sum())),
            "only_variant": ("paired_rate_only", result.gained, result.n),
            "only_reference": ("paired_rate_only", result.lost, result.n),
        }
        slots: dict[str, Claim | str] = {"variant": variant, "reference": reference, "benchmark": data.name}
        slots["n"] = ledger.add(count(f"{name}/n", result.n, "definition.paired_n", **source))
        for kind, (definition, number, of) in counts.items():
            slots[kind] = ledger.add(count(f"{name}/{kind}", number, f"definition.{definition}", of=of, **source))
        raw = Claim(f"{name}/mcnemar_p", result.p_value, Unit.P_VALUE, "definition.mcnemar_p", **source)
        ledger.add(raw)
        slots["p"] = ledger.add(Claim(f"{name}/holm_p", value, Unit.P_VALUE, "definition.holm_p", **source))
        slots["family"] = ledger.add(
            tally(f"family/{label}", len(made), "definition.family", starts="paired/", ends=f"/{label}/mcnemar_p")
        )
        found.append(Rise(column, data.name, reference, variant, result, value, slots))
    return found
