r"""Other people's rules for repetition, run over a finished text with their published parameters.

Rules made for a running server stop at their first hit; here they go on, and every stretch that
satisfies the rule is a found loop, which is the kinder reading.  The onset is the start of the
second of the repeats that the rule asks for.  Rules over token ids get ``\command | letters |
one other character`` for tokens.  A rule that says only *that* a text repeats has no onset.
None of them knows what terminal means: a stretch that reaches into the last 64 tokens of an
unclosed response counts as terminal.

Sources: vLLM v1/core/sched/utils.py (PR 35451); llama.cpp server PR 26039; gemini-cli
packages/core/src/services/loopDetectionService.ts; 30 tokens twenty times, attributed to arXiv
2512.12895 (not confirmed); Whisper's compression gate as a window; WordSaladChopper wscgen/pipeline/labeler.py (rule labels, ten in a row);
datatrove gopher_repetition_filter.py (arXiv 2112.11446, table A1); the reference study's
compare_3bit_vs_4bit.py, ``loop_type``.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .bases import tokens

TERMINAL_SLACK = 64


@dataclass(frozen=True, slots=True)
class Found:
    """A loop that a detector reports; ``onset_char`` is None where the rule does not say where.

    ``period`` is in tokens and ``loop_class`` a name of the project's classes, for detectors that tell them.
    """

    onset_char: int | None
    end_char: int | None
    terminal: bool
    period: float | None = None
    loop_class: str | None = None


class Detector(Protocol):
    def __call__(self, text: str, closed: bool) -> list[Found]:
        """The loops of a response; ``closed`` says whether it left its thinking."""


_Spans = list[tuple[int, int]]


def _found(text: str, closed: bool, stretches: Iterable[tuple[int, int, int]], spans: _Spans) -> list[Found]:
    """Stretches (start, onset, end) in characters, overlapping ones made one, as loops."""
    merged: list[list[int]] = []
    for start, onset, end in sorted(stretches):
        if merged and start < merged[-1][2]:
            merged[-1] = [merged[-1][0], min(merged[-1][1], onset), max(merged[-1][2], end)]
        else:
            merged.append([start, onset, end])
    near_end = spans[max(0, len(spans) - TERMINAL_SLACK)][0] if spans else 0
    return [Found(onset, end, not closed and end > near_end) for _, onset, end in merged]


def tail_repetition(low: int, high: int, count: int) -> Detector:
    """``count`` copies in a row of some pattern of ``low`` to ``high`` tokens, at any point (vLLM, llama.cpp)."""

    def detect(text: str, closed: bool) -> list[Found]:
        spans = tokens(text)
        numbers: dict[str, int] = {}
        x = np.fromiter((numbers.setdefault(text[s:e], len(numbers)) for s, e in spans), np.int64, len(spans))
        stretches = []
        for p in range(low, min(high, len(x) // count) + 1):
            need = (count - 1) * p
            for s, e in _runs(x[p:] == x[:-p], need):
                stretches.append((spans[s][0], spans[s + p][0], spans[e + p - 1][1]))
        return _found(text, closed, stretches, spans)

    return detect


def _runs(same: npt.NDArray[np.bool_], need: int) -> Iterator[tuple[int, int]]:
    """Stretches [s, e) of at least ``need`` true values."""
    if np.count_nonzero(same) < need:
        return
    edges = np.flatnonzero(np.diff(np.concatenate(([0], same.view(np.int8), [0]))))
    starts, ends = edges[::2], edges[1::2]
    keep = ends - starts >= need
    yield from zip(starts[keep].tolist(), ends[keep].tolist(), strict=True)


_TABLE = re.compile(r"(?:^|\n)\s*(?:\|.*\||[|+-]{3,})")
_LIST = re.compile(r"(?:^|\n)\s*[*-+]\s|(?:^|\n)\s*\d+\.\s")
_HEADING = re.compile(r"(?:^|\n)#+\s")
_QUOTE = re.compile(r"(?:^|\n)>\s")
_DIVIDER = re.compile(r"^[+-_=*\u2500-\u257F]+$")  # the range from + to _ is theirs


def gemini_cli(text: str, closed: bool) -> list[Found]:
    """A chunk of 50 characters seen 10 times, on average at most 250 apart, with at most 5 different texts between.

    The text is streamed line by line, in pieces of at most 200 characters; a piece with a table, list
    item, heading, quotation or code fence resets the rule, and code is not looked at, as it does.
    """
    chunk, threshold, history = 50, 10, 5000
    seen: dict[str, list[int]] = {}
    first = 0  # where the tracked text begins
    at = 0  # next chunk
    code = False
    stretches = []
    for begin, piece in _pieces(text, 200):
        fences = piece.count("```")
        divider = bool(_DIVIDER.search(piece))
        if (
            fences
            or divider
            or _TABLE.search(piece)
            or _LIST.search(piece)
            or _HEADING.search(piece)
            or _QUOTE.search(piece)
        ):
            seen.clear()
            first = at = begin
        was_code, code = code, code != bool(fences % 2)
        end = begin + len(piece)
        if was_code or code or divider:
            first = at = end
            continue
        first = max(first, end - history)
        at = max(at, first)
        while at + chunk <= end:
            places = seen.setdefault(text[at : at + chunk], [])
            places.append(at)
            recent = [p for p in places[-threshold:] if p >= first]
            if len(recent) == threshold and recent[-1] - recent[0] <= 5 * chunk * (threshold - 1):
                between = {text[a:b] for a, b in pairwise(recent)}
                if len(between) <= threshold // 2:
                    stretches.append((recent[0], recent[1], at + chunk))
            at += 1
    return _found(text, closed, stretches, tokens(text))


def _pieces(text: str, longest: int) -> Iterator[tuple[int, str]]:
    at = 0
    for line in text.splitlines(keepends=True):
        for i in range(0, len(line), longest):
            piece = line[i : i + longest]
            yield at, piece
            at += len(piece)


def ngram_repeats(n: int, count: int) -> Detector:
    """Some ``n`` tokens in a row that occur ``count`` times anywhere; the stretch is from the first to the last."""

    def detect(text: str, closed: bool) -> list[Found]:
        spans = tokens(text)
        numbers: dict[str, int] = {}
        ids = [numbers.setdefault(text[s:e], len(numbers)) for s, e in spans]
        places: dict[int, list[int]] = {}
        for i, key in enumerate(_rolling(ids, n)):
            places.setdefault(key, []).append(i)
        stretches = [
            (spans[p[0]][0], spans[p[1]][0], spans[p[-1] + n - 1][1]) for p in places.values() if len(p) >= count
        ]
        return _found(text, closed, stretches, spans)

    return detect


def _rolling(ids: Sequence[int], n: int) -> Iterator[int]:
    """A number for every n-gram (Karp and Rabin, modulo the prime 2^61 - 1)."""
    modulus, base = (1 << 61) - 1, 0x1F3D5B79_97531FD
    top, value = pow(base, n, modulus), 0
    for i, x in enumerate(ids):
        value = (value * base + x + 1) % modulus
        if i >= n:
            value = (value - top * (ids[i - n] + 1)) % modulus
        if i >= n - 1:
            yield value


def zlib_window(text: str, closed: bool) -> list[Found]:
    """A window of 2,048 bytes, every 512, that zlib brings below 0.12 of its size."""
    size, step, gate = 2048, 512, 0.12
    data = text.encode("utf-8", "surrogatepass")
    if len(data) < size:
        return []
    flags = [i for i in range(0, len(data) - size + 1, step) if len(zlib.compress(data[i : i + size])) < gate * size]
    chars = np.cumsum((np.frombuffer(data, np.uint8) & 0xC0) != 0x80)
    stretches = [(int(chars[i]) - 1, int(chars[i]) - 1, int(chars[i + size - 1])) for i in flags]
    return _found(text, closed, stretches, tokens(text))


def word_salad(text: str, closed: bool) -> list[Found]:
    """Ten chunks in a row, each ending in an empty line, that occurred before."""
    needed = 10
    seen: set[str] = set()
    row: list[tuple[int, int]] = []
    stretches = []
    at = 0
    for chunk in re.split(r"(?<=\n\n)", text):
        if not chunk:
            continue
        if chunk in seen:
            row.append((at, at + len(chunk)))
            if len(row) >= needed:
                stretches.append((row[0][0], row[0][0], row[-1][1]))
        else:
            row = []
        seen.add(chunk)
        at += len(chunk)
    return _found(text, closed, stretches, tokens(text))


def gopher(text: str, closed: bool) -> list[Found]:
    """Any repetition rule of the Gopher filter; it judges a whole text, so there is no onset.

    Words are what whitespace separates; with punctuation as words of its own, almost every
    mathematical text repeats too much.
    """
    return [Found(None, None, False)] if _gopher(text) else []


def _gopher(text: str) -> bool:
    if not text.strip():
        return False
    for parts in (re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text)):
        repeated = _repeated(parts)
        if len(repeated) > 0.3 * len(parts) or sum(map(len, repeated)) > 0.2 * len(text):
            return True
    words = text.split()
    for n, share in ((2, 0.20), (3, 0.18), (4, 0.16)):
        grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
        if grams:
            gram, times = grams.most_common(1)[0]
            if len(gram) * times > share * len(text):
                return True
    return any(
        _duplicated(words, n) > share * len(text)
        for n, share in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
    )


def _repeated(parts: list[str]) -> list[str]:
    seen: set[str] = set()
    return [p for p in parts if p in seen or seen.add(p)]  # type: ignore[func-returns-value]


def _duplicated(words: list[str], n: int) -> int:
    seen: set[str] = set()
    total = i = 0
    while i + n <= len(words):
        gram = "".join(words[i : i + n])
        if gram in seen:
            total += len(gram)
            i += n
        else:
            seen.add(gram)
            i += 1
    return total


# The study's patterns, without their nested repeats: the same texts match, in linear time.
_NUMBER_LOOP = re.compile(r"(\d)(?:\s*+(?:[.,]\s*+)?\1){10}")
_WORD_REPEAT = re.compile(r"\b(\w{4,}+)\s++\1\s++\1\s++\1")
_MARKERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("wait", re.compile(r"\bWait,?\b", re.IGNORECASE)),
    ("hmm", re.compile(r"\bHmm,?\b", re.IGNORECASE)),
    ("perhaps", re.compile(r"\bPerhaps\b", re.IGNORECASE)),
    ("let_me", re.compile(r"\bLet me\b", re.IGNORECASE)),
    ("so", re.compile(r"\bSo,\b")),
    ("but", re.compile(r"\bBut,?\b", re.IGNORECASE)),
)


def loop_type(text: str) -> str:
    """The reference study's label of a response, in its order of precedence."""
    count = {name: sum(1 for _ in pattern.finditer(text)) for name, pattern in _MARKERS}
    if count["wait"] > 1000:
        return "severe_wait_loop"
    if count["wait"] > 100:
        return "moderate_wait_loop"
    if count["perhaps"] > 100:
        return "perhaps_loop"
    if count["let_me"] > 50:
        return "let_me_loop"
    if _NUMBER_LOOP.search(text):
        return "number_loop"
    if _phrase_repeat(text):
        return "phrase_repeat"
    if _WORD_REPEAT.search(text):
        return "word_repeat"
    return "mixed_loop" if sum(count.values()) > 100 else "no_loop"


def _phrase_repeat(text: str) -> bool:
    r"""``([^.]{30,80}\.)\s*(\1\s*){3,}``: a stretch up to a full stop that the next three sentences repeat.

    The repeated stretch holds no other full stop, so its copies are whole sentences, up to
    whitespace before them; only the first may be the end of a longer sentence.
    """
    sentences = [s + "." for s in text.split(".")[:-1]]
    for i in range(len(sentences) - 3):
        body = sentences[i + 1].lstrip()
        if len(body) - 1 > 80 or sentences[i + 2].lstrip() != body or sentences[i + 3].lstrip() != body:
            continue
        spaces = min(len(s) - len(body) for s in sentences[i + 1 : i + 4])
        repeated = sentences[i + 1][len(sentences[i + 1]) - len(body) - max(0, min(spaces, 31 - len(body))) :]
        if len(repeated) >= 31 and all(s.endswith(repeated) for s in sentences[i : i + 4]):
            return True
    return False


def reference_scripts(text: str, closed: bool) -> list[Found]:
    return [Found(None, None, False)] if loop_type(text) != "no_loop" else []


PEERS: dict[str, Detector] = {
    "vLLM rule, p 1-512 x4": tail_repetition(1, 512, 4),
    "llama.cpp PR, p 16-1024 x4": tail_repetition(16, 1024, 4),
    "gemini-cli, 50 chars x10": gemini_cli,
    "30-gram x20": ngram_repeats(30, 20),
    "zlib 2 kB < .12": zlib_window,
    "WordSaladChopper, exact rule": word_salad,
    "Gopher, any rule": gopher,
    "reference scripts' loop_type": reference_scripts,
}

#: Rules that say that a text repeats, but not where.
UNPLACED = frozenset({"Gopher, any rule", "reference scripts' loop_type"})

OURS = "qrm-forensics"


def ours() -> Detector:
    """The project's own detector.  Raises ModuleNotFoundError where it is not installed."""
    from qrm_forensics.metrics.loop_detector import find_loops

    def detect(text: str, closed: bool) -> list[Found]:
        return [
            Found(f.onset_char, f.end_char, f.terminal, f.period, f.loop_class)
            for f in find_loops(text, closed=closed).loops
        ]

    return detect
