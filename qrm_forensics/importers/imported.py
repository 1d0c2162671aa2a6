"""What every import format makes out of foreign files."""

from __future__ import annotations

from dataclasses import dataclass, field

from qrm_forensics.records import Problem, Trace, Variant, Verdict


@dataclass(frozen=True, slots=True)
class ImportedCell:
    """The responses of one variant to one benchmark, all seeds.

    ``metrics[i]`` are the figures that the foreign file stored beside ``traces[i]``
    (name -> value, null where the file has a null); they are kept, not believed.
    ``verdicts`` are those of a format that has no responses to score, one per trace; empty for the others.
    """

    variant: str
    benchmark: str
    traces: list[Trace]
    metrics: list[dict[str, float | None]]
    verdicts: list[Verdict] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Imported:
    """Foreign results as records of this suite, checked as a whole before anything is written.

    ``baseline`` is the id of the only unquantized variant, null where there is none or
    more than one.  ``size_known[benchmark]``: whether ``problems`` holds the whole
    benchmark (joined to its problem file) or only what was answered.  ``files`` and
    ``datasets`` map ``source_file`` and benchmark to the SHA-256 of what was read.
    ``notices`` are sentences that whoever reads the results should see.
    """

    variants: list[Variant]
    baseline: str | None
    problems: list[Problem]
    cells: list[ImportedCell]
    size_known: dict[str, bool]
    files: dict[str, str]
    datasets: dict[str, str]
    notices: list[str]
