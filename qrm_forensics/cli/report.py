"""``report``: pages, tables and pictures of a run, or of a context that an earlier report has left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qrm_forensics.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qrm_forensics.report.model import ReportContext
    from qrm_forensics.store import Store

RUNS = Path("runs")
#: The format that is made from the run and not from what the report says.
TABLE = "table"


@click.command()
@click.argument("run_folder", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--lang",
    "languages",
    multiple=True,
    help="Language: en, ko or zh; may be repeated (default: languages of the study, else en).",
)
@click.option(
    "--format",
    "formats",
    default="html,md,csv,tex,json",
    show_default=True,
    help="Comma-separated: html, md, csv, tex, json; table (the paper's two tables, printed and written); svg and png (pictures of the charts) need a Chromium.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Report folder (default: <RUN>/report).")
@click.option(
    "--templates",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder whose templates, or blocks of them, replace ours; theme.css there changes colours and fonts.",
)
@click.option(
    "--context",
    "context_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Render a context.json again, instead of a RUN (default for --out: its folder).",
)
@click.option(
    "--trace-budget-mb",
    type=click.FloatRange(min=0),
    default=25.0,
    show_default=True,
    help="Compressed responses that come to more go to files beside the HTML file.",
)
@click.option("--all-in-one", is_flag=True, help="Keep all responses inside the HTML file, however large it gets.")
@click.option("--open", "open_it", is_flag=True, help="Open the report in the browser.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def report(
    run_folder: Path | None,
    languages: tuple[str, ...],
    formats: str,
    out: Path | None,
    templates: Path | None,
    context_file: Path | None,
    trace_budget_mb: float,
    all_in_one: bool,
    open_it: bool,
    as_json: bool,
) -> None:
    """Write the report of a run: one offline HTML file, Markdown, tables, and the evidence of every number.

    RUN left out means the newest run under runs/.
    """
    from qrm_forensics.report.i18n import MissingMessage
    from qrm_forensics.report.reader.page import FOLDER
    from qrm_forensics.report.render import FORMATS, render

    chosen = [f.strip() for f in formats.split(",") if f.strip()]
    if unknown := [f for f in chosen if f not in (*FORMATS, TABLE)]:
        raise InputError(f"report format {', '.join(unknown)}: choose from {', '.join((*FORMATS, TABLE))}")
    if TABLE in chosen:
        files = _paper_tables(run_folder, context_file, languages, out, as_json)
        chosen = [f for f in chosen if f != TABLE]
        if not chosen:
            _print_files(files[0], files[1:], as_json)
            return
    context, target, wanted = _read(run_folder, context_file, languages, responses=bool({"html", "json"} & set(chosen)))
    target = out or target
    try:
        budget = None if all_in_one else trace_budget_mb
        written = render(*(context, wanted, target), formats=chosen, templates=templates, trace_budget_mb=budget)
    except MissingMessage as error:
        if context_file is None:
            raise
        raise InputError(f"{context_file}: {error.args[0]}; write the file again from its run") from error
    pages = [p for p in written if p.suffix == ".html" and p.parent.name != FOLDER]
    if as_json:
        click.echo(json.dumps({"report": str(target), "files": [str(p) for p in written]}, ensure_ascii=False))
    else:
        for path in pages or written:
            click.echo(str(path))
        if pages and context.reader is not None:
            beside = any(p.parent.name == FOLDER for p in written)
            where = f"in {target / FOLDER}, which belongs beside it" if beside else "inside it"
            limit = "no budget" if budget is None else f"budget {budget:g} MB"
            click.echo(f"responses: {context.reader.packed_bytes / 1e6:.1f} MB compressed, {where} ({limit})", err=True)
    if open_it and pages:
        click.launch(str(pages[0].resolve()))


def _paper_tables(
    run_folder: Path | None, context_file: Path | None, languages: Sequence[str], out: Path | None, as_json: bool
) -> list[Path]:
    """Print and write the paper's tables; the folder, then the files."""
    from qrm_forensics.cli.paper_tables import print_tables
    from qrm_forensics.report.i18n import Texts, check_languages
    from qrm_forensics.report.paper_tables import paper_tables, write_tables
    from qrm_forensics.store import Store, newest_run

    if context_file is not None:
        raise InputError("--format table: steps are counted in the responses, which a context has not; give the RUN")
    store = Store(run_folder) if run_folder else newest_run(RUNS)
    texts = {language: Texts.of(language) for language in check_languages(_languages(languages, store))}
    tables = paper_tables(store)
    target = out or store.root / "report"
    files = write_tables(tables, target / "tables", texts)
    # Printed last: a reader who leaves (| head) ends the command.
    print_tables(tables, next(iter(texts.values())), error=as_json)
    return [target, *files]


def _print_files(target: Path, files: list[Path], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"report": str(target), "files": [str(p) for p in files]}, ensure_ascii=False))
    else:
        for path in files:
            click.echo(str(path))


def _languages(wanted: Sequence[str], store: Store | None) -> list[str]:
    """Those of ``--lang``, else of the study that the run was made for, else English."""
    return list(wanted) or list(store.languages if store is not None else ()) or ["en"]


def _read(
    run_folder: Path | None, context_file: Path | None, languages: Sequence[str], *, responses: bool
) -> tuple[ReportContext, Path, list[str]]:
    """What to render, the folder that the report goes to unless another one is named, and the languages."""
    from qrm_forensics.report.context import build_context
    from qrm_forensics.report.export_files.context_json import load_context
    from qrm_forensics.report.i18n import check_languages
    from qrm_forensics.store import Store, newest_run

    if languages:
        check_languages(languages)  # before anything is computed
    if context_file is None:
        store = Store(run_folder) if run_folder else newest_run(RUNS)
        return build_context(store, responses=responses), store.root / "report", _languages(languages, store)
    if run_folder is not None:
        raise InputError(f"give a RUN or --context, not both: {run_folder}, {context_file}")
    return load_context(context_file), context_file.parent, _languages(languages, None)


COMMANDS = (report,)
