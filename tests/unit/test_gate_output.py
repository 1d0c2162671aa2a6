"""What a gate prints: complete in every language, harmless whatever the names are, and valid XML."""

from __future__ import annotations

import re
import string
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from comparison_helpers import make_side
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from qrm_forensics.compare.comparison import compare
from qrm_forensics.compare.gates import GateStatus, Why
from qrm_forensics.compare.items import Side
from qrm_forensics.compare.rules import DEFAULT, GATE, GATES
from qrm_forensics.compare.sentences import SENTENCES, reason
from qrm_forensics.compare.verdict import Tier, Verdict
from qrm_forensics.report.gate import GateTexts, to_junit, to_markdown, to_terminal
from qrm_forensics.report.gate.escape import md_code, md_text, xml_text
from qrm_forensics.report.gate.markdown import LONGEST_PAGE, SIGNS, marker
from qrm_forensics.report.gate.terminal import _wrapped, columns, width
from qrm_forensics.report.gate.texts import gate_catalogue, untranslated
from qrm_forensics.report.i18n import languages

HOSTILE = "a|b `c` @octocat #12 http://evil www.evil.io </details><script> \x1b[31m\x07\u202e GH-7 \\"


# ------------------------------------------------------------------------------ languages
def test_every_language_has_every_text_and_every_sentence() -> None:
    keys = {language: {k for k in gate_catalogue(language) if ".reason." not in k} for language in languages()}
    assert len(set(map(frozenset, keys.values()))) == 1
    assert {language: untranslated(language) for language in languages()} == {k: set() for k in languages()}


@pytest.mark.parametrize("key", SENTENCES)
@pytest.mark.parametrize("language", sorted(set(languages()) - {"en"}))
def test_a_translated_sentence_has_the_same_figures_printed_the_same_way(language: str, key: str) -> None:
    def slots(text: str) -> set[tuple[str | None, str | None]]:
        return {(name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name is not None}

    assert slots(gate_catalogue(language)[f"gate.reason.{key}"]) == slots(SENTENCES[key])


@pytest.mark.parametrize("language", languages())
def test_every_name_that_a_comparison_can_have_is_translated(language: str) -> None:
    known = gate_catalogue(language)
    wanted = {f"gate.verdict.{v}" for v in Verdict} | {f"gate.gate.{g}" for g in GATES}
    wanted |= {f"gate.status.{s}" for s in GateStatus} | {f"gate.why.{w}" for w in Why}
    assert wanted <= set(known)
    made = compare(make_side([1, 0]), make_side([1, 1], seed=2), policy=DEFAULT, second_baseline=make_side([1, 1]))
    assert {f"gate.check.{c.name}" for c in made.comparability.checks} <= set(known)
    assert set(SIGNS) == set(Verdict)


@pytest.mark.parametrize("language", languages())
def test_lists_that_a_comparison_makes_are_translated(language: str) -> None:
    texts = GateTexts.of(language)
    told = texts.reason(reason("untold_not_measured", gates="loop (MATH-500), missing_answer (b, c)"))
    assert all(texts.named("gate", name) in told for name in ("loop", "missing_answer")) and "b, c" in told
    told = texts.reason(
        reason("scorers_disagree", benchmark="b", shown="strict: -3.0 points, worse; own: +1.0 points, open")
    )
    assert texts.points(-0.03) in told and texts.policy("strict") in told and texts.named("said", "worse") in told
    assert texts.reason(reason("scorers_disagree", benchmark="b", shown="a: b: x")).count("a: b: x") == 1
    assert {f"gate.said.{tier}" for tier in Tier} <= set(gate_catalogue(language))


# ------------------------------------------------------------------------------ escaping
def test_text_from_outside_is_no_markup_no_mention_and_no_link() -> None:
    shown = md_text(HOSTILE)
    assert "\n" not in shown and not re.search(r"(?<!\\)[|`<>#](?!!--)", shown.replace("<!-- -->", ""))
    assert "@<!-- -->octocat" in shown and "#<!-- -->12" in shown and "http:<!-- -->//" in shown
    assert "www<!-- -->." in shown and "GH<!-- -->-7" in shown and "[U+001B]" in shown.replace("\\", "")


@pytest.mark.parametrize("text", [HOSTILE, "`", "``a``", "a`b", "", " ", "x" * 500])
def test_a_code_span_cannot_be_left(text: str) -> None:
    span = md_code(text)
    if span == "–":
        assert not text.strip()
        return
    fence = re.match("`+", span)
    assert fence is not None and span.endswith(fence[0])
    inside = span[len(fence[0]) : -len(fence[0])]
    assert all(len(run) != len(fence[0]) for run in re.findall("`+", inside)) and len(inside) < 140


@pytest.mark.parametrize("text", ["\x00\x08\x0b\x1f", "\ud800", "\ufffe\uffff", "\u202e", "ok \U0001f600"])
def test_xml_holds_any_text(text: str) -> None:
    element = ET.fromstring(f"<a>{xml_text(text)}</a>")
    assert element.text is not None and (text.startswith("ok") or "[U+" in element.text)


def test_a_marker_is_one_comment_whatever_the_name_is() -> None:
    facts = make_side([1]).facts
    for name in (HOSTILE, "-->", "--", "모델", "awq-w3g128"):
        made = marker(replace(facts, name=name))
        assert made.startswith("<!-- ") and made.endswith(" -->") and "--" not in made[4:-3] and ">" not in made[:-1]


# ------------------------------------------------------------------------------ whole outputs
def hostile() -> tuple[Side, Side]:
    n = 40
    ids = [f"{HOSTILE}{i}" for i in range(n)]
    base = make_side([1] * n, HOSTILE, benchmark=HOSTILE, ids=ids, subject=HOSTILE, outcome="correct")
    new = make_side([0] * 30 + [1] * 10, HOSTILE * 3, benchmark=HOSTILE, ids=ids, subject=HOSTILE, outcome=HOSTILE)
    return base, new


@pytest.mark.parametrize("language", languages())
def test_hostile_names_reach_no_output_alive(language: str) -> None:
    base, new = hostile()
    found = compare(base, new, policy=replace(GATE, resamples=1000))
    texts = GateTexts.of(language)
    page = to_markdown(found, texts)
    blocks = MarkdownIt("commonmark").enable("table").parse(page)
    inline = [token for block in blocks for token in block.children or ()]
    assert not [t for t in inline if t.type in ("link_open", "image")]
    html = {t.content.strip() for t in (*inline, *blocks) if t.type in ("html_inline", "html_block")}
    assert all(re.fullmatch(r"<!-- ([^->]|-(?!-))*-->|</?details>|<details><summary>[^<>]*</summary>", h) for h in html)
    live = re.compile(r"@\w|#\w|://|www\.|GH-\d")
    assert not [t.content for t in inline if t.type == "text" and live.search(t.content)]
    assert any(live.search(t.content) for t in inline if t.type == "code_inline"), "it is there, as text"
    rows: list[int] = []
    for block in blocks:
        if block.type == "tr_open":
            rows.append(0)
        rows[-1:] = [rows[-1] + (block.type in ("th_open", "td_open"))] if rows else []
        if block.type == "table_close":
            assert len(set(rows)) == 1
            rows.clear()
    for text in (page, to_terminal(found, texts)):
        assert not any(unicodedata.category(c) in ("Cc", "Cf") and c != "\n" for c in text)
    root = ET.fromstring(to_junit(found, texts).partition("?>")[2])
    (suite,) = root
    assert int(suite.get("failures", 0)) == len(suite.findall("*/failure")) > 1


def test_a_comment_fits_into_what_a_comment_may_be() -> None:
    n = 900
    ids = [f"{'problem-' * 15}{i}" for i in range(n)]
    subject = [f"{'subject ' * 14}{i % 30}" for i in range(n)]
    sides = [make_side([right] * n, ids=ids, subject=subject, level=subject) for right in (1, 0)]
    found = compare(*sides, policy=replace(GATE, resamples=1000))
    page = to_markdown(found, GateTexts.of("en"))
    assert 10_000 < len(page) <= LONGEST_PAGE
    assert "more are in the JSON file" in page


def test_what_is_not_comparable_shows_no_figure() -> None:
    found = compare(make_side([1] * 20), make_side([0] * 20, facts={"max_new_tokens": 1}), policy=GATE)
    assert found.verdict is Verdict.NOT_COMPARABLE
    texts = GateTexts.of("en")
    page = to_markdown(found, texts)
    assert "pp" not in re.findall(r"\w+", page) and "100.0%" not in page and "<details open>" in page
    assert "pp" not in to_terminal(found, texts).split()
    suite = ET.fromstring(to_junit(found, texts).partition("?>")[2])[0]
    assert [c.get("name") for c in suite if c.find("failure") is not None] == ["verdict", "Token limit"]


def test_junit_fails_exactly_where_the_exit_code_is_not_zero() -> None:
    right = [1] * 300 + [0] * 100
    cases = {
        0: make_side(right, "again", seed=2),
        1: make_side([0] * 200 + [1] * 200, "worse"),
        3: make_side(right, "other", benchmark="c"),
        4: make_side(right[:395] + [None] * 5, "new"),
    }
    policy = replace(GATE, max_unscored=0.001, resamples=1000)
    for code, side in cases.items():
        found = compare(make_side(right), side, policy=policy)
        assert found.exit_code == code
        suite = ET.fromstring(to_junit(found, GateTexts.of("en")).partition("?>")[2])[0]
        verdict = next(case for case in suite if case.get("name") == "verdict")
        assert (verdict.find("failure") is not None) == (code != 0)


def test_columns_of_a_terminal_stay_under_each_other_in_korean() -> None:
    lines = columns([["게이트", "n"], ["Loops", "10"], ["반복 루프", "1,000"]], left=1).splitlines()
    assert {width(line) for line in lines} == {width("반복 루프") + 2 + width("1,000")}


@pytest.mark.parametrize("language", languages())
def test_sentences_stay_within_the_width_of_a_terminal(language: str) -> None:
    found = compare(make_side([1] * 60), make_side([0] * 30 + [1] * 30), policy=GATE)
    lines = to_terminal(found, GateTexts.of(language)).split("\n\n")[-1].splitlines()
    assert len(lines) > 3 and lines[0].startswith("- ")
    assert all(60 < width(line) <= 100 for line in lines if not line.endswith((".", ")", "。", "）")))


@given(st.text("（“中文，。）” aZ9%", max_size=200))
def test_lines_break_between_hanzi_and_lose_nothing(text: str) -> None:
    lines = _wrapped(text).splitlines()
    assert "".join("".join(lines).split()) == "-" + "".join(text.split())
    assert all(
        not line[2:].startswith(tuple("，。）”")) for line in lines[1:] if not re.search(r"(?:^|\s)[，。）”]", text)
    )
