"""Tables of sections in print and as data; the writers of :mod:`qrm_forensics.report.tables` do the rest."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from qrm_forensics.report import tables
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.model import ReportContext
from qrm_forensics.report.nouns import Claim, Sentence
from qrm_forensics.report.sections.model import Column, Problem, Quote, Section, Table, Value
from qrm_forensics.report.tables import Head, ModelText, TableData
from qrm_forensics.report.visible import clip, visible

#: Characters of a quotation in a table.
QUOTED = 160


def numeric(table: Table, column: int) -> bool:
    """Whether a column holds numbers only, so that it is set to the right."""
    values = [row[column] for row in table.rows if row[column] is not None]
    return bool(values) and all(isinstance(value, Claim) for value in values)


def cell_html(value: Value, column: Column, first: bool, texts: Texts) -> Markup:
    """One ``<td>`` (the first of a row a ``<th>``) with the number linked to its evidence."""
    if value is None:
        return Markup('<td class="r">–</td>')
    if isinstance(value, Claim):
        small = ""
        counted = value.numerator is not None and value.denominator is not None
        if column.style == "ci" and value.ci_low is not None:
            small = Markup("<small>{}</small>").format(texts.number(value, "ci"))
        elif (column.style == "fraction" and value.value is not None and counted) or (
            column.style == "share" and value.denominator
        ):
            small = Markup("<small>{}</small>").format(texts.number(value, column.style))
        sort = Markup(' data-v="{}"').format(value.value) if value.value is not None else ""
        return Markup('<td class="r"{}>{}{}</td>').format(sort, texts.number(value), small)
    tag = "th" if first else "td"
    scope = Markup(' scope="row"') if first else ""
    return Markup("<{}{}>{}</{}>").format(Markup(tag), scope, _html(value, texts), Markup(tag))


def _html(value: Sentence | Quote | Problem | str, texts: Texts) -> Markup:
    match value:
        case Sentence():
            return texts.sentence_html(value)
        case Quote():
            return Markup('<code dir="auto">{}</code>').format(visible(clip(value.text, QUOTED)))
        case Problem():
            return Markup('<span class="name" data-problem="{}/{}">{}</span>').format(
                value.benchmark, value.problem_id, visible(value.problem_id)
            )
        case _:
            return Markup('<span class="name">{}</span>').format(visible(value))


def report_tables(context: ReportContext) -> tuple[TableData, ...]:
    """Every table of a report that has rows."""
    return (*tables.tables(context), *page_tables(context), *table_data(context.sections))


def page_tables(context: ReportContext) -> tuple[TableData, ...]:
    """The tables of the pages, each joined over all pages; a column that a page has not is empty there."""
    pages = [page for benchmark in context.benchmarks for page in benchmark.pages]
    found: dict[str, dict[str, Column]] = {}
    for table in (table for page in pages for table in page.tables):
        found.setdefault(table.name, {}).update({c.name: c for c in table.columns})
    where = (Head("benchmark", "ui.benchmark"), Head("dimension", "ui.dimension"), Head("category", "ui.category"))
    made = []
    for name, columns in found.items():
        if "total" in columns:  # the last one on every page
            columns["total"] = columns.pop("total")
        rows: list[tuple[tables.Value, ...]] = []
        for page in pages:
            told = {"topic": f"topic.{page.name}", "outcome": f"outcome.{page.name}"}.get(page.dimension, page.name)
            for table in (t for t in page.tables if t.name == name):
                for row in table.rows:
                    cells = dict(zip((c.name for c in table.columns), map(_datum, row), strict=True))
                    rows.append((page.benchmark, f"dimension.{page.dimension}", told, *map(cells.get, columns)))
        made.append(TableData(name, (*where, *map(_head, columns.values())), tuple(rows)))
    return tuple(made)


def table_data(sections: Sequence[Section]) -> tuple[TableData, ...]:
    """All tables of the sections, those of the same name joined over the benchmarks.

    Benchmarks may have different columns (variants, levels): a table has those of all, empty where one lacks them.
    """
    heads: dict[str, dict[str, Head]] = {}
    rows: dict[str, list[dict[str, tables.Value]]] = {}
    for section in sections:
        for table in section.tables:
            known = heads.setdefault(table.name, {"benchmark": Head("benchmark", "ui.benchmark")})
            for column in table.columns:
                known.setdefault(column.name, _head(column))
            names = [column.name for column in table.columns]
            rows.setdefault(table.name, []).extend(
                {"benchmark": section.benchmark or None, **dict(zip(names, map(_datum, row), strict=True))}
                for row in table.rows
            )
    return tuple(
        TableData(
            name, tuple(heads[name].values()), tuple(tuple(row.get(head) for head in heads[name]) for row in found)
        )
        for name, found in rows.items()
        if found
    )


def printed_table(table: Table) -> TableData:
    """One table of a section for Markdown or LaTeX, with its total."""
    rows = [tuple(map(_datum, row)) for row in (*table.rows, *((table.total,) if table.total else ()))]
    return TableData(table.name, tuple(_head(column) for column in table.columns), tuple(rows))


def _head(column: Column) -> Head:
    return Head(column.name, column.title, None, column.style)


def _datum(value: Value) -> tables.Value:
    match value:
        case Quote():
            return ModelText(value.text)
        case Problem():
            return value.problem_id
        case _:
            return value
