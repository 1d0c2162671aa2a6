"""The process that runs math-verify on hostile text.  Started as a script; never imported by the scorer.

It stands alone but for the file ``worker_process`` (no package import), so that it starts fast and needs no
``__main__`` guard in the caller's script.  Before it reads anything it gives up what it does not
need: memory beyond ``--memory``, core dumps, writing files and starting processes.
One JSON request per line on standard input, one JSON reply per line on standard
output.  Its time limit is the parent's SIGKILL; a CPU limit per request is the
backstop for a worker whose parent is gone.

The targets and the rounding are those of the published evaluations that use
lighteval's extractive match (boxes first, then anchored and plain LaTeX, then plain
numbers; 5 decimal places).
"""

from __future__ import annotations

import functools
import itertools
import re
import runpy
from pathlib import Path
from typing import Any

FLOAT_ROUNDING = 5

#: ``strict`` asks numbers this small to agree to three digits, because rounding to 5 places makes them all zero.
TINY = 1e-2
TINY_RELATIVE = 1e-3

#: Values further apart than this, relative to the larger one and to 1, differ for every rounding to 5 places.
APART = 1e-4

#: No more of an answer is sent back.
MAX_ANSWER = 1000


@functools.lru_cache(maxsize=1)
def targets() -> dict[str, list[Any]]:
    """Extraction targets by kind of text."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig

    return {
        "response": [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()],
        "solution": [LatexExtractionConfig()],
    }


def parse_in_two_stages() -> None:
    """Let the LaTeX parser try ANTLR's faster SLL prediction first, and its own (LL) where that ends in an error.

    Where SLL prediction parses, it gives the tree that LL prediction gives (Parr, Harwell
    and Fisher, "Adaptive LL(*) parsing", OOPSLA 2014, section 3.2); with this grammar it
    is up to ten times faster, for tuples and intervals above all.
    """
    from antlr4.atn.PredictionMode import PredictionMode
    from antlr4.error.ErrorStrategy import BailErrorStrategy
    from latex2sympy2_extended import latex2sympy2

    create = latex2sympy2._Latex2Sympy.create_parser

    def create_parser(self: Any, latex: str) -> Any:
        parser = create(self, latex)
        parser._interp.predictionMode = PredictionMode.SLL
        parser._errHandler = BailErrorStrategy()  # any error ends the first stage
        first_stage = parser.math

        def math() -> Any:
            try:
                return first_stage()
            except Exception:
                return create(self, latex).math()

        parser.math = math
        return parser

    latex2sympy2._Latex2Sympy.create_parser = create_parser


PLAIN_NUMERAL = re.compile(r"(?:0|[1-9][0-9]{0,99})(\.[0-9]{1,99})?")


def read_numerals_directly() -> None:
    """Let ``sympy.Number("16")`` make an Integer at once instead of compiling and evaluating ``Integer(16)`` (1 ms)."""
    from sympy.core import numbers

    evaluate = numbers.sympify

    def sympify(value: Any, *arguments: Any, **options: Any) -> Any:
        if type(value) is str and not arguments and not options:
            numeral = PLAIN_NUMERAL.fullmatch(value)
            if numeral is not None:
                return numbers.Float(value) if numeral[1] else numbers.Integer(int(value))
        return evaluate(value, *arguments, **options)

    numbers.sympify = sympify


class Piece:
    """Stands in for the match of one of math-verify's expressions: its named groups."""

    def __init__(self, groups: dict[str, str]) -> None:
        self._groups = groups

    def groupdict(self) -> dict[str, str]:
        return self._groups


@functools.lru_cache(maxsize=1)
def piece_targets() -> dict[str, Any]:
    """How a piece is read: LaTeX whose boxes are opened already, or a number or expression."""
    from dataclasses import replace

    latex, plain = targets()["response"]
    unboxed = replace(latex.normalization_config, boxed="none")
    return {"latex": replace(latex, normalization_config=unboxed), "plain": plain}


def read(pieces: list[dict[str, Any]]) -> list[Any] | None:
    """What math-verify makes of the first of the pieces that parses; None where none does, so that it would go on."""
    from math_verify.parser import extract_match

    string = ""
    for piece in pieces:
        value, reading = extract_match(Piece(piece["groups"]), piece_targets()[piece["kind"]])
        string = string or reading
        if value is not None:
            return [value, string] if string else [value]
    return None


def parse(text: str, kind: str) -> list[Any]:
    """What math-verify extracts: a sympy value and/or the string it came from; [] where nothing."""
    from math_verify import parse as math_parse

    found: list[Any] = math_parse(text, targets()[kind], parsing_timeout=None, raise_on_error=True)
    return found


@functools.lru_cache(maxsize=256)
def parse_gold(gold: str) -> list[Any]:
    r"""A worked solution is read by its box, as lighteval's LaTeX gold target does; a bare answer as if boxed."""
    if "\\boxed{" in gold:
        return parse(gold, "solution")
    return parse("\\boxed{" + gold + "}", "response")


def equal(gold: list[Any], found: list[Any]) -> tuple[bool, bool]:
    """Whether any reading of the answer equals any reading of the gold, as math-verify and as ``strict`` judge it.

    A failed comparison is not equal.
    """
    from math_verify import verify

    pairs = list(itertools.product(gold, found))
    if any(isinstance(want, str) and isinstance(got, str) and want.strip() == got.strip() != "" for want, got in pairs):
        return True, True  # whatever the values say, the strings agree
    lenient = False
    for want, got in pairs:
        if isinstance(want, str) or isinstance(got, str) or differ(want, got):
            continue
        try:
            same = verify(want, got, float_rounding=FLOAT_ROUNDING, timeout_seconds=None, raise_on_error=True)
        except MemoryError:
            raise
        except Exception:
            same = False
        if same and not vanishing(want, got):
            return True, True
        lenient = lenient or same
    return lenient, False


@functools.lru_cache(maxsize=1)
def plain_nodes() -> tuple[type, ...]:
    """What an expression may be made of to be compared by its value."""
    import sympy

    arithmetic = (sympy.Add, sympy.Mul, sympy.Pow, sympy.Symbol)
    constants = (sympy.Number, sympy.NumberSymbol, type(sympy.I))
    functions = (sympy.sin, sympy.cos, sympy.tan, sympy.log, sympy.exp, sympy.Abs)
    return arithmetic + constants + functions


def differ(a: Any, b: Any) -> bool:
    """Whether two expressions (gold first) certainly have different values: then no simplification makes them equal.

    Both are computed to 15 digits, with the same positive numbers for their variables.
    math-verify finds the same after simplifying the difference, which takes 10 to 100
    times as long and for some expressions never ends.
    """
    import sympy

    if isinstance(a, sympy.Number) and isinstance(b, sympy.Number):
        return False  # compared at once
    if isinstance(b, sympy.Eq) and isinstance(a, sympy.Expr):
        b = b.rhs  # of an equation where the gold has none, math-verify compares the right-hand side
    for expression in (a, b):
        if not isinstance(expression, sympy.Expr) or isinstance(expression, sympy.Symbol):
            return False
        if not all(isinstance(node, plain_nodes()) for node in sympy.preorder_traversal(expression)):
            return False
    variables = sorted(a.free_symbols | b.free_symbols, key=str)
    point = {variable: sympy.Rational(31 + 7 * i, 43 + i * i) for i, variable in enumerate(variables)}
    try:
        x, y = (e.evalf(15, subs=point or None, strict=True) for e in (a, b))
        if not (x.is_Number and y.is_Number):  # sympy's real numbers may be larger than Python's
            x, y = complex(x), complex(y)
        return bool(abs(x - y) > APART * max(1, abs(x), abs(y)))
    except (ArithmeticError, AttributeError, NotImplementedError, TypeError, ValueError):
        return False  # no number, or not to that precision


def vanishing(a: Any, b: Any) -> bool:
    """Whether two different tiny numbers only look equal because both round to zero (1/2004! and 1/2006!)."""
    if not (getattr(a, "is_number", False) and getattr(b, "is_number", False)):
        return False
    try:
        x, y = _value(a), _value(b)
        size = max(abs(x), abs(y))
        return bool(0 < size < TINY and abs(x - y) > TINY_RELATIVE * size)
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        return False  # not real numbers: the comparison by math-verify stands


def _value(number: Any) -> Any:
    """15 digits of a sympy number; exactly 0 where sympy found no significant digit (a hidden zero)."""
    value = number.doit().evalf(15)
    return 0 if getattr(value, "_prec", 53) == 1 else value


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """Compare a gold text with what is read of a response.

    ``{"gold", "text"}`` (the whole response) or ``{"gold", "pieces": [{"kind", "groups"}]}``
    (those of it that are read first) to ``{"equal", "exact", "answer"}``: ``exact`` is
    what ``strict`` says, ``answer`` is None where nothing was found.  ``{"unread": True}``
    where no piece parses.
    """
    gold = parse_gold(request["gold"])
    if not gold:
        return {"error": "math-verify reads no answer in the gold text"}
    found: list[Any] | None
    try:
        found = parse(request["text"], "response") if "text" in request else read(request["pieces"])
    except (MemoryError, RecursionError):
        raise
    except Exception:
        # A match that cannot become a number, such as a loop of 20,000 digits: lighteval takes it for no answer.
        found = []
    if found is None:
        return {"unread": True}
    if not found:
        return {"equal": False, "exact": False, "answer": None}
    strings = [reading for reading in found if isinstance(reading, str)]
    lenient, exact = equal(gold, found)
    return {"equal": lenient, "exact": exact, "answer": (strings[0] if strings else str(found[0]))[:MAX_ANSWER]}


def warm_up() -> None:
    parse_in_two_stages()
    read_numerals_directly()
    parse_gold("1")  # imports and the grammar's tables


if __name__ == "__main__":
    # By its path: ``python -P`` finds no module beside this one.
    shared = runpy.run_path(str(Path(__file__).with_name("worker_process.py")))
    shared["serve"](judge, "math-verify", warm_up, grown=False)
