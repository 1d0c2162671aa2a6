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

#: The keywords that NoWait suppresses (Wang et al., arXiv 2506.08343, which speaks of 15 and prints these and
#: "double-check"): as whole words they are 16, and its "double-check" is counted by "check".
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

#: Markers of two words.
PHRASE_MARKERS = ("let me", "hold on", "double check")

# Phrases, below, are whole words with nothing but whitespace between them; upper and lower case are alike.

#: Where a response speaks of what it said or did before: back references, admitted slips, announced checks.
SELF_REFERENCE = (
    *("earlier", "previously", "as before", "from above", "as above", "mentioned above", "as mentioned"),
    *("as i said", "i mentioned", "we mentioned", "i noted", "i wrote", "i assumed", "we assumed", "i considered"),
    *("we found", "i found", "we got", "i got", "we had", "i had", "we saw", "i saw", "i thought", "i did"),
    *("we calculated", "i calculated", "we computed", "i computed", "we derived", "i derived", "we established"),
    *("my previous", "my initial", "my calculation", "my calculations", "my reasoning", "my assumption"),
    *("my approach", "my answer", "my understanding", "previous step", "previous steps"),
    *("mistake", "mistakes", "made an error", "i was wrong", "i misread", "i misunderstood", "i miscalculated"),
    *("i forgot", "i missed", "i overlooked", "i confused", "i mixed up", "i messed up", "got confused"),
    *("let me check", "let me verify", "let me confirm", "let me double", "let me recheck", "let me re"),
    *("let me reconsider", "let me recalculate", "let me recompute", "let me revisit"),
    *("go back", "going back", "back to"),
)

#: What opens a paragraph of checking: doubt about what was said, or a verification of it.
CHECK_CUES = (
    *("wait", "hold on", "check", "checking", "recheck", "verify", "verifying", "verification"),
    *("confirm", "confirms", "make sure", "that right", "this right", "that correct", "this correct", "sanity"),
    *("mistake", "i was wrong", "contradiction", "contradicts", "reconsider", "recalculate"),
    *("plug back", "plugging back", "back into", "test this", "consistent"),
)

#: What the opening paragraphs say while they take in the problem.
OPENING_CUES = (
    *("i need to", "i have to", "we need to", "we have to", "i have this", "problem"),
    *("question", "given", "asked", "asks", "asking", "understand", "parse", "read", "restate", "wants", "wanted"),
    *("it says", "are told", "supposed to", "so i have", "let me see"),
)

#: What a paragraph says, wherever it stands, that goes back to the words of the problem.
READING_CUES = (
    *("problem says", "problem states", "problem statement", "problem asks", "problem asked", "problem is asking"),
    *("problem said", "question says", "question asks", "question is asking", "original problem", "read the problem"),
    *("read it again", "restate", "problem again", "question again"),
)

#: What opens the final answer of a response that never closes its reasoning.
FINAL_CUES = ("final answer",)

#: Names that the structure of a response is found by: the command of a box, the tag that ends the reasoning.
NAMES = ("boxed", "think")


def _parts(*lists: tuple[str, ...]) -> list[str]:
    return [word for phrases in lists for phrase in phrases for word in phrase.split()]


#: The longest word that has a code, in letters.
LONGEST_WORD = 16

#: Word -> code, 1 upwards; 0 is any other word.  At most 255.
CODES: dict[str, int] = {
    word: code
    for code, word in enumerate(
        dict.fromkeys(
            (
                *(*MARKERS, *CONNECTIVES, *NOWAIT, *SWITCHES, *NAMES),
                *_parts(PHRASE_MARKERS, SELF_REFERENCE, CHECK_CUES, OPENING_CUES, READING_CUES, FINAL_CUES),
            )
        ),
        start=1,
    )
}

if len(CODES) > 255 or not all(re.fullmatch(f"[a-z]{{1,{LONGEST_WORD}}}", word) for word in CODES):
    raise AssertionError("the codes of words are one byte, and the words plain lower-case letters")


def codes_of(words: tuple[str, ...]) -> list[int]:
    """The codes of some of the words; raises KeyError for a word that has none."""
    return [CODES[word] for word in words]
