"""The reader of responses in a real headless Chromium, from ``file://``, with the network off."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from browser_page import PATIENCE, complaint, settle, wait
from reader_sample import SIXES, START, UNIT, asked, looping, plain, reader_of
from report_sample import BASE, W3, W4, sample_context

from qrm_forensics.metrics.markers import markers
from qrm_forensics.report.render import render
from qrm_forensics.report.visible import visible

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: test)")
CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]


class Page:
    """A page, and everything that it said or asked for."""

    def __init__(self, browser: Any, report: Path, anchor: str, **options: Any) -> None:
        context = browser.new_context(offline=True, **({"viewport": {"width": 1280, "height": 900}} | options))
        context.set_default_timeout(1000 * PATIENCE)
        self.page = context.new_page()
        self.said: list[str] = []
        self.requests: list[str] = []
        self._metrics: Any = None
        self.page.on("console", lambda m: self.said.extend(complaint(m)))
        self.page.on("pageerror", lambda e: self.said.append(f"error: {e}"))
        self.page.on("dialog", lambda d: (self.said.append(f"dialog: {d.message}"), d.dismiss()))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(report.as_uri() + anchor)
        self.page.wait_for_selector(".r-table tbody tr[data-at], .reader .empty", state="attached")
        settle(self.page)

    def wait(self, expression: str) -> None:
        wait(self.page, expression)

    def work(self) -> float:
        """Seconds that the page has been at work so far, of the processor: a clock would say how busy the machine is."""
        if self._metrics is None:
            self._metrics = self.page.context.new_cdp_session(self.page)
            self._metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
        found = self._metrics.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in found if one["name"] == "TaskDuration"))

    def rows(self) -> list[str]:
        return self.page.locator(".r-table tbody th a").all_inner_texts()

    def chip(self, facet: str, value: str) -> Any:
        return self.page.locator(f'.r-chip[data-facet="{facet}"][data-value="{value}"]')

    def pane(self, variant: str) -> Any:
        return self.page.locator(f'.r-pane[aria-label="{variant}"]')

    def open(self, problem: str) -> None:
        self.page.evaluate("(p) => QRM.reader.open(p)", problem)
        self.page.wait_for_selector(f".reader h2:has-text('{problem}')")

    def state(self, key: str) -> Any:
        return self.page.evaluate("(k) => QRM.state.get(k)", key)

    def close(self, requests: int = 1) -> None:
        assert self.said == []
        assert (
            len([url for url in self.requests if not url.startswith("blob:")]) == requests
        )  # a search runs in a worker
        self.page.context.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    render(replace(sample_context(), reader=reader_of(asked())), ["en", "ko"], folder, formats=["html"])
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # Chromium's own sandbox cannot start as root, which is how containers run tests.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


@pytest.fixture
def at(browser: Any, report: Path) -> Iterator[Any]:
    pages: list[Page] = []

    def open_at(anchor: str = "#en:reader", **options: Any) -> Page:
        pages.append(Page(browser, report, anchor, **options))
        return pages[-1]

    yield open_at
    for page in pages:
        page.close()


def test_chips_filter_and_stand_in_the_address(at: Any) -> None:
    p = at()
    assert p.page.locator(".r-tally").inner_text() == "40 problems"
    assert p.chip("change", "lost").locator("b").inner_text() == "4"
    p.chip("change", "lost").click()
    assert p.rows() == ["idx-0", "idx-1", "idx-2", "idx-4"]
    p.chip("level", "2").click()
    assert p.rows() == ["idx-1"]
    assert p.chip("level", "1").locator("b").inner_text() == "3"  # what there would be beside it
    again = at(p.page.evaluate("location.hash"))
    assert again.rows() == ["idx-1"]
    p.page.go_back()
    p.wait("document.querySelectorAll('.r-table tbody th a').length === 4")
    p.page.click(".r-clear")
    assert p.page.locator(".r-tally").inner_text() == "40 problems"


def test_conditions_on_responses_hold_for_one_response(at: Any) -> None:
    p = at("#en:reader?r.status=missing&r.change=looped")
    assert p.rows() == ["idx-0"]
    p.chip("variant", W4).click()
    assert p.rows() == []
    assert p.page.locator(".r-table .empty").is_visible()


def test_search_by_regular_expression(at: Any) -> None:
    p = at()
    p.page.fill(".r-search", r"idx-(3|1\d)/")
    p.wait("document.querySelector('.r-tally').textContent.startsWith('11 of')")
    p.page.fill(".r-search", "costs (")
    p.page.wait_for_selector(".r-note.bad code")
    p.page.fill(".r-search", r"costs \$5")
    p.page.wait_for_selector(".r-table .empty")
    p.page.check(".r-query input[type=checkbox]")
    p.wait("document.querySelectorAll('.r-table tbody th a').length === 1")
    assert p.rows() == ["idx-4"]


def test_no_pattern_hangs_the_page(at: Any) -> None:
    p = at("#en:reader?r.texts=1")
    p.page.fill(".r-search", r"^(a|aa|aaa)+$")
    p.wait("document.querySelector('.r-note').className.includes('bad')")
    assert "too long" in p.page.locator(".r-note").inner_text()
    p.page.fill(".r-search", "idx-7/")
    p.wait("document.querySelectorAll('.r-table tbody th a').length === 1")


def test_keyboard(at: Any) -> None:
    p = at()
    p.page.keyboard.press("j")
    p.page.keyboard.press("j")
    p.page.keyboard.press("Enter")
    p.page.wait_for_selector(".reader h2:has-text('idx-1')")
    p.page.keyboard.press("k")
    p.page.wait_for_selector(".reader h2:has-text('idx-0')")
    p.page.keyboard.press("e")
    p.wait(f"QRM.state.get('at') === '{W3}:{len(looping().text or '')}'")
    p.page.keyboard.press("/")
    assert p.page.evaluate("document.activeElement.className") == "r-find"
    p.page.keyboard.press("Escape")
    assert p.page.evaluate("document.activeElement.className") == "r-scroll"
    p.page.keyboard.press("Escape")
    assert p.page.locator(".reader").is_hidden()
    assert p.page.evaluate("document.activeElement.dataset.at") == "0"
    p.page.keyboard.press("?")
    assert p.page.locator("#help kbd", has_text="l").count() >= 1


def test_a_link_leads_to_its_character(at: Any) -> None:
    """Positions are code points: the emoji before it count once."""
    text = "<think>\n😀 한국어 𝔸 " + plain(7)[8:]
    point = text.index("</think>")
    p = at(f"#en:reader?problem=idx-1&show={BASE}&prefix=1&at={BASE}:{point}")
    p.page.wait_for_selector(".r-pane")
    facts = p.page.evaluate(
        """([unit, point]) => { const doc = QRM.reader.places(unit); return [doc.units(point), doc.points(unit.indexOf("</think>"))]; }""",
        [text, point],
    )
    assert facts == [len(text[:point].encode("utf-16-le")) // 2, point]
    assert p.state("at") == f"{BASE}:{point}"
    marked = p.pane(BASE).locator("mark.m-correct").all_inner_texts()
    assert "".join(marked) == "So 3 + 4 = 7"
    assert p.pane(BASE).locator(".r-head").all_inner_texts()[1].startswith("Answer · 4 words")


def test_loops_are_folded(at: Any) -> None:
    p = at("#en:reader?problem=idx-0")
    fold = p.pane(W3).locator(".r-fold").first
    assert "×176" in fold.inner_text()
    assert UNIT.strip(" .") in fold.locator("q").inner_text()
    assert p.page.evaluate("document.querySelector('.r-trace').textContent.length") < 2000
    fold.locator("button").click()
    inner = p.pane(W3).locator(".r-fold.inner")
    assert inner.count() == 0 or "in the middle" in inner.inner_text()
    p.wait("document.querySelectorAll('.r-pane')[1].querySelector('.r-trace').textContent.length > 2000")


def test_everything_that_was_said_can_be_read(at: Any) -> None:
    """Opened folds and drawn pieces give the text back, character by character."""
    p = at(f"#en:reader?problem=idx-0&show={W3}&raw=1&hide=loop,correct,false_equation,gibberish,marker")
    p.pane(W3).locator(".r-fold button").first.wait_for()
    while p.pane(W3).locator(".r-fold button").count():
        p.pane(W3).locator(".r-fold button").last.click()
    # A piece is drawn when it comes near.
    p.wait(
        """(() => { const left = [...document.querySelectorAll(".r-piece")].filter((e) => e.textContent === "");
          left[0]?.scrollIntoView({ behavior: "instant" }); return left.length === 0; })()"""
    )
    text = p.page.evaluate("[...document.querySelectorAll('.r-piece')].map((e) => e.textContent).join('')")
    assert text == looping().text


def test_a_common_beginning_is_one_line(at: Any) -> None:
    p = at("#en:reader?problem=idx-1&show=" + ",".join([BASE, W3]))
    p.page.wait_for_selector(".r-pane")
    assert p.page.locator(".r-shared").count() == 0  # they part at the first word
    p.open("idx-0")
    line = p.page.locator(".r-shared")
    shared = int(line.inner_text().split()[0])
    assert shared == len(START)
    assert "somebody wants the sum" not in p.pane(BASE).locator(".r-trace").inner_text()
    line.locator("button").click()
    assert "somebody wants the sum" in p.pane(BASE).locator(".r-trace").inner_text()
    p.page.keyboard.press("d")
    assert p.pane(W3).locator("mark.m-parts").count() == 1


@pytest.mark.parametrize("problem", ["idx-2", "idx-3"])
def test_hostile_responses_are_text_and_open_fast(at: Any, problem: str) -> None:
    p = at()
    before = p.work()
    p.open(problem)
    assert p.work() - before < 3.0  # a megabyte
    assert p.page.evaluate("document.querySelectorAll('.r-pane img, .r-pane script, .r-pane iframe').length") == 0
    if problem == "idx-2":
        said = p.pane(BASE).locator(".r-trace").inner_text()
        assert "</script><script>alert(1)</script> <img src=x onerror=alert(2)>" in said
        assert "<!-- after" in said
        assert "U+202E" in said
        assert "U+0007" in said
    p.page.keyboard.press("e")
    p.wait("document.querySelector('.r-pane.active .r-where').textContent.includes('100 %')")
    end = p.page.evaluate("[...document.querySelectorAll('.r-pane.active .r-piece')].at(-1).textContent.slice(-3)")
    assert end == (SIXES[-3:] if problem == "idx-2" else " x ")
    p.page.fill(".r-find", "666666" if problem == "idx-2" else "x x")
    p.wait("document.querySelector('.r-finder output').textContent.includes('of 5,000')")


def test_formulas_are_mathml_or_text(at: Any) -> None:
    p = at("#en:reader?problem=idx-4")
    p.wait("document.querySelectorAll('.r-pane .math.drawn').length >= 2")
    pane = p.pane(BASE)
    assert pane.locator("math mfrac").count() == 1
    assert pane.locator("a, [href]").count() == 0
    assert "It costs $5 and $6." in pane.inner_text()
    assert "\\(\\nosuch{\\)" in pane.inner_text()
    p.page.click(".r-tools button >> nth=0")
    assert p.pane(BASE).locator("math").count() == 0
    assert "\\(\\frac{1}{2}\\)" in p.pane(BASE).inner_text()
    assert p.state("raw") == "1"


def test_find_reaches_what_is_not_drawn(at: Any) -> None:
    p = at()
    p.open("idx-3")
    p.page.fill(".r-find", "x x")
    p.page.press(".r-find", "Enter")
    p.open("idx-0")
    p.page.fill(".r-find", "check that once")
    p.wait("document.querySelector('.r-finder output').textContent.includes('of 176')")
    p.page.press(".r-find", "Shift+Enter")  # the last one lies in the fold
    p.wait("document.querySelector('.r-finder output').textContent.includes('176 of 176')")
    assert p.pane(W3).locator(".r-piece mark.m-find").count() > 0


def test_files_beside_the_report(browser: Any, tmp_path: Path) -> None:
    files = render(
        *(replace(sample_context(), reader=reader_of(asked())), ["en"], tmp_path),
        formats=["html"],
        trace_budget_mb=0,
    )
    sides = sorted(f for f in files if f.parent.name == "traces")
    assert len(sides) > 3
    assert "idx-7" not in "".join(f.read_text("utf-8") for f in sides)  # compressed
    p = Page(browser, files[0], "#en:reader?problem=idx-0")
    p.page.wait_for_selector(".r-pane")
    assert "×176" in p.pane(W3).inner_text()
    assert p.page.locator("iframe").count() == 0  # gone when it has answered
    p.page.evaluate("QRM.state.update({ problem: null })")
    p.page.fill(".r-search", r"costs \$5")
    p.page.check(".r-query input[type=checkbox]")
    p.wait("document.querySelectorAll('.r-table tbody th a').length === 1")
    assert p.said == []
    assert all(url.startswith((tmp_path.as_uri(), "blob:")) for url in p.requests)
    # A file of another report in its place is noticed.
    sides[0].write_text(sides[1].read_text("utf-8"), encoding="utf-8")
    again = Page(browser, files[0], "#en:reader?problem=idx-0")
    again.page.wait_for_selector(".reader [role=alert]")
    assert "traces/0001.html" in again.page.locator(".reader [role=alert]").inner_text()
    again.page.context.close()
    p.page.context.close()


def test_what_is_invisible_is_the_same_in_both_languages(at: Any) -> None:
    p = at()
    seen = p.page.evaluate(
        """() => { const found = []; for (let c = 0; c < 0x110000; c++) {
             QRM.reader.INVISIBLE.lastIndex = 0; if (QRM.reader.INVISIBLE.test(String.fromCodePoint(c))) found.push(c); } return found; }"""
    )
    assert seen == [c for c in range(0x110000) if 'class="control"' in visible(chr(c))]


def test_markers_are_those_of_the_metric(at: Any) -> None:
    texts = [
        "Wait, but so SO wait. waiting So-so; let  me hold\non. double-check double check, Hmm",
        "thereforex therefore_ thus\\so hence2 2hence again, \\wait 그래서so so한 ſo maybe’s",
        looping().text,
    ]
    counted = markers(pa.table({"text": pa.array(texts, pa.large_string())}))["markers_total"]
    p = at()
    found = p.page.evaluate(
        """async (texts) => { const pattern = QRM.reader.markerPattern((await QRM.reader.index()).markers); return texts.map((t) => (t.match(pattern) ?? []).length); }""",
        texts,
    )
    assert found == counted.to_pylist()


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_window(at: Any, width: int) -> None:
    p = at("#ko:reader?problem=idx-0&facts=1", viewport={"width": width, "height": 900})
    p.page.wait_for_selector(".r-pane")
    assert p.page.evaluate("document.documentElement.scrollWidth") <= width
    assert (
        p.page.evaluate(
            "Math.max(...[...document.querySelectorAll('.r-scroll')].map((s) => s.scrollWidth - s.clientWidth))"
        )
        <= 0
    )
    assert p.pane(W3).locator(".r-fold").inner_text().startswith("×176 반복")


def test_names_of_problems_lead_to_their_responses(at: Any) -> None:
    p = at("#en:summary")
    link = p.page.locator(".page[lang=en] .case h4 a[href*=':reader?']").first
    name = link.inner_text()
    link.press("Enter")  # charts are drawn as they come near, and may move it from under a mouse
    p.page.wait_for_selector(f".reader h2:has-text('{name}')")
    p.page.keyboard.press("Escape")
    assert p.page.locator(".reader").is_hidden()
    assert p.page.locator(".page[lang=en] .case h4").first.is_visible()


def test_what_was_written_for_the_model_is_marked(at: Any) -> None:
    p = at(f"#ko:reader?problem=idx-5&show={W4},{W3}&facts=1")
    p.page.wait_for_selector(".r-pane")
    assert "".join(p.pane(W3).locator("mark.m-forced").all_text_contents()) == "Wait\n</think>"
    assert "모델이 쓰지 않음" in p.pane(W3).locator("mark.m-forced").first.get_attribute("title")
    assert p.page.locator(".r-legend .m-forced").count() == 1
    assert p.page.locator(".r-shared").inner_text().count(str(len(START))) == 1  # folded up to the first of them
    row = p.page.locator(".r-facts tr", has_text="대신 써넣은 위치")
    assert "forced.jsonl:3" in row.inner_text()
    assert row.locator("code").all_inner_texts() == ["Wait", "</think>"]
    for place in (len(START), len(START) + 19, len(START)):  # from the last one on to the first
        p.page.keyboard.press("w")
        p.wait(f"document.querySelector('.r-pane.active .r-where').textContent.includes('{place}번째 글자')")
    assert "forced.jsonl:3" in p.pane(W4).locator(".r-lost").inner_text()
    p.open("idx-7")
    assert p.page.locator(".r-legend .m-forced").count() == 0
