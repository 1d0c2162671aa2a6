from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.report.cases import WHOLE_TEXT, cut_parts

words = st.lists(st.text("abcé한 \n.", min_size=1, max_size=60), min_size=1, max_size=200).map(" ".join)


@settings(max_examples=80, deadline=None)
@given(words, st.none() | st.integers(0, 4000))
def test_parts_are_unaltered_ordered_and_apart(text: str, around: int | None) -> None:
    parts = cut_parts(text, around)
    stop = 0
    for offset, part in parts:
        assert part
        assert offset >= stop
        assert text[offset : offset + len(part)] == part
        stop = offset + len(part)
    assert stop == len(text)
    assert parts[0][0] == 0
    if len(text) <= WHOLE_TEXT:
        assert parts == ((0, text),)
    else:
        assert sum(len(p) for _, p in parts) <= WHOLE_TEXT


def test_an_empty_response_has_no_parts() -> None:
    assert cut_parts("") == ()


def test_cuts_fall_between_words_where_a_word_ends_nearby() -> None:
    text = "word " * 1000
    for offset, part in cut_parts(text)[:-1]:
        assert offset % 5 == 0
        assert part.endswith(" ")


def test_the_middle_shows_where_the_loop_begins() -> None:
    text = "a " * 2000 + "LOOP " * 2000
    middle = cut_parts(text, 4000)[1][1]
    assert "a LOOP LOOP" in middle
