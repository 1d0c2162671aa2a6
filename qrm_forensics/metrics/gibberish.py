"""Text that is not language: words out of nowhere, scripts out of place, digits without end.

Four signs, each in columns of its own, and one flag.  None of them needs a language model, so *word salad* - known
words in an order that says nothing - is out of reach; where log-probabilities exist, ``surprisal`` sees some of it.
Frequency lists of English do not replace the words of the run: the tokens that collapsing models repeat ("Vis") are in
them, and corrupted words they find no better.

Words are judged by the other responses of the run (``lexicon``).  A response is not judged in this way where there are
fewer than ``LEAST_RESPONSES`` responses or ``LEAST_WORDS`` words to other problems: null, not 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics.figures import spans as spans_column
from qrm_forensics.metrics.gibberish_kernels import digits_kernel, mark_kernel
from qrm_forensics.metrics.lexicon import (
    FLOOR,
    LEXICON_READS,
    STRETCH,
    Lexicon,
    Types,
    build_lexicon,
    problem_hash,
    types_of,
)
from qrm_forensics.metrics.lexicon_kernels import OVER, RARE, UNKNOWN
from qrm_forensics.metrics.protocol import SPAN_TYPE, Column, Said, Show, metric, said
from qrm_forensics.metrics.scan import Scan, scan_text, scans
from qrm_forensics.metrics.scripts import mixing

#: Words of a window in which unknown words are counted.
WINDOW = 200
#: Digits of a run from which on it is a sign of gibberish.
LONG_RUN = 100
#: A window of digits: so many bytes (characters of ASCII) with at least so many digits (more than 60 %).
DIGIT_WINDOW, DIGITS = 500, 301
#: Letters in short bursts of other scripts from which on they are a sign of gibberish.
FOREIGN_LETTERS = 3
#: Spans that are given at most, and the gap in bytes up to which two are one.
SPANS, GAP = 1000, 12

_Ints = npt.NDArray[np.int64]
_NO_INTS = np.zeros(0, np.int64)
_NO_SPANS = np.zeros((0, 2), np.int64)


def unknown_types(lexicon: Lexicon) -> int:
    """Different unknown words that a window must have.

    A healthy response has the more words that no other has, the fewer others there are.  Five, and three times what
    a window has of them on average in this run (``novelty``), keeps correct responses free in runs of 30 to 290 real
    ones (``bench/gibberish.py``).
    """
    return math.ceil(5 + 3 * WINDOW * lexicon.novelty)


@dataclass(frozen=True, slots=True)
class _Words:
    """Letter runs that are gibberish: first bytes and ends (k,), what each is (OVER or UNKNOWN), the words' spelling."""

    starts: _Ints = field(default_factory=lambda: _NO_INTS)
    ends: _Ints = field(default_factory=lambda: _NO_INTS)
    over: int = 0
    unknown: int = 0
    spelled: str | None = None


@dataclass(slots=True)
class _Asked:
    """What a response was asked, scanned when first needed."""

    prompt: str | None
    question: str | None
    _scans: list[Scan] | None = None

    def scans(self) -> list[Scan]:
        if self._scans is None:
            texts = [t for t in (self.prompt, self.question) if t]
            if len(texts) == 2 and texts[1] in texts[0]:
                del texts[1]
            self._scans = [scan_text(t) for t in texts]
        return self._scans


def _words(scan: Scan, asked: _Asked, lexicon: Lexicon, problem: int, least: int) -> _Words:
    types = types_of(scan)
    flags, limits = lexicon.judge(types, problem)
    if not _matters(flags, least):
        return _Words()
    for text in asked.scans():
        said = np.sort(types_of(text).hashes)
        flagged = np.flatnonzero(flags)
        if len(said):
            flags[flagged[said[np.searchsorted(said[:-1], types.hashes[flagged])] == types.hashes[flagged]]] = 0
    if not _matters(flags, least):
        return _Words()
    t = scan.tokens
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
        FLOOR,
        STRETCH,
        WINDOW,
        least,
    )
    if not len(at):
        return _Words()
    over = int(np.count_nonzero(marks == OVER))
    starts, ends = t.starts[at].astype(np.int64), t.ends[at].astype(np.int64)
    return _Words(starts, ends, over, len(at) - over, _spelled(scan, types, at, marks))


def _matters(flags: npt.NDArray[np.uint8], least: int) -> bool:
    """Whether there can be over-represented words, or a window with ``least`` different unknown ones."""
    return bool((flags & (OVER | RARE)).any()) or int(np.count_nonzero(flags & UNKNOWN)) >= least


def _spelled(scan: Scan, types: Types, at: npt.NDArray[np.int32], marks: npt.NDArray[np.uint8]) -> str:
    """The five most frequent of the words with their counts, the over-represented ones first."""
    t = scan.tokens
    _, first, counts = np.unique(types.type_of[t.ids[at]], return_index=True, return_counts=True)
    order = np.lexsort((first, -counts, marks[first] != OVER))
    found = [
        f"{scan.slice(int(t.starts[at[first[k]]]), int(t.ends[at[first[k]]])).lower()[:40]} ({counts[k]})"
        for k in order[:5]
    ]
    return ", ".join(found) + (f", +{len(order) - 5}" if len(order) > 5 else "")


def _spans(scan: Scan, starts: _Ints, ends: _Ints) -> _Ints:
    """Code-point ranges (s, 2) of byte ranges that may touch, overlap or lie close together, merged, in order."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    opens = np.concatenate([[True], starts[1:] > ends[:-1] + GAP])
    closes = np.concatenate([opens[1:], [True]])
    edges = np.stack([starts[opens], ends[closes]], axis=1)[:SPANS]
    return scan.chars(edges.ravel()).reshape(-1, 2)


def _char(scan: Scan, offset: int) -> int:
    """As ``Scan.char``, for a single offset far into a long text several times faster."""
    continuing = scan.data[:offset].view(np.int8) < -64
    return offset - int(np.count_nonzero(continuing))


def _measure(
    scan: Scan, asked: _Asked, lexicon: Lexicon | None, problem: int, least: int, size: int
) -> tuple[object, ...]:
    words = _Words() if lexicon is None else _words(scan, asked, lexicon, problem, least)
    mixed = mixing(scan, asked.scans)
    t = scan.tokens
    longest, longest_at, long_starts, long_ends, windows = digits_kernel(
        scan.data, t.kinds, t.starts, t.ends, LONG_RUN, DIGIT_WINDOW, DIGITS
    )
    spans = _NO_SPANS
    if len(words.starts) or len(mixed.starts) or len(long_starts) or len(windows):
        window_ends = np.minimum(windows + DIGIT_WINDOW, len(scan.data))
        starts = np.concatenate([words.starts, mixed.starts, long_starts, windows])
        spans = _spans(scan, starts, np.concatenate([words.ends, mixed.ends, long_ends, window_ends]))
    found = bool(len(words.starts) or mixed.short_letters >= FOREIGN_LETTERS or len(long_starts) or len(windows))
    judged = lexicon is not None
    return (
        True if found else False if judged else None,
        len(words.starts) + len(mixed.starts) if judged else None,
        int(spans[0, 0]) if len(spans) else None,
        words.spelled,
        spans,
        words.over if judged else None,
        words.unknown if judged else None,
        len(mixed.starts),
        mixed.letters,
        ", ".join(mixed.scripts) or None,
        _char(scan, mixed.first) if mixed.first >= 0 else None,
        mixed.passages,
        mixed.replaced,
        longest,
        _char(scan, longest_at) if longest else None,
        len(windows),
        size,
    )


_NO_REFERENCE = "the run has no corpus, or fewer than 20 responses or 15,000 words to other problems"


def _number(
    name: str,
    unit: str,
    label: Said,
    definition: Said,
    null: str | None = None,
    show: Show = Show.HISTOGRAM,
    better: bool = True,
) -> Column:
    return Column(
        name,
        pa.int64(),
        show,
        unit=unit,
        better="lower" if better else None,
        label=label,
        definition=definition,
        nullable_when=null,
    )


_COLUMNS = (
    Column(
        "gibberish",
        pa.bool_(),
        Show.SHARE,
        better="lower",
        label=said("Gibberish", "횡설수설"),
        definition=said(
            "The response has over-represented words, a window of unknown words, 3 or more letters in short bursts of "
            "a foreign script, a run of 100 digits or more, or a window of random digits.",
            "과대 출현 단어, 미등록 단어가 몰린 구간, 짧게 끼어든 이질 문자 체계의 글자 3자 이상, 100자리 이상의 숫자열, "
            "무작위 숫자 구간 가운데 하나라도 있다.",
        ),
        nullable_when=f"nothing was found, and {_NO_REFERENCE}",
    ),
    _number(
        "gibberish_count",
        "words",
        said("Gibberish words", "횡설수설 단어 수"),
        said(
            "Letter runs that are gibberish: over-represented words where they are dense, unknown words in a window of "
            "them, and short bursts of a foreign script (one each); digits do not count.",
            "횡설수설로 판정한 글자열의 개수: 밀집 구간의 과대 출현 단어, 미등록 단어가 몰린 구간의 미등록 단어, 짧게 끼어든 "
            "이질 문자 체계(한 번에 하나)를 더한 값이며 숫자는 세지 않는다.",
        ),
        _NO_REFERENCE,
    ),
    _number(
        "gibberish_first_char",
        "characters",
        said("Gibberish begins at", "횡설수설 시작 위치"),
        said(
            "Characters before the first of gibberish_spans; empty where there is none.",
            "gibberish_spans의 첫 구간 앞에 있는 문자 수이며, 구간이 없으면 비워 둔다.",
        ),
        "gibberish_spans is empty",
        Show.HIDDEN,
        better=False,
    ),
    Column(
        "gibberish_words",
        pa.string(),
        Show.TABLE,
        label=said("Which words", "해당 단어"),
        definition=said(
            "The five most frequent words of gibberish_count with their counts, over-represented ones first, in lower "
            "case; empty where there is none.",
            "gibberish_count에 든 단어 중 가장 잦은 다섯 개와 횟수(과대 출현 단어 먼저, 소문자)이며, 없으면 비워 둔다.",
        ),
        nullable_when="no word is gibberish, or there is no reference",
    ),
    Column(
        "gibberish_spans",
        SPAN_TYPE,
        Show.SPANS,
        label=said("Gibberish passages", "횡설수설 구간"),
        definition=said(
            "Where the words of gibberish_count, the runs of 100 digits or more and the windows of random digits are, "
            "those at most 12 bytes apart as one; the first 1,000.",
            "gibberish_count의 단어, 100자리 이상의 숫자열, 무작위 숫자 구간이 있는 위치로, 12바이트 이내로 가까우면 하나로 "
            "합치며 처음 1,000개까지 적는다.",
        ),
    ),
    _number(
        "overrepresented_words",
        "words",
        said("Over-represented words", "과대 출현 단어 수"),
        said(
            "Occurrences of words of 3 letters or more that stand in n <= 100 words with 20 of them, where 20/n is at "
            "least 30,000 times the word's rate in the responses to other problems (at most 5 counted of each, none "
            "where it is as dense), and which neither the problem, the prompt nor another response to it has; shorter "
            "or all-capital words count where they make up 20 % of all words and exceed that ratio.",
            "3글자 이상의 단어가 n(100 이하)단어 안에 20번 나오고, 20/n이 다른 문제의 응답에서의 출현율(응답당 최대 5번, 똑같이 "
            "밀집한 응답은 0번으로 셈)의 3만 배 이상이며, 문제와 프롬프트, 같은 문제의 다른 응답에는 없을 때 그 출현 횟수. 더 짧거나 "
            "대문자뿐인 단어는 전체 단어의 20%를 차지하고 그 비율을 넘을 때 센다.",
        ),
        _NO_REFERENCE,
    ),
    _number(
        "unknown_words",
        "words",
        said("Unknown words", "미등록 단어 수"),
        said(
            "Words that neither problem nor prompt nor any other response of the run has, in windows of 200 words with at "
            "least k different ones; k is 5 plus 3 times what a window of this run has of them on average.",
            "문제와 프롬프트, 이 실행의 다른 응답에 없는 단어가 200단어 구간에 k종 이상 있을 때 그 구간의 해당 단어 수. k는 이 실행의 "
            "구간당 평균 종류 수의 3배에 5를 더한 값이다.",
        ),
        _NO_REFERENCE,
    ),
    _number(
        "script_mixing",
        "bursts",
        said("Bursts of a foreign script", "이질 문자 체계의 끼어듦"),
        said(
            "Stretches of fewer than 20 letters (or of several scripts) that are neither Latin nor Greek nor of a "
            "script of the prompt, the problem or a tenth of the response, between letters that are.",
            "라틴·그리스 문자도 아니고 프롬프트·문제의 문자 체계도, 응답의 10% 이상을 차지하는 문자 체계도 아닌 글자가 20자 "
            "미만(또는 여러 체계가 섞여) 끼어든 횟수.",
        ),
    ),
    _number(
        "foreign_letters",
        "letters",
        said("Letters of foreign scripts", "이질 문자 체계의 글자 수"),
        said(
            "Letters of such scripts in all, longer passages included.",
            "그런 문자 체계의 글자를 긴 구절까지 포함하여 모두 센 수.",
        ),
    ),
    Column(
        "foreign_scripts",
        pa.string(),
        Show.TABLE,
        label=said("Foreign scripts", "이질 문자 체계"),
        definition=said(
            "Names of these scripts, that of the most letters first; empty where there is none.",
            "해당 문자 체계의 이름(글자가 많은 순)이며, 없으면 비워 둔다.",
        ),
        nullable_when="foreign_letters is 0",
    ),
    _number(
        "foreign_first_char",
        "characters",
        said("Foreign script begins at", "이질 문자 체계 시작 위치"),
        said(
            "Characters before the first letter of such a script; empty where there is none.",
            "그런 문자 체계의 첫 글자 앞에 있는 문자 수이며, 없으면 비워 둔다.",
        ),
        "foreign_letters is 0",
        Show.HIDDEN,
        better=False,
    ),
    _number(
        "language_switches",
        "passages",
        said("Passages in a foreign script", "다른 문자 체계의 긴 구절"),
        said(
            "Stretches of 20 letters or more of one such script: another language, by itself no gibberish.",
            "그런 문자 체계 하나의 글자가 20자 이상 이어진 구절의 수로, 언어가 바뀐 것일 뿐 그 자체는 횡설수설이 아니다.",
        ),
        better=False,
    ),
    _number(
        "replacement_characters",
        "characters",
        said("Replacement characters", "대체 문자(U+FFFD) 수"),
        said(
            "U+FFFD in the response: bytes that were no valid UTF-8, as when an emoji is cut; by itself no gibberish.",
            "응답에 있는 U+FFFD의 수. 이모지가 잘린 때처럼 올바른 UTF-8이 아니었던 바이트이며, 그 자체는 횡설수설이 아니다.",
        ),
    ),
    _number(
        "longest_digit_run",
        "digits",
        said("Longest run of digits", "가장 긴 숫자열"),
        said(
            "Decimal digits in a row, nothing between them.",
            "사이에 아무것도 없이 이어진 십진 숫자의 최대 개수.",
        ),
    ),
    _number(
        "longest_digit_run_char",
        "characters",
        said("Longest run of digits begins at", "가장 긴 숫자열의 시작 위치"),
        said(
            "Characters before the first of the longest runs; empty without digits.",
            "가장 긴 숫자열 중 첫 번째 앞에 있는 문자 수이며, 숫자가 없으면 비워 둔다.",
        ),
        "the response has no digits",
        Show.HIDDEN,
        better=False,
    ),
    _number(
        "random_digit_windows",
        "windows",
        said("Windows of random digits", "무작위 숫자 구간 수"),
        said(
            "Windows of 500 bytes, more than 60 % digits, that do not overlap, whose digits repeat with no period up "
            "to half of them (80 % equal), and which are neither numbers in order nor equations (5 '=').",
            "서로 겹치지 않는 500바이트 구간으로서 60% 넘게 숫자이고, 숫자의 절반까지의 어떤 주기로도 반복되지 않으며(80% 일치 "
            "기준), 크기순 숫자 목록도 수식('=' 5개)도 아닌 것의 수.",
        ),
    ),
    _number(
        "gibberish_reference_words",
        "words",
        said("Words of the reference", "기준 단어 수"),
        said(
            "Words of responses to other problems by which this one is judged, at most 5 of a kind per response; 0 "
            "without a corpus.",
            "이 응답을 판정하는 기준이 되는 다른 문제 응답의 단어 수(응답당 같은 단어는 5개까지)이며, 코퍼스가 없으면 0이다.",
        ),
        show=Show.HIDDEN,
        better=False,
    ),
)


@metric(
    version=1,
    reads=("text", "prompt", "question", "benchmark", "problem_id"),
    columns=_COLUMNS,
    title=said("Gibberish", "횡설수설"),
    corpus=build_lexicon,
    corpus_reads=LEXICON_READS,
)
def gibberish(batch: pa.Table, corpus: Lexicon | None) -> Mapping[str, Sequence[object]]:
    """Signs that the text is no language: words by the other responses of the run, scripts, digits.

    A word is a run of Latin letters, upper and lower case alike; names of LaTeX commands and environments are none.
    Known words in a meaningless order are not found, nor is a word that the whole run keeps repeating.
    """
    names = [c.name for c in _COLUMNS]
    out: dict[str, list[Any]] = {name: [] for name in names}
    least = 0 if corpus is None else unknown_types(corpus)
    columns = (batch.column(name).to_pylist() for name in ("prompt", "question", "benchmark", "problem_id"))
    for scan, prompt, question, benchmark, problem_id in zip(scans(batch), *columns, strict=True):
        row: tuple[object, ...] = (None,) * len(names)
        if scan is not None:
            problem = problem_hash(benchmark, problem_id)
            size = 0 if corpus is None else corpus.reference(problem)[1]
            lexicon = corpus if corpus is not None and corpus.suffices(problem) else None
            row = _measure(scan, _Asked(prompt, question), lexicon, problem, least, size)
        for values, value in zip(out.values(), row, strict=True):
            values.append(value)
    return out | {"gibberish_spans": _as_spans(out["gibberish_spans"])}


def _as_spans(found: Sequence[_Ints | None]) -> pa.ListArray:
    """The spans (s, 2) of each response; null where there is no text."""
    counts = [0 if s is None else len(s) for s in found]
    flat = np.concatenate([_NO_SPANS, *(s for s in found if s is not None)])
    known = np.array([s is not None for s in found], np.bool_)
    return spans_column(known, np.repeat(np.arange(len(found)), counts), flat[:, 0], flat[:, 1])
