"""Sentences that are said again, and how often a response speaks of what it said before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics.copy_kernels import SHORTEST_SENTENCE, reference_kernel, sentences_kernel
from qrm_forensics.metrics.figures import as_columns
from qrm_forensics.metrics.lexemes import SELF_REFERENCE
from qrm_forensics.metrics.phrases import SELF
from qrm_forensics.metrics.protocol import Column, Show, metric, said
from qrm_forensics.metrics.scan import Scan, scans
from qrm_forensics.metrics.surface import copies, layout, phrases

#: Characters of the most repeated sentence that are kept.
CAP = 400

_LISTED = ", ".join(f"'{p}'" for p in SELF_REFERENCE)
_RULE = (
    f"of at least {SHORTEST_SENTENCE} words, where a sentence ends at a line break or at a word that ends in . ! ? or … "
    "(closing quotes and brackets aside; not the number of a list item, nor 'e.g.')"
)
_RULE_KO = (
    f"{SHORTEST_SENTENCE}단어 이상인 문장(줄바꿈이나 . ! ? …로 끝나는 단어에서 문장이 끝난 것으로 보며, 뒤따르는 따옴표와 괄호는 무시하고 "
    "목록 번호와 'e.g.'는 제외)"
)
_NO_SENTENCE = f"the response has no sentence of {SHORTEST_SENTENCE} words"
_NO_WORDS = "the response has no words"

_FIGURES = (
    Column(
        "n_sentences",
        pa.int64(),
        Show.HISTOGRAM,
        unit="sentences",
        label=said("Sentences", "문장 수"),
        definition=said(f"Number of sentences {_RULE}.", f"{_RULE_KO}의 개수."),
    ),
    Column(
        "n_distinct_sentences",
        pa.int64(),
        Show.TABLE,
        unit="sentences",
        label=said("Different sentences", "서로 다른 문장 수"),
        definition=said(
            "Number of different sentences among n_sentences, compared word by word as written.",
            "n_sentences 가운데 단어를 표기 그대로 비교해 서로 다른 문장의 개수.",
        ),
    ),
    Column(
        "sentence_repeats_max",
        pa.int64(),
        Show.HISTOGRAM,
        unit="occurrences",
        better="lower",
        label=said("Occurrences of the commonest sentence", "가장 잦은 문장의 횟수"),
        definition=said(
            "Largest number of times that one sentence (of n_sentences) occurs; 0 without sentences.",
            "한 문장(n_sentences 기준)이 나온 가장 많은 횟수이며, 문장이 없으면 0이다.",
        ),
    ),
    Column(
        "sentence_repeat_rate",
        pa.float64(),
        Show.HISTOGRAM,
        better="lower",
        label=said("Repeated sentences (share)", "반복 문장 비율"),
        definition=said(
            "Share of the sentences (of n_sentences) that occurred before in the response; empty without sentences.",
            "문장(n_sentences 기준) 가운데 응답에서 앞서 나온 것의 비율이며, 문장이 없으면 비워 둔다.",
        ),
        nullable_when=_NO_SENTENCE,
    ),
    Column(
        "self_reference_count",
        pa.int64(),
        Show.TABLE,
        unit="occurrences",
        label=said("Self-references", "자기 참조"),
        definition=said(
            f"Number of occurrences of these phrases, upper and lower case alike: {_LISTED}.",
            f"대소문자를 구분하지 않고 센 다음 표현의 횟수: {_LISTED}.",
        ),
    ),
    Column(
        "self_reference_per_1000_words",
        pa.float64(),
        Show.HISTOGRAM,
        unit="per 1,000 words",
        label=said("Self-references per 1,000 words", "1,000단어당 자기 참조"),
        definition=said(
            "self_reference_count times 1,000 divided by the number of whitespace-separated words; empty without words.",
            "self_reference_count에 1,000을 곱해 공백 기준 단어 수로 나눈 값이며, 단어가 없으면 비워 둔다.",
        ),
        nullable_when=_NO_WORDS,
    ),
    Column(
        "self_reference_outside_repeats",
        pa.float64(),
        Show.HISTOGRAM,
        unit="per 1,000 words",
        label=said("Self-references per 1,000 words outside repetition", "반복 밖 1,000단어당 자기 참조"),
        definition=said(
            "The same rate over the words that lie in no sequence of 8 words that occurred before, so that a loop neither "
            "adds to it nor dilutes it; empty without such words.",
            "앞서 나온 연속 8단어에 들지 않는 단어만으로 구한 같은 비율로, 반복 구간이 값을 부풀리거나 희석하지 않으며, "
            "그런 단어가 없으면 비워 둔다.",
        ),
        nullable_when=_NO_WORDS,
    ),
)
_COMMONEST = Column(
    "sentence_repeated",
    pa.string(),
    Show.TABLE,
    label=said("Commonest sentence", "가장 잦은 문장"),
    definition=said(
        f"The text of the sentence that occurs most often, the earliest of several, cut at {CAP} characters; "
        "empty where no sentence occurs twice.",
        f"가장 자주 나온 문장(여럿이면 가장 먼저 나온 것)의 텍스트({CAP}자까지)이며, 두 번 나온 문장이 없으면 비워 둔다.",
    ),
    nullable_when="no sentence occurs twice",
)


def _measure(scan: Scan, row: npt.NDArray[np.float64]) -> str | None:
    words, tokens, found = scan.words, scan.tokens, phrases(scan)
    first, last = sentences_kernel(words.ids, layout(scan).sentences, row)
    reference_kernel(words.starts, copies(scan), tokens.starts, found.at, found.lists, SELF, row[4:])
    if row[2] < 2:
        return None
    begin, end = int(words.starts[first]), int(words.ends[last])
    text = scan.slice(begin, min(end, begin + 4 * CAP))
    return text if len(text) <= CAP else text[: CAP - 1] + "…"


@metric(
    version=1,
    reads=("text",),
    title=said("Sentences", "문장"),
    columns=(*_FIGURES[:4], _COMMONEST, *_FIGURES[4:]),
)
def sentences(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """Verbatim repetition of whole sentences, and self-reference by a published list of phrases.

    Sentences of text without spaces between words are lines.  Two sentences are equal where
    their words are, whatever whitespace is between them.  A phrase is its whole words with
    nothing but whitespace between them ('let me re' is what precedes '-check' or '-examine').

    Self-reference is lower where a response loops, but mostly because the loop dilutes it: over
    290 responses of quantized 1.5B models, 2.4 per 1,000 words of the unclosed against 5.1 of the
    closed correct ones, and 5.0 against 5.9 outside of repetition.
    """
    found = scans(batch)
    values = np.full((len(found), len(_FIGURES)), np.nan)
    repeated = [None if scan is None else _measure(scan, row) for scan, row in zip(found, values, strict=True)]
    return as_columns(values, _FIGURES) | {_COMMONEST.name: pa.array(repeated, pa.string())}
