"""What a rule is: a name, what it means, what it reads, and a predicate over facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from qrm_forensics.metrics.protocol import Said
from qrm_forensics.symptoms.facts import Facts, Restricted, Truth

Family = Literal["symptom", "outcome", "reference"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One named rule.

    ``reads`` are the columns of the wide table that it may look at and ``limits`` the thresholds; it
    gets no others.  ``definition`` is one exact sentence per language.  The result is yes, no, or null
    where the columns that it reads do not decide it.
    """

    family: Family
    name: str
    label: Said
    definition: Said
    reads: tuple[str, ...]
    holds: Callable[[Facts], Truth]
    limits: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """The column of the judged table that holds the result of a symptom or a reference category."""
        return f"{self.family}_{self.name}"

    def __call__(self, facts: Facts) -> Truth:
        return self.holds(Restricted(facts, f"{self.family} {self.name}", self.reads, self.limits))
