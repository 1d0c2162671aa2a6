"""A report context into files: one offline HTML file, Markdown, tables and the ledger of claims.

The only module that knows Jinja.  Everything that comes from a model, a file name or a
data set is text: HTML is escaped by default, undefined names are errors, data for scripts
goes through Jinja's HTML-safe JSON, and a content security policy allows only the
scripts whose hashes the page names and no network at all.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from babel import Locale
from jinja2 import Environment
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from qrm_forensics import __version__
from qrm_forensics.errors import InputError
from qrm_forensics.report import tables
from qrm_forensics.report.charts import Figure, figures
from qrm_forensics.report.export_files.context_json import dump_context
from qrm_forensics.report.export_files.file_names import Names
from qrm_forensics.report.export_files.images import IMAGES, draw_images
from qrm_forensics.report.export_files.latex import document, to_latex
from qrm_forensics.report.export_files.tables_json import to_json
from qrm_forensics.report.i18n import Texts, check_languages
from qrm_forensics.report.keys import loop_class_key
from qrm_forensics.report.ledger_page import ledger_json
from qrm_forensics.report.model import Claim, Excerpt, ReportContext, Sentence
from qrm_forensics.report.overview import bar, overview
from qrm_forensics.report.reader.page import TRACE_BUDGET_MB, ReaderPage, reader_page
from qrm_forensics.report.section_charts import chart_id, section_figures
from qrm_forensics.report.section_tables import cell_html, numeric, printed_table, report_tables
from qrm_forensics.report.sections.model import Table
from qrm_forensics.report.templating import environment as templates_of
from qrm_forensics.report.templating import fenced as fenced
from qrm_forensics.report.templating import source, theme, told_in_one_line
from qrm_forensics.report.templating import templates_dir as templates_dir
from qrm_forensics.report.trace_html import trace_html
from qrm_forensics.report.views import View
from qrm_forensics.report.visible import shown_text
from qrm_forensics.store import write_text

#: What a report is written as unless something else is asked for.
DEFAULT_FORMATS = ("html", "md", "csv", "tex", "json")
#: Pictures of the charts need a browser, so they are made where they are asked for.
FORMATS = (*DEFAULT_FORMATS, *IMAGES)
#: The parts of the page's one script and of its style, in their order; ``state.js`` makes the ``QRM`` that all use.
_SCRIPTS = (
    *("state.js", "keys.js", "shell.js", "tables.js", "charts.js", "evidence.js"),
    *(f"reader.{part}.js" for part in ("data", "text", "doc", "pane", "search", "filters", "table", "facts", "view")),
)
_STYLES = ("report.css", "reader.css")
_PLOTLY = "static/vendor/plotly-basic.min.js"
_KATEX = "static/vendor/katex.min.js"


def render(
    context: ReportContext,
    languages: Sequence[str],
    out: Path,
    *,
    formats: Iterable[str] = DEFAULT_FORMATS,
    templates: Path | None = None,
    trace_budget_mb: float | None = TRACE_BUDGET_MB,
) -> list[Path]:
    """Write the report into the folder ``out`` and return the files, ``report.html`` first.

    ``languages``: codes that have a catalogue; the first is shown first, and several share one
    HTML file with a switch.  ``formats``: of ``FORMATS``; ``claims.jsonl`` is always written.
    ``templates``: a folder whose files change the built-in ones (:mod:`qrm_forensics.report.templating`).
    ``trace_budget_mb``: packed responses that come to more go to files beside the HTML file; None: all in one.
    Raises InputError for an unknown language or format, a folder that is not there or a template with a
    mistake; EnvironmentMissing where pictures are asked for and nothing here can draw them, after all else is written.
    """
    chosen = check_languages(languages)
    wanted = tuple(dict.fromkeys(formats))
    unknown = [f for f in wanted if f not in FORMATS]
    if unknown:
        raise InputError(f"report format {', '.join(unknown)}: choose from {', '.join(FORMATS)}")
    environment = templates_of(templates)
    texts = {language: Texts.of(language) for language in chosen}
    files: dict[Path, str] = {}
    with told_in_one_line(templates):
        if "html" in wanted:
            budget = None if trace_budget_mb is None else trace_budget_mb * 1e6
            reader = None if context.reader is None else reader_page(context.reader, texts, budget)
            files[out / "report.html"] = _html(context, texts, environment, reader)
            files |= {out / name: content for name, content in (reader.files if reader else {}).items()}
        if "md" in wanted:
            for t in texts.values():
                files |= {out / name: text for name, text in _markdown(context, t, environment).items()}
    files |= _table_files(context, texts, out / "tables", wanted)
    if "json" in wanted:
        files[out / "context.json"] = dump_context(context)
    files[out / "claims.jsonl"] = claims_jsonl(context.claims)
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        # half of a surrogate pair, which a context.json can name, is no text that a file can hold
        write_text(path, content.encode("utf-8", "replace").decode("utf-8"))
    pictures: list[Path] = []
    if kinds := [kind for kind in IMAGES if kind in wanted]:
        charts = {language: _charts(context, t) for language, t in texts.items()}
        pictures = draw_images(charts, kinds, out / "charts", templates_dir() / _PLOTLY)
    return [*files, *pictures]


def _charts(context: ReportContext, texts: Texts) -> dict[str, Figure]:
    """Every chart of a report by its id."""
    found = {name: figure for b in context.benchmarks for name, figure in figures(b, texts).items()}
    return found | section_figures(context.sections, texts)


def claims_jsonl(claims: Iterable[Claim]) -> str:
    """One JSON object per line and claim, sorted by id."""
    ordered = sorted(claims, key=lambda claim: claim.id)
    return "".join(json.dumps(asdict(claim), ensure_ascii=False, allow_nan=False) + "\n" for claim in ordered)


# --- HTML ------------------------------------------------------------------------------------


def _html(
    context: ReportContext, texts: Mapping[str, Texts], environment: Environment, reader: ReaderPage | None
) -> str:
    charts: dict[str, dict[str, Figure]] = {}
    pages: list[dict[str, Any]] = []
    views: dict[str, View] = {}
    policies = tables.policies(context)
    for language, plain in texts.items():
        view = views[language] = View(context, plain)
        charts[language] = _charts(context, plain)
        names = view.names() | _html_names(view.texts, charts[language])
        names |= {"overview_of": lambda benchmark: overview(benchmark, policies), "bar_of": bar, "reader": reader}
        body = Markup(environment.get_template("page.html.j2").render(names))
        pages.append(
            {
                "language": language,
                "name": (Locale.parse(language).get_display_name(language) or language).capitalize(),
                "title": plain.text("ui.page_title", title=shown_text(context.title)),
                "words": {key: text for key, text in plain.messages.items() if key.startswith("js.")},
                "body": body if not pages else _inside_noscript(body),
            }
        )
    script = "\n".join(source(environment, f"static/{name}") for name in _SCRIPTS)
    library = source(environment, _PLOTLY)
    formulas = source(environment, _KATEX)
    return environment.get_template("base.html.j2").render(
        pages=pages,
        run=shown_text(context.title),
        version=__version__,
        style=Markup("\n".join([*(source(environment, f"static/{name}") for name in _STYLES), theme(environment)])),
        script=Markup(script),
        words=htmlsafe_json_dumps({page["language"]: page["words"] for page in pages}, ensure_ascii=False),
        charts=htmlsafe_json_dumps(charts, ensure_ascii=False, allow_nan=False),
        ledger=Markup(_packed(ledger_json(views))),
        plotly=Markup(_packed(library)),
        katex=Markup(_packed(formulas)),
        reader=reader,
        policy=_policy([script, library, formulas]),
    )


def _html_names(texts: Texts, charts: Mapping[str, Figure]) -> dict[str, Any]:
    def say(sentence: Sentence) -> Markup:
        return texts.sentence_html(sentence)

    def trace(excerpt: Excerpt) -> Markup:
        return trace_html(excerpt, texts)

    return {
        "t": texts.html,
        "say": say,
        "num": texts.number,
        "define": texts.definition_html,
        "trace": trace,
        "loop_class_key": loop_class_key,
        "charts": charts,
        "chart_id": chart_id,
        "numeric": numeric,
        "section_cell": partial(cell_html, texts=texts),
    }


def _inside_noscript(body: Markup) -> Markup:
    """A page to be put between ``<noscript>`` and ``</noscript>``, so with another element for its own ones.

    There a browser that runs scripts keeps it as text, and makes elements of it when its language is asked for:
    what opens is one language, not all of them.  No text can hold these tags, as every ``<`` in a text is escaped.
    """
    return Markup(str(body).replace("<noscript>", '<div class="no-script">').replace("</noscript>", "</div>"))


def _policy(scripts: Iterable[str]) -> str:
    """Nothing may load but files beside the page, in frames; only these scripts run, in workers too.

    Plotly positions its parts by inline styles.
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "frame-src 'self'; worker-src blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _packed(library: str) -> str:
    """gzip in base64, which makes a report less than half as large; the page unpacks it for its first chart."""
    return base64.b64encode(gzip.compress(library.encode(), compresslevel=9, mtime=0)).decode()


# --- Markdown and tables ---------------------------------------------------------------------


def _markdown(context: ReportContext, texts: Texts, environment: Environment) -> dict[str, str]:
    """File name -> text: the report, and a file for each of its pages."""
    quoting = replace(texts, quote=tables.md_escape)
    view = View(context, quoting)
    built = {table.name: table for table in report_tables(context)}

    def table(name: str, benchmark: str) -> str:
        if name not in built:
            return ""
        return tables.to_markdown(built[name].of(benchmark), texts, transposed=name in ("measures", "symptoms"))

    def section_table(table: Table) -> str:
        return tables.to_markdown(printed_table(table), texts)

    names = view.names() | {"t": quoting.text, "say": quoting.sentence, "define": quoting.definition, "table": table}
    names["section_table"] = section_table
    pages = [page for benchmark in context.benchmarks for page in benchmark.pages]
    given = Names()
    files = {
        (p.benchmark, p.dimension, p.name): given.path(
            ("categories", p.benchmark, p.dimension, p.name), f".{texts.language}.md"
        )
        for p in pages
    }
    report = f"report.{texts.language}.md"
    names["page_file"] = lambda page: files[page.benchmark, page.dimension, page.name]
    made = {report: environment.get_template("report.md.j2").render(names)}
    template = environment.get_template("category.md.j2")
    for page in pages:
        path = names["page_file"](page)
        home = "../" * path.count("/") + report
        made[path] = template.render(names | {"page": page, "home": home})
    return made


def _table_files(
    context: ReportContext, texts: Mapping[str, Texts], folder: Path, formats: Sequence[str]
) -> dict[Path, str]:
    writers: dict[str, Callable[[tables.TableData, Texts], str]] = {"md": tables.to_markdown, "tex": to_latex}
    files: dict[Path, str] = {}
    built = report_tables(context)
    for table in built:
        if "json" in formats:
            files[folder / f"{table.name}.json"] = to_json(table)
        if "csv" in formats:
            files[folder / f"{table.name}.csv"] = tables.to_csv(table)
        for suffix, write in writers.items():
            if suffix in formats:
                files |= {
                    folder / f"{table.name}.{language}.{suffix}": write(table, t) for language, t in texts.items()
                }
    if "tex" in formats:
        names = [table.name for table in built]
        for language, told in texts.items():
            contents = [files[folder / f"{name}.{language}.tex"] for name in names]
            files[folder / f"tables.{language}.tex"] = document(names, contents, told)
    return files
