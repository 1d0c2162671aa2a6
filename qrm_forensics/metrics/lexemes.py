"""The published word lists, and the codes by which the scan knows them.

Every count of a marker is a count of whole words: no letter, digit or underscore touches
them (the ``\\b`` of Python's ``re``), upper and lower case alike.
"""

from __future__ import annotations

import re

#: Markers of one word that are counted each in a column of its own.
MARKERS = (
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

#: Words that open a step without carrying its content.  A repetition that changes only these is a loop
#: all the same ("So, x = 3. Thus, x = 3. Therefore, x = 3."), so the second tier of the loop detector
#: takes them for one word.
CONNECTIVES = (
    "so",
    "thus",
    "therefore",
    "hence",
    "wait",
    "but",
    "yes",
    "no",
    "and",
    "then",
    "now",
    "also",
    "again",
    "however",
    "or",
    "hmm",
    "ok",
    "okay",
    "well",
    "right",
    "actually",
    "similarly",
    "finally",
    "next",
    "alternatively",
    "perhaps",
    "maybe",
    "because",
    "since",
    "consequently",
    "accordingly",
    "indeed",
    "oh",
    "ah",
)

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

#: Words that announce another line of thought (Wang et al., "Thoughts Are All Over the Place",
#: arXiv 2501.18585, count "alternatively" as the sign of a thought switch).
SWITCHES = ("alternatively",)

#: Both words of the markers that are phrases.
PARTS = ("let", "me", "hold", "on", "double", "check")

#: Word -> code, 1 upwards; 0 is any other word.  At most 255.
CODES: dict[str, int] = {
    word: code for code, word in enumerate(dict.fromkeys((*MARKERS, *CONNECTIVES, *NOWAIT, *SWITCHES, *PARTS)), start=1)
}

if len(CODES) > 255 or not all(re.fullmatch(r"[a-z]{1,16}", word) for word in CODES):
    raise AssertionError("the codes of words are one byte, and the words plain lower-case letters")


def codes_of(words: tuple[str, ...]) -> list[int]:
    """The codes of some of the words; raises KeyError for a word that has none."""
    return [CODES[word] for word in words]
