r"""Where a response states an answer, and whether two stated answers are the same.

A bare number is no statement: short answers such as 2 are everywhere.  Three forms are:

*boxed*: the content of a balanced ``\boxed{...}``, of nested ones the innermost; an empty
one is none.

*answered*: "the answer is (should be, would be, :, =) X" and "X is the (final) answer",
unless the sentence is a question, is behind *if* or *suppose*, or denies X.  X is the
mathematics that follows, up to the end of the clause or the next word (``m + n = 25`` is 25), or one
or two words that fill the clause ("the answer is even").

*concluded*: a sentence that begins with *so*, *thus*, *therefore* or *hence* (one of *wait*,
*and*, *but*, *okay*, *yes*, *now*, *then*, *hmm* may stand before it) and ends in "is X" or
"= X", where X is as above and at most two words follow it, such as a unit.  "So x = 2", with
nothing but one letter left of the sign, is not among them: it is about an unknown.

Two answers are the same where that is certain without algebra: their spelling is, once
normalised (``answers.normalise``; ``x =`` and ``x \in`` in front dropped, ``1/2`` as
``\frac{1}{2}``), or both are plain numbers of the same value.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from qrm_forensics import answers
from qrm_forensics.metrics.mathlex import tokens_of
from qrm_forensics.metrics.scan import Scan
from qrm_forensics.metrics.statement_kernels import (
    ANSWERED,
    BOXED,
    CONCLUDED,
    END,
    FIRST,
    HASH,
    RULE,
    WORDS,
    read_statements,
)

__all__ = ["ANSWERED", "BOXED", "CONCLUDED", "Canonical", "Statements", "canonical", "may_be", "same", "statements"]

#: Longer texts are no short answers: they equal nothing.
MAX_CHARS: Final = 300
#: So many different texts of a response are read; further ones are only told apart, and equal nothing.
MAX_TEXTS: Final = 2000

_PLAIN = re.compile(r"-?[0-9]{1,18}")
#: Every spelling of a plain number, and little else.
_NUMERIC = re.compile(r"(?:[-−0-9.,/{}$^!\s°]|\\(?:[dt]?frac|circ|[,!;:$ ]))+")
_NAMED = re.compile(r"[A-Za-z](?:_\w)?(?:=|\\in(?![A-Za-z]))(?=.)")
_SLASHED = re.compile(r"(?<![\w./)])(\d+)/(\d+)(?![\w.{/(])")
#: Two decimals further apart than this differ for every rounding to 5 or more places.
_APART = Fraction(2, 100_000)


class Canonical(NamedTuple):
    """One spelling of an answer, and the number that it is, if it is a plain one."""

    text: str
    number: answers.Quantity | None

    @property
    def key(self) -> str | Fraction:
        """Equal exactly for two answers that are the same."""
        return self.number.value if self.number is not None and self.number.exact else self.text


@functools.lru_cache(maxsize=1 << 16)
def canonical(answer: str) -> Canonical:
    """The canonical form of a short answer; an empty text where it is too long or blank."""
    text = answer.strip()
    if _PLAIN.fullmatch(text):
        return Canonical(str(int(text)), answers.Quantity(Fraction(int(text)), False))
    if len(text) > MAX_CHARS:
        return Canonical("", None)
    text = answers.normalise(text)
    if text.startswith("{") and text.find("}") == len(text) - 1:
        text = answers.normalise(text[1:-1])
    text = _SLASHED.sub(r"\\frac{\1}{\2}", _NAMED.sub("", text, count=1))
    return Canonical(text, answers.as_number(text))


def may_be(wanted: Canonical, text: str) -> bool:
    """Whether it is worth while to compare an unadorned text (no ``x =``, no ``\\text``) with ``wanted``."""
    if len(text) > 4 * len(wanted.text) + 60:  # a spelling of the same answer is not much longer
        return False
    return (_NUMERIC.fullmatch(text) is not None) == (wanted.number is not None)


def same(one: Canonical, other: Canonical) -> bool | None:
    """Whether two answers are the same; None where that takes algebra (or one of them is no answer)."""
    if not one.text or not other.text:
        return None
    if one.text == other.text:
        return True
    a, b = one.number, other.number
    if a is None or b is None:
        return None
    if a.value == b.value and a.exact and b.exact:
        return True
    if not (a.decimal or b.decimal) or abs(a.value - b.value) > _APART:
        return False
    return None


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of a response in the order of the text, arrays of shape (k,).

    ``starts`` and ``ends`` are byte offsets of the answer itself; ``words`` tells whether it
    is made of words alone; ``which`` numbers the different texts (but for blanks and dollar
    signs) in order of their first statement, and ``texts`` are the first MAX_TEXTS of them.
    """

    rules: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    words: npt.NDArray[np.bool_]
    which: npt.NDArray[np.int64]
    texts: list[str]


def statements(scan: Scan) -> Statements:
    """The statements of a response; ``scan.once(statements)`` finds them once."""
    found = read_statements(scan.data, scan.once(tokens_of))
    found = found[np.argsort(found[:, FIRST], kind="stable")]
    _, first, which = np.unique(found[:, HASH], return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    texts = [scan.slice(a, b) for a, b in found[first[order[:MAX_TEXTS]]][:, [FIRST, END]].tolist()]
    return Statements(
        found[:, RULE], found[:, FIRST], found[:, END], found[:, WORDS] != 0, rank[which.reshape(-1)], texts
    )
