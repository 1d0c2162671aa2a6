"""Folding never changes a text, and what it folds lies in loops."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.report.folding import (
    LEAST_FOLDED,
    MOST_SHOWN,
    LoopSpan,
    Part,
    first_difference,
    fold,
    loop_spans,
    shared_start,
)

_SPANS = st.lists(
    st.builds(
        LoopSpan,
        start=st.integers(0, 900),
        end=st.integers(0, 1200),
        unit=st.none() | st.text(max_size=250),
        repeats=st.none() | st.floats(1, 1e4),
    ),
    max_size=6,
)


@given(st.text(max_size=40).map(lambda t: t * 25), _SPANS)
def test_segments_join_to_the_text_and_fold_only_loops(text: str, loops: list[LoopSpan]) -> None:
    segments = fold(text, loops)
    assert "".join(s.text for s in segments) == text
    position = 0
    for segment in segments:
        assert segment.text and segment.start == position
        position = segment.end
        if segment.part is Part.TEXT:
            assert segment.loop is None
            assert not any(s.start < segment.end and s.end > segment.start and s.start < s.end for s in loops)
        else:
            assert segment.loop is not None
            assert loops[segment.loop].start <= segment.start
            assert segment.end <= loops[segment.loop].end
        if segment.part is Part.FOLDED:
            assert len(segment.text) >= LEAST_FOLDED


@settings(deadline=None)  # the first call may have to compile
@given(st.integers(12, 400))
def test_a_found_loop_is_folded_after_its_first_copies(copies: int) -> None:
    unit = "Wait, that is not right, so the sum of the two is 41 again. "
    text = "We add the numbers first.\n" + unit * copies
    spans = loop_spans(text)
    assert len(spans) == 1
    assert abs((spans[0].repeats or 0) - copies) < 1.5
    folded = [s for s in fold(text, spans) if s.part is Part.FOLDED]
    assert len(folded) == 1
    assert folded[0].end == spans[0].end
    assert spans[0].end - spans[0].start - len(folded[0].text) <= MOST_SHOWN


@given(st.lists(st.text(alphabet="ab 1", max_size=30), min_size=2, max_size=4), st.text(alphabet="xy ", max_size=60))
def test_what_texts_share_is_the_same_in_all(tails: list[str], head: str) -> None:
    texts = [head + tail for tail in tails]
    length = shared_start(texts)
    assert len({t[:length] for t in texts}) == 1
    if len(set(texts)) == 1:
        assert length == len(texts[0])


def test_a_word_is_not_cut_where_texts_part() -> None:
    assert shared_start(["so it is 241.", "so it is 248."]) == len("so it is ")
    assert shared_start(["one", "one two"]) == 3
    assert shared_start(["alone"]) == 0


@given(st.lists(st.integers(0, 3), max_size=20), st.lists(st.integers(0, 3), max_size=20))
def test_first_difference_is_the_first(one: list[int], other: list[int]) -> None:
    at = first_difference(one, other)
    if at is None:
        assert one == other
    else:
        assert one[:at] == other[:at]
        assert one[at : at + 1] != other[at : at + 1]
