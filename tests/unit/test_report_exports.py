"""What a report leaves beside its pages: a context that renders again, tables as JSON and LaTeX, own templates."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from report_sample import BASE, BENCHMARK, HOSTILE, W3, sample_context

from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.report.category_pages.model import CategoryPage, Pick, Picks, Side
from qrm_forensics.report.charts import figures
from qrm_forensics.report.export_files.context_json import dump_context, load_context
from qrm_forensics.report.export_files.file_names import Names, safe_name
from qrm_forensics.report.export_files.images import draw_images, on_paper, stable_svg
from qrm_forensics.report.export_files.latex import PAGE, to_latex
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.model import ReportContext
from qrm_forensics.report.nouns import Sentence
from qrm_forensics.report.render import render
from qrm_forensics.report.section_tables import report_tables
from qrm_forensics.report.sections.model import Quote
from qrm_forensics.report.tables import Head, TableData, tables
from qrm_forensics.report.templating import templates_dir

LANGUAGES = ["en", "ko", "zh"]


def with_pages() -> ReportContext:
    """The sample with a page about one subject whose case is hostile."""
    context = sample_context()
    benchmark = context.benchmarks[0]
    category = benchmark.categories[0]
    count = category.rows[0].n
    side = Side(W3, "wrong", "looped_to_limit", HOSTILE, 120, 0.25)
    case = Pick(
        "idx-7", 0, 42, HOSTILE, "4", (replace(side, variant=BASE, onset=None), side), Quote(HOSTILE, W3, "idx-7", 3)
    )
    page = CategoryPage(
        *(BENCHMARK, category.dimension, category.name),
        Sentence("page.size", {"problems": count, "responses": count}),
        category.sentences,
        (),
        (Picks("lost_loop", Sentence("pick.lost_loop", {"shown": "1", "count": count}), (case,)),),
    )
    return replace(context, benchmarks=(replace(benchmark, pages=(page,)),))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ------------------------------------------------------------------------------- the context file
def test_a_context_renders_again_byte_for_byte(tmp_path: Path) -> None:
    context = with_pages()
    render(context, LANGUAGES, tmp_path / "first")
    loaded = load_context(tmp_path / "first" / "context.json")
    assert loaded == context
    render(loaded, LANGUAGES, tmp_path / "second")
    first, second = contents(tmp_path / "first"), contents(tmp_path / "second")
    assert len(first) > 30
    assert first == second


def test_a_claim_is_written_once_and_referred_to() -> None:
    context = sample_context()
    whole = json.loads(dump_context(context))
    assert [c["id"] for c in whole["claims"]] == [c.id for c in context.claims]
    assert whole["context"]["benchmarks"][0]["cells"][0]["n"] == {"$ref": context.benchmarks[0].cells[0].n.id}
    stray = replace(context, claims=context.claims[1:])
    with pytest.raises(ValueError, match="is not among the claims"):
        dump_context(stray)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["format"], "other", "is not a report context"),
        (["schema"], 99, "has schema 99"),
        (["context", "title"], 7, r"\$\.context\.title: expected a text, found 7"),
        (["context", "benchmarks", 0, "nam"], "x", r"\$\.context\.benchmarks\[0\]: .*did you mean 'name'"),
        (["context", "benchmarks", 0, "cells", 0, "coverage"], "half", r"cells\[0\]\.coverage: 'half' is none of full"),
        (["context", "benchmarks", 0, "cells", 0, "n"], {"$ref": "nowhere"}, r"there is no claim 'nowhere'"),
        (["context", "headline", "key"], "no.such", "there is no sentence 'no.such'"),
        (["context", "headline", "slots"], {}, r"lacks the slot"),
        (["claims", 3, "value"], "many", r"\$\.claims\[3\]\.value: expected .*found 'many'"),
        (["context", "provenance"], None, r"\$\.context\.provenance: expected an object \(Provenance\), found null"),
    ],
)
def test_a_damaged_context_is_refused_in_one_line(
    tmp_path: Path, path: list[str | int], value: object, said: str
) -> None:
    whole = json.loads(dump_context(sample_context()))
    place = whole
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    file = tmp_path / "context.json"
    file.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        load_context(file)
    message = str(caught.value)
    assert message.startswith(str(file)) and "\n" not in message and caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff"])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "context.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="is not JSON"):
        load_context(file)
    with pytest.raises(InputError, match="is not there"):
        load_context(tmp_path / "none.json")


# ------------------------------------------------------------------------------- tables
def test_json_tables_have_the_rows_of_the_csv_and_the_ids_of_their_claims(tmp_path: Path) -> None:
    context = with_pages()
    render(context, ["en"], tmp_path, formats=["json", "csv"])
    known = {c.id: c for c in context.claims}
    for table in report_tables(context):
        found = json.loads((tmp_path / "tables" / f"{table.name}.json").read_text("utf-8"))
        assert [c["name"] for c in found["columns"]] == [h.name for h in table.heads]
        assert len(found["rows"]) == len(table.rows)
        cells = [cell for row in found["rows"] for cell in row if isinstance(cell, dict) and "id" in cell]
        assert all(known[cell["id"]].value == cell["value"] for cell in cells)
    accuracy = json.loads((tmp_path / "tables" / "accuracy.json").read_text("utf-8"))
    assert {"key": "coverage.full"} in accuracy["rows"][0]


def test_latex_tables_have_as_many_cells_as_columns_and_fit() -> None:
    for table in tables(sample_context()):
        text = to_latex(table, Texts.of("ko"))
        spec = re.search(r"\\begin\{(?:tabular|longtable)\}\{((?:[lr]|>\{.*?\}p\{\d+em\})+)\}\n", text)
        assert spec is not None, text[:200]
        columns = len(re.findall(r"[lr]|p\{", re.sub(r">\{.*?arraybackslash\}", "", spec[1]).replace("em}", "")))
        body = text.split("\\midrule\n")[1].split("\\bottomrule\n\\end")[0].splitlines()
        rows = [line for line in body if line.endswith(r"\\")]
        assert rows and {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {columns - 1}


def test_wide_tables_are_turned_or_scaled_and_long_ones_go_over_pages() -> None:
    def of(columns: int, rows: int) -> str:
        heads = tuple(Head(f"c{i}", "ui.variant") for i in range(columns))
        return to_latex(TableData("t", heads, tuple(("a value",) * columns for _ in range(rows))), Texts.of("en"))

    assert of(3, 3).startswith(r"\begin{tabular}{lll}")
    assert of(20, 2).count("\\\\\n") == 20 and "resizebox" not in of(20, 2)
    assert of(20, 30).startswith(r"\resizebox{\linewidth}{!}{%")
    assert r"\begin{longtable}{lll}" in of(3, PAGE + 1)


@pytest.mark.slow
def test_the_document_of_all_tables_compiles(tmp_path: Path) -> None:
    program = next((p for p in ("tectonic", "lualatex", "xelatex") if shutil.which(p)), None)
    if program is None:
        pytest.skip("no LaTeX here: install texlive-luatex and texlive-latex-recommended (Debian), or tectonic")
    render(with_pages(), ["en"], tmp_path, formats=["tex"])
    options = [] if program == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(
        [program, *options, "tables.en.tex"],
        cwd=tmp_path / "tables",
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=240,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path), "SOURCE_DATE_EPOCH": "0"},
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables" / "tables.en.pdf").read_bytes().startswith(b"%PDF")


# ------------------------------------------------------------------------------- charts
def test_random_names_in_a_drawing_are_replaced() -> None:
    def svg(uid: str, pattern: str) -> str:
        return f'<svg><defs id="defs-{uid}"><g id="clip{uid}xy"/><p id="p{uid}-legend-{pattern}"/></defs><a href="#p{uid}-legend-{pattern}"/></svg>'

    assert stable_svg(svg("a1b2c3", "d4e5f6")) == stable_svg(svg("0f0f0f", "abcdef"))


@pytest.mark.browser
def test_charts_are_drawn_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("kaleido", reason="charts as pictures need kaleido: pip install 'qrm-forensics[images]'")
    charts = figures(sample_context().benchmarks[0], Texts.of("ko"))
    chosen = {name: charts[name] for name in list(charts)[:2]}
    library = templates_dir() / "static/vendor/plotly-basic.min.js"
    try:
        made = draw_images({"ko": chosen}, ["svg", "png"], tmp_path / "a", library)
    except EnvironmentMissing as missing:
        pytest.skip(str(missing))
    draw_images({"ko": chosen}, ["svg", "png"], tmp_path / "b", library)
    assert len(made) == 4
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    for path in made:
        head = path.read_bytes()[:8]
        assert head.startswith(b"<svg") if path.suffix == ".svg" else head == b"\x89PNG\r\n\x1a\n"


def test_a_figure_on_paper_leaves_the_page_alone() -> None:
    figure = next(iter(figures(sample_context().benchmarks[0], Texts.of("en")).values()))
    before = json.dumps(figure)
    assert on_paper(figure)["layout"]["paper_bgcolor"] == "#ffffff"
    assert json.dumps(figure) == before


# ------------------------------------------------------------------------------- names of files
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Counting & Probability", "Counting_Probability"),
        ("../../etc/passwd", "etc_passwd"),
        ("대수", "대수"),
        ("...", "_"),
        ("CON", "_CON"),
        ("a" * 300, "a" * 60),
    ],
)
def test_names_of_files_are_safe(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_names_of_files_never_meet() -> None:
    names = Names()
    assert [names.path(("c", n), ".md") for n in ("A b", "a_b", "A/b")] == ["c/A_b.md", "c/a_b~2.md", "c/A_b~3.md"]


# ------------------------------------------------------------------------------- templates
def test_one_block_can_be_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "executive.html.j2").write_text(
        '{% extends "builtin/executive.html.j2" %}{% block verdict %}<p id="mine">{{ say(ctx.headline) }}</p>{% endblock %}',
        encoding="utf-8",
    )
    (own / "theme.css").write_text(":root { --accent: rebeccapurple; }", encoding="utf-8")
    render(with_pages(), ["en"], tmp_path / "out", formats=["html"], templates=own)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert '<p id="mine">' in page and 'class="verdict' not in page
    assert 'id="en:findings"' in page  # the rest of the same template
    style = page.split("<style>")[1].split("</style>")[0]
    assert style.index("--accent: rebeccapurple") > style.rindex("@media print")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("executiv.html.j2", "x", r"replaces no template; did you mean executive\.html\.j2"),
        ("executive.html.j2", "{% block x %}", r"executive\.html\.j2:1: "),
        (
            "executive.html.j2",
            "line\n{{ nothing_like_this }}",
            r"executive\.html\.j2:2: 'nothing_like_this' is undefined",
        ),
        ("executive.html.j2", '{% include "none.j2" %}', r"none\.j2"),
        ("theme.css", "a{} </STYLE><script>", "a theme holds CSS only"),
    ],
)
def test_a_mistake_in_a_template_is_one_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        render(sample_context(), ["en"], tmp_path / "out", formats=["html"], templates=own)


def test_the_worked_example_of_the_docs_works(tmp_path: Path) -> None:
    """The files that docs/report.md shows, taken from it as they stand there."""
    docs = templates_dir().parents[1] / "docs" / "report.md"
    if not docs.is_file():
        pytest.skip("the docs are not part of this installation")
    shown = re.findall(r"^`mine/([\w.]+)`:\n\n```\w*\n(.*?)^```$", docs.read_text("utf-8"), re.S | re.M)
    assert {name for name, _ in shown} == {"executive.html.j2", "theme.css"}
    own = tmp_path / "mine"
    own.mkdir()
    for name, text in shown:
        (own / name).write_text(text, encoding="utf-8")
    render(with_pages(), ["en"], tmp_path / "out", formats=["html"], templates=own)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Internal use only" in page and 'class="verdict' in page and "--accent: #7a3e9d" in page


# ------------------------------------------------------------------------------- pages
def test_hostile_text_of_a_case_stays_text(tmp_path: Path) -> None:
    context = with_pages()
    render(context, LANGUAGES, tmp_path, formats=["html", "md"])
    page = (tmp_path / "report.html").read_text("utf-8")
    body = page.split('class="picks"')[1].split("</ul>")[0]
    assert "<script" not in body and "&lt;script" in body
    assert re.search(r'href="#en:reader\?problem=[\w%.-]+%2Fidx-7%2F0%2F42"', body)
    files = sorted((tmp_path / "categories").rglob("*.md"))
    assert len(files) == len(LANGUAGES)
    for file in files:
        text = file.read_text("utf-8")
        assert (file.parent / re.findall(r"\]\(((?:\.\./)+report\.\w+\.md)\)", text)[0]).resolve().is_file()
        assert "<script>" not in re.sub(r"^(`{3,})text\n.*?\n\1$", "", text, flags=re.S | re.M).replace("\\<", "")
    listed = re.findall(r"\]\((categories/[^)]+)\)", (tmp_path / "report.en.md").read_text("utf-8"))
    assert listed and all((tmp_path / name).is_file() for name in listed)
