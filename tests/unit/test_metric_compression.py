"""The compression metric: its extremes, and its agreement with zlib."""

from __future__ import annotations

import random
import zlib

import pyarrow as pa
import pytest

from qrm_forensics.metrics.compression import compression


def ratios(*texts: str) -> list[float | None]:
    found: list[float | None] = compression(pa.table({"text": texts}))["zlib_ratio"].to_pylist()
    return found


def test_a_loop_compresses_and_a_short_text_does_not() -> None:
    empty, short, loop = ratios("", "x", "abc " * 1000)
    assert empty is None
    assert short is not None
    assert short > 1
    assert loop is not None
    assert loop < 0.02


def test_it_agrees_with_zlib() -> None:
    rng = random.Random(3)
    words = ["".join(rng.choices("abcdefgh", k=rng.randrange(2, 9))) for _ in range(300)]
    for repeat in (1, 2, 10):
        text = " ".join(words * 3 + rng.choices(words, k=2000) * repeat)
        assert ratios(text)[0] == pytest.approx(len(zlib.compress(text.encode(), 1)) / len(text), rel=0.15)
