"""Numbers for people: one way to print each unit in each language (CLDR rules through Babel)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from babel import Locale
from babel.numbers import format_decimal, format_percent

from qrm_forensics.report.model import Claim, Unit

MINUS = "\N{MINUS SIGN}"
ABSENT = "\N{EN DASH}"

_PATTERNS = {
    Unit.COUNT: "#,##0",
    Unit.WORDS: "#,##0.#",
    Unit.TOKENS: "#,##0.#",
    Unit.CHARS: "#,##0.#",
    Unit.SECONDS: "#,##0.0",
    Unit.PER_1000_WORDS: "#,##0.00",
    Unit.RATIO: "#,##0.00",
}

#: Of plain numbers: those between -1 and 1 are told finer.
_FINE, _COARSE = "0.000", "#,##0.0"


def _fine(value: float) -> bool:
    return 0 < abs(value) < 1


@dataclass(frozen=True, slots=True)
class Signs:
    """How a language writes units and ranges."""

    points: str = " pp"
    times: str = "×"
    #: Between the ends of a range, and of one whose ends have signs.
    dash: str = "–"
    joint: str = " to "
    #: Whether ``%`` and ``×`` stand behind both ends of a range, or behind the second only.
    both: bool = False


#: Korean: the National Institute of Korean Language's 물결표; Chinese: GB/T 15834 and GB/T 15835.
_SIGNS = {
    "en": Signs(),
    "ko": Signs(points="%p", times="배", dash="~", joint=" ~ "),
    "zh": Signs(points=" 个百分点", times=" 倍", dash="～", joint=" 至 ", both=True),
}

#: Definitions of sizes: a difference in points without a direction.
_SIZES = frozenset({"definition.detectable"})


@dataclass(frozen=True, slots=True)
class Numbers:
    """Formats numbers for one language.  Missing values print as an en dash."""

    locale: Locale
    signs: Signs = Signs()

    @classmethod
    def of(cls, language: str) -> Numbers:
        """Raises KeyError for a language whose signs are not known here."""
        return cls(Locale.parse(language), _SIGNS[language])

    @property
    def points_suffix(self) -> str:
        return self.signs.points

    def value(self, value: float | int | None, unit: Unit) -> str:
        """A bare value with the sign of its unit (%, pp, ×), without words."""
        # a report prints most of its numbers several times, and CLDR's patterns are slow; + 0 makes -0.0 and 0.0 one
        return ABSENT if value is None else _printed(self, value + 0, unit)

    def _value(self, value: float | int, unit: Unit) -> str:
        match unit:
            case Unit.SHARE:
                text = str(format_percent(value, "#,##0.0%", locale=self.locale))
            case Unit.POINTS:
                return self._points(value) + self.points_suffix
            case Unit.P_VALUE:
                return "<0.001" if value < 0.001 else str(format_decimal(value, "0.000", locale=self.locale))
            case Unit.RATIO:
                text = str(format_decimal(value, _PATTERNS[unit], locale=self.locale))
                text += self.signs.times
            case Unit.PLAIN:
                text = str(format_decimal(value, _FINE if _fine(value) else _COARSE, locale=self.locale))
            case _:
                text = str(format_decimal(value, _PATTERNS[unit], locale=self.locale))
        return text.replace("-", MINUS)

    def magnitude(self, value: float | int | None, unit: Unit) -> str:
        """The value without its sign, for sentences that say "fell by"."""
        if value is None:
            return ABSENT
        return self.value(abs(value), unit).lstrip("+")

    def claim(self, claim: Claim) -> str:
        """The value; where there is none but counts are known (a selected subset), ``12/50``.

        A difference without a value stays absent: ``−12/50`` would read as one.
        """
        if claim.value is None:
            return ABSENT if claim.unit is Unit.POINTS else self.fraction(claim)
        show = self.magnitude if claim.definition in _SIZES else self.value
        return show(claim.value, claim.unit)

    def p_statement(self, claim: Claim) -> str:
        """``p = 0.023`` or ``p < 0.001``."""
        text = self.claim(claim)
        return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"

    def fraction(self, claim: Claim) -> str:
        """``263/500``, or an en dash where the claim has no counts."""
        if claim.numerator is None or claim.denominator is None:
            return ABSENT
        return f"{self.value(claim.numerator, Unit.COUNT)}/{self.value(claim.denominator, Unit.COUNT)}"

    def share(self, claim: Claim) -> str:
        """A count as the share that it is of its denominator, ``52.6%``, or an en dash."""
        if claim.numerator is None or not claim.denominator:
            return ABSENT
        return self.value(claim.numerator / claim.denominator, Unit.SHARE)

    def interval(self, claim: Claim) -> str:
        """``81.6–87.9%`` (Korean ``81.6~87.9%``, Chinese ``81.6%～87.9%``), or an en dash where there is no interval."""
        low, high = claim.ci_low, claim.ci_high
        if low is None or high is None:
            return ABSENT
        if claim.unit is Unit.POINTS:
            return self.signed_range(self._points(low), self._points(high)) + self.points_suffix
        left, right = self._ends(low, high, claim.unit)
        if low < 0:
            return self.signed_range(left, right)
        if not self.signs.both:
            suffix = next((s for s in ("%", self.signs.times) if left.endswith(s) and right.endswith(s)), "")
            left = left.removesuffix(suffix)
        return left + self.signs.dash + right

    def _ends(self, low: float, high: float, unit: Unit) -> tuple[str, str]:
        """Both ends of a range with as many decimals, where a value alone would have as many as it needs."""
        if unit is Unit.PLAIN and _fine(low) != _fine(high):
            pattern = _FINE if abs(high - low) < 1 else _COARSE
        elif _PATTERNS.get(unit, "").endswith("#"):
            whole = all(round(float(value), 1).is_integer() for value in (low, high))
            pattern = "#,##0" if whole else _COARSE
        else:
            return self.value(low, unit), self.value(high, unit)
        zero = str(format_decimal(0, pattern, locale=self.locale))

        def end(value: float) -> str:
            text = str(format_decimal(value, pattern, locale=self.locale))
            return zero if text.lstrip("-") == zero else text.replace("-", MINUS)

        return end(low), end(high)

    def signed_range(self, low: str, high: str) -> str:
        """From one printed number to another where either may have a sign: ``−5.0 to +1.4``."""
        return f"{low}{self.signs.joint}{high}"

    def _points(self, value: float) -> str:
        text = str(format_decimal(value * 100, "#,##0.0", locale=self.locale))
        if text.lstrip("-") == format_decimal(0, "#,##0.0", locale=self.locale):
            return text.lstrip("-")
        return text.replace("-", MINUS) if value < 0 else f"+{text}"


@lru_cache(maxsize=1 << 16)
def _printed(numbers: Numbers, value: float | int, unit: Unit) -> str:
    return numbers._value(value, unit)
