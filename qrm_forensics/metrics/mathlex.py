r"""Tokens of written mathematics and the prose around it: one linear pass over UTF-8 bytes.

Whitespace, LaTeX spacing, math delimiters (``$``, ``\(``, ``\)``), alignment marks and
Markdown's ``**`` are no tokens; they only part what stands on either side (``GAP``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from qrm_forensics.metrics import mathwords
from qrm_forensics.metrics.kernels import inlined, sources
from qrm_forensics.metrics.mathwords import (
    BANG,
    BREAK,
    BULLET,
    CLOSE,
    COLON,
    COMMA,
    COMMAND_SEED,
    DOTS,
    END,
    EQUALS,
    FIRST,
    GAP,
    KIND,
    LEFT_BRACE,
    LINE,
    MARKS,
    MARKS_FROM,
    MINUS,
    MODULAR,
    NOT,
    NUMBER,
    OPEN,
    OVER,
    PLUS,
    POWER,
    PRIME,
    QUESTION,
    RAISED,
    RELATION,
    RIGHT_BRACE,
    SKIPPED,
    SLOTS,
    STOP,
    SYMBOL,
    TABLE,
    TIMES,
    TRIPLE,
    WORD,
    WORD_SEED,
)
from qrm_forensics.metrics.scan import Scan


@inlined
def _found(h, table):  # type: ignore[no-untyped-def]
    """What the table holds for a hash, -1 where there is nothing."""
    slot = np.int64((h ^ h >> np.uint64(32)) % np.uint64(SLOTS))
    while table[2 * slot] != 0 and table[2 * slot] != h:
        slot = (slot + 1) % SLOTS
    return np.int64(table[2 * slot + 1]) if table[2 * slot] == h else np.int64(-1)


@inlined
def _is_digit(data, i, n):  # type: ignore[no-untyped-def]
    return i < n and 48 <= data[i] <= 57


@inlined
def _is_letter(data, i, n):  # type: ignore[no-untyped-def]
    return i < n and 97 <= (data[i] | 32) <= 122


@inlined
def _thousands(data, i, n):  # type: ignore[no-untyped-def]
    r"""Bytes of ``,`` ``{,}`` or ``,\!`` at i where three digits and no fourth follow it, else 0."""
    size = 0
    if data[i] == 44:
        size = 1
        if i + 2 < n and data[i + 1] == 92 and data[i + 2] == 33:
            size = 3
    elif data[i] == 123 and i + 2 < n and data[i + 1] == 44 and data[i + 2] == 125:
        size = 3
    if size == 0:
        return 0
    j = i + size
    if _is_digit(data, j, n) and _is_digit(data, j + 1, n) and _is_digit(data, j + 2, n):
        return 0 if _is_digit(data, j + 3, n) else size
    return 0


@inlined
def _number_end(data, i, n):  # type: ignore[no-untyped-def]
    """End of the number at i, whose first byte is a digit or a point before a digit."""
    j = i
    while _is_digit(data, j, n):
        j += 1
    if 1 <= j - i <= 3 and data[i] != 48:
        while j < n:
            size = _thousands(data, j, n)
            if size == 0:
                break
            j += size + 3
    if j < n and data[j] == 46 and _is_digit(data, j + 1, n):
        j += 1
        while _is_digit(data, j, n):
            j += 1
    return j


@inlined
def _ends_clause(data, i, n):  # type: ignore[no-untyped-def]
    """Whether a punctuation mark that ends before i is one of the sentence: space, a quote or a bracket follows it."""
    if i >= n:
        return True
    b = data[i]
    return b <= 32 or b == 34 or b == 36 or b == 41 or b == 42 or b == 92 or b == 93 or b == 125 or b == 60


@inlined
def _spells_boxed(data, i, n):  # type: ignore[no-untyped-def]
    if i + 5 > n:
        return False
    return data[i] == 98 and data[i + 1] == 111 and data[i + 2] == 120 and data[i + 3] == 101 and data[i + 4] == 100


@inlined
def _foreign(data, i, n):  # type: ignore[no-untyped-def]
    """(kind, size) of the character beyond ASCII at i; kind 0 is a space."""
    b = data[i]
    c = data[i + 1] if i + 1 < n else np.uint8(0)
    if b < 0xC2:
        return SYMBOL, 1
    if b == 0xC2:
        if c == 0xB7:  # middle dot
            return TIMES, 2
        if c == 0xB2 or c == 0xB3 or c == 0xB9:  # superscripts
            return RAISED, 2
        if c == 0xA0:
            return SKIPPED, 2
        return SYMBOL, 2
    if b == 0xC3:
        if c == 0x97:
            return TIMES, 2
        if c == 0xB7:
            return OVER, 2
        return WORD, 2
    if b == 0xCE or b == 0xCF:  # Greek: names of quantities
        return SYMBOL, 2
    if b < 0xE0:
        return WORD, 2
    d = data[i + 2] if i + 2 < n else np.uint8(0)
    if b == 0xE2:
        if c == 0x88:
            if d == 0x92:  # minus sign
                return MINUS, 3
            if d == 0xB4 or d == 0xB5 or d == 0xBC or d == 0x9D:  # therefore, because, ~, proportional to
                return RELATION, 3
            return SYMBOL, 3
        if c == 0x8B and d == 0x85:  # dot operator
            return TIMES, 3
        if c == 0x89 or c == 0x86 or c == 0x87 or c == 0x9F:  # relations and arrows
            return RELATION, 3
        if c == 0x80:
            if d == 0xA6:
                return DOTS, 3
            if d == 0x9C or d == 0x9D or d == 0xA2:  # quotes, bullet
                return BREAK, 3
            if d <= 0x8B or d == 0xAF:  # spaces of all widths
                return SKIPPED, 3
            return SYMBOL, 3
        if c == 0x81 and (d == 0xB0 or 0xB4 <= d <= 0xB9):
            return RAISED, 3
        if c == 0x9C or c == 0x9D:  # check marks and crosses
            return BREAK, 3
        return SYMBOL, 3
    if b < 0xF0:
        return WORD if b != 0xEF else SYMBOL, 3
    if c == 0x9F:  # emoji
        return BREAK, 4
    return SYMBOL, 4


@inlined
def raised_digit(data, i):  # type: ignore[no-untyped-def]
    """The digit that the superscript at i stands for."""
    if data[i] == 0xC2:
        return 1 if data[i + 1] == 0xB9 else np.int64(data[i + 1]) - 0xB0
    return np.int64(data[i + 2]) - 0xB0


@inlined
def _word(data, i, n):  # type: ignore[no-untyped-def]
    """(end, letters, hash in lower case) of the word at i; an apostrophe between letters belongs to it."""
    h = np.uint64(WORD_SEED)
    j = i
    letters = 0
    while j < n:
        c = data[j]
        width = 0
        if 97 <= (c | 32) <= 122:
            h = (h ^ np.uint64(c | 32)) * np.uint64(PRIME)
            width = 1
        elif c == 39 and letters > 0 and _is_letter(data, j + 1, n):
            h = (h ^ np.uint64(39)) * np.uint64(PRIME)
            width = 1
        elif c == 0xE2 and letters > 0 and j + 2 < n and data[j + 1] == 0x80 and data[j + 2] == 0x99:
            if _is_letter(data, j + 3, n):
                h = (h ^ np.uint64(39)) * np.uint64(PRIME)
                width = 3
        elif c >= 0x80:
            kind, size = _foreign(data, j, n)
            if kind == WORD:
                width = min(size, n - j)
                for k in range(j, j + width):
                    h = (h ^ np.uint64(data[k])) * np.uint64(PRIME)
        if width == 0:
            break
        j += width
        letters += 1
    return j, letters, h


def _compile(parts: str) -> Any:
    @njit(cache=True, nogil=True, error_model="numpy")
    def _lex(data, table):  # type: ignore[no-untyped-def]
        _ = parts
        n = data.shape[0]
        out = np.empty((n + 1, 4), np.int32)
        count = 0
        i = 0
        gap = GAP
        fresh = True  # nothing but spaces since the line began
        while i < n:
            b = data[i]
            kind = SYMBOL
            size = 1
            word = 0
            if b <= 32:
                if b == 10:
                    kind = LINE
                else:
                    gap = GAP
                    i += 1
                    continue
            elif 48 <= b <= 57:
                kind = NUMBER
                size = _number_end(data, i, n) - i
                if _is_digit(data, i + 1, n) and _is_digit(data, i + 2, n) and not _is_digit(data, i + 3, n):
                    word = TRIPLE
            elif 97 <= (b | 32) <= 122 or b >= 0x80:
                if b >= 0x80:
                    kind, size = _foreign(data, i, n)
                else:
                    kind = WORD
                if kind == WORD:
                    end, letters, h = _word(data, i, n)
                    size = end - i
                    if letters == 1 and b < 0x80:
                        kind = SYMBOL
                    else:
                        found = _found(h, table)
                        word = max(found, 0)
                elif kind == SKIPPED:
                    gap = GAP
                    i += size
                    continue
                elif b == 0xE2 and i + 2 < n and data[i + 1] == 0x89 and data[i + 2] == 0xA1:  # identical to
                    word = MODULAR
            elif b == 92:  # backslash
                c = data[i + 1] if i + 1 < n else np.uint8(0)
                if 97 <= (c | 32) <= 122:
                    h = np.uint64(COMMAND_SEED)
                    j = i + 1
                    while _is_letter(data, j, n):
                        h = (h ^ np.uint64(data[j])) * np.uint64(PRIME)
                        j += 1
                    size = j - i
                    found = _found(h, table)
                    if found == SKIPPED:
                        gap = GAP
                        i += size
                        continue
                    if found == NOT:
                        while j < n and data[j] == 32:
                            j += 1
                        if j < n and data[j] == 61:
                            j += 1
                        size = j - i
                        kind = RELATION
                    elif found > 0:
                        kind = found & ((1 << MARKS_FROM) - 1)
                        word = found >> MARKS_FROM
                elif c == 92 and _spells_boxed(data, i + 2, n):
                    gap = GAP  # one backslash too many
                    i += 1
                    continue
                elif c == 92:
                    kind = LINE
                    size = 2
                elif c == 91 or c == 93:
                    kind = BREAK
                    size = 2
                elif c == 40 or c == 41 or c == 44 or c == 58 or c == 59 or c == 33 or c == 36 or c <= 32:
                    gap = GAP
                    i += 2 if c != 10 and c != 0 else 1
                    continue
                else:
                    size = 2 if c < 0x80 else 1
            elif b == 36 or b == 38 or b == 126:  # $ & ~
                gap = GAP
                i += 1
                continue
            elif b == 43:
                kind = PLUS
            elif b == 45:
                kind = MINUS
                if i + 1 < n and data[i + 1] == 62:
                    kind = RELATION
                    size = 2
                elif i + 1 < n and data[i + 1] == 45:  # a dash, a rule, a column of a table
                    size = 2
                    while i + size < n and data[i + size] == 45:
                        size += 1
                    kind = BREAK
                elif fresh and i + 1 < n and data[i + 1] == 32:
                    kind = BREAK
                    word = BULLET
            elif b == 42:
                if i + 1 < n and data[i + 1] == 42:
                    size = 2
                    while i + size < n and data[i + size] == 42:
                        size += 1
                    before = data[i - 1] if i > 0 else np.uint8(0)
                    after = data[i + size] if i + size < n else np.uint8(0)
                    if (
                        size == 2
                        and (48 <= before <= 57 or before == 41)
                        and (48 <= after <= 57 or after == 40 or after == 45)
                    ):
                        kind = POWER
                    else:
                        gap = GAP
                        i += size
                        continue
                elif fresh and i + 1 < n and data[i + 1] == 32:
                    kind = BREAK
                else:
                    kind = TIMES
            elif b == 47:
                kind = OVER
                while i + size < n and data[i + size] == 47:
                    size += 1
                    kind = SYMBOL
            elif b == 94:
                kind = POWER
            elif b == 40 or b == 91:
                kind = OPEN
            elif b == 41 or b == 93:
                kind = CLOSE
            elif b == 123:
                kind = LEFT_BRACE
            elif b == 125:
                kind = RIGHT_BRACE
            elif b == 61:
                kind = EQUALS
                while i + size < n and (data[i + size] == 61 or data[i + size] == 62):
                    size += 1
                    kind = RELATION
                if i + size + 1 < n and data[i + size] == 47 and data[i + size + 1] == 61:
                    size += 2
                    kind = RELATION
            elif b == 60 or b == 62:
                kind = RELATION
                if i + 1 < n and (data[i + 1] == 61 or data[i + 1] == 45 or data[i + 1] == 62):
                    size = 2
            elif b == 46:
                if i + 1 < n and data[i + 1] == 46:
                    size = 2
                    while i + size < n and data[i + size] == 46:
                        size += 1
                    kind = DOTS
                elif _is_digit(data, i + 1, n):
                    before = data[i - 1] if i > 0 else np.uint8(0)
                    if not (48 <= before <= 57 or before == 46):
                        kind = NUMBER
                        size = _number_end(data, i, n) - i
                elif _ends_clause(data, i + 1, n):
                    kind = STOP
            elif b == 44 or b == 58 or b == 59:
                if b == 58 and i + 1 < n and data[i + 1] == 61:
                    kind = RELATION
                    size = 2
                elif (
                    b == 59
                    or _ends_clause(data, i + 1, n)
                    or (b == 58 and i > 1 and _is_letter(data, i - 1, n) and _is_letter(data, i - 2, n))
                ):
                    kind = STOP
                    word = COMMA if b == 44 else (COLON if b == 58 else 0)
            elif b == 33:
                kind = BANG
                if i + 1 < n and data[i + 1] == 61 and gap == GAP:
                    kind = RELATION
                    size = 2
            elif b == 63:
                kind = QUESTION
            elif b == 34 or b == 96:
                kind = BREAK
            elif b == 35 and fresh:
                kind = BREAK
                while i + size < n and data[i + size] == 35:
                    size += 1
            fresh = kind == LINE
            out[count, KIND] = kind
            out[count, FIRST] = i
            i = min(i + size, n)
            out[count, END] = i
            out[count, MARKS] = word | gap
            count += 1
            gap = GAP if kind == LINE else 0
        out[count, KIND] = LINE
        out[count, FIRST] = out[count, END] = n
        out[count, MARKS] = GAP
        return out[: count + 1].copy()

    return _lex


_lex = _compile(sources(mathwords))


def math_tokens(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """The tokens of a UTF-8 text, int32 (m, 4): columns KIND, FIRST, END, MARKS of ``mathwords``.

    The last one is an empty LINE at the end of the text.
    """
    tokens: npt.NDArray[np.int32] = _lex(data, TABLE)
    return tokens


def tokens_of(scan: Scan) -> npt.NDArray[np.int32]:
    """The tokens of a response; ``scan.once(tokens_of)`` makes them once for all metrics."""
    return math_tokens(scan.data)
