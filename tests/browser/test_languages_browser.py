"""Korean and Chinese as a real Chromium draws them: letters and no boxes, in the fonts of their language."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_page import PATIENCE
from report_sample import sample_context

from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.render import render

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: test)")
CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]

#: Letters of each language that share no picture, and a code point that no font has.
LETTERS = {"ko": "한글률뷁", "zh": "量化误差"}
UNASSIGNED = "\u0378"
#: The pixels of one letter in the font that an element is drawn in.
DRAWN = """([selector, letter]) => {
  const style = getComputedStyle(document.querySelector(selector));
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 64;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.font = `${style.fontWeight} 40px ${style.fontFamily}`;
  pen.fillText(letter, 8, 48);
  return Array.from(pen.getImageData(0, 0, 64, 64).data).filter((_, i) => i % 4 === 3).join();
}"""


def _has_font(language: str) -> bool:
    lister = shutil.which("fc-list")
    if lister is None:
        return False
    return bool(subprocess.run([lister, f":lang={language}"], capture_output=True, check=True).stdout.strip())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("languages")
    render(sample_context(), ["zh", "ko", "en"], folder, formats=["html"])
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox cannot start as root, which is how containers run tests.
        arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        opened = browser.new_page()
        opened.set_default_timeout(1000 * PATIENCE)
        opened.goto(Path(folder / "report.html").as_uri())
        opened.wait_for_selector("html[data-ready]", state="attached")
        for language in ("ko", "en", "zh"):  # a language is made when it is first looked at
            opened.evaluate("(language) => QRM.state.set('lang', language)", language)
        yield opened
        browser.close()


@pytest.mark.parametrize("selector", [".content", "code"])
@pytest.mark.parametrize("language", ["ko", "zh"])
def test_letters_are_no_boxes(page: Any, language: str, selector: str) -> None:
    if not _has_font({"zh": "zh-cn"}.get(language, language)):
        pytest.skip(f"no font with letters of {language} on this machine (Debian: apt-get install fonts-noto-cjk)")
    where = f".page[lang={language}] {selector}"
    pictures = {letter: page.evaluate(DRAWN, [where, letter]) for letter in (*LETTERS[language], UNASSIGNED, " ")}
    assert len(set(pictures.values())) == len(pictures), "two letters look alike: boxes, or nothing at all"


@pytest.mark.parametrize(("language", "first"), [("ko", "Pretendard"), ("zh", "Noto Sans CJK SC")])
def test_a_language_names_its_fonts(page: Any, language: str, first: str) -> None:
    family = "(selector) => getComputedStyle(document.querySelector(selector)).fontFamily"
    assert page.evaluate(family, f".page[lang={language}] .content p").replace('"', "").startswith(first)
    mono = page.evaluate(family, f".page[lang={language}] code")
    assert {"ko": "Noto Sans Mono CJK KR", "zh": "Noto Sans Mono CJK SC"}[language] in mono


@pytest.mark.parametrize("language", ["zh", "ko", "en"])
def test_a_page_says_its_language_and_script(page: Any, language: str) -> None:
    effective = "(selector) => document.querySelector(selector).closest('[lang]').lang"
    assert page.evaluate(effective, f".page[lang={language}] h2") == Texts.of(language).tag
