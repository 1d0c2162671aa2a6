r"""The machine that evaluates written arithmetic: operator precedence over exact values.

Values are exact without being long.  A number is a numerator and a denominator modulo two
primes, with a float beside it for its size.  Different residues prove that two numbers
differ; equal ones prove them equal as long as the cross products stay below 4e18, and beyond
that they are wrong once in 4e18.  So ``2^{100}`` costs as much as ``2 + 2``, and no
expression can be made expensive.

The whole state is two arrays, as every array that is handed on costs time:
``w`` int64 (SIZE,) holds counters, the stack of operators, the open brackets and the
residues of the stack of values; ``f`` float64 (2 * ROWS,) holds, per value, its size and
the error that rounded decimals may have brought into it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from qrm_forensics.metrics.kernels import hold, inlined

P1: Final = 2147483647
P2: Final = 2147483629

#: Binary operators and the sign, in order of precedence; brackets that are open.
ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, RAISE = range(1, 7)
PAREN, BRACE, FRAC, NUMER, DENOM = range(10, 15)

#: Places of ``w``: the segment that is being read.
(
    VALUES,  # values on the stack
    OPS,  # operators and brackets on the stack
    OPENED,  # brackets among them
    WANT,  # 1 where an operand comes next, 0 where an operator does
    START,  # first byte, -1 while nothing is read
    STOPPED,  # behind the last byte
    WHOLE,  # whether nothing to its left belongs to it
    BAD,  # whether it is not arithmetic
    COUNT,  # operations so far
    JOINED,  # sums, differences and products among them
    SCALED,  # products, quotients and powers among them
    PARTS,  # values that its first operands came to, one per operator outside of brackets
    UNSURE,  # whether it may be meant otherwise
    OPENING,  # whether an '=' stands before it
    LITERAL,  # decimal places where it is one literal, -1 otherwise
    BROKEN,  # whether it holds a decimal point, a division or a negative power
    POWERED,  # whether it holds a power
    TAILED,  # whether the row TAIL holds a value
    DECIMALS,  # numbers with a decimal point
    FINE,  # such numbers with three places or more
    LISTED,  # whether it begins a line with a decimal number
) = range(21)
STATE: Final = 21
#: The same counters for the segment before the last '='.
BEFORE: Final = STATE
#: Which half of the rows of parts is the current segment's: 0 or MAX_PARTS.
HALF: Final = 2 * STATE
MAX_PARTS: Final = 8
#: Rows of the stack of values.  Behind them: the value before the last '=', what the segment's last addition adds, the
#: same for the segment before the last '=', and the parts of both.
ROWS: Final = 64
FULL: Final = ROWS - 4
PREVIOUS, TAIL, PREVIOUS_TAIL, PART0 = range(ROWS, ROWS + 4)
_ALL_ROWS: Final = PART0 + 2 * MAX_PARTS
OP0: Final = HALF + 1
BRACKET0: Final = OP0 + ROWS
VALUE0: Final = BRACKET0 + 3 * ROWS
SIZE: Final = VALUE0 + 4 * _ALL_ROWS
SIZE_FLOATS: Final = 2 * _ALL_ROWS

MAX_DIGITS: Final = 60
MAX_EXPONENT: Final = 100_000
MAX_FACTORIAL: Final = 170


def _factorials() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    exact = [math.factorial(k) for k in range(MAX_FACTORIAL + 1)]
    return np.array([(f % P1, f % P2) for f in exact], np.int64), np.array([float(f) for f in exact])


_FACTORIAL_RESIDUES, _FACTORIALS = _factorials()


@inlined
def _power_1(base, exponent):  # type: ignore[no-untyped-def]
    out = np.int64(1)
    while exponent > 0 and base != 1:
        if exponent & 1:
            out = out * base % P1
        base = base * base % P1
        exponent >>= 1
    return out


@inlined
def _power_2(base, exponent):  # type: ignore[no-untyped-def]
    out = np.int64(1)
    while exponent > 0 and base != 1:
        if exponent & 1:
            out = out * base % P2
        base = base * base % P2
        exponent >>= 1
    return out


@inlined
def _push(first, second, size, w, f):  # type: ignore[no-untyped-def]
    """Put a whole number on the stack: its residues and its size."""
    row = w[VALUES]
    v = VALUE0 + 4 * row
    w[v] = first
    w[v + 2] = second
    w[v + 1] = w[v + 3] = 1
    f[2 * row] = size
    f[2 * row + 1] = 0.0
    w[VALUES] = row + 1
    hold(w, f)


@inlined
def push_number(data, start, end, w, f):  # type: ignore[no-untyped-def]
    """Put the number at data[start:end] on the stack; its decimal places, -1 where it has too many digits."""
    places = 0
    digits = 0
    point = False
    head = np.int64(0)  # the first 18 digits
    size = 0.0
    first = np.int64(0)
    second = np.int64(0)
    for k in range(start, end):
        c = data[k]
        if 48 <= c <= 57:
            d = np.int64(c) - 48
            digits += 1
            places += point
            if digits <= 18:
                head = head * 10 + d
            else:
                if digits == 19:
                    first, second, size = head % P1, head % P2, np.float64(head)
                first = (first * 10 + d) % P1
                second = (second * 10 + d) % P2
                size = size * 10.0 + d
        elif c == 46:
            point = True
    if digits <= 18:
        first, second, size = head % P1, head % P2, np.float64(head)
    if digits > MAX_DIGITS:
        places = -1
    else:
        row = w[VALUES]
        _push(first, second, size, w, f)
        if places > 0:
            v = VALUE0 + 4 * row
            scale = 10.0**places
            w[v + 1] = _power_1(10, places)
            w[v + 3] = _power_2(10, places)
            w[BROKEN] = 1
            w[DECIMALS] += 1
            f[2 * row] = size / scale
            # A decimal may be an intermediate result: of two places rounded, of more perhaps cut in the last one.
            if places >= 3:
                w[FINE] += 1
                f[2 * row + 1] = 1.0 / scale
            elif places == 2:
                f[2 * row + 1] = 0.5 / scale
    hold(data, w, f)
    return places


@inlined
def push_integer(value, w, f):  # type: ignore[no-untyped-def]
    """Put a small whole number on the stack."""
    _push(value, value, np.float64(value), w, f)
    hold(w, f)


@inlined
def _small_integer(row, w, f):  # type: ignore[no-untyped-def]
    """The value of the row where it is a whole number of modest size, else MAX_EXPONENT + 1."""
    whole = np.int64(MAX_EXPONENT + 1)
    size = f[2 * row]
    if abs(size) <= MAX_EXPONENT:
        v = VALUE0 + 4 * row
        near = np.int64(np.rint(size))
        if (near * w[v + 1] - w[v]) % P1 == 0 and (near * w[v + 3] - w[v + 2]) % P2 == 0:
            whole = near
    hold(w, f)
    return whole


@inlined
def _negate(w, f):  # type: ignore[no-untyped-def]
    row = w[VALUES] - 1
    v = VALUE0 + 4 * row
    w[v] = (P1 - w[v]) % P1
    w[v + 2] = (P2 - w[v + 2]) % P2
    f[2 * row] = -f[2 * row]
    hold(w, f)


@inlined
def _add(sign, x, y, w):  # type: ignore[no-untyped-def]
    if w[x + 1] == 1 and w[y + 1] == 1 and w[x + 3] == 1 and w[y + 3] == 1:
        w[x] = (w[x] + sign * w[y]) % P1
        w[x + 2] = (w[x + 2] + sign * w[y + 2]) % P2
    else:
        w[x] = (w[x] * w[y + 1] % P1 + sign * (w[y] * w[x + 1] % P1)) % P1
        w[x + 1] = w[x + 1] * w[y + 1] % P1
        w[x + 2] = (w[x + 2] * w[y + 3] % P2 + sign * (w[y + 2] * w[x + 3] % P2)) % P2
        w[x + 3] = w[x + 3] * w[y + 3] % P2


@inlined
def _multiply(x, above_1, below_1, above_2, below_2, w):  # type: ignore[no-untyped-def]
    w[x] = w[x] * above_1 % P1
    w[x + 1] = w[x + 1] * below_1 % P1
    w[x + 2] = w[x + 2] * above_2 % P2
    w[x + 3] = w[x + 3] * below_2 % P2


@inlined
def _raise(exponent, x, w):  # type: ignore[no-untyped-def]
    if exponent < 0:
        exponent = -exponent
        w[BROKEN] = 1
        w[x], w[x + 1] = w[x + 1], w[x]
        w[x + 2], w[x + 3] = w[x + 3], w[x + 2]
    w[POWERED] = 1
    w[x] = _power_1(w[x], exponent)
    w[x + 1] = _power_1(w[x + 1], exponent)
    w[x + 2] = _power_2(w[x + 2], exponent)
    w[x + 3] = _power_2(w[x + 3], exponent)


@inlined
def apply(op, w, f):  # type: ignore[no-untyped-def]
    """Apply a binary operator to the top of the stack; False where the result is no number that is dealt with.

    The errors follow to first order: they add up in sums, and relative ones in products.
    """
    top = w[VALUES] - 1
    y = VALUE0 + 4 * top
    x = y - 4
    i = 2 * top - 2
    left, right = f[i], f[i + 2]
    e, d = f[i + 1], f[i + 3]
    known = True
    if op <= SUBTRACT:
        sign = 1 if op == ADD else -1
        _add(sign, x, y, w)
        f[i] = left + sign * right
        f[i + 1] = e + d
    elif op == MULTIPLY:
        _multiply(x, w[y], w[y + 1], w[y + 2], w[y + 3], w)
        f[i] = left * right
        f[i + 1] = abs(left) * d + abs(right) * e + d * e
    elif op == DIVIDE:
        known = right != 0.0 and (w[y] != 0 or w[y + 2] != 0)
        _multiply(x, w[y + 1], w[y], w[y + 3], w[y + 2], w)
        w[BROKEN] = 1
        f[i] = left / right
        f[i + 1] = (e + abs(left / right) * d) / abs(right)
    else:
        exponent = _small_integer(top, w, f)
        zero = w[x] == 0 and w[x + 2] == 0
        known = exponent <= MAX_EXPONENT and d == 0.0 and not (zero and exponent <= 0)
        if known:
            _raise(exponent, x, w)
            f[i] = left ** np.float64(exponent)
            f[i + 1] = abs(exponent * left ** np.float64(exponent - 1)) * e if e != 0.0 else 0.0
    w[VALUES] = top
    hold(w, f)
    return known


@inlined
def binding(op):  # type: ignore[no-untyped-def]
    """How tightly an operator binds, 1 to 4; 9 for a bracket."""
    if op >= PAREN:
        return 9
    return 1 if op <= SUBTRACT else (2 if op <= DIVIDE else op - 2)


@inlined
def reduce(least, w, f):  # type: ignore[no-untyped-def]
    """Apply the operators on the stack that bind at least as tightly as ``least``, down to a bracket.

    False where one of them has no result.
    """
    known = True
    while known and w[OPS] > 0 and least <= binding(w[OP0 + w[OPS] - 1]) < 9:
        w[OPS] -= 1
        op = w[OP0 + w[OPS]]
        if op == NEGATE:
            _negate(w, f)
        else:
            known = apply(op, w, f)
    hold(w, f)
    return known


@inlined
def factorial(w, f):  # type: ignore[no-untyped-def]
    """Replace the top of the stack by its factorial; False where it is no whole number up to MAX_FACTORIAL."""
    row = w[VALUES] - 1
    n = _small_integer(row, w, f)
    known = 0 <= n <= MAX_FACTORIAL and f[2 * row + 1] == 0.0
    if known:
        w[VALUES] = row
        _push(_FACTORIAL_RESIDUES[n, 0], _FACTORIAL_RESIDUES[n, 1], _FACTORIALS[n], w, f)
    hold(w, f)
    return known


@inlined
def same(one, other, w):  # type: ignore[no-untyped-def]
    """Whether two rows hold the same number."""
    x, y = VALUE0 + 4 * one, VALUE0 + 4 * other
    first = (w[x] * w[y + 1] - w[y] * w[x + 1]) % P1 == 0
    return first and (w[x + 2] * w[y + 3] - w[y + 2] * w[x + 3]) % P2 == 0


@inlined
def copy_row(source, target, w, f):  # type: ignore[no-untyped-def]
    for k in range(4):
        w[VALUE0 + 4 * target + k] = w[VALUE0 + 4 * source + k]
    f[2 * target] = f[2 * source]
    f[2 * target + 1] = f[2 * source + 1]
    hold(w, f)
