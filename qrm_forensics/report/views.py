"""What a template may ask about a report: look-ups and groupings in one language, no prose and no markup of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from qrm_forensics.records import Coverage
from qrm_forensics.report import tables
from qrm_forensics.report.category_pages.model import CategoryPage
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.model import (
    BenchmarkReport,
    Category,
    CategoryRow,
    Claim,
    Onset,
    OutcomeRow,
    Overlap,
    Pair,
    ReportContext,
    Sentence,
    Unit,
)
from qrm_forensics.report.sections.model import Section, Table
from qrm_forensics.symptoms import UNASSIGNED

#: Measured columns that the first table of a benchmark shows; the others have a table of their own.
SUMMARY_RATES = ("loop", "truncated")
SUMMARY_CENTRES = ("n_words", "n_tokens")
#: A paired difference of this size has the full tint.
FULL_TINT = 0.4

_STATUS_TONES = {"correct": "good", "wrong": "bad", "missing": "warning", "unscored": "info"}


def anchor_name(language: str, *parts: str) -> str:
    """``ko:accuracy/MATH-500``: letters, digits and ``._=,/-`` only, as id and as link target."""
    return f"{language}:" + "/".join(re.sub(r"[^\w./=,-]", "_", part) for part in parts)


class View:
    """One language of one report.  Anchors are unique in a page and stay the same from run to run."""

    def __init__(self, context: ReportContext, texts: Texts) -> None:
        self.context = context
        self.claims: Mapping[str, Claim] = {c.id: c for c in context.claims}
        self._anchors: dict[tuple[str, ...], str] = {}
        self._taken: set[str] = set()
        self.texts = replace(texts, link=self.link)

    def anchor(self, *parts: str) -> str:
        """``anchor_name`` of these parts, with a number behind it where another part has that name."""
        if parts not in self._anchors:
            wanted = anchor_name(self.texts.language, *parts)
            name, again = wanted, 2
            while name in self._taken:
                name, again = f"{wanted}~{again}", again + 1
            self._taken.add(name)
            self._anchors[parts] = name
        return self._anchors[parts]

    def section_anchor(self, section: Section) -> str:
        return self.anchor("section", section.name, *([section.benchmark] if section.benchmark else []))

    def sections_of(self, part: str, benchmark: str | None = None) -> list[Section]:
        """Sections of a part of the report, in order."""
        return [s for s in self.context.sections if s.part == part and s.benchmark == benchmark]

    def claim_anchor(self, claim: Claim) -> str:
        return self.anchor("claim", claim.id)

    def definition_anchor(self, key: str) -> str:
        return self.anchor(key)

    def link(self, claim: Claim, printed: str) -> Markup:
        """The number as a link to its evidence; raises ValueError for a claim that the report does not list."""
        if self.claims.get(claim.id) != claim:
            raise ValueError(f"claim {claim.id!r} is shown but is not among the claims of the report")
        return Markup('<a class="num" href="#{}">{}</a>').format(self.claim_anchor(claim), printed)

    @property
    def definitions(self) -> list[str]:
        """Definition keys in use, in alphabetical order."""
        return sorted({c.definition for c in self.context.claims})

    @property
    def sorted_claims(self) -> list[Claim]:
        return sorted(self.context.claims, key=lambda c: c.id)

    def plain(self, value: float | int | None, unit: str) -> str:
        """A number that is part of a record and not a claim (a loop's period, say)."""
        return self.texts.numbers.value(value, Unit(unit))

    def plain_claim(self, claim: Claim, style: str | None = None) -> str:
        numbers = self.texts.numbers
        return {"fraction": numbers.fraction, "ci": numbers.interval}.get(style or "", numbers.claim)(claim)

    def rate_columns(self, benchmark: BenchmarkReport, *, all: bool = False) -> tuple[str, ...]:
        found = tables.rate_columns(benchmark)
        return found if all else tuple(n for n in SUMMARY_RATES if n in found)

    def centre_columns(self, benchmark: BenchmarkReport, *, all: bool = False) -> tuple[str, ...]:
        found = tables.centre_columns(benchmark)
        return found if all else tuple(n for n in SUMMARY_CENTRES if n in found)

    @staticmethod
    def all_columns(benchmark: BenchmarkReport) -> tuple[str, ...]:
        return (*tables.rate_columns(benchmark), *tables.centre_columns(benchmark))

    @staticmethod
    def any_selected(benchmark: BenchmarkReport) -> bool:
        return any(c.coverage is Coverage.SELECTED for c in benchmark.cells)

    @staticmethod
    def is_selected(benchmark: BenchmarkReport, variant: str) -> bool:
        """Whether somebody picked the problems of this variant, so that a share would estimate nothing."""
        return any(c.coverage is Coverage.SELECTED for c in benchmark.cells if c.variant == variant)

    @staticmethod
    def pair_of(benchmark: BenchmarkReport, variant: str, policy: str) -> Pair | None:
        return next((p for p in benchmark.pairs if p.variant == variant and p.policy == policy), None)

    @staticmethod
    def by_dimension(benchmark: BenchmarkReport) -> list[tuple[str, list[Category]]]:
        """Categories grouped: subjects first, then levels, then topics."""
        order = {"subject": 0, "level": 1, "topic": 2}
        names = dict.fromkeys(c.dimension for c in benchmark.categories)
        grouped = sorted(names, key=lambda d: order.get(d, 3))
        return [(d, [c for c in benchmark.categories if c.dimension == d]) for d in grouped]

    @staticmethod
    def page_of(benchmark: BenchmarkReport, dimension: str, name: str) -> CategoryPage | None:
        return next((p for p in benchmark.pages if (p.dimension, p.name) == (dimension, name)), None)

    @staticmethod
    def pages_of(benchmark: BenchmarkReport) -> list[tuple[str, list[CategoryPage]]]:
        """Pages grouped by dimension, in the order in which they were made."""
        names = dict.fromkeys(p.dimension for p in benchmark.pages)
        return [(d, [p for p in benchmark.pages if p.dimension == d]) for d in names]

    def page_anchor(self, page: CategoryPage) -> str:
        return self.anchor("category", page.benchmark, page.dimension, page.name)

    @staticmethod
    def filled(table: Table) -> list[int]:
        """Columns of a table that hold anything."""
        return [i for i in range(len(table.columns)) if any(row[i] is not None for row in table.rows)]

    def in_category(self, sentence: Sentence, category: Category | CategoryPage) -> Sentence:
        """A sentence of a category with the category as readers call it: a level is "level 3", not "3"."""
        if category.dimension == "subject" or "category" not in sentence.slots:
            return sentence
        name = self.category_name(category)
        if category.dimension == "level":
            name = self.texts.text("ui.level", level=name)
        return replace(sentence, slots=sentence.slots | {"category": name})

    def category_name(self, category: Category | CategoryPage) -> str:
        """The name of a category; that of a topic or an outcome in the language of the page."""
        if category.dimension == "outcome":
            return self.texts.text(f"outcome.{category.name}")
        return self.texts.text(f"topic.{category.name}") if category.dimension == "topic" else category.name

    @staticmethod
    def variants_in(categories: Iterable[Category]) -> list[str]:
        return list(dict.fromkeys(row.variant for c in categories for row in c.rows))

    @staticmethod
    def row_of(category: Category, variant: str) -> CategoryRow | None:
        return next((row for row in category.rows if row.variant == variant), None)

    @staticmethod
    def tone(difference: Claim | None) -> str:
        """``bad`` or ``good`` where the whole interval lies on one side of zero."""
        if difference is None or difference.ci_low is None or difference.ci_high is None:
            return ""
        return "bad" if difference.ci_high < 0 else "good" if difference.ci_low > 0 else ""

    @staticmethod
    def tint(difference: Claim) -> str:
        """A style: the hue by sign, the strength by size."""
        if difference.value is None:
            return ""
        hue = "var(--drop)" if difference.value < 0 else "var(--rise)"
        return f"--tint:{hue};--amount:{min(1.0, abs(difference.value) / FULL_TINT):.2f}"

    @staticmethod
    def status_tone(status: str) -> str:
        return _STATUS_TONES[status]

    def sum_of(self, overlap: Overlap) -> str:
        return self.texts.numbers.value(sum(int(r.count.value or 0) for r in overlap.rows), Unit.COUNT)

    @staticmethod
    def sum_holds(overlap: Overlap) -> bool:
        return sum(int(r.count.value or 0) for r in overlap.rows) == overlap.total.value

    @staticmethod
    def shown_outcomes(benchmark: BenchmarkReport) -> list[str]:
        """Outcomes that some variant has, in order; ``unassigned`` always."""
        rows = benchmark.outcomes
        return [o for o in (rows[0].counts if rows else ()) if o == UNASSIGNED or any(r.counts[o].value for r in rows)]

    @staticmethod
    def flags_of(benchmark: BenchmarkReport, family: str) -> list[str]:
        """Symptoms, or the categories of the reference study, in the order of their rules."""
        return list(
            dict.fromkeys(f for r in benchmark.symptoms for f in (r.symptoms if family == "symptom" else r.reference))
        )

    @staticmethod
    def adds_up(row: OutcomeRow) -> bool:
        return sum(int(c.value or 0) for c in row.counts.values()) == row.total.value

    @staticmethod
    def onset_of(benchmark: BenchmarkReport, variant: str) -> Onset | None:
        return next((o for o in benchmark.onsets if o.variant == variant), None)

    @staticmethod
    def keys_of(rows: Sequence[Mapping[str, str]]) -> list[str]:
        return list(dict.fromkeys(key for row in rows for key in row))

    def names(self) -> dict[str, Any]:
        """What the templates of both formats see."""
        shared = (
            *("section_anchor", "sections_of"),
            *("anchor", "claim_anchor", "definition_anchor", "definitions", "plain", "plain_claim", "rate_columns"),
            *(
                "centre_columns",
                "any_selected",
                "pair_of",
                "by_dimension",
                "variants_in",
                "row_of",
                "tone",
                "tint",
                "status_tone",
            ),
            *("sum_of", "sum_holds", "keys_of", "all_columns", "in_category", "category_name", "is_selected"),
            *("page_of", "pages_of", "page_anchor", "filled"),
            *("shown_outcomes", "adds_up", "onset_of", "flags_of"),
        )
        return {name: getattr(self, name) for name in shared} | {
            "ctx": self.context,
            "claims": self.sorted_claims,
            "policies": tables.policies(self.context),
            "col": self.texts.column,
            "language": self.texts.language,
            "tag": self.texts.tag,
        }
