r"""Written arithmetic: the equations that a response writes out, evaluated exactly.

*An equation* is an ``=`` between two neighbouring stretches of text that are arithmetic and
nothing else: numbers (with thousands separators, decimal places), ``+ - * / ^``, ``\times``,
``\cdot``, ``\div``, ``× · ÷ −``, ``\frac``, brackets, factorials, superscript digits; LaTeX
spacing, ``$``, ``\left(``, ``&`` and Markdown's ``**`` are seen through.  ``a = b = c`` is two
equations, and ``n = 3 + 4 = 7`` is one.  At least one side has an operation in it: ``5 = 5``
is no equation, nor is ``x = 5``.

*A stretch is whole* where nothing on its outer side belongs to it.  Left of the first one
stands the beginning of a line, punctuation, a relation, ``$`` or a word that is no function;
right of the last one likewise.  So nothing is read out of ``x2 + 3 = 7``, ``f(3) + 2 = 5``,
``a/3 + 1 = 2``, ``12 mod 5 = 2``, ``2x + 3 = 7``, ``3 + 4 = 7 (mod 5)``, ``1011_2 = 11``,
``\sqrt{16} = 4``, ``50% = 0.5``, ``10:30``, ``(1, 2)`` or ``1 + 2 + ... + 9 = 45``, and
``1 + 2 + 3 + 4 = 10`` is one equation, a true one.

*Rounded*: the sides differ, but where a decimal or a quotient is in play, the number on one
side is the other side rounded or cut off at the places that it shows (``1/3 = 0.333``,
``7/2 = 3``), or the difference is within what rounded decimals bring: one unit in the last of
three or more places, half a unit in the second where it is multiplied (``3.14 * 25 = 78.54``;
``12.50 + 3.75 = 16.26`` is false).

*False* is what is left, except for what cannot be held against the text: equations in a
clause with *if*, *not*, *suppose* or the like; what a question mark, or a word such as
*wrong*, *impossible* or *not true* takes back in the same sentence; what is near ``mod`` or
``\equiv``, and sums near "base 8"; what can be read in two ways (``-2^2 = 4``,
``6/2(1+2) = 1``, ``2\frac{1}{2} = 2.5``); and ``=`` in the sense of "and on"
(``2 + 3 = 5 + 1 = 6``, ``2 + 3 + 4 = 2 + 3 = 5``).  An equation that is corrected in a later
sentence stays false.

Not understood, and so never counted: relations other than ``=`` (``\approx``, ``\equiv``,
``<``), "17 plus 48 is 65", roots, logarithms, binomials, percent, units between numbers,
digits with a base, repeating decimals in any notation but dots, fractional exponents, numbers
of more than 60 digits.  An operator that a problem gives a meaning of its own is taken for the
usual one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics.arithmetic_kernels import FALSE, ROUNDED, TRUE, read_equations
from qrm_forensics.metrics.figures import as_columns, spans
from qrm_forensics.metrics.mathlex import tokens_of
from qrm_forensics.metrics.protocol import SPAN_TYPE, Column, Show, metric, said
from qrm_forensics.metrics.scan import Scan, scans

#: Longer equations are cut in the column ``false_equation_first``.
MAX_SHOWN_CHARS = 200

_FIGURES = (
    Column(
        "equations",
        pa.int64(),
        Show.HISTOGRAM,
        unit="equations",
        label=said("Written equations", "등식 수"),
        definition=said(
            "Number of '=' between two stretches of plain arithmetic, at least one of which has an operation in it, "
            "that could be judged: true, rounded or false.",
            "순수한 산술식 둘 사이에 놓인 '=' 가운데 적어도 한쪽에 연산이 있고 참·반올림·거짓으로 판정할 수 있었던 것의 개수.",
        ),
    ),
    Column(
        "rounded_equations",
        pa.int64(),
        Show.TABLE,
        unit="equations",
        label=said("Rounded equations", "반올림 등식 수"),
        definition=said(
            "Number of written equations whose sides differ, but agree once rounded or cut off at the decimal places shown.",
            "양변이 다르지만 표시된 소수 자릿수에서 반올림하거나 버리면 같아지는 등식의 개수.",
        ),
    ),
    Column(
        "false_equations",
        pa.int64(),
        Show.HISTOGRAM,
        unit="equations",
        better="lower",
        label=said("False equations", "거짓 등식 수"),
        definition=said(
            "Number of written equations whose sides differ, not even by rounding; hypothetical, questioned, "
            "withdrawn, modular and ambiguous ones are not counted.",
            "반올림을 고려해도 양변이 다른 등식의 개수로, 가정·의문·철회·합동식이거나 두 가지로 읽히는 것은 세지 않는다.",
        ),
    ),
    Column(
        "false_equation_rate",
        pa.float64(),
        Show.TIMELINE,
        better="lower",
        label=said("Share of false equations", "거짓 등식 비율"),
        definition=said(
            "False equations divided by written equations; empty where there is no written equation.",
            "거짓 등식 수를 등식 수로 나눈 값이며, 등식이 없으면 비워 둔다.",
        ),
        nullable_when="there is no written equation",
    ),
    Column(
        "false_equation_first_char",
        pa.int64(),
        Show.HIDDEN,
        unit="characters",
        label=said("First false equation at", "첫 거짓 등식의 위치"),
        definition=said(
            "Number of code points before the first false equation; empty where there is none.",
            "첫 거짓 등식 앞에 있는 코드 포인트의 개수이며, 없으면 비워 둔다.",
        ),
        nullable_when="there is no false equation",
    ),
)
_FIRST = Column(
    "false_equation_first",
    pa.string(),
    Show.TABLE,
    label=said("First false equation", "첫 거짓 등식"),
    definition=said(
        f"The first false equation as it is written, cut at {MAX_SHOWN_CHARS} characters; empty where there is none.",
        f"첫 거짓 등식을 쓰인 그대로 최대 {MAX_SHOWN_CHARS}자까지 보인 것이며, 없으면 비워 둔다.",
    ),
    nullable_when="there is no false equation",
)
_SPANS = Column(
    "false_equation_spans",
    SPAN_TYPE,
    Show.SPANS,
    label=said("False equations in the text", "본문의 거짓 등식"),
    definition=said(
        "Where the false equations stand in the response, from the left side's first character to the right side's last.",
        "응답에서 거짓 등식이 놓인 범위로, 좌변의 첫 문자부터 우변의 마지막 문자까지이다.",
    ),
)


def equations(scan: Scan) -> tuple[int, int, npt.NDArray[np.int64]]:
    """(number of true equations, of rounded ones, byte spans (k, 2) of the false ones)."""
    found, _ = read_equations(scan.data, scan.once(tokens_of))
    verdicts = found[:, 0]
    return int((verdicts == TRUE).sum()), int((verdicts == ROUNDED).sum()), found[verdicts == FALSE, 1:]


class Equation(NamedTuple):
    """A written equation: what was found of it (``true``, ``rounded`` or ``false``), its place in code points,
    and what its two sides come to."""

    verdict: str
    start: int
    end: int
    left: float
    right: float


def written_equations(scan: Scan) -> list[Equation]:
    """Every equation that could be judged, in the order of the text."""
    found, values = read_equations(scan.data, scan.once(tokens_of))
    places = scan.chars(found[:, 1:].ravel()).reshape(-1, 2).tolist()
    names = {TRUE: "true", ROUNDED: "rounded", FALSE: "false"}
    rows = zip(found[:, 0].tolist(), places, values.tolist(), strict=True)
    return [Equation(names[verdict], *place, *sides) for verdict, place, sides in rows]


@metric(
    version=1,
    reads=("text",),
    title=said("Written arithmetic", "산술 등식"),
    columns=(*_FIGURES, _FIRST, _SPANS),
)
def arithmetic(batch: pa.Table) -> Mapping[str, object]:
    """Equations that are written out in numbers, checked exactly.

    An error here is a slip that can be pointed at.  Its absence proves nothing: most of a
    response's steps are not written as equations in numbers.
    """
    found = scans(batch)
    values = np.full((len(found), len(_FIGURES)), np.nan)
    firsts: list[str | None] = [None] * len(found)
    rows: list[npt.NDArray[np.int64]] = []
    places: list[npt.NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    for i, scan in enumerate(found):
        if scan is None:
            continue
        n_true, n_rounded, false = equations(scan)
        total = n_true + n_rounded + len(false)
        values[i, :3] = total, n_rounded, len(false)
        if total:
            values[i, 3] = len(false) / total
        if len(false):
            chars = scan.chars(false.ravel()).reshape(-1, 2)
            values[i, 4] = chars[0, 0]
            start, end = (int(offset) for offset in false[0])
            # A code point has four bytes at most, so that a cut one is beyond what is shown.
            firsts[i] = scan.slice(start, min(end, start + 4 * MAX_SHOWN_CHARS))[:MAX_SHOWN_CHARS]
            rows.append(np.full(len(chars), i))
            places.append(chars)
    at = np.concatenate(places)
    known = np.array([scan is not None for scan in found], np.bool_)
    return {
        **as_columns(values, _FIGURES),
        _FIRST.name: pa.array(firsts, pa.string()),
        _SPANS.name: spans(known, np.concatenate([np.empty(0, np.int64), *rows]), at[:, 0], at[:, 1]),
    }
