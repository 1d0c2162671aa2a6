"""Discourse markers: words that announce doubt, a change of course, or a conclusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from qrm_forensics.metrics.protocol import Column, Show, metric, rows, said
from qrm_forensics.metrics.wordcounts import Words, words_of

#: Markers of one word: column name and word.
SINGLE = (
    "wait",
    "but",
    "hmm",
    "so",
    "actually",
    "perhaps",
    "maybe",
    "alternatively",
    "however",
    "again",
    "therefore",
    "thus",
    "hence",
)
#: Markers of two words: column -> (first, second, what may join them).
PHRASES = {"let_me": ("let", "me", " "), "hold_on": ("hold", "on", " "), "double_check": ("double", "check", " -")}

#: The 16 distinct whole words among the keywords that NoWait suppresses (arXiv 2506.08343);
#: its "double-check" is counted by "check".
NOWAIT = (
    "wait",
    "alternatively",
    "hmm",
    "but",
    "however",
    "alternative",
    "another",
    "check",
    "oh",
    "maybe",
    "verify",
    "other",
    "again",
    "now",
    "ah",
    "any",
)
_NAMES = (*SINGLE, *PHRASES, "markers_total", "markers_per_1000_words", "wait_per_1000_words", "nowait_total")


def _marker(name: str) -> Column:
    phrase = PHRASES.get(name)
    if phrase is None:
        said_name, rule_en, rule_ko = name, f"the whole word '{name}'", f"온전한 단어 '{name}'"
    else:
        first, second, joined_by = phrase
        said_name = f"{first}{joined_by[-1]}{second}"
        dash_en, dash_ko = (" or one hyphen", " 또는 붙임표 하나") if "-" in joined_by else ("", "")
        rule_en = f"the whole words '{first}' and '{second}' with only whitespace{dash_en} between them"
        rule_ko = f"사이에 공백{dash_ko}만 두고 이어진 온전한 단어 '{first}'·'{second}'"
    return Column(
        name,
        pa.int64(),
        Show.TABLE,
        unit="occurrences",
        label=said(f"'{said_name}'", f"'{said_name}'"),
        definition=said(
            f"Number of occurrences of {rule_en} in the response, upper and lower case alike.",
            f"응답에 나오는 {rule_ko}의 횟수(대소문자 구분 없음).",
        ),
    )


def _measure(text: str) -> tuple[int | float | None, ...]:
    words: Words = words_of(text)
    counts = [words.count(w) for w in SINGLE]
    counts += [words.count_phrase(*phrase) for phrase in PHRASES.values()]
    total, n_words = sum(counts), len(text.split())
    per_1000 = [1000 * n / n_words if n_words else None for n in (total, counts[SINGLE.index("wait")])]
    return (*counts, total, *per_1000, sum(words.count(w) for w in NOWAIT))


@metric(
    version=1,
    reads=("text",),
    title=said("Discourse markers", "담화 표지"),
    columns=(
        *(_marker(name) for name in (*SINGLE, *PHRASES)),
        Column(
            "markers_total",
            pa.int64(),
            Show.HISTOGRAM,
            unit="occurrences",
            label=said("All markers", "담화 표지 합계"),
            definition=said(
                f"Sum of the counts of these {len(SINGLE) + len(PHRASES)} markers: {', '.join((*SINGLE, *PHRASES))}.",
                f"담화 표지 {len(SINGLE) + len(PHRASES)}개의 횟수를 모두 더한 값: {', '.join((*SINGLE, *PHRASES))}.",
            ),
        ),
        Column(
            "markers_per_1000_words",
            pa.float64(),
            Show.HISTOGRAM,
            unit="per 1,000 words",
            label=said("Markers per 1,000 words", "1,000단어당 담화 표지"),
            definition=said(
                "markers_total times 1,000 divided by the number of whitespace-separated words; empty without words.",
                "markers_total에 1,000을 곱해 공백 기준 단어 수로 나눈 값이며, 단어가 없으면 비워 둔다.",
            ),
            nullable_when="the response has no words",
        ),
        Column(
            "wait_per_1000_words",
            pa.float64(),
            Show.HISTOGRAM,
            unit="per 1,000 words",
            label=said("'wait' per 1,000 words", "1,000단어당 'wait'"),
            definition=said(
                "Count of 'wait' times 1,000 divided by the number of whitespace-separated words; empty without words.",
                "'wait' 횟수에 1,000을 곱해 공백 기준 단어 수로 나눈 값이며, 단어가 없으면 비워 둔다.",
            ),
            nullable_when="the response has no words",
        ),
        Column(
            "nowait_total",
            pa.int64(),
            Show.TABLE,
            unit="occurrences",
            label=said("NoWait keywords", "NoWait 키워드"),
            definition=said(
                f"Number of words that equal one of the NoWait keywords ({', '.join(NOWAIT)}), upper and lower case alike.",
                f"NoWait 키워드({', '.join(NOWAIT)})와 일치하는 온전한 단어의 개수(대소문자 구분 없음).",
            ),
        ),
    ),
)
def markers(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    r"""How often each marker occurs.

    A word is whole where no letter, digit or underscore touches it (the ``\b`` of Python's
    ``re``).  Counts grow with length: among long responses the count of 'wait' does not
    tell the unclosed from the closed, so read it with the rate and with the loops.
    """
    return rows(batch, _NAMES, _measure)
