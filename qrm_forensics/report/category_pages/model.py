"""What a page about one subject, level, topic or outcome holds."""

from __future__ import annotations

from dataclasses import dataclass

from qrm_forensics.report.nouns import Sentence
from qrm_forensics.report.sections.model import Quote, Table


@dataclass(frozen=True, slots=True)
class Side:
    """One response of a chosen case, in figures.  ``status``: under the first policy; ``onset``: 0..1, where it loops."""

    variant: str
    status: str
    outcome: str | None
    answer: str | None
    words: int | None
    onset: float | None


@dataclass(frozen=True, slots=True)
class Pick:
    """One case: the reference's response (where there is one) and the variant's, and the variant's words at the place
    that the rule speaks of.  ``question`` and ``gold`` are cut.
    """

    problem_id: str
    sample: int
    seed: int
    question: str
    gold: str
    sides: tuple[Side, ...]
    quote: Quote | None


@dataclass(frozen=True, slots=True)
class Picks:
    """The cases that one rule has chosen, the first by its order first.

    ``why``: the rule as a sentence with ``shown`` (how many are here) and ``count`` (how many it fits).
    """

    rule: str
    why: Sentence
    cases: tuple[Pick, ...]


@dataclass(frozen=True, slots=True)
class CategoryPage:
    """``dimension``: subject | level | topic | outcome; ``name`` as in ``Category``, or that of the outcome."""

    benchmark: str
    dimension: str
    name: str
    size: Sentence
    sentences: tuple[Sentence, ...]
    tables: tuple[Table, ...]
    picks: tuple[Picks, ...]
