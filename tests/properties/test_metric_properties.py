"""Metrics against slow oracles, on whatever text hypothesis comes up with."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qrm_forensics.metrics.periodicity import MIN_REPEATS, MIN_TOKENS, SLACK, Run, tail_run
from qrm_forensics.metrics.tail_loop import has_tail_loop
from qrm_forensics.metrics.textcodes import number, pseudo_tokens

WORDS = ["wait", "Wait", "WAIT", "hmm", "let", "me", "Let me", "hold on", "double-check", "So,", "so", "x"]
SIGNS = [" ", "\n", "\u00a0", ",", ".", "-", "_", "é", "ı", "İ", "\u212a", "ſ", "²", "한", "“", "7", "\\", "\ud800"]
pieces = st.sampled_from(WORDS + SIGNS)
texts = st.one_of(st.text(max_size=80), st.lists(pieces, max_size=40).map("".join))
tokens = st.integers(1, 4).flatmap(lambda k: st.lists(st.integers(0, k), max_size=150))


def naive_tail_run(x: list[int]) -> Run | None:
    """Every period, walked to the left and to the right of the anchor."""
    best: Run | None = None
    anchor = len(x) - SLACK
    for p in range(1, len(x) // MIN_REPEATS + 1):
        start = end = anchor
        while start - 1 - p >= 0 and x[start - 1] == x[start - 1 - p]:
            start -= 1
        while end < len(x) and x[end] == x[end - p]:
            end += 1
        run = Run(start - p, end, p)
        if run.covered >= max(MIN_TOKENS, MIN_REPEATS * p) and (best is None or run.covered > best.covered):
            best = run
    return best


@settings(max_examples=300)
@given(
    tokens,
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
    st.integers(0, 12),
    st.lists(st.integers(0, 3), max_size=24),
)
def test_tail_run_equals_the_naive_search(head: list[int], unit: list[int], copies: int, rest: list[int]) -> None:
    x = head + unit * copies + rest
    expected = naive_tail_run(x) if len(x) >= MIN_TOKENS else None
    assert tail_run(np.array(x, dtype=np.int64)) == expected


@given(
    st.integers(0, 300),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True),
    st.integers(0, 30),
    st.integers(0, 59),
    st.integers(0, SLACK),
)
def test_a_planted_loop_is_found_to_the_token(head: int, unit: list[int], extra: int, part: int, rest: int) -> None:
    period = len(unit)
    copies = max(MIN_REPEATS, -(-MIN_TOKENS // period)) + extra
    body = unit * copies + unit[: part % period]
    # tokens below zero occur once each, so that the loop can neither begin earlier nor end later
    x = [-1 - i for i in range(head)] + body + [-1000 - i for i in range(rest)]
    run = tail_run(np.array(x, dtype=np.int64))
    assert run == Run(head, head + len(body), period)
    assert run.onset == head + period


@given(st.lists(st.integers(0, 50), max_size=400), st.integers(0, 2**31))
def test_text_without_a_periodic_tail_is_not_flagged(x: list[int], salt: int) -> None:
    # every token at a distance that never repeats: i -> i^2 modulo a prime has no exact period within the text
    progressing = [(i * i + salt) % 10007 for i in range(400)]
    assume(naive_tail_run(x + progressing) is None)
    assert tail_run(np.array(x + progressing, dtype=np.int64)) is None
    assert not has_tail_loop(" ".join(map(str, progressing)))


@given(texts)
def test_pseudo_tokens_equal_a_walk_over_the_characters(text: str) -> None:
    expected: list[tuple[int, int]] = []
    i = 0
    while i < len(text):
        j = i + 1
        if text[i].isalpha() or (text[i] == "\\" and text[j : j + 1].isalpha()):
            while j < len(text) and text[j].isalpha():
                j += 1
        if not text[i].isspace():
            expected.append((i, j))
        i = j
    got = pseudo_tokens(text)
    assert list(zip(got.starts.tolist(), got.ends.tolist(), strict=True)) == expected
    spelled = [text[a:b] for a, b in expected]
    same = [[a == b for a in spelled] for b in spelled]
    assert same == [[a == b for a in got.ids.tolist()] for b in got.ids.tolist()]


@given(st.lists(st.text(max_size=3), max_size=50))
def test_numbers_are_equal_where_the_items_are(items: list[str]) -> None:
    ids, n = number(items)
    assert n == len(set(items))
    assert [items.index(i) for i in items] == [ids.tolist().index(i) for i in ids.tolist()]
