"""What holds of every loop: where text is put around it, how its tokens are numbered, and what it costs to find."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.metrics.loop_detector import find_episodes_of_ids, find_loops, report_loops
from qrm_forensics.metrics.scan import scan_text

SYLLABLES = ("ba", "den", "fi", "gol", "lum", "mer", "nor", "pra", "qui", "ras", "sol", "tev", "umi", "zin")


def prose(seed: int, words: int) -> str:
    """Words of a made-up vocabulary that hardly recur."""
    rng = random.Random(seed)
    made = ["".join(rng.choices(SYLLABLES, k=3)) + rng.choice(("", "", "", ",")) for _ in range(words)]
    return " ".join(made)


@st.composite
def units(draw: st.DrawFn) -> str:
    """A sentence of distinct words."""
    words = draw(
        st.lists(
            st.sampled_from([f"kon{a}{b}" for a in SYLLABLES for b in SYLLABLES]), min_size=2, max_size=40, unique=True
        )
    )
    return " ".join(words) + draw(st.sampled_from(["; ", ".\n", " | "]))


few = settings(max_examples=30, deadline=None)


@few
@given(unit=units(), seed=st.integers(0, 10**6), words=st.integers(0, 400))
def test_onset_is_the_second_copy_whatever_comes_before(unit: str, seed: int, words: int) -> None:
    before = prose(seed, words) + " "
    copies = max(6, 260 // len(unit.split()))
    report = find_loops(before.lstrip() + unit * copies)
    assert report.onset_char == len(before.lstrip()) + len(unit)
    assert report.loops[0].body_start_char == len(before.lstrip())
    assert report.terminal


@few
@given(unit=units(), seed=st.integers(0, 10**6), words=st.integers(200, 500))
def test_text_after_a_recovered_loop_does_not_move_its_onset(unit: str, seed: int, words: int) -> None:
    before = prose(seed, 120) + " "
    loop = unit * max(6, 260 // len(unit.split()))
    alone = find_loops(before + loop)
    more = find_loops(before + loop + prose(seed + 1, words))
    assert more.onset_char == alone.onset_char
    assert [(e.body_start_char, e.period, e.tier) for e in more.loops] == [
        (e.body_start_char, e.period, e.tier) for e in alone.loops
    ]
    assert not more.terminal


@few
@given(
    unit=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    before=st.integers(0, 500),
    after=st.integers(0, 300),
    seed=st.integers(0, 10**6),
)
def test_ids_may_be_renamed(unit: list[int], before: int, after: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.concatenate(
        [rng.integers(31, 5000, before), np.tile(unit, max(8, 300 // len(unit))), rng.integers(31, 5000, after)]
    )
    renamed = rng.permutation(200_000)[:5000][ids]
    found = find_episodes_of_ids(ids)
    assert found == find_episodes_of_ids(renamed)
    assert found and found[0].tier == 1
    assert found[0].end >= before + len(unit) * max(8, 300 // len(unit)) - len(unit)


@few
@given(st.text(max_size=400) | st.text(alphabet="ab .0,1\n\\", max_size=2000))
def test_any_text_is_read(text: str) -> None:
    report = find_loops(text)
    clean = text.encode("utf-8", "replace").decode("utf-8")
    last = 0
    for e in report.loops:
        assert 0 <= e.body_start_char <= e.onset_char <= e.end_char <= len(clean)
        assert e.onset_char >= last
        last = e.end_char
        assert e.period >= 1 and e.repeats >= 1 and e.unit
    assert 0 <= report.coverage <= 1
    assert report.loop == bool(report.loops)


@few
@given(seed=st.integers(0, 10**6), words=st.integers(0, 3000))
def test_prose_is_no_loop(seed: int, words: int) -> None:
    assert find_loops(prose(seed, words)).episodes == ()


def test_a_unit_longer_than_the_tables_is_found() -> None:
    unit = prose(5, 6000) + ". "
    report = find_loops(unit * 4)
    assert report.main is not None
    assert abs(report.main.onset_char - len(unit)) <= len(unit) // 20
    assert report.main.end_char == len(unit * 4) - 1


HOSTILE = {
    "one digit": lambda n: "7" * n,
    "one letter": lambda n: "a" * n,
    "no space": lambda n: "".join(random.Random(1).choices(["ab,", "c;", "d+", "e="], k=2 * n // 5))[:n],
    "random digits": lambda n: "".join(random.Random(2).choices("0123456789", k=n)),
    "boxed": lambda n: "\\boxed{" * (n // 7),
    "one word": lambda n: "ha " * (n // 3),
    "spaces": lambda n: " " * n,
    "emoji": lambda n: "😀 " * (n // 5),
    "regex bomb": lambda n: ("1" + " " * 5) * (n // 6),
    "prose": lambda n: prose(3, n // 9),
    "mixed": lambda n: "".join(
        f"Step {k}: {k} x {k + 1} = {k * (k + 1)}.\n" if k % 3 else "Wait, no, that is seven. " * 9
        for k in range(n // 60)
    ),
}


def seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_is_slow(kind: str) -> None:
    """One megabyte in a fraction of a second, and no worse per byte than a sixteenth of it."""
    whole, part = (scan_text(HOSTILE[kind](n)) for n in (1_000_000, 62_500))
    for scan in (whole, part):  # compiles, and scans
        report_loops(scan)
    assert seconds(lambda: report_loops(whole)) < 1.0
    assert seconds(lambda: report_loops(whole)) < 16 * 3 * seconds(lambda: report_loops(part)) + 0.01
