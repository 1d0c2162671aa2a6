"""What a builder of sections may read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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

    def benchmarks(self) -> Iterator[tuple[BenchmarkData, BenchmarkReport]]:
        for report in self.reports:
            yield self.run.benchmarks[report.name], report

    def add(self, claim: Claim) -> Claim:
        return self.ledger.add(claim)
