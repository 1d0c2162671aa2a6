"""What a comparison is judged by: error rates, margins and what may differ, all chosen before looking.

Margins are percentage points (2.0 is two problems in a hundred) and compare candidate with baseline;
the margin of ``length`` is per cent of the baseline's length.

Samples must not be added until a gate turns green: every interval and p-value here is valid for a number of
problems and samples that was fixed beforehand.  ``planned`` and ``planned_samples`` fix it, and a comparison with any
other number is not comparable.  There is no sequential procedure in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

#: What is gated, in the order in which it is told.
GATES = ("accuracy", "flips", "loop", "truncated", "missing_answer", "length", "outcomes")

MARGINS: Mapping[str, float] = MappingProxyType(
    {
        "accuracy": 2.0,
        "flips": 5.0,
        "loop": 2.0,
        "truncated": 2.0,
        "missing_answer": 2.0,
        "length": 10.0,
        "outcomes": 5.0,
    }
)

#: Differences in how the two sides were made that block a comparison unless the rules allow them.
ALLOWABLE = frozenset({"prompts", "sampling", "max_new_tokens", "scorer"})

#: Columns that are sliced by where the rules name none; ``length_band`` is the baseline's length in quarters.
SLICES = ("subject", "level", "length_band")


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of one comparison; ``Rules()`` is those of a gate.

    ``alpha``: family-wise error rate of the gates, and of each interval.  ``power``: of the detectable difference.
    ``test``: which p-value decides, exact or mid-p.
    ``margins``: gate -> largest change for the worse that is acceptable; a gate that is left out is not judged.
    ``floor``: a told-apart accuracy difference smaller than this (points) is no regression and no improvement.
    ``required``: gates besides accuracy that must be shown to hold; one that cannot be told is then insufficient data.
    ``scorers``: policies that are compared; None for every one that both sides have.
    ``min_overlap``: share of the problems of either side that both must have, per benchmark, 0..1.
    ``allow``: names of ``ALLOWABLE`` differences that only warn.  ``require_known``: facts that are not known block.
    ``planned``: benchmark -> problems; ``planned_samples``: samples per problem, on both sides; ``planned_seeds``: the
    candidate's seeds of sampling, all of them.
    ``cluster``: column of the items that names which problems belong together (a passage, a year).
    ``slices``: columns; None for ``SLICES``.
    ``max_unscored``: share of responses without a verdict that is put up with, on each side.
    ``max_baseline_truncated``, ``max_scorer_gap`` (of the baseline's accuracy under two policies),
    ``max_noise_flips`` (flips between two runs of the baseline): shares above which the baseline is unreliable.
    ``max_age_days``: a baseline that is older than the candidate by more warns.
    ``seed``, ``resamples``: of every bootstrap.
    """

    alpha: float = 0.05
    power: float = 0.8
    test: Literal["exact", "mid-p"] = "exact"
    margins: Mapping[str, float] = field(default_factory=lambda: MARGINS)
    floor: float = 1.0
    required: frozenset[str] = frozenset()
    scorers: tuple[str, ...] | None = None
    min_overlap: float = 1.0
    allow: frozenset[str] = frozenset()
    require_known: bool = False
    planned: Mapping[str, int] | None = None
    planned_samples: int | None = None
    planned_seeds: tuple[int, ...] | None = None
    cluster: str | None = None
    slices: tuple[str, ...] | None = None
    max_unscored: float = 0.02
    max_baseline_truncated: float = 0.5
    max_scorer_gap: float = 0.25
    max_noise_flips: float = 0.3
    max_age_days: float = 180.0
    seed: int = 20250401
    resamples: int = 10_000

    def __post_init__(self) -> None:
        """Raises ValueError for a name that does not exist and a number that means nothing."""
        for what, names, known in (
            ("gate", set(self.margins) | self.required, set(GATES)),
            ("difference to allow", self.allow, ALLOWABLE),
        ):
            if names - known:
                raise ValueError(f"no {what} is named {sorted(names - known)}; there are {', '.join(sorted(known))}")
        if not 0 < self.alpha < 0.5 or not 0.5 <= self.power < 1:
            raise ValueError(
                f"alpha lies between 0 and 0.5 and power between 0.5 and 1, got {self.alpha}, {self.power}"
            )
        low = [name for name, margin in self.margins.items() if not 0 < margin < (1e6 if name == "length" else 100)]
        if low:
            raise ValueError(f"the margin of {', '.join(low)} is not above zero and below 100 points")
        if self.resamples < 1000:
            raise ValueError(f"{self.resamples} resamples are too few for the ends of an interval; at least 1000")
        if not 0 <= self.min_overlap <= 1 or self.floor < 0:
            raise ValueError("min_overlap lies between 0 and 1, and floor is not below zero")

    def margin(self, gate: str) -> float | None:
        """The margin of a gate as a share (0.02 for 2 points); None where it is not judged."""
        points = self.margins.get(gate)
        return None if points is None else points / 100


#: Rules of a gate in CI: both sides must have every problem.
GATE = Rules()
#: Rules of looking at two checkpoints: the problems that both have are compared, and what is missing is said.
DEFAULT = replace(GATE, min_overlap=0.0)
