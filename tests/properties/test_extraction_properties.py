r"""What is found without running math-verify's expressions is, piece for piece, what they find on the whole text."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.score import extraction
from qrm_forensics.score.extraction import Latex, Plain, Reading, Unclear, boxed_readings, first_reading
from qrm_forensics.score.latex_spans import Part, box_content

EXAMPLES = int(os.environ.get("QRM_EXTRACTION_EXAMPLES", "120"))

pytestmark = pytest.mark.skipif(not extraction.supported(), reason="describes other versions of math-verify")


# --------------------------------------------------------------------------- what math-verify finds


@functools.cache
def expressions() -> list[list[tuple[re.Pattern[str], bool]]]:
    """The expressions and whether they are for LaTeX, in groups of the same priority."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig
    from math_verify.parser import get_extraction_regexes

    targets = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    ranked = [
        (priority, expression, isinstance(target, LatexExtractionConfig))
        for found, target in get_extraction_regexes(targets)
        for expression, priority in found
    ]
    ranked.sort(key=lambda one: one[0])
    return [[one[1:] for one in group] for _, group in itertools.groupby(ranked, key=lambda one: one[0])]


def readings(text: str) -> Iterator[tuple[int, Reading]]:
    """All pieces in the order in which math-verify tries them, each with the number of its group."""
    for rank, group in enumerate(expressions()):
        matches = [(match, latex) for expression, latex in group for match in expression.finditer(text)]
        matches.sort(key=lambda one: (one[0].end(), -one[0].start()), reverse=True)
        for match, latex in matches:
            yield rank, as_latex(match.groupdict(), rank) if latex else as_plain(match.groupdict())


def as_latex(groups: dict[str, str | None], rank: int) -> Latex:
    from latex2sympy2_extended.math_normalization import extract_boxed_content

    parts = []
    for prefix in ("first", *(f"next{i}" for i in range(1, 6))):
        for name, value in groups.items():
            if name.startswith(f"{prefix}_latex") and value:
                content = extract_boxed_content(value, "last" if name.endswith("latexBoxed") else "all")
                parts.append(Part(content, bool(groups.get(f"{prefix}_percent"))))
                break
    return Latex(tuple(parts), rank == 0)


def as_plain(groups: dict[str, str | None]) -> Plain:
    return Plain(tuple((name, value) for name, value in groups.items() if value))


# --------------------------------------------------------------------------- texts

NUMBERS = (  # noqa: SIM905
    "5;-3;007;0.5;.5;1,000;1 000;12,34;3/4;2+3;(2)(3);=7;==7;= 7;1/2.;5-3;9**9;2^3;$5;€5;**5**;-(3;( 3 - 1 );3 - ;100%"
    ";5%;7 %;5 percent;5 percentage;12:00;3);٣;x=5;5 =;5 = x;2 + 3 =;1 2 3;-1,234.5"
).split(";")
MARKS = (  # noqa: SIM905
    r"$;$$;$$$;\$;\[;\];\(;\);[;]; [;] ;\\[;\\];\\(;{;};%;\%; percent; pct;\f;-\f;\\;.;,;:;*;**;=;\boxed;\boxed 7;\fbox{3}"
    ";. I hope; I hope;ſ;✓;\t;\u00a0;</think>"
).split(";")
WORDS = [
    "so",
    "we",
    "The",
    "value",
    "Wait, ",
    "a",
    "o",
    "p",
    "is",
    "and",
    "answer",
    "\nThe value ",
    "\n\n",
    "\n",
    " ",
    "  ",
]
FRACTIONS = [r"\frac{1}{2}", r"-\frac{1}{2}", r"\frac{-3}{4,5}", r"\frac{a}{b}", r"-\frac12", r"\dfrac{1}{2}"]
BOXES = [
    r"\boxed{5}",
    r"\boxed{x}",
    r"\boxed{}",
    r"\boxed{ }",
    r"\boxed{\frac{1}{2}}",
    r"\boxed{\boxed{4}}",
    r"\boxed{5",
]
JOINTS = [",", " and ", ", and ", " or ", ",or", " ,  ", "\n,\n", "and", "", " ", " % , ", " percent and "]

numbers = st.sampled_from(NUMBERS + FRACTIONS)
scraps = st.sampled_from(MARKS) | st.sampled_from(WORDS) | numbers | st.sampled_from(BOXES)
filler = st.sampled_from(
    [0, 1, 2, 9, 10, 11, 40, 48, 49, 50, 51, 52, 90, 98, 99, 100, 101, 102, 103, 110, 140, 160]
).map(lambda length: ("it may well be " * 11)[:length])
spaces = st.sampled_from(
    ["", " ", "\n", "  ", " \n ", " " * 12]
)  # more of them take the expressions themselves for ever


@st.composite
def environments(draw: st.DrawFn) -> str:
    opening, closing = draw(
        st.sampled_from(
            [
                ("$", "$"),
                ("$$", "$$"),
                ("\\[", "\\]"),
                ("\\(", "\\)"),
                (" [", "] "),
                ("\n[", "]\n"),
                ("$$", "$"),
                ("", ""),
            ]
        )
    )
    words = st.sampled_from(["so we have The value ", " = The ", "x = 5. We see ", "The [ we ] so ", "\nThe "])
    content = draw(st.lists(st.sampled_from(BOXES) | numbers | scraps | words, min_size=0, max_size=3).map("".join))
    return opening + content + closing + draw(st.sampled_from(["", "", " ", "%", " \\%", " percentage", "."]))


@st.composite
def joined(draw: st.DrawFn) -> str:
    count = draw(st.sampled_from([1, 1, 1, 2, 2, 3, 7]))
    return "".join(draw(environments()) + draw(st.sampled_from(JOINTS)) for _ in range(count))


@st.composite
def anchored(draw: st.DrawFn) -> str:
    word = draw(
        st.sampled_from(["answer", "Answer:", "ANSWER: ", "final answer", "Final Answer", "the final answer is "])
    )
    link = draw(st.sampled_from(["", " is", " is:", "\nis ", " =", "= "])) if draw(st.booleans()) else ""
    what = draw(st.sampled_from(["number", "math", "none"]))
    answer = {"number": numbers, "math": joined(), "none": st.just("")}[what]
    return word + draw(filler) + draw(spaces) + link + draw(spaces) + draw(answer)


texts = st.lists(st.one_of(scraps, joined(), anchored(), filler), min_size=1, max_size=9).map("".join)
loops = st.tuples(texts, texts, st.sampled_from([2, 5, 30]), texts).map(lambda t: t[0] + t[1] * t[2] + t[3])


# --------------------------------------------------------------------------- the same


@pytest.mark.parametrize("width", [2, 25, 500])
@settings(max_examples=EXAMPLES, deadline=None)
@given(text=texts | loops)
def test_the_piece_read_first_is_the_one_of_the_whole_text(width: int, text: str) -> None:
    widths, extraction._WIDTH = extraction._WIDTH, width  # cuts are only used in long texts: make them long
    try:
        found = first_reading(text)
    except Unclear:
        return
    finally:
        extraction._WIDTH = widths
    assert found == next((reading for _, reading in readings(text)), None)


@settings(max_examples=EXAMPLES, deadline=None)
@given(text=texts)
def test_all_pieces_with_boxes_are_in_order(text: str) -> None:
    boxes = boxed_readings(text, most=1000)
    if boxes:
        assert boxes == [reading for rank, reading in readings(text) if rank == 0]


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    text=st.lists(st.sampled_from(BOXES + MARKS + WORDS + JOINTS + NUMBERS), max_size=12).map("".join),
    every=st.booleans(),
)
def test_the_content_of_boxes(text: str, every: bool) -> None:
    from latex2sympy2_extended.math_normalization import extract_boxed_content

    assert box_content(text, every) == extract_boxed_content(text, "all" if every else "last")


def test_the_expressions_are_those_of_the_library() -> None:
    known = {expression.pattern for group in expressions() for expression, _ in group}
    ours = (
        extraction.EXPRESSION,
        extraction.NUMBER,
        extraction.FINAL_ANSWER_IS,
        extraction.ANSWER_COLON,
        extraction.ANSWER,
    )
    assert {expression.pattern for expression in ours} <= known
    assert [len(group) for group in expressions()] == [4, 2, 2, 2, 3]


def test_letters_that_count_as_ascii_when_case_is_ignored() -> None:
    letters = re.compile("(?i:[answerfil])")
    found = tuple(chr(c) for c in range(128, 0x110000) if letters.fullmatch(chr(c)))
    assert found == extraction._LOOKALIKES


@pytest.mark.parametrize("answer", ["$5$", "5", " 5", " [5] ", "\\frac{1}{2}", "=5 = 7", " 3/4 = x", "$x$, $y$%"])
@pytest.mark.parametrize("word", ["answer", "Answer:", "final answer", "The Final Answer"])
def test_distances_from_the_word_answer(word: str, answer: str) -> None:
    for length in [*range(47, 54), *range(96, 106), 112, 140, 150, 400]:
        for link in ("", " is", " is: ", "\n\nis", " =", " = "):
            for filler in ("x" * length, " " * length, ("so it may " * 50)[:length]):
                text = f"{word}{filler}{link}{answer}. Then 7 follows.\n" + "So " * 5
                try:
                    found = first_reading(text)
                except Unclear:
                    continue
                assert found == next(readings(text))[1], text


@pytest.mark.parametrize(
    ("opening", "closing"), [("$", "$"), ("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), (" [", "] "), ("\n[", "]\n")]
)
@pytest.mark.parametrize("unit", ["Wait, 5 is 5.\n", "So 5 = 7, The answer is 5. ", "= 7,999 +9", "\\boxed{5} ", "S, "])
def test_long_texts_within_environments(opening: str, closing: str, unit: str) -> None:
    """Where a cut is looked for, an environment may open far before it and close far behind it."""
    for before, within, behind in itertools.product((0, 4000), (1800,), (0, 1200)):
        before, within, behind = (length // len(unit) for length in (before, within, behind))
        for text in (
            unit * before + opening + unit * within + closing + unit * behind,
            unit * before + opening + unit.replace("\n", " ") * within + closing + " and $x$" + unit * behind,
            unit * before + "x" + closing + unit * within + opening + "7" + closing + unit * behind,
            opening + unit * within + closing + " We see. [" * 30,
        ):
            try:
                found = first_reading(text)
            except Unclear:
                continue
            assert found == next(readings(text), (0, None))[1]


@pytest.mark.parametrize("filler", [12, 16, 20, 30])
def test_matches_that_reach_across_the_next_words(filler: int) -> None:
    """The equals sign furthest within reach is behind the next words, so that which words begin a match alternates."""
    unit = "answer, answer" + "x" * filler + "= 5 "
    found = set()
    for count in range(20, 60):
        text = unit * count + "answer" + "x" * 40 + "= 7 so " + "x" * 40 + "= 8 so"
        reading = first_reading(text)
        assert reading == next(readings(text))[1]
        found.add(reading)
    assert len(found) == 2
