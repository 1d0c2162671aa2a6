"""Files of a report: evidence behind every number, hostile text as text, tables that can be read again."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import plotly.graph_objects as go
import pytest
from report_sample import BENCHMARK, HOSTILE, W3, sample_context

from qrm_forensics.errors import InputError
from qrm_forensics.report.charts import figures
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.model import Claim, Excerpt, Mark, Unit
from qrm_forensics.report.render import fenced, render, templates_dir
from qrm_forensics.report.tables import (
    Head,
    TableData,
    Value,
    md_escape,
    tex_escape,
    to_csv,
)
from qrm_forensics.report.trace_html import pieces, trace_html
from qrm_forensics.report.visible import clip_start, visible


class _Page(HTMLParser):
    """Tags, ids, links of numbers, and text, as a browser's tokenizer sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.hrefs: list[str] = []
        self.numbers: list[str] = []
        self.attributes: set[str] = set()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text: list[str] = []
        self._script: dict[str, str | None] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.attributes |= set(found)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.hrefs.append(str(found["href"]))
            if found.get("class") == "num":
                self.numbers.append(str(found["href"]))
        if tag == "script":
            self._script = found
            self.scripts.append((found, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        else:
            self.text.append(data)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    render(sample_context(), ["ko", "en"], folder)
    return folder


@pytest.fixture(scope="module")
def page(out: Path) -> _Page:
    parser = _Page()
    parser.feed((out / "report.html").read_text("utf-8"))
    parser.close()
    return parser


def _script(page: _Page, name: str) -> str:
    (body,) = [body for attrs, body in page.scripts if attrs.get("id") == name]
    return body


def _ledger(page: _Page) -> dict[str, Any]:
    ledger: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(_script(page, "ledger"))))
    return ledger


def test_every_number_shown_leads_to_a_listed_claim(out: Path, page: _Page) -> None:
    listed = {json.loads(line)["id"]: json.loads(line) for line in (out / "claims.jsonl").open(encoding="utf-8")}
    ledger = _ledger(page)
    anchors = {row[1] or f"claim/{row[0]}": row for row in ledger["rows"]}
    shown = {unquote(href[1:]) for href in page.numbers}
    assert len(shown) > 100
    assert {anchor.partition(":")[2] for anchor in shown} <= set(anchors)
    assert [row[0] for row in ledger["rows"]] == sorted(listed)
    for name, anchor, definition, table, filter_, *_, value, fraction, interval in anchors.values():
        claim = listed[name]
        assert anchor == 0 or re.sub(r"[^\w./=,-]", "_", f"claim/{name}") == anchor.partition("~")[0]
        assert f"ko:{ledger['definitions'][definition]}" in page.ids
        assert (ledger["tables"][table] if table >= 0 else "") == claim["table"]
        assert (ledger["filters"][filter_] if filter_ >= 0 else "") == claim["filter"]
        known = Claim(**{**claim, "unit": Unit(claim["unit"])})
        for k, language in enumerate(ledger["languages"]):
            numbers = Texts.of(language).numbers
            said = [v if isinstance(v, str) else v[k] for v in (value, fraction, interval)]
            assert said[0] == numbers.claim(known)
            assert said[1] == ("" if known.denominator is None else numbers.fraction(known))
            assert said[2] == ("" if known.ci_low is None else numbers.interval(known))


def test_claims_are_sorted_and_complete(out: Path) -> None:
    lines = [json.loads(line) for line in (out / "claims.jsonl").read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == sorted(c.id for c in sample_context().claims)
    assert {"value", "unit", "numerator", "denominator", "ci_low", "ci_high", "definition", "table", "filter"} <= set(
        lines[0]
    )


def test_a_number_without_evidence_is_refused(tmp_path: Path) -> None:
    context = sample_context()
    left = tuple(c for c in context.claims if c.id != f"paired/{BENCHMARK}/{W3}/difference")
    with pytest.raises(ValueError, match="not among the claims"):
        render(replace(context, claims=left), ["en"], tmp_path, formats=["html"])


def test_links_inside_the_page_resolve_and_ids_are_unique(page: _Page) -> None:
    assert all(href.startswith("#") for href in page.hrefs)
    assert {unquote(href[1:]) for href in page.hrefs if href not in set(page.numbers)} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_hostile_text_stays_text(page: _Page) -> None:
    assert [t for t in page.tags if t in ("img", "b", "iframe", "object")] == ["b"] * page.tags.count("b")
    assert not {a for a in page.attributes if a.startswith("on")}
    assert len([attrs for attrs, _ in page.scripts if "type" not in attrs]) == 1
    whole = "".join(page.text)
    assert "</script><script>alert(1)</script>" in whole
    assert "{{ 7*7 }}" in whole
    assert "U+202E" in whole
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", whole)


def test_only_our_scripts_may_run(out: Path, page: _Page) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', (out / "report.html").read_text("utf-8"))
    assert policy is not None
    allowed = policy[1].replace("&#39;", "'")
    assert allowed.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in allowed.split("style-src")[0]
    assert "http" not in allowed
    (runs,) = [body for attrs, body in page.scripts if "type" not in attrs]
    library = gzip.decompress(base64.b64decode(_script(page, "plotly")))
    for body in (runs.encode(), library):
        assert base64.b64encode(hashlib.sha256(body).digest()).decode() in allowed


def test_data_for_scripts_is_json_and_every_chart_is_valid(page: _Page) -> None:
    charts = json.loads(_script(page, "charts"))
    assert set(charts) == {"ko", "en"}
    assert set(charts["ko"]) == {
        f"{BENCHMARK}/{n}"
        for n in ("accuracy", "outcomes", "causes", "onset_curve", "overlap/0", "distribution/n_words")
    }
    for figure in charts["ko"].values():
        go.Figure(figure, skip_invalid=False)
        assert {trace["type"] for trace in figure["data"]} <= {"scatter", "bar"}  # what the vendored bundle can draw


def test_charts_agree_with_the_tables() -> None:
    (benchmark,) = sample_context().benchmarks
    drawn = figures(benchmark, Texts.of("en"))
    outcomes = {t["name"]: [float(c[0]) for c in t["customdata"]] for t in drawn[f"{BENCHMARK}/outcomes"]["data"]}
    assert outcomes["right"] == [8.0, 17.0, 18.0]
    assert [sum(v) for v in zip(*outcomes.values(), strict=True)] == [20.0] * 3
    upset = [t for t in drawn[f"{BENCHMARK}/overlap/0"]["data"] if t["type"] == "bar"]
    assert sum(sum(t["y"]) for t in upset) == 20
    words = drawn[f"{BENCHMARK}/distribution/n_words"]["data"]
    assert all(sum(t["y"]) == pytest.approx(100) for t in words if t["type"] == "bar")
    assert "gptq-w3g128" not in json.dumps(drawn[f"{BENCHMARK}/accuracy"])


def test_a_selected_subset_never_shows_an_accuracy(out: Path) -> None:
    rows = list(csv.DictReader((out / "tables/accuracy.csv").read_text("utf-8").splitlines()))
    row = next(r for r in rows if r["variant"] == "gptq-w3g128")
    assert (row["coverage"], row["accuracy_strict"], row["correct_strict"]) == ("selected", "", "2")


def test_csv_holds_raw_values(out: Path) -> None:
    rows = list(csv.DictReader((out / "tables/accuracy.csv").read_text("utf-8").splitlines()))
    worst = next(r for r in rows if r["variant"] == W3)
    assert float(worst["accuracy_strict"]) == 0.4
    assert (worst["accuracy_strict_numerator"], worst["accuracy_strict_denominator"]) == ("8", "20")
    with (out / "tables/loops.csv").open(encoding="utf-8", newline="") as file:
        loop = next(csv.DictReader(file))
    assert json.loads(loop["unit"]) == HOSTILE
    overlap = list(csv.DictReader((out / "tables/overlap.csv").read_text("utf-8").splitlines()))
    assert sum(int(r["problems"]) for r in overlap[:-1]) == int(overlap[-1]["problems"]) == 20


def test_names_are_no_formulas_in_csv() -> None:
    row: tuple[Value, ...] = ("=1+1", "policy.strict", "@a", "w4-g", -2)
    table = TableData("x", tuple(Head(name, "ui.n") for name in "abcde"), (row,))
    assert next(csv.reader(to_csv(table).splitlines()[1:])) == ['"=1+1"', "strict", '"@a"', "w4-g", "-2"]


def test_an_excerpt_in_markdown_keeps_the_end_of_the_response() -> None:
    assert (clip_start("a long end", 3), clip_start("short", 9)) == ("…end", "short")


def test_a_difference_over_selected_problems_is_not_shown_as_a_fraction() -> None:
    lost = Claim("x", None, Unit.POINTS, "definition.difference", numerator=-12, denominator=50, note="claim.selected")
    assert Texts.of("en").numbers.claim(lost) == "–"
    assert Texts.of("en").numbers.claim(replace(lost, unit=Unit.SHARE, numerator=12)) == "12/50"


def test_latex_is_escaped() -> None:
    assert tex_escape(r"50% a_b \x {y} & #1 $ ~ ^") == (
        r"50\% a\_b \textbackslash{}x \{y\} \& \#1 \$ \textasciitilde{} \textasciicircum{}"
    )
    # in front of a row these are arguments of the line break; two hyphens are a dash
    assert (tex_escape("[U+202E] *a--b"), tex_escape("w4-g")) == ("{[}U+202E] {*}a-{}-b", "w4-g")


def test_markdown_keeps_hostile_text_in_its_place(out: Path) -> None:
    text = (out / "report.ko.md").read_text("utf-8")
    outside = re.sub(r"^(`{3,})text\n.*?\n\1$", "", text, flags=re.S | re.M)
    assert "<script>" not in re.sub(r"\\[<>]", "", outside)
    assert not re.search("[\u202a-\u202e]", text)
    assert md_escape("a|b\n*c* <d> 1~2") == r"a\|b \*c\* \<d\> 1\~2"
    assert fenced("x ```` y").startswith("`````text\n")


def test_marks_are_drawn_and_loops_folded() -> None:
    text = "start 2+2=5 " + "Wait, no. " * 60 + "<end>"
    loop = Mark("loop", 12, 612)
    marks = (Mark("false_equation", 6, 11), loop, Mark("correct", 600, 605))
    cut = list(pieces(text, 0, marks))
    assert "".join(piece for piece, _, _ in cut) == text
    assert [(piece, kind) for piece, kind, within in cut if within is None] == [
        ("start ", None),
        ("2+2=5", "false_equation"),
        (" ", None),
        ("<end>", None),
    ]
    excerpt = Excerpt("v", {}, {}, "stop", 1, len(text), None, ((0, text),), "Wait, no. ", 60.0, 3, None, marks=marks)
    html = str(trace_html(excerpt, Texts.of("en")))
    assert '<mark class="false_equation" title="False equation">2+2=5</mark>' in html
    assert "&lt;end&gt;" in html
    assert html.count("<details") == 1
    assert "440 more characters of the loop" in html
    shown = re.sub(r"<summary>.*?</summary>", "", html)
    assert re.sub(r"<[^>]+>", "", shown).replace("&lt;", "<").replace("&gt;", ">").replace("  ", " ") == text.replace(
        "  ", " "
    )


def test_marks_that_reach_beyond_a_part_are_cut_to_it() -> None:
    cut = list(pieces("abcdef", 100, (Mark("loop", 0, 103), Mark("correct", 104, 900), Mark("correct", 300, 301))))
    assert cut == [("abc", None, 0), ("d", None, None), ("ef", "correct", None)]


def test_invisible_characters_are_named() -> None:
    assert (
        visible("a\u202e<b>\x00\n")
        == 'a<span class="control">U+202E</span>&lt;b&gt;<span class="control">U+0000</span>\n'
    )
    assert visible("안녕 שלום 👍") == "안녕 שלום 👍"


def test_one_language_has_no_switch(tmp_path: Path) -> None:
    files = render(sample_context(selected=False), ["en"], tmp_path, formats=["html"])
    assert [f.name for f in files] == ["report.html", "claims.jsonl"]
    assert 'id="lang-en"' not in files[0].read_text("utf-8")


def test_templates_can_be_replaced(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "report.md.j2").write_text("only {{ ctx.title }}", encoding="utf-8")
    render(sample_context(), ["en"], tmp_path / "out", formats=["md"], templates=own)
    assert (tmp_path / "out" / "report.en.md").read_text("utf-8") == "only sample"
    assert (templates_dir() / "base.html.j2").is_file()


def test_bad_requests_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="report language xx: choose from"):
        render(sample_context(), ["xx"], tmp_path)
    with pytest.raises(InputError, match="report format pdf: choose from html"):
        render(sample_context(), ["en"], tmp_path, formats=["pdf"])
    with pytest.raises(InputError, match="template folder"):
        render(sample_context(), ["en"], tmp_path, templates=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_half_of_a_surrogate_pair_does_not_stop_a_report(tmp_path: Path) -> None:
    render(replace(sample_context(), title="a\ud800b"), ["en"], tmp_path)
    assert "U+D800" in (tmp_path / "report.en.md").read_text("utf-8")
    assert '"a?b"' in (tmp_path / "context.json").read_text("utf-8")
