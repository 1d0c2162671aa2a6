"""How much of a response was said before in the same response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa

from qrm_forensics.metrics.protocol import Column, Show, metric, rows, said
from qrm_forensics.metrics.textcodes import Ints, number

GRAM = 8


def distinct_ngrams(ids: Ints, n_ids: int, width: int) -> int:
    """How many different n-grams of ``width``, a power of two, there are; exact.

    Two halves make one number; where that would overflow, the halves are first replaced by
    their ranks.
    """
    keys, size, span = ids, max(n_ids, 1), 1
    while span < width:
        if size * size >= 2**63:
            keys, kinds = pd.factorize(keys)
            size = len(kinds)
        keys = keys[:-span] * size + keys[span:]
        size, span = size * size, span * 2
    return len(pd.unique(keys))


def copy_rate(text: str) -> float | None:
    """Share of the n-grams of ``GRAM`` words that occurred before; None where there are none."""
    words = text.split()
    grams = len(words) - GRAM + 1
    if grams < 1:
        return None
    return (grams - distinct_ngrams(*number(words), GRAM)) / grams


@metric(
    version=1,
    reads=("text",),
    title=said("Copying", "앞 내용 재사용"),
    columns=(
        Column(
            "copy_rate_8",
            pa.float64(),
            Show.HISTOGRAM,
            better="lower",
            label=said("8-gram copy rate", "8-gram 재사용률"),
            definition=said(
                "Share of the sequences of 8 consecutive whitespace-separated words that occurred earlier in the same response; "
                "empty below 8 words.",
                "공백으로 나눈 연속 8단어 가운데 같은 응답에서 앞서 나온 것의 비율이며, 8단어 미만이면 비워 둔다.",
            ),
            nullable_when="the response has fewer than 8 words",
        ),
    ),
)
def copying(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """Verbatim repetition anywhere in the response, seq-rep-8 of Welleck et al. (2019, arXiv 1908.04319): 1 - distinct / all."""
    return rows(batch, ("copy_rate_8",), lambda text: (copy_rate(text),))
