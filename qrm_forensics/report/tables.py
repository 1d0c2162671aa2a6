"""The tables of a report as data, and as CSV, Markdown and LaTeX.

CSV holds raw values for machines, in one file whatever the language; a claim becomes its
value and, where there are any, its interval and counts in columns of their own.  Text
that a model wrote is a JSON string there, so that a spreadsheet never takes it for a
formula; so is a name that a spreadsheet would run.  Markdown and LaTeX hold what a reader sees.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qrm_forensics.records import Coverage
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.keys import CENTRE_COLUMNS, RATE_COLUMNS, loop_class_key
from qrm_forensics.report.model import BenchmarkReport, Claim, ReportContext, Sentence, Unit
from qrm_forensics.report.numbers import ABSENT
from qrm_forensics.report.visible import clip, shown_text
from qrm_forensics.symptoms import UNASSIGNED

#: Policies of a report without a single cell.
POLICIES = ("strict", "lenient")


def policies(context: ReportContext) -> tuple[str, ...]:
    """The scoring policies of a report, the one that its findings go by first."""
    found = (policy for benchmark in context.benchmarks for cell in benchmark.cells for policy in cell.accuracy)
    return tuple(dict.fromkeys(found)) or POLICIES


@dataclass(frozen=True, slots=True)
class ModelText:
    """Text that a model wrote."""

    text: str


Value = Claim | Sentence | str | int | float | ModelText | None


@dataclass(frozen=True, slots=True)
class Head:
    """A column: its machine name and its title as a catalogue key (with a policy where the title names one)."""

    name: str
    title: str | Sentence
    policy: str | None = None
    style: str | None = None  # how a claim is printed: None, "ci"
    unit: Unit = Unit.PLAIN  # of bare numbers


@dataclass(frozen=True, slots=True)
class TableData:
    """Rows of one table over all benchmarks; the first column is always the benchmark."""

    name: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Value, ...], ...]

    def of(self, benchmark: str) -> TableData:
        """Only the rows of one benchmark, without the benchmark column."""
        rows = tuple(row[1:] for row in self.rows if row[0] == benchmark)
        return replace(self, heads=self.heads[1:], rows=rows)


def tables(context: ReportContext) -> tuple[TableData, ...]:
    """Every table that has rows."""
    built = (
        _accuracy(context),
        _outcomes(context),
        _symptoms(context),
        _reached(context),
        _paired(context),
        _overlap(context),
        _categories(context),
        _measures(context),
        _markers(context),
        _loop_kinds(context),
        _loops(context),
    )
    return tuple(table for table in built if table.rows)


def rate_columns(benchmark: BenchmarkReport) -> tuple[str, ...]:
    """Measured yes/no columns that some cell has, in the order of display."""
    return _ordered(RATE_COLUMNS, [list(c.rates) for c in benchmark.cells if c.rates])


def centre_columns(benchmark: BenchmarkReport) -> tuple[str, ...]:
    """Measured columns for which some cell has a median, in the order of display."""
    return _ordered(
        tuple(CENTRE_COLUMNS), [[k for k, v in c.centres.items() if v.value is not None] for c in benchmark.cells]
    )


def _ordered(first: Sequence[str], present: Sequence[Sequence[str]]) -> tuple[str, ...]:
    found = list(dict.fromkeys(name for names in present for name in names))
    return tuple([n for n in first if n in found] + [n for n in found if n not in first])


_BENCHMARK = Head("benchmark", "ui.benchmark")
_VARIANT = Head("variant", "ui.variant")


def _accuracy(context: ReportContext) -> TableData:
    heads = [_BENCHMARK, _VARIANT, Head("coverage", "ui.coverage"), Head("n", "ui.n")]
    judged = policies(context)
    for policy in judged:
        heads += [
            Head(f"correct_{policy}", "ui.correct_of", policy),
            Head(f"accuracy_{policy}", "ui.accuracy_of", policy, "ci"),
            Head(f"missing_{policy}", "ui.missing_of", policy),
            Head(f"unscored_{policy}", "ui.unscored_of", policy),
        ]
    heads.append(Head("scorer_gap", "ui.scorer_gap", None, "ci"))
    rows: list[tuple[Value, ...]] = []
    for b in context.benchmarks:
        for c in b.cells:
            row: list[Value] = [b.name, c.variant, f"coverage.{c.coverage}", c.n]
            for policy in judged:
                row += [c.correct.get(policy), c.accuracy.get(policy), c.missing.get(policy), c.unscored.get(policy)]
            rows.append((*row, c.scorer_gap))
    return TableData("accuracy", tuple(heads), tuple(rows))


def _outcomes(context: ReportContext) -> TableData:
    """One row per variant and outcome; those of a variant add up to its responses."""
    heads = (
        *(_BENCHMARK, _VARIANT, Head("outcome", "ui.outcome"), Head("responses", "ui.n")),
        *(Head("share", "ui.share", unit=Unit.SHARE), Head("total", "ui.total")),
    )
    picked = {(b.name, c.variant) for b in context.benchmarks for c in b.cells if c.coverage is Coverage.SELECTED}
    rows = tuple(
        (b.name, row.variant, f"outcome.{outcome}", claim, _part(claim, (b.name, row.variant) in picked), row.total)
        for b in context.benchmarks
        for row in b.outcomes
        for outcome, claim in row.counts.items()
        if claim.value or outcome == UNASSIGNED
    )
    return TableData("outcomes", heads, rows)


def _part(claim: Claim, selected: bool) -> float | None:
    """A count as a share of its denominator; None for problems that somebody selected."""
    if selected or claim.numerator is None or not claim.denominator:
        return None
    return claim.numerator / claim.denominator


def _symptoms(context: ReportContext) -> TableData:
    """One row per variant, one column per flag; flags do not exclude each other."""
    found = {
        (family, name): None
        for b in context.benchmarks
        for row in b.symptoms
        for family, flags in (("symptom", row.symptoms), ("reference", row.reference))
        for name in flags
    }
    heads = (_BENCHMARK, _VARIANT, *(Head(f"{f}_{name}", f"{f}.{name}", None, "ci") for f, name in found))
    rows = tuple(
        (
            *(b.name, row.variant),
            *((row.symptoms if f == "symptom" else row.reference).get(name) for f, name in found),
        )
        for b in context.benchmarks
        for row in b.symptoms
        if found
    )
    return TableData("symptoms", heads, rows)


def _reached(context: ReportContext) -> TableData:
    """One row per variant and sign: its share among responses that are not right, and among those that are."""
    heads = (
        *(_BENCHMARK, _VARIANT, Head("sign", "ui.symptom")),
        *(Head("not_right", "ui.reached.wrong", None, "ci"), Head("right", "ui.reached.right", None, "ci")),
    )
    rows = tuple(
        (b.name, row.variant, f"ui.reached.{what}", claim, row.right[what])
        for b in context.benchmarks
        for row in b.reached
        for what, claim in row.wrong.items()
    )
    return TableData("reached", heads, rows)


def _loop_kinds(context: ReportContext) -> TableData:
    heads = (
        *(_BENCHMARK, _VARIANT, Head("loops", "ui.loop_kinds.loops"), Head("terminal", "ui.loop_kinds.terminal")),
        *(Head("recovered", "ui.loop_kinds.recovered"), Head("enumerations", "ui.loop_kinds.enumerations")),
        *(Head("incidence", "ui.onset.incidence", None, "ci"), Head("typical_onset", "ui.onset.typical")),
    )
    rows: list[tuple[Value, ...]] = []
    for b in context.benchmarks:
        onsets = {o.variant: o for o in b.onsets}
        for k in b.loop_kinds:
            onset = onsets.get(k.variant)
            told = (onset.incidence, onset.typical) if onset else (None, None)
            rows.append((b.name, k.variant, k.loops, k.terminal, k.recovered, k.enumerations, *told))
    return TableData("loop_kinds", heads, tuple(rows))


def _paired(context: ReportContext) -> TableData:
    heads = (
        *(_BENCHMARK, _VARIANT, Head("reference", "ui.reference"), Head("policy", "ui.policy"), Head("n", "ui.shared")),
        *(Head("both", "ui.both"), Head("lost", "ui.lost"), Head("gained", "ui.gained"), Head("neither", "ui.neither")),
        *(
            Head("flips", "ui.flips"),
            Head("reference_accuracy", "ui.reference_accuracy"),
            Head("variant_accuracy", "ui.variant_accuracy"),
        ),
        *(
            Head("difference", "ui.difference", None, "ci"),
            Head("p_value", "ui.p"),
            Head("detectable", "ui.detectable"),
        ),
        Head("length_ratio", "ui.length_ratio", None, "ci"),
    )
    rows = tuple(
        (
            *(b.name, p.variant, p.reference, f"policy.{p.policy}", p.n, p.both, p.lost, p.gained, p.neither, p.flips),
            *(p.reference_accuracy, p.variant_accuracy, p.difference, p.p_value, p.detectable, p.length_ratio),
        )
        for b in context.benchmarks
        for p in b.pairs
    )
    return TableData("paired", heads, rows)


def _overlap(context: ReportContext) -> TableData:
    heads = (
        _BENCHMARK,
        Head("policy", "ui.policy"),
        Head("right", "ui.right"),
        Head("not_right", "ui.not_right"),
        Head("problems", "ui.problems"),
    )
    rows: list[tuple[Value, ...]] = []
    for b in context.benchmarks:
        for o in b.overlaps:
            for r in o.rows:
                right = ", ".join(v for v, yes in zip(o.variants, r.right, strict=True) if yes)
                wrong = ", ".join(v for v, yes in zip(o.variants, r.right, strict=True) if not yes)
                rows.append((b.name, f"policy.{o.policy}", right or None, wrong or None, r.count))
            rows.append((b.name, f"policy.{o.policy}", "ui.sum_check", ", ".join(o.variants), o.total))
    return TableData("overlap", heads, tuple(rows))


def _categories(context: ReportContext) -> TableData:
    judged = policies(context)
    heads = (
        *(_BENCHMARK, Head("dimension", "ui.dimension"), Head("category", "ui.category"), _VARIANT, Head("n", "ui.n")),
        *(Head(f"correct_{p}", "ui.correct_of", p) for p in judged),
        *(Head(f"accuracy_{p}", "ui.accuracy_of", p, "ci") for p in judged),
        *(Head("difference", "ui.difference", None, "ci"), Head("lost", "ui.lost"), Head("gained", "ui.gained")),
    )
    rows = tuple(
        (
            *(
                b.name,
                f"dimension.{c.dimension}",
                f"topic.{c.name}" if c.dimension == "topic" else c.name,
                r.variant,
                r.n,
            ),
            *(r.correct.get(p) for p in judged),
            *(r.accuracy.get(p) for p in judged),
            *(r.difference, r.lost, r.gained),
        )
        for b in context.benchmarks
        for c in b.categories
        for r in c.rows
    )
    return TableData("categories", heads, rows)


def _measures(context: ReportContext) -> TableData:
    rates = tuple(dict.fromkeys(name for b in context.benchmarks for name in rate_columns(b)))
    centres = tuple(dict.fromkeys(name for b in context.benchmarks for name in centre_columns(b)))
    heads = (
        *(_BENCHMARK, _VARIANT),
        *(Head(name, f"column.{name}", None, "ci") for name in rates),
        *(
            h
            for name in centres
            for h in (Head(f"median_{name}", f"column.{name}"), Head(f"mean_{name}", f"mean.{name}"))
        ),
    )
    rows = tuple(
        (
            *(b.name, c.variant),
            *(c.rates.get(name) for name in rates),
            *(claim for name in centres for claim in (c.centres.get(name), c.means.get(name))),
        )
        for b in context.benchmarks
        for c in b.cells
        if c.rates or c.centres
    )
    return TableData("measures", heads, rows)


def _markers(context: ReportContext) -> TableData:
    heads = (
        *(_BENCHMARK, _VARIANT, Head("marker", "ui.marker"), Head("per_1000_words", "ui.markers.overall")),
        *(Head("per_1000_words_right", "ui.markers.right"), Head("per_1000_words_wrong", "ui.markers.wrong")),
    )
    rows = tuple(
        (b.name, m.variant, m.marker, m.overall, m.right, m.wrong) for b in context.benchmarks for m in b.markers
    )
    return TableData("markers", heads, rows)


def _loops(context: ReportContext) -> TableData:
    heads = (
        *(_BENCHMARK, _VARIANT, Head("problem_id", "ui.problem"), Head("onset_share", "ui.onset", unit=Unit.SHARE)),
        *(
            Head("onset", "ui.onset_token", unit=Unit.TOKENS),
            Head("period", "ui.period", unit=Unit.TOKENS),
            Head("repeats", "ui.repeats"),
        ),
        *(Head("n_tokens", "ui.tokens", unit=Unit.TOKENS), Head("kind", "ui.loop_class"), Head("unit", "ui.loop_unit")),
    )
    rows = tuple(
        (
            b.name,
            r.variant,
            r.problem_id,
            r.onset_share,
            r.onset,
            r.period,
            r.repeats,
            r.n_tokens,
            None if r.kind is None else loop_class_key(r.kind),
            None if r.unit is None else ModelText(r.unit),
        )
        for b in context.benchmarks
        for r in b.loops
    )
    return TableData("loops", heads, rows)


# --- CSV -------------------------------------------------------------------------------------


def to_csv(table: TableData) -> str:
    """Raw values, RFC 4180; catalogue keys (``policy.strict``) without their prefix; a null is an empty field."""
    parts: list[tuple[str, ...]] = [_parts(table, i) for i in range(len(table.heads))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [h.name + (f"_{part}" if part else "") for h, names in zip(table.heads, parts, strict=True) for part in names]
    )
    for row in table.rows:
        writer.writerow([_raw(value, part) for value, names in zip(row, parts, strict=True) for part in names])
    return out.getvalue()


_CLAIM_PARTS = ("", "numerator", "denominator", "ci_low", "ci_high")


def _parts(table: TableData, column: int) -> tuple[str, ...]:
    claims = [row[column] for row in table.rows if isinstance(row[column], Claim)]
    return tuple(p for p in _CLAIM_PARTS if not p or any(getattr(c, p) is not None for c in claims))


def _raw(value: Value, part: str) -> object:
    if value is None:
        return ""
    if isinstance(value, Claim):
        found = getattr(value, part or "value")
        return "" if found is None else found
    if isinstance(value, ModelText):
        return json.dumps(value.text, ensure_ascii=False)
    if isinstance(value, Sentence):
        return _machine_name(value)
    if isinstance(value, str):
        text = _KEY.sub("", value) if _KEY.match(value) else value
        return json.dumps(text, ensure_ascii=False) if text.startswith(_FORMULA) else text
    return value


def _machine_name(sentence: Sentence) -> str:
    """The last part of its key, and what its slots hold: ``band low=50 high=199``."""
    slots = (f"{k}={v.value if isinstance(v, Claim) else v}" for k, v in sentence.slots.items())
    return " ".join([sentence.key.rpartition(".")[2], *slots])


_KEY = re.compile(r"^(?:policy|coverage|dimension|topic|outcome|loop_class|ui(?:\.reached)?)\.(?=[a-z_]+$)")


def is_key(text: str) -> bool:
    """Whether a cell's string is a catalogue key (``policy.strict``) and not a name."""
    return _KEY.match(text) is not None


#: What makes a spreadsheet take a field for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


# --- for readers -----------------------------------------------------------------------------


def printed(table: TableData, texts: Texts) -> tuple[list[str], list[list[str]]]:
    """Titles and rows as a reader sees them, without escaping; columns with nothing in them are left out."""
    keep = [i for i in range(len(table.heads)) if any(row[i] is not None for row in table.rows)]
    titles = [_title(table.heads[i], texts) for i in keep]
    rows = [[_shown(row[i], table.heads[i], texts) for i in keep] for row in table.rows]
    return titles, rows


def _title(head: Head, texts: Texts) -> str:
    if isinstance(head.title, Sentence):
        return texts.sentence(head.title)
    prefix, _, name = head.title.partition(".")
    if prefix == "mean":
        return texts.text("ui.mean_of", column=name)
    if prefix == "column":
        return texts.column(name) if head.name == name else texts.text("ui.median_of", column=name)
    return texts.text(head.title, **({"policy": head.policy} if head.policy else {}))


def _shown(value: Value, head: Head, texts: Texts) -> str:
    match value:
        case None:
            return ABSENT
        case Sentence():
            return texts.sentence(value)
        case Claim():
            text = texts.numbers.claim(value)
            interval = head.style == "ci" and value.value is not None and value.ci_low is not None
            if interval:
                return f"{text} ({texts.numbers.interval(value)})"
            if head.style in ("fraction", "share") and value.value is not None and value.denominator:
                part = texts.numbers.fraction(value) if head.style == "fraction" else texts.numbers.share(value)
                return f"{text} ({part})"
            return text
        case ModelText():
            return shown_text(clip(value.text, 80))
        case str():
            return texts.text(value) if _KEY.match(value) and texts.has(value) else shown_text(value)
        case _:
            return texts.numbers.value(value, head.unit)


_MD_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~&$])")


def md_escape(text: object) -> str:
    """Text that Markdown (CommonMark, tables, maths) shows as it is, on one line."""
    return _MD_SPECIAL.sub(r"\\\1", " ".join(shown_text(text).split()))


def to_markdown(table: TableData, texts: Texts, *, transposed: bool = False) -> str:
    """A pipe table, numbers to the right; ``transposed`` for a table with more columns than rows."""
    titles, rows = printed(table, texts)
    numeric = numeric_columns(table)
    if transposed:
        columns = list(zip(titles, *rows, strict=True))
        titles, rows = list(columns[0]), [list(column) for column in columns[1:]]
        numeric = [False, *([True] * (len(titles) - 1))]
    lines = [
        "| " + " | ".join(md_escape(t) for t in titles) + " |",
        "|" + "|".join("---:" if right else "---" for right in numeric) + "|",
        *("| " + " | ".join(md_escape(cell) for cell in row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


_TEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {c: "\\" + c for c in "&%$#_"} | {
    "−": "$-$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≈": r"$\approx$",
    "→": r"$\rightarrow$",
    "✓": r"$\surd$",
    # at the beginning of a row these would be arguments of \\ or \midrule
    "[": "{[}",
    "*": "{*}",
}


#: What LaTeX would join into a dash or a quotation mark.
_TEX_JOINED = re.compile(r"([-`',<>?!])(?=[-`',<>])")


def tex_escape(text: str) -> str:
    escaped = "".join(_TEX.get(c, c) for c in " ".join(text.split()))
    return _TEX_JOINED.sub(r"\1{}", escaped)


def numeric_columns(table: TableData) -> list[bool]:
    """Of the columns that hold anything, whether they hold numbers only."""
    columns = [[row[i] for row in table.rows if row[i] is not None] for i in range(len(table.heads))]
    return [all(isinstance(v, Claim | int | float) for v in values) for values in columns if values]
