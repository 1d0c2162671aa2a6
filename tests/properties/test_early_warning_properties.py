from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.early_warning.features import FEATURES, prefixes
from qrm_forensics.early_warning.kernel import copies, types
from qrm_forensics.metrics.scan import scan_text

small = settings(max_examples=80, deadline=None)
pieces = st.sampled_from(
    [
        "wait",
        " ",
        "Wait",
        "12",
        "\\frac",
        "{",
        "so ",
        "x",
        "\n\n",
        "가나",
        "é",
        "hmm,",
        "_",
        "</think>",
        "the sum is 7. ",
    ]
)
texts = st.lists(pieces, max_size=120).flatmap(
    lambda some: st.integers(1, 6).map(lambda times: "".join(some) + " " + "".join(some[-9:]) * times)
)
numbers = st.lists(st.integers(0, 3), max_size=60)


@small
@given(texts, st.sampled_from([3, 8, 16]))
def test_what_comes_later_changes_nothing(text: str, step: int) -> None:
    whole = prefixes(text, False, step)
    scan = scan_text(text)
    for k, point in enumerate(whole.points):
        cut = scan.data[: scan.tokens.ends[point - 1]].tobytes().decode("utf-8")
        assert (prefixes(cut, False, step).values[-1] == whole.values[k]).all()


@small
@given(texts)
def test_values_are_finite_and_shares_are_shares(text: str) -> None:
    values = prefixes(text, True, 5).values
    assert np.isfinite(values).all()
    for name in ("copied", "copied_ever", "periodic", "distinct", "novel", "digits", "hesitation"):
        column = values[:, list(FEATURES).index(name)]
        assert ((column >= 0) & (column <= 1)).all()


@small
@given(numbers, st.integers(1, 4))
def test_copies_are_those_found_by_looking_back(ids: list[int], gram: int) -> None:
    lag, run = copies(np.array(ids, dtype=np.int32), gram)
    expected = []
    for i in range(len(ids)):
        here = ids[i - gram + 1 : i + 1] if i >= gram - 1 else None
        back = [b for b in range(1, i - gram + 2) if here is not None and ids[i - b - gram + 1 : i - b + 1] == here]
        expected.append(back[0] if back else 0)
    assert lag.tolist() == expected
    for i, (distance, length) in enumerate(zip(lag, run, strict=True)):
        assert length == (0 if not distance else run[i - 1] + 1 if i and lag[i - 1] == distance else 1)


@small
@given(numbers, st.integers(1, 7))
def test_types_are_those_counted_anew(ids: list[int], window: int) -> None:
    distinct, first = types(np.array(ids, dtype=np.int32), window)
    assert distinct.tolist() == [len(set(ids[max(0, i + 1 - window) : i + 1])) for i in range(len(ids))]
    assert first.tolist() == [ids[i] not in ids[:i] for i in range(len(ids))]


@pytest.mark.parametrize("text", ["1" * 100_000, "a " * 100_000, "\\boxed{" * 20_000, "x" * 100_000, "\ud800 b" * 1000])
def test_any_text_is_read(text: str) -> None:
    assert np.isfinite(prefixes(text, False, 256).values).all()
