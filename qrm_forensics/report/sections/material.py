"""What a builder of sections may read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from qrm_forensics.report.claims import Ledger
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.findings import Evidence
from qrm_forensics.report.model import BenchmarkReport, Claim


@dataclass(frozen=True)
class Material:
    """The run, what is already computed, and the ledger.

    ``references``: benchmark -> variant -> its reference, only for variants whose model has another variant there.
    """

    run: RunData
    reports: tuple[BenchmarkReport, ...]
    references: dict[str, dict[str, str]]
    evidence: Evidence
    ledger: Ledger
    #: The run with its variants under thinking budgets, where there are any; ``run`` is without them.
    thinking: RunData | None = None
    #: What builders keep for one another, by name.
    kept: dict[str, Any] = field(default_factory=dict)

    def benchmarks(self) -> Iterator[tuple[BenchmarkData, BenchmarkReport]]:
        for report in self.reports:
            yield self.run.benchmarks[report.name], report

    def known(self, claim_id: str) -> Claim | None:
        """The claim that is registered under an id, so that it need not be made again."""
        try:
            return self.ledger.get(claim_id)
        except KeyError:
            return None

    def add(self, claim: Claim) -> Claim:
        return self.ledger.add(claim)
