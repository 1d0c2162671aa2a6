"""The page around the report: state in the address, keyboard, tables, the ledger, print, and what axe says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_page import CHROMIUM, Opened, chromium, open_page
from report_sample import BENCHMARK, W3, sample_context

from qrm_forensics.report.render import render

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: test)")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]

LANGUAGES = ["ko", "en", "zh"]
OVERVIEW = ".page[lang=ko] .overview"
KEY = f"overview/{BENCHMARK}"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shell")
    return render(sample_context(), LANGUAGES, folder, formats=["html"])[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Opened]:
    found = open_page(browser, report)
    yield found
    found.page.context.close()


def _variants(page: Any, overview: str = OVERVIEW) -> list[str]:
    found: list[str] = page.locator(f"{overview} tbody tr:not([hidden]) th .name").all_inner_texts()
    return found


def _hidden(page: Any, overview: str = OVERVIEW) -> set[str]:
    return set(page.eval_on_selector_all(f"{overview} thead th.off", "heads => heads.map((h) => h.dataset.col)"))


def test_what_is_seen_stands_in_the_address(browser: Any, report: Path, opened: Opened) -> None:
    page = opened.page
    first = _variants(page)
    assert len(first) > 2
    page.locator(f"{OVERVIEW} th[data-col='accuracy.strict'] button").click()
    page.locator(f"{OVERVIEW} th[data-col='accuracy.strict'] button").click()
    assert page.locator(f"{OVERVIEW} th[data-col='accuracy.strict']").get_attribute("aria-sort") == "ascending"
    assert _variants(page)[0] == W3
    page.locator(f"{OVERVIEW} .chooser summary").click()
    assert "accuracy.lenient" in _hidden(page)
    page.locator(f"{OVERVIEW} .chooser input[value='accuracy.lenient']").check()
    page.locator(f"{OVERVIEW} .chooser input[value='n']").uncheck()
    page.keyboard.press("Escape")
    page.locator(f"{OVERVIEW} input[type=search]").fill("W3g128")
    opened.wait("location.hash.includes('find.')")
    assert set(_variants(page)) == {v for v in first if "w3g128" in v}
    page.click("label[for=lang-en]")
    page.click("[data-theme-set=dark]")
    hash = page.evaluate("location.hash")
    again = open_page(browser, report, hash)
    english = OVERVIEW.replace("ko", "en")
    assert again.page.evaluate("document.documentElement.lang") == "en"
    assert again.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert _variants(again.page, english) == _variants(page, english)
    assert _variants(again.page, english)[0] == W3
    assert "n" in _hidden(again.page, english)
    assert "accuracy.lenient" not in _hidden(again.page, english)
    assert again.page.locator(f"{english} input[type=search]").input_value() == "W3g128"
    assert again.quiet()
    assert opened.quiet(), (opened.console, opened.requests)
    again.page.context.close()


def test_state_is_kept_and_goes_back(browser: Any, report: Path) -> None:
    opened = open_page(browser, report, "#?other=a%20%2Fb&lang=en")
    page = opened.page
    page.evaluate(
        """() => {
          window.seen = [];
          QRM.state.on('x', (value) => seen.push(value));
          QRM.state.set('x', 'a&b=c #1');
          QRM.state.set('x', '둘', { push: true });
        }"""
    )
    assert page.evaluate("QRM.state.get('other')") == "a /b"
    assert page.evaluate("QRM.state.get('toString')") is None
    assert "#" not in page.evaluate("location.hash.slice(1)")
    page.go_back()
    opened.wait("QRM.state.get('x') === 'a&b=c #1'")
    assert page.evaluate("seen") == [None, "a&b=c #1", "둘", "a&b=c #1"]
    link = page.evaluate(f"QRM.state.link({{ x: null, y: 1 }}, 'en:accuracy/{BENCHMARK}')")
    assert link == report.as_uri() + f"#en:accuracy/{BENCHMARK}?other=a%20/b&lang=en&y=1"
    page.evaluate(f"document.querySelector(\"a[href='#en:accuracy/{BENCHMARK}']\").click()")
    assert page.evaluate("location.hash").startswith(f"#en:accuracy/{BENCHMARK}?other=")  # a link keeps the rest
    assert opened.quiet(), opened.console
    page.context.close()


@pytest.mark.parametrize(
    "hash",
    [
        "#%E0%A4%A?__proto__=1&constructor=x&a=%zz",
        "#ko:nothing?lang=xx&theme=<img src=x onerror=alert(1)>&sort.overview/MATH-20=<b>:up",
        f"#ko:claim/nothing?sort.{KEY}=toString:down&cols.{KEY}=__proto__,%00&find.{KEY}=<script>&evidence='\"]",
        "#" + "?a=b&" * 5000,
    ],
)
def test_a_hostile_address_does_nothing(browser: Any, report: Path, hash: str) -> None:
    opened = open_page(browser, report, hash)
    assert opened.page.locator(".page[lang=ko] .verdict").is_visible()
    assert opened.page.evaluate("({}).polluted === undefined && Object.prototype.a === undefined")
    assert opened.page.locator("img").count() == 0
    assert opened.quiet(), (opened.console, opened.dialogs)
    opened.page.context.close()


def test_keys_work_but_not_while_typing(opened: Opened) -> None:
    page = opened.page
    page.locator(f"{OVERVIEW} input[type=search]").wait_for()  # a table gets its tools when it comes near
    page.evaluate(
        "QRM.keys.add('j', { en: 'Next', ko: '다음', zh: '下一个' }, () => { window.pressed = (window.pressed ?? 0) + 1; })"
    )
    page.keyboard.press("j")
    page.keyboard.press("?")
    help = page.locator("#help")
    assert help.is_visible()
    assert "다음" in help.inner_text()
    for _ in range(4):  # the focus stays inside (or in the browser's own bar)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('#help')")
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    help.wait_for(state="hidden")
    page.keyboard.press("/")
    page.keyboard.type("j?")
    assert page.locator(f"{OVERVIEW} input[type=search]").input_value() == "j?"
    assert page.evaluate("pressed") == 1


def test_a_link_to_a_number_opens_the_ledger_at_its_row(browser: Any, report: Path) -> None:
    name = f"paired/{BENCHMARK}/{W3}/difference"
    opened = open_page(browser, report, f"#zh:claim/{name}")
    row = opened.page.locator(f"[id='zh:claim/{name}']")
    row.wait_for()
    assert opened.page.locator(".page[lang=zh]").is_visible()
    assert "is-target" in str(row.get_attribute("class"))
    opened.page.locator(".page[lang=zh] .ledger input").fill("holm_p")
    opened.wait("location.hash.includes('find.evidence=holm_p')")
    names = opened.page.locator(".page[lang=zh] .ledger tbody th").all_inner_texts()
    assert names
    assert all("holm_p" in n for n in names)
    assert opened.quiet(), opened.console
    opened.page.context.close()


def test_a_section_says_how_it_is_computed(opened: Opened) -> None:
    section = opened.page.locator(f"[id='ko:accuracy/{BENCHMARK}']")
    # By keyboard: charts that are drawn above while the mouse is on its way would move what it aims at.
    section.locator("> .how summary").press("Enter")
    section.locator("> .how li").first.wait_for()
    shown = section.locator("a.num").evaluate_all("links => new Set(links.map((a) => a.hash)).size")
    section.locator("> .how p a").click()
    told = opened.page.locator(".page[lang=ko] .ledger caption")
    told.wait_for()
    assert opened.page.locator(".page[lang=ko] .ledger tbody tr").count() == shown


def test_a_table_as_csv_holds_no_formula(opened: Opened) -> None:
    page = opened.page
    page.evaluate(f"document.querySelector('{OVERVIEW} tbody th').textContent = '=1+1'")
    with page.expect_download() as download:
        page.locator(f"{OVERVIEW} .table-tools button", has_text="CSV").click()
    text = Path(download.value.path()).read_text("utf-8-sig")
    lines = text.splitlines()
    assert lines[1].startswith("'=1+1,")
    assert len({line.count(",") for line in lines[1:]}) == 1


def test_on_paper_everything_is_open_and_there_are_no_buttons(opened: Opened) -> None:
    page = opened.page
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...QRM.page().querySelectorAll('details:not(.evidence-fold)')].every((d) => d.open)")
    assert (
        page.evaluate(
            "[...document.querySelectorAll('button:not(.sort), input, .toc')].filter((e) => e.offsetParent).length"
        )
        == 0
    )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("[...QRM.page().querySelectorAll('details')].some((d) => !d.open)")


@pytest.mark.parametrize(
    ("scheme", "width", "language"),
    [("light", 1440, "ko"), ("dark", 1440, "en"), ("light", 400, "zh"), ("dark", 400, "ko")],
)
def test_axe_finds_nothing_serious(browser: Any, report: Path, scheme: str, width: int, language: str) -> None:
    """Everything unfolded; with one of the dialogs open too."""
    hash = f"#?lang={language}"
    opened = open_page(browser, report, hash, color_scheme=scheme, viewport={"width": width, "height": 1000})
    page = opened.page
    axe = Path(__file__).with_name("vendor") / "axe.min.js"
    page.evaluate(axe.read_text("utf-8") + "; undefined")
    found: list[str] = []

    def run(scope: str) -> None:
        problems = page.evaluate(
            f"""async () => (await axe.run({scope}, {{ resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] }})).violations
              .filter((v) => ['serious', 'critical'].includes(v.impact))
              .flatMap((v) => v.nodes.slice(0, 3).map((n) => v.id + ' ' + n.target + ' ' + n.html.slice(0, 160)))"""
        )
        found.extend(problems)

    page.evaluate("QRM.page().querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.evaluate("QRM.page().querySelectorAll('table, .plot').forEach((e) => e.scrollIntoView())")
    page.wait_for_timeout(150)
    opened.wait("![...document.querySelectorAll('.plot')].some((p) => p.dataset.state === 'drawing')")
    run("document")
    if width == 1440:
        page.keyboard.press("?")
        run("'#help'")
    else:
        page.evaluate("scrollTo(0, 0)")
        page.locator(f".page[lang={language}] .verdict a.num").first.click()
        page.locator(".evidence-card").wait_for()
        run("'.evidence-card'")
    assert found == []
    page.context.close()
