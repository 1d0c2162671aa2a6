"""The kernels of the gibberish metric against walks in plain Python, on whatever hypothesis comes up with."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.metrics.gibberish import gibberish
from qrm_forensics.metrics.gibberish_kernels import digits_kernel, mark_kernel
from qrm_forensics.metrics.lexicon import build_lexicon, problem_hash, types_of
from qrm_forensics.metrics.lexicon_kernels import OVER, RARE, UNKNOWN, dense_kernel
from qrm_forensics.metrics.scan import scan_text

PIECES = [
    "vis",
    "Vis",
    "abc",
    "Def",
    "IV",
    "x",
    "7",
    "12",
    "首",
    "ж",
    "é",
    "é­",
    "\\frac",
    "\\begin{abc}",
    "{abc}",
    ",",
    "\ufffd",
    "＿",
]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=120),
    st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
)
#: Words of a tiny language, so that responses share some.
small = st.lists(st.sampled_from(["aaa", "bbb", "ccc", "ddd", "eee", "Fff", "x", "GGG"]), max_size=12).map(" ".join)
#: Everything that is set for a table of one column of words.
words = st.lists(st.sampled_from("abcdef"), max_size=60)


def spelled(letters: list[str]) -> str:
    return " ".join(letter * 3 for letter in letters)


@settings(deadline=None)  # the first example compiles
@given(st.text(st.sampled_from("abAB \\{}1,"), max_size=80))
def test_types_are_those_of_a_walk(text: str) -> None:
    runs = [w for w in re.findall(r"\\[a-zA-Z]+|[a-zA-Z]+", text) if not w.startswith("\\")]
    types = types_of(scan_text(text))
    assert sorted(types.runs.tolist()) == sorted(Counter(w.lower() for w in runs).values())
    found = Counter(w.lower() for w in runs if len(w) >= 3 and not w.isupper())
    assert sorted(w for w in types.words.tolist() if w) == sorted(found.values())
    assert (types.n_runs, types.n_words) == (len(runs), sum(found.values()))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("123"), small), min_size=1, max_size=8))
def test_a_word_is_unknown_where_no_other_response_has_it(run: list[tuple[str, str]]) -> None:
    columns = {"text": [text for _, text in run], "benchmark": ["b"] * len(run), "problem_id": [p for p, _ in run]}
    corpus = build_lexicon([pa.table(columns)])
    for problem, text in run:
        others = [
            other.lower().split()
            for p, other in run
            if p != problem or Counter(other.lower().split()) != Counter(text.lower().split())
        ]
        expected = {w.lower() for w in text.split() if len(w) == 3 and not w.isupper()} - {w for o in others for w in o}
        scan = scan_text(text)
        types = types_of(scan)
        flags, _ = corpus.judge(types, problem_hash("b", problem))
        t = scan.tokens
        found = {
            scan.slice(a, b).lower()
            for a, b, name in zip(t.starts, t.ends, t.ids, strict=True)
            if flags[types.type_of[name]] & UNKNOWN
        }
        assert found == expected


@settings(deadline=None)
@given(words, st.integers(1, 4), st.integers(1, 8))
def test_dense_is_so_many_within_so_many_words(letters: list[str], floor: int, stretch: int) -> None:
    scan = scan_text(spelled(letters))
    types, t = types_of(scan), scan.tokens
    dense = dense_kernel(
        *(scan.data, t.ids, t.kinds, t.ends, t.numbered),
        *(types.type_of, types.shape, types.words, floor, stretch),
    )
    for letter in set(letters):
        kind = types.type_of[t.ids[letters.index(letter)]]
        expected = any(letters[i : i + stretch].count(letter) >= floor for i in range(len(letters)))
        assert bool(dense[kind]) == expected


@settings(deadline=None)
@given(
    words, st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")), st.integers(2, 8), st.integers(1, 4)
)
def test_marks_are_those_of_a_walk(
    letters: list[str], rare: set[str], unknown: set[str], width: int, least: int
) -> None:
    floor, limit = 3, 0.5
    scan = scan_text(spelled(letters))
    types, t = types_of(scan), scan.tokens
    flags, limits = np.zeros(len(types.hashes), np.uint8), np.full(len(types.hashes), limit)
    for i, letter in enumerate(letters):
        flags[types.type_of[t.ids[i]]] = (RARE if letter in rare else 0) | (UNKNOWN if letter in unknown else 0)
    at, marks = mark_kernel(
        scan.data,
        t.ids,
        t.kinds,
        t.ends,
        t.numbered,
        types.type_of,
        types.shape,
        types.runs,
        flags,
        limits,
        floor,
        width,
        width,
        least,
    )
    expected: dict[int, int] = {}
    for start in range(len(letters)):
        for end in range(start + 1, min(start + width, len(letters)) + 1):
            window = letters[start:end]
            if end - start == width or start == 0:
                inside = {x for x in window if x in unknown}
                if len(inside) >= least:
                    for i in range(start, end):
                        if letters[i] in unknown:
                            expected.setdefault(i, UNKNOWN)
            for letter in rare:
                # exactly three of it, from one to another, at the rate that it needs
                if window[0] == window[-1] == letter and window.count(letter) == floor and floor >= limit * len(window):
                    expected |= {i: OVER for i in range(start, end) if letters[i] == letter}
    assert dict(zip(at.tolist(), marks.tolist(), strict=True)) == expected


@settings(deadline=None)
@given(st.text(st.sampled_from("0179 ,a"), max_size=200))
def test_the_longest_run_of_digits_is_the_first_longest(text: str) -> None:
    t = scan_text(text).tokens
    longest, at, starts, ends, _ = digits_kernel(scan_text(text).data, t.kinds, t.starts, t.ends, 5, 500, 301)
    runs = [m.span() for m in re.finditer("[0-9]+", text)]
    best = max(runs, key=lambda r: (r[1] - r[0], -r[0]), default=(-1, -1))
    assert (longest, at) == (best[1] - best[0], best[0])
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [r for r in runs if r[1] - r[0] >= 5]


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=4), st.booleans())
def test_whatever_the_text_its_figures_agree(run: list[str], reference: bool) -> None:
    n = len(run)
    columns = {"text": run, "prompt": ["p"] * n, "question": ["q"] * n, "benchmark": ["b"] * n}
    batch = pa.table({**columns, "problem_id": [str(i) for i in range(n)]})
    for text, row in zip(run, gibberish(batch, build_lexicon([batch]) if reference else None).to_pylist(), strict=True):
        edges = [edge for span in row["gibberish_spans"] for edge in (span["start"], span["end"])]
        assert edges == sorted(edges) and len(set(edges)) == len(edges)
        assert not edges or (0 <= edges[0] == row["gibberish_first_char"] and edges[-1] <= len(text))
        assert row["replacement_characters"] == text.count("\ufffd")
        assert row["script_mixing"] + row["language_switches"] <= row["foreign_letters"] <= len(text)
        assert (row["foreign_first_char"] is None) == (row["foreign_letters"] == 0) == (row["foreign_scripts"] is None)
        if row["longest_digit_run"]:
            start = row["longest_digit_run_char"]
            assert all(c.isdecimal() for c in text[start : start + row["longest_digit_run"]])
        assert row["gibberish_count"] is None  # so few words are no reference
