"""The scan against a walk over the characters, on whatever text hypothesis comes up with."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.metrics.lexemes import CODES
from qrm_forensics.metrics.scan import scan_text, scans
from qrm_forensics.metrics.scan_kernels import COMMAND, DIGIT, LETTERS, OTHER

WORDS = ["wait", "Wait", "WAIT", "hmm", "let", "me", "double-check", "So,", "so", "x", "\\frac", "\\but", "12"]
SIGNS = [
    " ",
    "\n",
    "\u00a0",
    "\x85",
    ",",
    "_",
    "é",
    "ı",
    "İ",
    "\u212a",
    "ſ",
    "²",
    "한",
    "“",
    "７",
    "7",
    "\\",
    "😀",
    "Ⅷ",
]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.lists(st.sampled_from(WORDS + SIGNS), max_size=40).map("".join),
)


def walked(text: str) -> list[tuple[int, int, int]]:
    """(start, end, kind) of the pseudo-tokens, in code points."""
    found = []
    i = 0
    while i < len(text):
        j, kind = i + 1, DIGIT if text[i].isdecimal() else OTHER
        if text[i].isalpha() or (text[i] == "\\" and text[j : j + 1].isalpha()):
            kind = LETTERS if text[i].isalpha() else COMMAND
            while j < len(text) and text[j].isalpha():
                j += 1
        if not text[i].isspace():
            found.append((i, j, kind))
        i = j
    return found


def ascii_low(text: str) -> str:
    return re.sub("[A-Z]", lambda m: m.group().lower(), text)


@settings(deadline=None)  # the first example compiles
@given(texts)
def test_tokens_are_those_of_a_walk(text: str) -> None:
    scan = scan_text(text)
    tokens = scan.tokens
    expected = walked(text)
    starts, ends = scan.chars(tokens.starts), scan.chars(tokens.ends)
    assert list(zip(starts.tolist(), ends.tolist(), tokens.kinds.tolist(), strict=True)) == expected
    spelled = [text[a:b] for a, b, _ in expected]
    for ids, said in ((tokens.ids, spelled), (tokens.low, [ascii_low(s) for s in spelled])):
        assert len(set(zip(ids.tolist(), said, strict=True))) == len(set(ids.tolist())) == len(set(said))


@settings(deadline=None)  # the first example compiles
@given(texts)
def test_words_are_those_of_split(text: str) -> None:
    scan = scan_text(text)
    said = [scan.slice(a, b) for a, b in zip(scan.words.starts, scan.words.ends, strict=True)]
    assert said == text.split()
    order = {word: i for i, word in enumerate(dict.fromkeys(said))}
    assert scan.words.ids.tolist() == [order[word] for word in said]
    assert scan.words.n_types == len(order)
    assert scan.n_chars == len(text)


@settings(deadline=None)  # the first example compiles
@given(texts)
def test_codes_mark_whole_words_as_regular_expressions_find_them(text: str) -> None:
    codes = scan_text(text).tokens.codes
    for word in ("wait", "hmm", "so", "but", "let", "check"):
        found = int((codes == CODES[word]).sum())
        assert found == len(re.findall(rf"\b{word}\b", text, re.IGNORECASE)), word


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.one_of(st.none(), texts), max_size=6), st.integers(0, 6))
def test_a_batch_is_scanned_row_by_row(rows: list[str | None], start: int) -> None:
    batch = pa.table({"text": pa.array(rows, pa.large_string())}).slice(start)
    found = scans(batch)
    assert [s and s.text for s in found] == rows[start:]
    assert scans(batch) is found


def test_many_different_words_fit_the_table() -> None:
    rng = np.random.default_rng(0)
    text = " ".join(chr(97 + a) + chr(97 + b) + chr(0x4E00 + c) for a, b, c in rng.integers(0, 26, (60_000, 3)))
    scan = scan_text(text)
    assert scan.words.n_types == len(set(text.split()))
    assert len(np.unique(scan.tokens.ids)) == len(set(text.split()))
