r"""Which words, and which LaTeX commands, mean something to the reading of equations and answers.

Data only: the kinds of tokens, the marks that words carry, and the hash table through which
the lexer finds them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

# Kinds of tokens.
(
    NUMBER,  # 65, 1,234, 3.14, .5
    PLUS,
    MINUS,
    TIMES,
    OVER,
    POWER,
    OPEN,  # ( or [
    CLOSE,  # ) or ]
    LEFT_BRACE,
    RIGHT_BRACE,
    FRACTION,  # \frac and its kin
    EQUALS,
    RELATION,  # any other relation or arrow
    LINE,  # a line break, in the text or as \\
    STOP,  # . ; : , where they end a clause
    QUESTION,
    WORD,  # two letters or more, apostrophes within
    SYMBOL,  # whatever attaches to its neighbours: a single letter, an unknown command, % | _ ...
    RAISED,  # a superscript digit
    BANG,
    DOTS,  # an ellipsis
    BREAK,  # what parts its neighbours: display math, quotes, \quad, a bullet
    BOX,  # \boxed
) = range(1, 24)

#: Columns of the tokens: kind, first byte, byte behind the last one, marks.
KIND, FIRST, END, MARKS = range(4)

# Marks, as bits.
(
    GAP,  # something separates the token from the one before
    TRIPLE,  # a number that begins with exactly three digits
    COMMA,
    COLON,
    BULLET,  # a hyphen that begins a line: a bullet or a minus sign
    AFTER_UNSURE,  # classes of words from here on, explained below
    BEFORE_UNSURE,
    DOUBT,
    ASSURE,
    UNDO,
    NEGATION,
    TRUTH,
    MODULAR,
    BASE,
    LEAD,
    CONCLUDE,
    ANSWER,
    IS,
    BE,
    ARTICLE,
    FILLER,
) = (1 << k for k in range(21))

_CLASSES: Final = {
    # A number behind these words is one of their arguments: "mod 5", "of 3".
    AFTER_UNSURE: (
        "mod modulo modulus sin cos tan cot sec csc log ln exp sqrt root roots floor ceil ceiling gcd lcm max min "
        "of over times plus minus by choose power percent base pi factor per than negative square cube binom det"
    ),
    # A number before these words is part of something larger: "5 squared", "3 remainder 2".
    BEFORE_UNSURE: (
        "mod modulo times plus minus over choose squared cubed percent divided multiplied remainder rem degrees degree "
        "factorial hundred thousand million billion trillion pi sqrt sin cos tan log ln base point to or st nd rd th "
        "dozen half halves thirds quarters fifths in radians bits"
    ),
    # What is said behind these words, up to the end of the clause or the next assurance, need not be meant.
    DOUBT: (
        "if whether suppose supposing assume assuming assumes unless instead not cannot never can't isn't doesn't "
        "don't didn't wouldn't won't aren't wasn't neither wrong wrongly incorrectly mistakenly mistake incorrect "
        "pretend base binary octal hexadecimal"
    ),
    ASSURE: "then so thus therefore hence because since but",
    # What was said before these words, in the same sentence, is taken back.
    UNDO: (
        "wrong incorrect incorrectly impossible contradiction contradicts contradictory contradicting invalid false "
        "inconsistent absurd nonsense untrue base binary octal hexadecimal"
    ),
    # Taken back by these two together, also at the beginning of the next sentence: "not true", "doesn't hold".
    NEGATION: "not no never isn't doesn't don't can't cannot wouldn't aren't won't",
    TRUTH: (
        "true correct right possible valid hold holds equal equals satisfied satisfy match matching matches work "
        "working works consistent accurate the"
    ),
    # Near these, and near "base" with a number or a letter behind it, figures need not mean what they do elsewhere.
    MODULAR: "mod modulo modulus congruent congruence congruences residue residues binary octal hexadecimal",
    BASE: "base",
    # Sentences that state a result: they begin with a conclusion, at most one lead before it.
    LEAD: "wait and but okay yes ok now then hmm",
    CONCLUDE: "so thus therefore hence",
    ANSWER: "answer answers",
    IS: "is equals",
    BE: "are be",
    ARTICLE: "the my our",
    FILLER: (
        "indeed just simply actually probably then also equal to be definitely approximately about option choice "
        "therefore thus likely still"
    ),
}


def _words() -> dict[str, int]:
    found: dict[str, int] = {}
    for mark, words in _CLASSES.items():
        for word in words.split():
            found[word] = found.get(word, 0) | mark
    return found


#: Lower-case word -> its marks.
WORDS: Final = _words()

#: What the table holds for a command that only spaces, and for the negation of a relation.
SKIPPED, NOT = 0, 101
#: A command's kind is in the low bits of its value, its marks from here on.
MARKS_FROM: Final = 8

_COMMAND_KINDS: Final = {
    TIMES: "times cdot",
    OVER: "div",
    FRACTION: "frac dfrac tfrac cfrac",
    SKIPPED: "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr displaystyle textstyle limits mathstrut",
    RELATION: (
        "approx ne neq le ge leq geq leqslant geqslant lt gt sim simeq cong propto to implies iff impliedby "
        "rightarrow Rightarrow leftarrow Leftarrow longrightarrow Longrightarrow Leftrightarrow leftrightarrow "
        "xrightarrow mapsto therefore because lessapprox gtrapprox ll gg models vdash"
    ),
    RELATION | MODULAR << MARKS_FROM: "equiv",
    SYMBOL | MODULAR << MARKS_FROM: "mod bmod pmod",
    BREAK: (
        "quad qquad text textbf textit textrm mathrm mathbf mbox begin end item newline hline hfill par noindent "
        "underline checkmark square blacksquare bullet tag label"
    ),
    DOTS: "ldots cdots dots dotsc dotsb vdots",
    BOX: "boxed",
    NOT: "not",
}

#: FNV-1a, with another seed for commands than for words.
WORD_SEED, COMMAND_SEED, PRIME = 0xCBF29CE484222325, 0x9E3779B97F4A7C15, 0x100000001B3
SLOTS: Final = 1024


def _hash(text: str, seed: int) -> int:
    h = seed
    for byte in text.encode():
        h = ((h ^ byte) * PRIME) & 0xFFFFFFFFFFFFFFFF
    return h


def _table() -> npt.NDArray[np.uint64]:
    """Open addressing over the hashes of words (lower case) and commands: in turn a hash and its marks or kind."""
    table = np.zeros(2 * SLOTS, np.uint64)
    entries = [(_hash(w, WORD_SEED), v) for w, v in WORDS.items()]
    entries += [(_hash(c, COMMAND_SEED), v) for v, names in _COMMAND_KINDS.items() for c in names.split()]
    for key, value in entries:
        slot = (key ^ key >> 32) % SLOTS
        while table[2 * slot]:
            slot = (slot + 1) % SLOTS
        table[2 * slot], table[2 * slot + 1] = key, value
    return table


TABLE: Final = _table()
