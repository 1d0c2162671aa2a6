"""The one sentence above all others, made from what the findings passed."""

from __future__ import annotations

from collections.abc import Mapping

from qrm_forensics.report.claims import Ledger, count, tally
from qrm_forensics.report.data import RunData
from qrm_forensics.report.findings import Evidence
from qrm_forensics.report.model import BenchmarkReport, Claim, Sentence, Unit
from qrm_forensics.report.significance import TestedPair


def build_headline(
    run: RunData,
    reports: tuple[BenchmarkReport, ...],
    evidence: Evidence,
    findings: tuple[Sentence, ...],
    ledger: Ledger,
) -> Sentence:
    """The one sentence above all others."""
    first = evidence.pairs[run.policy]
    drops = [f for f in findings if f.key == "finding.drop"]
    if drops:
        worst = drops[0].slots
        keys = [(str(d.slots["benchmark"]), str(d.slots["variant"])) for d in drops]
        dropped = len({variant for _, variant in keys})
        # every one of these has an adjusted p of at most 0.05 and a difference below 0 under each policy
        number = Claim(
            *("headline/variants_dropped", dropped, Unit.COUNT, "definition.variants_dropped"),
            table="claims",
            filter=f"id in {[f'paired/{b}/{v}/{run.policy}/holm_p' for b, v in keys]!r}",
        )
        slots = {k: worst[k] for k in ("variant", "reference", "benchmark", "n", "difference", "p")}
        slots |= {"variants_dropped": ledger.add(number), "comparisons": _comparisons(first, ledger, run.policy)}
        return Sentence("headline.drop", slots, "bad")
    for finding in findings:
        if finding.key == "finding.drop_one_policy" and _difference(finding) < 0:
            wanted = ("variant", "reference", "benchmark", "policy", "n", "difference", "p")
            return Sentence("headline.drop_one_policy", {k: finding.slots[k] for k in wanted}, "warning")
    wanted = ("variant", "reference", "benchmark", "n", "reference_count", "variant_count", "p")
    for kind in ("loops", "missing", "truncated"):
        for finding in findings:
            if finding.key == f"finding.{kind}_rise":
                return Sentence(f"headline.{kind}", {k: finding.slots[k] for k in wanted}, "bad")
    gains = [f for f in findings if f.key in ("finding.gain", "finding.drop_one_policy")]  # what fell was told above
    if gains:
        largest_gain = max(gains, key=_difference).slots
        wanted = ("variant", "reference", "benchmark", "policy", "n", "difference", "p")
        slots = {k: largest_gain[k] for k in wanted} | {"comparisons": _comparisons(first, ledger, run.policy)}
        return Sentence("headline.gain", slots, "good")
    if first:
        largest = max((t.pair.detectable for t in first.values()), key=lambda c: float(c.value or 0))
        return Sentence(
            "headline.no_difference", {"comparisons": _comparisons(first, ledger, run.policy), "detectable": largest}
        )
    totals = {
        "variants_count": len({c.variant for r in reports for c in r.cells}),
        "benchmarks_count": len(reports),
        "responses": sum(int(c.n.value or 0) for r in reports for c in r.cells),
    }
    return Sentence(
        "headline.no_comparison",
        {
            kind: ledger.add(count(f"headline/{kind}", value, f"definition.{kind}", table="traces", filter=""))
            for kind, value in totals.items()
        },
    )


def _difference(finding: Sentence) -> float:
    claim = finding.slots["difference"]
    return float(claim.value or 0) if isinstance(claim, Claim) else 0.0


def _comparisons(first: Mapping[tuple[str, str], TestedPair], ledger: Ledger, policy: str) -> Claim:
    return ledger.add(
        tally(
            "headline/comparisons", len(first), "definition.comparisons", starts="paired/", ends=f"/{policy}/mcnemar_p"
        )
    )
