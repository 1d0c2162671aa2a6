r"""Building a segment: what each token does to the stretch of arithmetic that is being read.

A *segment* is what stands between two relations, or between a relation and the end of what
can be read.  Its state is the array ``w`` of ``arithmetic_values``.
"""

from __future__ import annotations

import numpy as np

from qrm_forensics.metrics import arithmetic_values as av
from qrm_forensics.metrics import mathwords as mw
from qrm_forensics.metrics.kernels import hold, inlined


@inlined
def reset(w, opening):  # type: ignore[no-untyped-def]
    for k in range(av.STATE):
        w[k] = 0
    w[av.WANT] = 1
    w[av.START] = -1
    w[av.LITERAL] = -1
    w[av.OPENING] = opening


@inlined
def spoil(w):  # type: ignore[no-untyped-def]
    reset(w, 0)
    w[av.BAD] = 1


@inlined
def _full(w):  # type: ignore[no-untyped-def]
    return w[av.OPS] >= av.FULL or w[av.VALUES] >= av.FULL


@inlined
def top_op(w):  # type: ignore[no-untyped-def]
    return w[av.OP0 + w[av.OPS] - 1] if w[av.OPS] > 0 else 0


@inlined
def _push_op(op, w):  # type: ignore[no-untyped-def]
    w[av.OP0 + w[av.OPS]] = op
    w[av.OPS] += 1


@inlined
def _operator(op, tight, w, f):  # type: ignore[no-untyped-def]
    """An operator behind an operand; ``tight``: it stands between two numbers without blanks."""
    above = top_op(w)
    good = not _full(w)
    if op == av.RAISE:
        if above == av.RAISE or above == av.NEGATE:
            w[av.UNSURE] = 1  # 2^3^2, and -2^2, which many take for (-2)^2
    elif good:
        if above == av.DIVIDE and (op == av.DIVIDE or (op == av.MULTIPLY and tight)):
            w[av.UNSURE] = 1  # 11/23 / 72/23, and 3*5/3*7
        good = av.reduce(av.binding(op), w, f)
        if good and w[av.OPS] == 0 and w[av.PARTS] < av.MAX_PARTS:
            av.copy_row(0, av.PART0 + w[av.HALF] + w[av.PARTS], w, f)
            w[av.PARTS] += 1
    if good:
        _push_op(op, w)
        w[av.COUNT] += 1
        w[av.JOINED] += op <= av.MULTIPLY
        w[av.SCALED] += op >= av.MULTIPLY
        w[av.WANT] = 1
        w[av.LITERAL] = -1
    else:
        spoil(w)
    hold(w, f)


@inlined
def _open(kind, inside, whole, w):  # type: ignore[no-untyped-def]
    """A bracket whose content begins at byte ``inside``; ``whole``: it can hold an equation of its own."""
    _push_op(kind, w)
    k = av.BRACKET0 + 3 * w[av.OPENED]
    w[k] = inside
    w[k + 1] = w[av.COUNT]
    w[k + 2] = whole
    w[av.OPENED] += 1


@inlined
def _close(kind, w, f):  # type: ignore[no-untyped-def]
    """Close the innermost bracket, of that kind (0: any but a parenthesis); its kind, 0 where it does not fit."""
    closed = 0
    if w[av.OPENED] > 0 and av.reduce(0, w, f):
        innermost = top_op(w)
        if innermost == kind or (kind == 0 and innermost != av.PAREN):
            w[av.OPS] -= 1
            w[av.OPENED] -= 1
            closed = innermost
    hold(w, f)
    return closed


@inlined
def _number(t, tokens, data, w, f):  # type: ignore[no-untyped-def]
    first, end = tokens[t, mw.FIRST], tokens[t, mw.END]
    last = tokens[t - 1, mw.KIND] if t > 0 else mw.LINE
    alone = w[av.VALUES] == 0 and w[av.COUNT] == 0
    places = av.push_number(data, first, end, w, f)
    if places < 0:
        spoil(w)
    else:
        if last == mw.POWER and end - first > 1:
            w[av.UNSURE] = 1  # 2^10 is 2^1 0 to LaTeX
        if last == mw.LINE and places > 0 and w[av.START] == first:
            w[av.LISTED] = 1
        w[av.LITERAL] = places if alone else -1
        w[av.WANT] = 0
    hold(tokens, data, w, f)


@inlined
def _fraction(t, tokens, data, w, f):  # type: ignore[no-untyped-def]
    r"""``\frac`` at token t; the number of tokens taken."""
    following, first, end = tokens[t + 1, mw.KIND], tokens[t + 1, mw.FIRST], tokens[t + 1, mw.END]
    taken = 2
    w[av.COUNT] += 1
    w[av.SCALED] += 1
    w[av.LITERAL] = -1
    if following == mw.LEFT_BRACE:
        _open(av.FRAC, tokens[t, mw.END], 0, w)
        _open(av.NUMER, end, 0, w)
    elif following == mw.NUMBER and end - first == 2:  # \frac12
        av.push_number(data, first, first + 1, w, f)
        av.push_number(data, first + 1, end, w, f)
        w[av.WANT] = 0
        if not av.apply(av.DIVIDE, w, f):
            spoil(w)
    else:
        spoil(w)
        taken = 1
    hold(tokens, data, w, f)
    return taken


@inlined
def operand(t, left, tokens, data, w, f):  # type: ignore[no-untyped-def]
    """Take token t where an operand can come, ``left`` as in ``read_equations``; the number of tokens taken."""
    kind = tokens[t, mw.KIND]
    last = tokens[t - 1, mw.KIND] if t > 0 else mw.LINE
    attached = last == mw.WORD or last == mw.SYMBOL or last == mw.CLOSE or last == mw.RIGHT_BRACE
    glued = attached and not tokens[t, mw.MARKS] & mw.GAP
    taken = 1
    if kind == mw.PLUS and (last == mw.EQUALS or last == mw.OPEN):
        pass
    elif _full(w):
        spoil(w)
    else:
        if w[av.START] < 0:
            w[av.START] = tokens[t, mw.FIRST]
            w[av.WHOLE] = left > 0 and not glued
            w[av.UNSURE] = left == 2
        if kind == mw.NUMBER:
            _number(t, tokens, data, w, f)
        elif kind == mw.MINUS and last != mw.WORD and top_op(w) != av.NEGATE:
            _push_op(av.NEGATE, w)
        elif kind == mw.OPEN:
            own = left > 0 and not glued and last != mw.SYMBOL and last != mw.NUMBER
            _open(av.PAREN, tokens[t + 1, mw.FIRST], own, w)
        elif kind == mw.LEFT_BRACE:
            _open(av.BRACE, tokens[t, mw.END], 0, w)
        elif kind == mw.FRACTION:
            taken = _fraction(t, tokens, data, w, f)
        else:
            spoil(w)
    hold(tokens, data, w, f)
    return taken


@inlined
def _closing(t, tokens, w, f):  # type: ignore[no-untyped-def]
    r"""A closing bracket at token t; the number of tokens taken (``}{`` of a ``\frac`` are two)."""
    brace = tokens[t, mw.KIND] == mw.RIGHT_BRACE
    bracket = av.DENOM
    while bracket == av.DENOM:  # the brace of a denominator closes the fraction as well
        bracket = _close(0 if brace else av.PAREN, w, f)
    taken = 1
    if bracket == av.NUMER and tokens[t + 1, mw.KIND] == mw.LEFT_BRACE:
        _push_op(av.DIVIDE, w)
        w[av.WANT] = 1
        _open(av.DENOM, tokens[t + 1, mw.END], 0, w)
        taken = 2
    elif bracket == 0 or bracket == av.NUMER:
        spoil(w)
    elif tokens[t - 1, mw.KIND] == mw.NUMBER and tokens[t - 2, mw.FIRST] == w[av.START] and not w[av.OPENING]:
        w[av.UNSURE] = 1  # (2) -3 + 4 = 1: the 2 may be a label
    hold(tokens, w, f)
    return taken


@inlined
def onward(t, tokens, data, w, f):  # type: ignore[no-untyped-def]
    """Take token t behind a complete operand; the number of tokens taken, 0 where it is an operand in its own right."""
    kind = tokens[t, mw.KIND]
    gap = tokens[t, mw.MARKS] & mw.GAP
    following = tokens[t + 1, mw.KIND]
    operand = kind == mw.OPEN or kind == mw.FRACTION or kind == mw.NUMBER  # 2(3 + 4), 2\frac{1}{2}, 3!2!
    op = 0
    if operand:
        op = av.MULTIPLY
        if kind == mw.FRACTION or gap or top_op(w) == av.DIVIDE:
            w[av.UNSURE] = 1
    elif kind == mw.POWER or kind == mw.RAISED:
        op = av.RAISE
    elif mw.PLUS <= kind <= mw.OVER:
        op = av.ADD + (kind - mw.PLUS)
    taken = 1
    if op:
        _operator(op, not gap and following == mw.NUMBER, w, f)
    if w[av.BAD]:
        pass
    elif operand:
        taken = 0
    elif kind == mw.CLOSE or kind == mw.RIGHT_BRACE:
        taken = _closing(t, tokens, w, f)
    elif kind == mw.RAISED:
        if following == mw.RAISED or _full(w):
            spoil(w)
        else:
            av.push_integer(_raised_digit(data, tokens[t, mw.FIRST]), w, f)
            w[av.WANT] = 0
    elif kind == mw.BANG:
        w[av.COUNT] += 1
        w[av.LITERAL] = -1
        if not av.factorial(w, f):
            spoil(w)
    elif kind == mw.DOTS:
        i = 2 * w[av.VALUES] - 1
        f[i] = max(f[i], 10.0 ** -np.float64(w[av.LITERAL]))
        w[av.UNSURE] = 1
    hold(tokens, data, w, f)
    return taken


@inlined
def _raised_digit(data, i):  # type: ignore[no-untyped-def]
    """The digit that the superscript at byte i stands for."""
    if data[i] == 0xC2:
        return 1 if data[i + 1] == 0xB9 else np.int64(data[i + 1]) - 0xB0
    return np.int64(data[i + 2]) - 0xB0
