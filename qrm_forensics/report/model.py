"""What a report holds: numbers as claims, in plain dataclasses, without a word of prose.

``build_context`` (:mod:`qrm_forensics.report.context`) fills these from the tables
of a run; ``render`` turns them into HTML, Markdown and table files in a language.
Nothing here knows a language, a colour or a template.  Text for people is a
catalogue key with named slots; each slot is a claim or a plain name.
"""

from __future__ import annotations

from dataclasses import dataclass

from qrm_forensics.records import Coverage, Variant
from qrm_forensics.report.category_pages.model import CategoryPage
from qrm_forensics.report.nouns import Claim as Claim
from qrm_forensics.report.nouns import Sentence as Sentence
from qrm_forensics.report.nouns import Unit as Unit
from qrm_forensics.report.reader.model import Reader
from qrm_forensics.report.sections.model import Section


@dataclass(frozen=True, slots=True)
class Cell:
    """One variant on one benchmark.

    ``accuracy`` per policy is None for a ``SELECTED`` subset, where only ``correct``
    counts are shown.  ``rates`` (closed, boxed, truncated, loop, ...) are shares with
    Wilson intervals; ``centres`` are medians of measured columns (n_words, ...),
    ``means`` their means.  Keys of rates and centres are metric column names.
    """

    variant: str
    benchmark: str
    coverage: Coverage
    benchmark_size: int | None
    n: Claim
    accuracy: dict[str, Claim | None]
    correct: dict[str, Claim]
    missing: dict[str, Claim]
    unscored: dict[str, Claim]
    scorer_gap: Claim | None
    rates: dict[str, Claim]
    centres: dict[str, Claim]
    means: dict[str, Claim]


@dataclass(frozen=True, slots=True)
class Pair:
    """A variant against the reference on the problems that both answered, under one policy.

    ``lost``: reference right, variant wrong; ``gained``: the other way.  ``difference``
    (variant - reference, POINTS) and ``p_value`` (McNemar exact) have value None, with
    a note, where the shared problems were selected by somebody.
    """

    reference: str
    variant: str
    benchmark: str
    policy: str
    coverage: Coverage
    n: Claim
    both: Claim
    lost: Claim
    gained: Claim
    neither: Claim
    flips: Claim
    reference_accuracy: Claim | None
    variant_accuracy: Claim | None
    difference: Claim
    p_value: Claim
    detectable: Claim
    length_ratio: Claim
    lost_problems: tuple[str, ...]
    gained_problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OverlapRow:
    """One of the 2^k cells: which variants are right, and on how many problems."""

    right: tuple[bool, ...]
    count: Claim


@dataclass(frozen=True, slots=True)
class Overlap:
    """The full 2^k table over the problems that all ``variants`` answered; ``total`` equals the sum of the rows."""

    benchmark: str
    policy: str
    variants: tuple[str, ...]
    coverage: Coverage
    rows: tuple[OverlapRow, ...]
    total: Claim


@dataclass(frozen=True, slots=True)
class CategoryRow:
    """One variant inside one category.  ``p``: of the difference, Holm-adjusted over the dimension."""

    variant: str
    n: Claim
    accuracy: dict[str, Claim | None]
    correct: dict[str, Claim]
    lost: Claim | None
    gained: Claim | None
    difference: Claim | None
    rates: dict[str, Claim]
    centres: dict[str, Claim]
    p: Claim | None = None


@dataclass(frozen=True, slots=True)
class Category:
    """One subject, level or topic of a benchmark.  ``dimension``: subject | level | topic; of topics a problem may
    have several, and their names are labels of :mod:`qrm_forensics.benchmarks.taxonomy`.
    """

    benchmark: str
    dimension: str
    name: str
    coverage: Coverage
    rows: tuple[CategoryRow, ...]
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of a response that a metric points at: code points ``start`` to ``end`` of the whole text.

    ``kind``: loop | false_equation | correct | gibberish.
    """

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Event:
    """A point on the axis from the beginning (0) to the end (1) of a response; ``kind`` as in ``keys.EVENTS``."""

    kind: str
    char: int
    at: float


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One response in a case: parts of its text, cut on word boundaries, never altered.

    ``parts`` are (offset of the first character, text) for beginning, middle, end; the
    whole text where it is short.  ``marks`` ascend and lie within the whole text.  ``events`` are
    what happened in the order of the text; ``outcome`` is that of ``symptoms``, None where not judged.
    """

    variant: str
    status: dict[str, str]
    answer: dict[str, str | None]
    finish: str
    n_words: int | None
    n_chars: int | None
    n_tokens: int | None
    parts: tuple[tuple[int, str], ...]
    loop_unit: str | None
    loop_repeats: float | None
    loop_period: int | None
    source: str | None
    loop_class: str | None = None
    outcome: str | None = None
    marks: tuple[Mark, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One problem shown in full: why it was chosen (catalogue key), and each variant's response."""

    id: str
    benchmark: str
    problem_id: str
    sample: int
    seed: int
    reason: Sentence
    question: str
    gold: str
    subject: str | None
    level: str | None
    excerpts: tuple[Excerpt, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A measured column per variant, binned once for all variants: ``edges`` has one entry more than each count list.

    ``kind``: histogram (values) or share.  Only finite values are counted; ``n`` is how many.
    """

    column: str
    benchmark: str
    unit: Unit
    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]
    n: dict[str, int]


@dataclass(frozen=True, slots=True)
class MarkerRow:
    """A marker's rate per 1,000 words in right and wrong responses of one variant (strict policy)."""

    variant: str
    marker: str
    overall: Claim
    right: Claim
    wrong: Claim


@dataclass(frozen=True, slots=True)
class LoopRow:
    """One looping response, for the table of the worst."""

    variant: str
    problem_id: str
    onset_share: float | None
    onset: int | None
    period: int | None
    repeats: float | None
    unit: str | None
    n_tokens: int | None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """How many responses of a variant had each outcome (every one is there, in order); they add up to ``total``."""

    variant: str
    counts: dict[str, Claim]
    total: Claim


@dataclass(frozen=True, slots=True)
class LoopKinds:
    """The looping responses of a variant by the class of their main loop, and those that only enumerate."""

    variant: str
    loops: Claim
    terminal: Claim
    recovered: Claim
    enumerations: Claim
    kinds: dict[str, Claim]


@dataclass(frozen=True, slots=True)
class Onset:
    """When loops begin: cumulative incidence in tokens beside answering (steps of (tokens, share))."""

    variant: str
    loops: int
    answered: int
    censored: int
    incidence: Claim
    median: Claim
    typical: Claim
    looped: tuple[tuple[int, float], ...]
    answering: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class ReachedRow:
    """Shares among the responses that are not right (first policy), and among those that are, by what was found."""

    variant: str
    wrong: dict[str, Claim]
    right: dict[str, Claim]


@dataclass(frozen=True, slots=True)
class SymptomRow:
    """How many of a variant's responses show each symptom, and fall under each category of the reference study."""

    variant: str
    symptoms: dict[str, Claim]
    reference: dict[str, Claim]


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """A threshold that the rules used.  ``origin`` says where it comes from; ``source`` is a catalogue key or None."""

    name: str
    value: Claim
    origin: Sentence
    source: str | None


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    name: str
    size: int | None
    cells: tuple[Cell, ...]
    reference: str | None
    reference_is_baseline: bool
    pairs: tuple[Pair, ...]
    overlaps: tuple[Overlap, ...]
    categories: tuple[Category, ...]
    distributions: tuple[Distribution, ...]
    markers: tuple[MarkerRow, ...]
    loops: tuple[LoopRow, ...]
    loops_total: int
    cases: tuple[Case, ...]
    notes: tuple[Sentence, ...]
    outcomes: tuple[OutcomeRow, ...] = ()
    loop_kinds: tuple[LoopKinds, ...] = ()
    onsets: tuple[Onset, ...] = ()
    reached: tuple[ReachedRow, ...] = ()
    early_warning: tuple[Sentence, ...] = ()
    symptoms: tuple[SymptomRow, ...] = ()
    unassigned: tuple[Sentence, ...] = ()
    pages: tuple[CategoryPage, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the numbers come from: program and library versions, request hash, per-checkpoint manifests."""

    program_version: str
    scorer_version: str
    request_hash: str
    origin: str  # "run" | "import"
    runs: tuple[dict[str, str], ...]
    recipes: tuple[dict[str, str], ...]
    sampling: dict[str, str]
    metrics: tuple[tuple[str, str], ...]  # (metric name, version)


@dataclass(frozen=True, slots=True)
class HealthItem:
    """One condition of the data.  ``status``: ok | unknown | warning | bad."""

    name: str
    status: str
    said: Sentence


@dataclass(frozen=True, slots=True)
class ReportContext:
    title: str
    variants: tuple[Variant, ...]
    baseline: str | None
    headline: Sentence
    findings: tuple[Sentence, ...]
    benchmarks: tuple[BenchmarkReport, ...]
    notes: tuple[Sentence, ...]
    provenance: Provenance
    claims: tuple[Claim, ...]
    thresholds: tuple[ThresholdRow, ...] = ()
    sections: tuple[Section, ...] = ()
    health: tuple[HealthItem, ...] = ()
    reader: Reader | None = None
