"""The reader of answers: where a response states one, as spans of bytes.

The rules of reading are in the docstring of ``statements``; this module applies them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

from qrm_forensics.metrics import mathwords as mw
from qrm_forensics.metrics.kernels import hold, inlined, sources

#: What made a stretch of text a statement.
BOXED, ANSWERED, CONCLUDED = 1, 2, 3
#: Columns of what is found: the rule, first byte, byte behind the last one, whether it is words, a hash of the text.
RULE, FIRST, END, WORDS, HASH = range(5)

#: Tokens that a value may have, and that may stand between "answer" and its verb.
_MAX_TOKENS: Final = 60
_MAX_BETWEEN: Final = 12
_MAX_WORDS: Final = 2


@inlined
def _ends_clause(kind):  # type: ignore[no-untyped-def]
    return kind == mw.STOP or kind == mw.LINE or kind == mw.QUESTION or kind == mw.BANG


@inlined
def _asked(t, tokens):  # type: ignore[no-untyped-def]
    """Whether the sentence that token t is in ends with a question mark (soon)."""
    for k in range(t, min(t + 20, tokens.shape[0])):
        kind = tokens[k, mw.KIND]
        if kind == mw.QUESTION:
            return True
        if kind == mw.LINE or (kind == mw.STOP and not tokens[k, mw.MARKS] & mw.COMMA):
            return False
    return False


@inlined
def _value_start(t, tokens):  # type: ignore[no-untyped-def]
    """The first token of the value from token t on: fillers, colons and openings of text are passed over."""
    for _ in range(6):
        kind, marks = tokens[t, mw.KIND], tokens[t, mw.MARKS]
        filler = kind == mw.WORD and marks & mw.FILLER
        colon = kind == mw.STOP and marks & mw.COLON
        if filler or colon or kind == mw.BREAK:
            t += 1
    return t


@inlined
def _value_end(a, tokens):  # type: ignore[no-untyped-def]
    """The token behind the value that begins at token a; a where there is none."""
    depth = 0
    b = a
    while b < a + _MAX_TOKENS:
        kind = tokens[b, mw.KIND]
        if kind == mw.LINE or kind == mw.BOX:
            break
        if depth == 0:
            if mw.EQUALS <= kind <= mw.WORD or kind == mw.BREAK or kind == mw.BANG or kind == mw.DOTS:
                break
            if kind == mw.CLOSE or kind == mw.RIGHT_BRACE:
                break
        if kind == mw.OPEN or kind == mw.LEFT_BRACE:
            depth += 1
        elif kind == mw.CLOSE or kind == mw.RIGHT_BRACE:
            depth -= 1
        b += 1
    whole = depth == 0 and tokens[b, mw.KIND] != mw.BOX and b < a + _MAX_TOKENS
    while b > a and mw.PLUS <= tokens[b - 1, mw.KIND] <= mw.POWER:
        b -= 1
    first = tokens[a, mw.KIND]
    if not whole or mw.TIMES <= first <= mw.POWER or first == mw.PLUS:
        return a
    # "The answer is a number": an article.
    article = b == a + 1 and first == mw.SYMBOL and tokens[b, mw.KIND] == mw.WORD
    return a if article else b


@inlined
def _words_end(a, tokens):  # type: ignore[no-untyped-def]
    """The token behind one or two words that make up the rest of the clause from token a; a where they do not."""
    b = a
    while tokens[b, mw.KIND] == mw.WORD and b - a <= _MAX_WORDS:
        if tokens[b, mw.MARKS] & (mw.NEGATION | mw.UNDO | mw.TRUTH | mw.DOUBT | mw.ARTICLE | mw.ANSWER):
            return a
        b += 1
    closed = _ends_clause(tokens[b, mw.KIND]) or tokens[b, mw.KIND] == mw.RIGHT_BRACE
    return b if closed and b - a <= _MAX_WORDS else a


@inlined
def _emit(rule, a, b, words, tokens, found, count):  # type: ignore[no-untyped-def]
    found[count, RULE] = rule
    found[count, FIRST] = tokens[a, mw.FIRST]
    found[count, END] = tokens[b - 1, mw.END]
    found[count, WORDS] = words
    hold(tokens, found)


@inlined
def _verb(t, tokens):  # type: ignore[no-untyped-def]
    """The verb (or colon, or '=') that goes with the word "answer" at token t; t where there is none."""
    for k in range(t + 1, min(t + _MAX_BETWEEN, tokens.shape[0])):
        kind, marks = tokens[k, mw.KIND], tokens[k, mw.MARKS]
        if kind == mw.EQUALS or (kind == mw.STOP and marks & mw.COLON):
            return k
        if kind == mw.WORD and marks & (mw.IS | mw.BE):
            return k
        if _ends_clause(kind) and not marks & mw.COMMA:
            return t
    return t


@inlined
def _answer_after(t, tokens, found, count):  # type: ignore[no-untyped-def]
    """The statement "the answer is X" where "answer" is token t; the number of statements."""
    verb = _verb(t, tokens)
    if verb > t:
        a = _value_start(verb + 1, tokens)
        b = _value_end(a, tokens)
        while b > a and tokens[b, mw.KIND] == mw.EQUALS:  # "the answer is m + n = 25"
            a = b + 1
            b = _value_end(a, tokens)
        words = b == a
        if words:
            if tokens[a, mw.KIND] == mw.LEFT_BRACE:
                a += 1
            b = _words_end(a, tokens)
        if b > a and not _asked(b, tokens):
            _emit(ANSWERED, a, b, words, tokens, found, count)
            count += 1
    hold(tokens, found)
    return count


@inlined
def _answer_before(t, tokens, found, count):  # type: ignore[no-untyped-def]
    """The statement "X is the answer" where "answer" is token t; the number of statements."""
    k = t - 1
    if k > 0 and tokens[k, mw.KIND] == mw.WORD and not tokens[k, mw.MARKS] & mw.ARTICLE:
        k -= 1  # "the final answer"
    verb = k - 1
    if verb > 0 and tokens[k, mw.MARKS] & mw.ARTICLE and tokens[verb, mw.MARKS] & mw.IS:
        a = verb
        while a > 0 and verb - a < _MAX_TOKENS:
            kind = tokens[a - 1, mw.KIND]
            if mw.EQUALS <= kind <= mw.WORD or kind == mw.BREAK or kind == mw.BANG:
                break
            a -= 1
        if a < verb and _value_end(a, tokens) == verb and not _asked(t, tokens):
            _emit(ANSWERED, a, verb, False, tokens, found, count)
            count += 1
    hold(tokens, found)
    return count


@inlined
def _letter(k, tokens):  # type: ignore[no-untyped-def]
    return tokens[k, mw.KIND] == mw.SYMBOL and tokens[k, mw.END] - tokens[k, mw.FIRST] == 1


@inlined
def _bare_symbol(t, begin, tokens):  # type: ignore[no-untyped-def]
    """Whether nothing but one letter (with an index) stands left of token t: "so x = 2" is about an unknown."""
    k = t - 1
    if k > begin and tokens[k, mw.KIND] == mw.RIGHT_BRACE:
        k -= 1
    if k > begin and tokens[k, mw.KIND] == mw.NUMBER:
        k -= 1
    if k > begin and tokens[k, mw.KIND] == mw.LEFT_BRACE:
        k -= 1
    if begin < k < t - 1 and _letter(k, tokens) and not tokens[k, mw.MARKS] & mw.GAP:
        k -= 1  # the underscore
    if k < begin or not _letter(k, tokens):
        return False
    before = tokens[k - 1, mw.KIND] if k > 0 else mw.LINE
    return tokens[k, mw.MARKS] & mw.GAP != 0 and (mw.EQUALS <= before <= mw.WORD or before == mw.BREAK)


@inlined
def _conclusion(verb, begin, t, tokens, found, count):  # type: ignore[no-untyped-def]
    """The statement behind the last verb (or '=') of a concluding sentence that ends before token t."""
    a = verb + 1
    b = _value_end(a, tokens)
    words = b == a
    if words:
        b = _words_end(a, tokens)
    rest = b  # what follows may be a unit
    while rest < t and tokens[rest, mw.KIND] == mw.WORD and rest - b < _MAX_WORDS and not words:
        rest += 1
    good = b > a and rest == t
    if good and tokens[verb, mw.KIND] == mw.EQUALS:
        good = not _bare_symbol(verb, begin, tokens)
    if good:
        _emit(CONCLUDED, a, b, words, tokens, found, count)
        count += 1
    hold(tokens, found)
    return count


@inlined
def _hash(data, found, count):  # type: ignore[no-untyped-def]
    """Write a hash of each statement's text, blanks and dollar signs left out."""
    for k in range(count):
        h = np.uint64(mw.WORD_SEED)
        for i in range(found[k, FIRST], found[k, END]):
            b = data[i]
            if b > 32 and b != 36:
                h = (h ^ np.uint64(b)) * np.uint64(mw.PRIME)
        found[k, HASH] = np.int64(h >> np.uint64(1))
    hold(data, found)


def _compile(parts: str) -> Any:
    @njit(cache=True, nogil=True, error_model="numpy")
    def read_statements(data, tokens):  # type: ignore[no-untyped-def]
        """The statements of a response, int64 (k, 5): columns RULE, FIRST, END, WORDS, HASH; in order of their ends."""
        _ = parts
        m = tokens.shape[0]
        room = 0
        braces = 0
        for t in range(m):
            kind, marks = tokens[t, mw.KIND], tokens[t, mw.MARKS]
            room += kind == mw.BOX
            braces += kind == mw.LEFT_BRACE
            if kind == mw.WORD:
                room += 2 * (marks & mw.ANSWER != 0) + (marks & mw.CONCLUDE != 0)
        found = np.empty((room, 5), np.int64)
        count = 0
        opened = np.empty(braces, np.int64)  # token of a box's brace, -1 for any other
        n_opened = 0
        box = -1  # the brace of the latest box that was found
        begin = 0  # the first token of this sentence
        leads = 0
        concluding = False
        beginning = True
        stated = False  # an answer, in this sentence
        doubted = False
        verb = -1
        depth = 0
        for t in range(m):
            kind, marks = tokens[t, mw.KIND], tokens[t, mw.MARKS]
            if kind == mw.LEFT_BRACE:
                opened[n_opened] = t if t > 0 and tokens[t - 1, mw.KIND] == mw.BOX else -1
                n_opened += 1
                depth += 1
            elif kind == mw.RIGHT_BRACE:
                depth -= 1
                if n_opened > 0:
                    n_opened -= 1
                    at = opened[n_opened]
                    if at > box and t > at + 1:  # of nested boxes the innermost
                        _emit(BOXED, at + 1, t, False, tokens, found, count)
                        count += 1
                        box = at
            elif kind == mw.OPEN:
                depth += 1
            elif kind == mw.CLOSE:
                depth -= 1
            elif kind == mw.WORD and marks & mw.ANSWER and not doubted:
                before = count
                count = _answer_after(t, tokens, found, count)
                if count == before:
                    count = _answer_before(t, tokens, found, count)
                stated = stated or count > before

            ends = kind == mw.LINE or kind == mw.QUESTION or (kind == mw.STOP and not marks & mw.COMMA)
            if ends:
                if concluding and verb >= 0 and not stated and kind != mw.QUESTION:
                    count = _conclusion(verb, begin, t, tokens, found, count)
                begin = t + 1
                leads = depth = 0
                verb = -1
                beginning = True
                concluding = stated = doubted = False
            elif beginning:
                if kind == mw.WORD and marks & mw.CONCLUDE:
                    concluding = True
                    beginning = False
                elif kind == mw.WORD and marks & mw.LEAD and leads == 0:
                    leads = 1
                elif kind != mw.STOP and kind != mw.BREAK:
                    beginning = False
            if kind == mw.WORD and marks & mw.DOUBT:
                doubted = True
            if depth == 0 and (kind == mw.EQUALS or (kind == mw.WORD and marks & mw.IS)):
                verb = t
        _hash(data, found, count)
        return found[:count].copy()

    return read_statements


read_statements = _compile(sources(mw))
