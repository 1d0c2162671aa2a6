"""The HTML report in a real headless Chromium, from ``file://``, with the network off."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from browser_page import PATIENCE, complaint, settle, wait
from report_sample import BENCHMARK, HOSTILE, W3, sample_context

from qrm_forensics.report.render import render

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: test)")
CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]


@dataclass
class Opened:
    """A page and everything that it said, asked for or tried."""

    page: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def quiet(self) -> bool:
        return self.console == [] and self.dialogs == [] and len(self.requests) == 1

    def draw_all(self) -> None:
        """Open what is folded, scroll through the page, and wait until every chart in sight is drawn."""
        self.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        self.page.evaluate("document.querySelectorAll('.plot').forEach((p) => p.scrollIntoView())")
        waiting = "[...document.querySelectorAll('.plot')].filter((p) => p.offsetParent && p.dataset.state !== 'drawn')"
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.page.evaluate(f"{waiting}.forEach((p) => p.scrollIntoView({{ behavior: 'instant' }}))")
            self.page.wait_for_timeout(100)
            if self.page.evaluate(f"{waiting}.length") == 0:
                return
        raise AssertionError(f"charts not drawn: {self.page.evaluate(waiting + '.map((p) => p.dataset.chart)')}")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    render(sample_context(), ["ko", "en"], folder, formats=["html"])
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # Chromium's own sandbox cannot start as root, which is how containers run tests.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


def _open(browser: Any, report: Path, **options: Any) -> Opened:
    context = browser.new_context(offline=True, **({"viewport": {"width": 1280, "height": 900}} | options))
    context.set_default_timeout(1000 * PATIENCE)
    opened = Opened(context.new_page())
    opened.page.on("console", lambda m: opened.console.extend(complaint(m)))
    opened.page.on("pageerror", lambda e: opened.console.append(f"error: {e}"))
    opened.page.on("request", lambda r: opened.requests.append(r.url))
    opened.page.on("dialog", lambda d: (opened.dialogs.append(d.message), d.dismiss()))
    opened.page.goto(report.as_uri())
    if options.get("java_script_enabled", True):
        opened.page.wait_for_selector("html[data-ready]", state="attached")
        settle(opened.page)
    return opened


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Opened]:
    found = _open(browser, report)
    yield found
    found.page.context.close()


def test_charts_are_drawn_without_a_request_or_a_word_in_the_console(opened: Opened) -> None:
    opened.draw_all()
    shown = opened.page.locator(".page[lang=ko] .plot")
    assert shown.count() == 6
    for i in range(shown.count()):
        assert shown.nth(i).locator("svg.main-svg").count() >= 1
    marks = ".page[lang=ko] .plot :is(.point, .points path)"
    assert opened.page.locator(marks).count() > 20
    assert opened.quiet(), (opened.console, opened.requests, opened.dialogs)


def test_the_policy_stops_a_foreign_script(opened: Opened) -> None:
    opened.page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.head.append(s); }"
    )
    assert opened.page.evaluate("window.broken") is None
    assert any("Content Security Policy" in line for line in opened.console)


def test_hostile_text_stays_text(opened: Opened) -> None:
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    said = page.locator(".page[lang=ko] pre.trace").first.inner_text()
    assert "</script><script>alert(1)</script> <img src=x onerror=alert(2)>" in said
    assert "U+202E" in said
    assert "U+0007" in said
    assert "\u05e9\u05dc\u05d5\u05dd" in said
    assert HOSTILE.split()[0] in page.locator(".page[lang=ko] .question").first.inner_text()
    assert page.locator("img, iframe, .page script").count() == 0
    assert page.evaluate("getComputedStyle(document.querySelector('pre.trace')).unicodeBidi") in (
        "isolate",
        "plaintext",
    )
    assert opened.quiet(), (opened.console, opened.dialogs)


def test_language_switch_keeps_the_place(opened: Opened) -> None:
    page = opened.page
    assert page.evaluate("document.documentElement.lang") == "ko"
    page.goto(page.url + f"#ko:cases/{BENCHMARK}")
    page.click("label[for=lang-en]")
    wait(page, "document.documentElement.lang === 'en'")
    assert page.locator(".page[lang=en]").is_visible()
    assert not page.locator(".page[lang=ko]").is_visible()
    assert "failure report" in page.title()
    assert f"#en:cases/{BENCHMARK}" in page.evaluate("location.href")
    opened.draw_all()
    assert opened.console == []


def test_language_switch_works_by_keyboard(opened: Opened) -> None:
    opened.page.focus("#lang-ko")
    opened.page.keyboard.press("ArrowRight")
    assert opened.page.locator(".page[lang=en]").is_visible()


def test_dark_and_light(browser: Any, report: Path) -> None:
    opened = _open(browser, report, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = opened.page.evaluate(ground)
    opened.draw_all()
    text = "document.querySelector('.page[lang=ko] .plot .xtick text')"
    before = opened.page.evaluate(f"getComputedStyle({text}).fill")
    opened.page.click("[data-theme-set=light]")
    assert opened.page.evaluate(ground) == "rgb(255, 255, 255)" != dark
    wait(opened.page, f"{text} !== null && getComputedStyle({text}).fill !== {before!r}")
    assert opened.quiet(), opened.console
    opened.page.context.close()


def test_a_number_opens_its_evidence(opened: Opened) -> None:
    page = opened.page
    page.locator(".verdict a.num").first.click()
    card = page.locator(".evidence-card")
    assert f"paired/{BENCHMARK}/{W3}/difference" in card.inner_text()
    assert "Tango" in card.inner_text()
    page.keyboard.press("Escape")
    card.wait_for(state="detached")
    assert page.evaluate("document.activeElement.className") == "num"


def test_tables_sort(opened: Opened) -> None:
    page = opened.page
    table = page.locator(f"[id='ko:accuracy/{BENCHMARK}'] table").first
    table.scroll_into_view_if_needed()
    table.locator("thead button.sort").nth(2).click()
    assert table.locator("tbody th").first.inner_text().startswith("bf16")
    table.locator("thead button.sort").nth(2).click()
    assert table.locator("tbody th").first.inner_text().startswith(W3)
    assert table.locator("tbody th").last.inner_text().startswith("gptq")  # no accuracy: always last


def test_without_scripts_everything_can_be_read(browser: Any, report: Path) -> None:
    opened = _open(browser, report, java_script_enabled=False)
    page = opened.page
    assert page.locator(".page[lang=ko] .verdict").is_visible()
    page.click("label[for=lang-en]")
    assert page.locator(".page[lang=en] .verdict").is_visible()
    assert not page.locator(".page[lang=ko] .verdict").is_visible()
    assert page.locator(f"[id='en:accuracy/{BENCHMARK}'] .no-script").first.inner_text() != ""
    assert page.locator(".page[lang=en] .evidence-fold summary").is_visible()
    assert "claims.jsonl" in page.locator(".page[lang=en] .ledger .no-script").text_content()
    page.context.close()


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_no_page_is_wider_than_its_window(browser: Any, report: Path, width: int) -> None:
    opened = _open(browser, report, viewport={"width": width, "height": 900})
    opened.draw_all()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.context.close()


def test_hangul_has_glyphs(opened: Opened) -> None:
    """Different syllables paint different pixels; missing glyphs would all be the same box."""
    same = opened.page.evaluate(
        """() => {
          const family = getComputedStyle(document.querySelector('.page[lang=ko] .verdict p')).fontFamily;
          const paint = (c) => {
            const canvas = Object.assign(document.createElement('canvas'), { width: 60, height: 60 });
            const pen = canvas.getContext('2d');
            pen.font = '40px ' + family;
            pen.fillText(c, 4, 46);
            return [...pen.getImageData(0, 0, 60, 60).data].join();
          };
          const painted = [...'정답률뷁힣'].map(paint);
          return painted.length - new Set(painted).size;
        }"""
    )
    if shutil.which("fc-list") and not os.popen("fc-list :lang=ko").read():
        pytest.skip("no Korean font on this machine (Debian: apt-get install fonts-noto-cjk)")
    assert same == 0


_CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (css) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    const layers = [];
    for (; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, [r, g, b, a]) => under.map((u, i) => u * (1 - a) + [r, g, b][i] * a), [255, 255, 255]);
  };
  const low = [];
  for (const e of document.querySelectorAll('.bar *, .page[lang=ko] *')) {
    if (!e.offsetParent || e.closest('svg, .visually-hidden') || +getComputedStyle(e).opacity < 1) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(e.tagName + '.' + e.className + ' ' + ratio.toFixed(2) + ' ' + e.textContent.trim().slice(0, 30));
  }
  return [...new Set(low)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser: Any, report: Path, scheme: str) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for every piece of text outside charts."""
    opened = _open(browser, report, color_scheme=scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert opened.page.evaluate(_CONTRAST) == []
    opened.page.context.close()
