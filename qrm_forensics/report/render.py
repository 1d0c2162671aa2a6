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
from functools import cache
from pathlib import Path
from typing import Any

from babel import Locale
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from qrm_forensics import __version__
from qrm_forensics.errors import InputError
from qrm_forensics.report import tables
from qrm_forensics.report.charts import Figure, figures
from qrm_forensics.report.i18n import Texts, check_languages
from qrm_forensics.report.keys import loop_class_key
from qrm_forensics.report.model import Claim, Excerpt, ReportContext, Sentence
from qrm_forensics.report.trace_html import trace_html
from qrm_forensics.report.views import View
from qrm_forensics.report.visible import clip, clip_start, shown_text, visible
from qrm_forensics.store import write_text

FORMATS = ("html", "md", "csv", "tex")
_BASE = "base.html.j2"
#: The parts of the page's one script and of its style, in their order; ``state.js`` makes the ``QRM`` that all use.
_SCRIPTS = ("state.js", "keys.js", "shell.js", "tables.js", "charts.js", "evidence.js")
_STYLES = ("report.css",)


def templates_dir() -> Path:
    """The folder of the templates: inside the package (wheel), else at the root of a checkout."""
    here = Path(__file__).resolve()
    for folder in (here.with_name("_templates"), here.parents[2] / "reports" / "templates"):
        if (folder / _BASE).is_file():
            return folder
    raise InputError("the report templates are missing from this installation; install qrm-forensics again")


def render(
    context: ReportContext,
    languages: Sequence[str],
    out: Path,
    *,
    formats: Iterable[str] = FORMATS,
    templates: Path | None = None,
) -> list[Path]:
    """Write the report into the folder ``out`` and return the files, ``report.html`` first.

    ``languages``: codes that have a catalogue; the first is shown first, and several share one
    HTML file with a switch.  ``formats``: of ``html``, ``md``, ``csv``, ``tex``; ``claims.jsonl``
    is always written.  ``templates``: a folder whose files replace the built-in ones of the same
    name.  Raises InputError for an unknown language or format, or a folder that is not there.
    """
    chosen = check_languages(languages)
    wanted = tuple(dict.fromkeys(formats))
    unknown = [f for f in wanted if f not in FORMATS]
    if unknown:
        raise InputError(f"report format {', '.join(unknown)}: choose from {', '.join(FORMATS)}")
    environment = _environment(templates)
    texts = {language: Texts.of(language) for language in chosen}
    files: dict[Path, str] = {}
    if "html" in wanted:
        files[out / "report.html"] = _html(context, texts, environment)
    if "md" in wanted:
        files |= {out / f"report.{language}.md": _markdown(context, t, environment) for language, t in texts.items()}
    files |= _table_files(context, texts, out / "tables", wanted)
    files[out / "claims.jsonl"] = claims_jsonl(context.claims)
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, content)
    return list(files)


def claims_jsonl(claims: Iterable[Claim]) -> str:
    """One JSON object per line and claim, sorted by id."""
    ordered = sorted(claims, key=lambda claim: claim.id)
    return "".join(json.dumps(asdict(claim), ensure_ascii=False, allow_nan=False) + "\n" for claim in ordered)


def _environment(templates: Path | None) -> Environment:
    if templates is not None and not templates.is_dir():
        raise InputError(f"template folder {templates} is not there; give a folder that holds templates")
    folders = [folder for folder in (templates, templates_dir()) if folder is not None]
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(folder, encoding="utf-8") for folder in folders]),
        autoescape=lambda name: name is None or name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "visible": visible,
        "clip": clip,
        "clip_start": clip_start,
        "md": tables.md_escape,
        "fence": fenced,
        "shown": shown_text,
    }
    return environment


# --- HTML ------------------------------------------------------------------------------------


def _html(context: ReportContext, texts: Mapping[str, Texts], environment: Environment) -> str:
    charts: dict[str, dict[str, Figure]] = {}
    pages: list[dict[str, Any]] = []
    for language, plain in texts.items():
        view = View(context, plain)
        charts[language] = {k: v for b in context.benchmarks for k, v in figures(b, plain).items()}
        names = view.names() | _html_names(view.texts, charts[language])
        body = Markup(environment.get_template("page.html.j2").render(names))
        pages.append(
            {
                "language": language,
                "name": (Locale.parse(language).get_display_name(language) or language).capitalize(),
                "title": plain.text("ui.page_title", title=shown_text(context.title)),
                "words": {key: text for key, text in plain.messages.items() if key.startswith("js.")},
                "body": body,
            }
        )
    script = "\n".join(_source(environment, f"static/{name}") for name in _SCRIPTS)
    library = _source(environment, "static/vendor/plotly-basic.min.js")
    return environment.get_template(_BASE).render(
        pages=pages,
        run=shown_text(context.title),
        version=__version__,
        style=Markup("\n".join(_source(environment, f"static/{name}") for name in _STYLES)),
        script=Markup(script),
        words=htmlsafe_json_dumps({page["language"]: page["words"] for page in pages}, ensure_ascii=False),
        charts=htmlsafe_json_dumps(charts, ensure_ascii=False, allow_nan=False),
        plotly=Markup(_packed(library)),
        policy=_policy([script, library]),
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
    }


def _policy(scripts: Iterable[str]) -> str:
    """Nothing may load; only these scripts run.  Plotly positions its parts by inline styles."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(environment: Environment, name: str) -> str:
    if environment.loader is None:
        raise ValueError("an environment without a loader has no templates")
    source = environment.loader.get_source(environment, name)[0]
    return source.replace("\r\n", "\n")  # browsers normalize line ends before they check the hash


@cache
def _packed(library: str) -> str:
    """gzip in base64, which makes a report less than half as large; the page unpacks it for its first chart."""
    return base64.b64encode(gzip.compress(library.encode(), compresslevel=9, mtime=0)).decode()


# --- Markdown and tables ---------------------------------------------------------------------


def fenced(text: object) -> str:
    """Text as a fenced block whose fence is longer than any run of backticks inside."""
    body = "\n".join(shown_text(line) for line in str(text).split("\n"))
    longest = max((len(run) for run in _backticks(body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{body}\n{fence}"


def _backticks(text: str) -> list[str]:
    runs, current = [], ""
    for character in text:
        if character == "`":
            current += character
        elif current:
            runs.append(current)
            current = ""
    return [*runs, current]


def _markdown(context: ReportContext, texts: Texts, environment: Environment) -> str:
    quoting = replace(texts, quote=tables.md_escape)
    view = View(context, quoting)
    built = {table.name: table for table in tables.tables(context)}

    def table(name: str, benchmark: str) -> str:
        if name not in built:
            return ""
        return tables.to_markdown(built[name].of(benchmark), texts, transposed=name in ("measures", "symptoms"))

    names = view.names() | {"t": quoting.text, "say": quoting.sentence, "define": quoting.definition, "table": table}
    return environment.get_template("report.md.j2").render(names)


def _table_files(
    context: ReportContext, texts: Mapping[str, Texts], folder: Path, formats: Sequence[str]
) -> dict[Path, str]:
    writers: dict[str, Callable[[tables.TableData, Texts], str]] = {"md": tables.to_markdown, "tex": tables.to_latex}
    files: dict[Path, str] = {}
    for table in tables.tables(context):
        if "csv" in formats:
            files[folder / f"{table.name}.csv"] = tables.to_csv(table)
        for suffix, write in writers.items():
            if suffix in formats:
                files |= {
                    folder / f"{table.name}.{language}.{suffix}": write(table, t) for language, t in texts.items()
                }
    return files
