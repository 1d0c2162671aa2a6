r"""The reader of equations: from tokens of mathematics to judged pairs of segments.

A *segment* is what stands between two relations, or between a relation and the end of what
can be read; a *link* is two segments with one ``=`` between them.  A link is judged where
both segments are arithmetic throughout and nothing on their outer sides belongs to them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

from qrm_forensics.metrics import arithmetic_segments as sg
from qrm_forensics.metrics import arithmetic_values as av
from qrm_forensics.metrics import mathwords as mw
from qrm_forensics.metrics.kernels import hold, inlined, sources

#: Verdicts on an equation.
UNJUDGED, TRUE, ROUNDED, FALSE = range(4)

#: Bytes before (for powers, and for the rest) and after a congruence within which no equation is called false.
MODULAR_POWER: Final = 5000
MODULAR_BEFORE: Final = 600
MODULAR_AFTER: Final = 150

# How a segment ends: not at all, with something attached, as a whole, with the '=' of a link.
_GOES_ON, _TORN, _ENDS, _LINKS = range(4)


# --------------------------------------------------------------------------- where a segment ends


@inlined
def _ending(t, tokens, w):  # type: ignore[no-untyped-def]
    """What token t does to a segment that is complete so far."""
    kind, gap = tokens[t, mw.KIND], tokens[t, mw.MARKS] & mw.GAP
    last = t + 1 == tokens.shape[0]  # of the whole text, always a LINE
    following = mw.LINE if last else tokens[t + 1, mw.KIND]
    beyond = 0 if last else tokens[t + 1, mw.MARKS]
    how = _TORN
    if kind == mw.EQUALS:
        how = _LINKS
    elif mw.PLUS <= kind <= mw.POWER or kind == mw.RAISED or kind == mw.FRACTION:
        how = _GOES_ON
    elif kind == mw.WORD:
        if gap and not tokens[t, mw.MARKS] & mw.BEFORE_UNSURE:
            how = _ENDS
    elif kind == mw.STOP or kind == mw.BREAK or kind == mw.BOX:
        if following == mw.LEFT_BRACE:
            beyond = tokens[t + 2, mw.MARKS]  # \text{ mod }
        # "= 240, 005." is a number with a blank in it, "= 10, 150 / 10 = 15" are two equations.
        blank = False
        if tokens[t, mw.MARKS] & mw.COMMA and following == mw.NUMBER and beyond & mw.TRIPLE:
            after = tokens[t + 2, mw.KIND]
            blank = not (mw.PLUS <= after <= mw.POWER or after == mw.EQUALS)
        if not blank and not beyond & mw.BEFORE_UNSURE:
            how = _ENDS
    elif kind == mw.LINE:
        if following == mw.EQUALS:
            how = _GOES_ON
        elif following != mw.PLUS and not mw.TIMES <= following <= mw.POWER:
            how = _ENDS
    elif kind == mw.CLOSE or kind == mw.RIGHT_BRACE:
        if w[av.OPENED] > 0:
            how = _GOES_ON
        elif w[av.OPENING] and not mw.PLUS <= following <= mw.POWER:
            how = _ENDS
    elif kind == mw.OPEN:
        if following == mw.WORD:
            if gap and not beyond & mw.BEFORE_UNSURE:
                how = _ENDS
        elif following == mw.NUMBER or following == mw.MINUS or following == mw.OPEN or following == mw.FRACTION:
            how = _GOES_ON
    elif kind == mw.BANG:
        inside = mw.PLUS <= following <= mw.CLOSE or following == mw.RIGHT_BRACE
        inside = inside or following == mw.EQUALS or following == mw.RELATION
        how = _GOES_ON if inside or (following == mw.NUMBER and not beyond & mw.GAP) else _ENDS
    elif kind == mw.NUMBER:
        if not gap and tokens[t - 1, mw.KIND] == mw.BANG:
            how = _GOES_ON
    elif kind == mw.DOTS:
        if not gap and tokens[t - 1, mw.KIND] == mw.NUMBER and w[av.LITERAL] > 0:
            how = _GOES_ON
    elif kind == mw.RELATION or kind == mw.QUESTION:
        how = _ENDS
    hold(tokens, w)
    return how


@inlined
def _completed(how, w, f):  # type: ignore[no-untyped-def]
    """Evaluate the segment, or what stands before an '=' in its innermost bracket; False where it is not whole."""
    product = w[av.OPENED] == 0 and sg.top_op(w) >= av.MULTIPLY
    good = True
    for least in range(2, -1, -2):
        good = good and av.reduce(least, w, f)
        if least == 2 and product and good and w[av.OPS] > 0:
            w[av.TAILED] = 1
            av.copy_row(w[av.VALUES] - 1, av.TAIL, w, f)
    if good and w[av.OPENED] == 0:
        good = w[av.WHOLE] == 1
    elif good:
        good = how == _LINKS and sg.top_op(w) == av.PAREN
        k = av.BRACKET0 + 3 * (w[av.OPENED] - 1)
        if good:
            good = w[k + 2] == 1
            w[av.START] = w[k]
            w[av.COUNT] -= w[k + 1]
        w[av.LITERAL] = -1
        w[av.OPENING] = w[av.PARTS] = w[av.TAILED] = 0
    hold(w, f)
    return good


@inlined
def _keep(w, f):  # type: ignore[no-untyped-def]
    """Make the segment that has been evaluated the one before the '='."""
    for k in range(av.STATE):
        w[av.BEFORE + k] = w[k]
    av.copy_row(w[av.VALUES] - 1, av.PREVIOUS, w, f)
    if w[av.TAILED]:
        av.copy_row(av.TAIL, av.PREVIOUS_TAIL, w, f)
    w[av.HALF] = av.MAX_PARTS - w[av.HALF]
    hold(w, f)


# --------------------------------------------------------------------------- judging a link


@inlined
def _near(exact, error, shown, places):  # type: ignore[no-untyped-def]
    """Whether ``shown`` is ``exact`` (give or take ``error``), rounded to that many places or cut off there."""
    unit = 10.0 ** -np.float64(places)
    error += 1e-13 * abs(exact)
    rounded = abs(exact - shown) <= 0.5 * unit + error
    return rounded or (exact * shown >= 0 and -error <= abs(exact) - abs(shown) < unit + error)


@inlined
def _rounded(w, f):  # type: ignore[no-untyped-def]
    """Whether the two sides agree to the places that are shown."""
    one, other = f[2 * av.PREVIOUS], f[2 * w[av.VALUES] - 2]
    # Sums of amounts such as 62.70 + 37.37 are exact.
    e = f[2 * av.PREVIOUS + 1] if w[av.BEFORE + av.FINE] or w[av.BEFORE + av.SCALED] else 0.0
    d = f[2 * w[av.VALUES] - 1] if w[av.FINE] or w[av.SCALED] else 0.0
    if not (w[av.BEFORE + av.BROKEN] or w[av.BROKEN]):
        near = False
    elif w[av.LITERAL] >= 0:
        near = _near(one, e, other, w[av.LITERAL])
    elif w[av.BEFORE + av.LITERAL] >= 0:
        near = _near(other, d, one, w[av.BEFORE + av.LITERAL])
    else:
        near = abs(one - other) <= e + d + 1e-13 * abs(one)
    hold(w, f)
    return near


@inlined
def _abbreviated(w):  # type: ignore[no-untyped-def]
    """Whether an '=' that does not hold stands for "and on", as in sums that are worked off along the way."""
    top = w[av.VALUES] - 1
    running = w[av.PARTS] > 0 and av.same(av.PREVIOUS, av.PART0 + w[av.HALF], w)  # 2 + 3 = 5 + 1 = 6
    tail = w[av.BEFORE + av.TAILED] and av.same(top, av.PREVIOUS_TAIL, w)  # 15 + 4 * 3 = 12
    if running or tail:
        return True
    if w[av.JOINED] > 0:  # 2 + 3 + 4 = 2 + 3 = 5, 5 + 4 = 9
        for k in range(w[av.BEFORE + av.PARTS]):
            if av.same(top, av.PART0 + av.MAX_PARTS - w[av.HALF] + k, w):
                return True
    return False


@inlined
def _cut_thousands(comma, w, f):  # type: ignore[no-untyped-def]
    """Whether the right side may be the first digits of a number with a blank behind its comma: 9 * 9216 = 82, 944."""
    one, other = f[2 * av.PREVIOUS], f[2 * w[av.VALUES] - 2]
    cut = w[av.LITERAL] == 0 and (1 if comma else 10) <= abs(other) < 1000
    cut = cut and (abs(one / 1e3 - other) < 2 or abs(one / 1e6 - other) < 2)
    hold(w, f)
    return cut


@inlined
def _judge(comma, w, f):  # type: ignore[no-untyped-def]
    """The verdict on the segment before the '=' and the one that has just been evaluated."""
    top = w[av.VALUES] - 1
    verdict = FALSE
    if w[av.BEFORE + av.COUNT] == 0 and w[av.COUNT] == 0:
        verdict = UNJUDGED
    elif av.same(av.PREVIOUS, top, w):
        verdict = TRUE
    elif not (np.isfinite(f[2 * av.PREVIOUS]) and np.isfinite(f[2 * top])):
        verdict = UNJUDGED
    elif _rounded(w, f):
        verdict = ROUNDED
    elif w[av.BEFORE + av.LISTED] and w[av.BEFORE + av.DECIMALS] + w[av.DECIMALS] == 1:
        verdict = UNJUDGED  # item 9 of a list, without a blank: 9.12 * 2 = 24
    elif w[av.BEFORE + av.UNSURE] or w[av.UNSURE] or _abbreviated(w) or _cut_thousands(comma, w, f):
        verdict = UNJUDGED
    hold(w, f)
    return verdict


@inlined
def _withdraw(found, first, count):  # type: ignore[no-untyped-def]
    for k in range(first, count):
        if found[k, 0] == FALSE:
            found[k, 0] = UNJUDGED


# --------------------------------------------------------------------------- the pass


def _compile(parts: str) -> Any:
    @njit(cache=True, nogil=True, error_model="numpy")
    def read_equations(data, tokens):  # type: ignore[no-untyped-def]
        """The judged equations: an array (k, 3) of verdict, first byte, byte behind the last, and the values (k, 2) of
        their sides."""
        _ = parts
        m = tokens.shape[0]
        room = 0
        for t in range(m):
            room += tokens[t, mw.KIND] == mw.EQUALS
        found = np.empty((room, 3), np.int64)
        values = np.empty((room, 2), np.float64)
        count = 0
        w = np.zeros(av.SIZE, np.int64)
        f = np.zeros(av.SIZE_FLOATS, np.float64)
        sg.reset(w, 0)
        chained = False  # whether the segment before the last '=' is kept
        left = 1  # whether what stands to the left leaves the next segment whole; 2: a bullet or a minus sign
        doubted = False  # whether this clause has raised a doubt
        live = 0  # the first entry of this sentence
        newest = 0  # the same, or that of the sentence before as long as no more than a negation has come since
        modular = -MODULAR_POWER  # where the last congruence was
        based = -MODULAR_POWER  # and the last base of a number system
        t = 0
        while t < m:
            kind, marks = tokens[t, mw.KIND], tokens[t, mw.MARKS]
            complete = w[av.START] >= 0 and w[av.WANT] == 0 and w[av.BAD] == 0
            how = _ending(t, tokens, w) if complete else _GOES_ON
            if how != _GOES_ON:
                whole = _completed(how, w, f)
                if whole and how != _TORN and chained and w[av.OPENING]:
                    verdict = _judge(marks & mw.COMMA, w, f)
                    start = w[av.BEFORE + av.START]
                    if verdict == FALSE:
                        reach = MODULAR_POWER if w[av.POWERED] or w[av.BEFORE + av.POWERED] else MODULAR_BEFORE
                        # Numbers that are added digit by digit may be of that base; products rarely are.
                        plain = w[av.SCALED] == 0 and w[av.BEFORE + av.SCALED] == 0
                        other = start - modular < reach or (plain and start - based < MODULAR_BEFORE)
                        if doubted or other or kind == mw.BANG:
                            verdict = UNJUDGED
                    if verdict != UNJUDGED:
                        found[count, 0] = verdict
                        found[count, 1] = start
                        found[count, 2] = w[av.STOPPED]
                        values[count, 0] = f[2 * av.PREVIOUS]
                        values[count, 1] = f[2 * w[av.VALUES] - 2]
                        count += 1
                chained = whole and how == _LINKS
                if chained:
                    _keep(w, f)
                sg.reset(w, how == _LINKS)
                complete = False
                left = how != _TORN

            last = tokens[t - 1, mw.KIND] if t > 0 else mw.LINE
            waiting = w[av.OPENING] == 1 and w[av.START] < 0  # right behind an '='
            arithmetic = kind <= mw.FRACTION
            if complete and not arithmetic:
                arithmetic = kind == mw.RAISED or kind == mw.BANG or kind == mw.DOTS
            # The brace of \text{ is none of arithmetic's, nor that of \boxed{ around a whole equation.
            wrapping = kind == mw.LEFT_BRACE and (last == mw.BREAK or (last == mw.BOX and not waiting))
            if how == _LINKS or wrapping:
                pass
            elif arithmetic:
                if last == mw.WORD and (kind == mw.CLOSE or kind == mw.RIGHT_BRACE):
                    left = 1
                elif w[av.BAD] == 0:
                    if kind == mw.NUMBER and t > 1 and tokens[t - 2, mw.KIND] == mw.NUMBER:
                        if last == mw.STOP and marks & mw.TRIPLE and data[tokens[t, mw.FIRST]] == 48:
                            left = 0  # "63, 000 + 1,536"
                        elif last == mw.WORD and tokens[t + 1, mw.KIND] == mw.OVER:
                            left = 0  # "67 and 20/60"
                    taken = sg.onward(t, tokens, data, w, f) if complete else 0
                    if taken == 0:
                        taken = sg.operand(t, 0 if complete else left, tokens, data, w, f)
                    t += taken - 1
                    w[av.STOPPED] = tokens[t, mw.END]
                    if w[av.BAD]:
                        chained = False
                        left = 0
            elif complete and kind == mw.LINE:
                pass  # the next line goes on with '='
            elif waiting and (kind == mw.BOX or kind == mw.BREAK or (kind == mw.LINE and last == mw.EQUALS)):
                pass
            elif not arithmetic:
                chained = False
                if w[av.START] >= 0 or w[av.BAD] or w[av.OPENING]:
                    sg.reset(w, 0)
                if kind == mw.EQUALS:
                    w[av.OPENING] = 1
                    left = 1
                elif kind == mw.WORD:
                    left = 0 if marks & mw.AFTER_UNSURE else 1
                    if marks & (mw.DOUBT | mw.ASSURE):
                        doubted = marks & mw.DOUBT != 0
                    untrue = marks & mw.TRUTH and t > 0 and tokens[t - 1, mw.MARKS] & mw.NEGATION
                    if marks & mw.UNDO or untrue:
                        _withdraw(found, newest if untrue else live, count)
                        live = count
                    if not marks & mw.NEGATION:
                        newest = live
                elif kind == mw.LINE or kind == mw.STOP or kind == mw.BREAK:
                    dangling = mw.PLUS <= last <= mw.POWER or last == mw.EQUALS
                    left = 0 if dangling else (2 if marks & mw.BULLET else 1)
                elif kind == mw.RELATION or kind == mw.QUESTION or kind == mw.BANG:
                    left = 1
                elif kind != mw.BOX:
                    left = 0
                if marks & mw.BASE:
                    following = tokens[t + 1, mw.KIND]
                    # "base 8", "base-8", "base b"
                    if following == mw.NUMBER or following == mw.MINUS or following == mw.SYMBOL:
                        based = tokens[t, mw.FIRST]
                if marks & mw.MODULAR:
                    modular = tokens[t, mw.FIRST]
                    k = count
                    while k > 0 and found[k - 1, 2] > modular - MODULAR_AFTER:
                        k -= 1
                    _withdraw(found, k, count)
            if kind == mw.QUESTION:
                _withdraw(found, live, count)
            stop = kind == mw.QUESTION or kind == mw.BANG or kind == mw.LINE
            if stop or kind == mw.STOP:
                doubted = False
                if stop or not marks & (mw.COMMA | mw.COLON):
                    newest = live if count > live else newest
                    live = count
            t += 1
        kept = found[:count, 0] != UNJUDGED
        return found[:count][kept], values[:count][kept]

    return read_equations


read_equations = _compile(sources(av, sg, mw))
