"""The words of a gate in one language: catalogues under ``locales``, and the sentences of a comparison in it.

English reasons are those of :mod:`qrm_forensics.compare.sentences`; every other language translates them in its
catalogue, as ``gate.reason.<key>`` with the same slots in Python's format syntax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from qrm_forensics.compare.comparability import Check
from qrm_forensics.compare.gates import Gate
from qrm_forensics.compare.sentences import SENTENCES, Reason
from qrm_forensics.compare.shares import Interval
from qrm_forensics.report.i18n import MissingMessage, Texts, catalogue, check_languages, read_catalogue
from qrm_forensics.report.model import Claim, Unit
from qrm_forensics.report.numbers import ABSENT, MINUS, Numbers
from qrm_forensics.report.rule_texts import rule_texts

LOCALES = Path(__file__).with_name("locales")
_REASON = "gate.reason."
#: Lists that the comparison puts together: ``loop (MATH-500), length (MATH-500)`` and ``strict: -3.0 points, worse; …``.
_GATES = re.compile(r"(?P<name>[a-z_]+) \((?P<benchmark>[^()]*)\)(?:, |$)")
_SCORED = re.compile(r"(?P<scorer>[\w-]+): (?P<points>[+-]\d+\.\d) points, (?P<said>[a-z]+)(?:; |$)")
_MINUS = re.compile(r"(?<![\w.-])-(?=\d)")
_COUNTED = re.compile(r"(\d+) of (\d+) known")


@cache
def gate_catalogue(language: str) -> Mapping[str, str]:
    """Key to message of one language."""
    return read_catalogue(LOCALES / language)


@dataclass(frozen=True)
class GateTexts:
    """Words and numbers of one language.  What is returned is plain text, not escaped for anything."""

    language: str
    texts: Texts
    outcomes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, language: str) -> GateTexts:
        """Raises InputError for a language without a catalogue."""
        (checked,) = check_languages([language])
        messages = {**catalogue(checked), **gate_catalogue(checked)}
        return cls(checked, Texts(checked, Numbers.of(checked), messages), rule_texts(checked, messages))

    @property
    def numbers(self) -> Numbers:
        return self.texts.numbers

    def say(self, key: str, /, **slots: str | int) -> str:
        """The message ``gate.<key>``."""
        return self.texts.text(f"gate.{key}", **slots)

    def aside(self, text: str, detail: str) -> str:
        """``text`` with ``detail`` in the parentheses of the language; ``text`` alone where there is no detail."""
        return self.texts.messages["gate.aside"].format(text=text, detail=detail) if detail else text

    def listed(self, names: Iterable[str]) -> str:
        """``names`` one after the other, with the comma of the language."""
        return self.texts.messages["gate.joint"].join(names)

    def told(self, name: str, text: str) -> str:
        """``name``, the colon of the language, and ``text``."""
        return self.texts.messages["gate.told"].format(name=name, text=text)

    def named(self, kind: str, name: str) -> str:
        """The message ``gate.<kind>.<name>`` where there is one, else the name."""
        key = f"gate.{kind}.{name}"
        return self.texts.text(key) if self.texts.has(key) else name

    def reason(self, reason: Reason, checks: Sequence[Check] = ()) -> str:
        """A sentence of the comparison; ``checks`` are those whose notes it may quote.

        Raises MissingMessage where the language does not have it.
        """
        template = SENTENCES[reason.key] if self.language == "en" else self.texts.messages.get(_REASON + reason.key)
        if template is None:
            raise MissingMessage(f"no message {_REASON}{reason.key} in the {self.language!r} catalogue")
        notes = {c.note: self.note(c) for c in checks if c.said is not None}
        told = template.format(**{name: self._slot(name, value, notes) for name, value in reason.slots.items()})
        # English sentences are those of the comparison's own JSON, to the letter; the others print signs as tables do.
        return told if self.language == "en" else _MINUS.sub(MINUS, told)

    def _slot(self, name: str, value: str | int | float, notes: Mapping[str, str]) -> str | int | float:
        """A name that has a translation, translated; everything else as it is."""
        match name, value:
            case "check" | "gate", str():
                return self.named(name, value)
            case "scorer" | "first" | "second", str():
                return self.policy(value)
            case "category", str():
                return self.outcome(value)
            case "why" | "unit", str():
                return self.named(name, value)
            case "note", str():
                return notes.get(value, value)
            case "gates", str():
                return self._each(_GATES, value, self._gate)
            case "shown", str():
                return self._each(_SCORED, value, self._scored)
        return value

    def _each(self, pattern: re.Pattern[str], value: str, told: Callable[[re.Match[str]], str]) -> str:
        """A list that the comparison made, each of its parts translated; as it is where it has other parts."""
        parts = list(pattern.finditer(value))
        return self.listed(map(told, parts)) if "".join(part[0] for part in parts) == value else value

    def _gate(self, part: re.Match[str]) -> str:
        return self.aside(self.named("gate", part["name"]), part["benchmark"])

    def _scored(self, part: re.Match[str]) -> str:
        change = self.points(float(part["points"]) / 100)
        return self.say(
            "scored", scorer=self.policy(part["scorer"]), change=change, said=self.named("said", part["said"])
        )

    def value(self, shown: str) -> str:
        """What a side has in a check, with the few words of it that are ours translated."""
        if shown == "not known":
            return self.say("value.not_known")
        if self.texts.has(f"coverage.{shown}"):
            return self.texts.text(f"coverage.{shown}")
        counted = _COUNTED.fullmatch(shown)
        return shown if counted is None else self.say("value.counted", known=counted[1], of=counted[2])

    def note(self, check: Check) -> str:
        """What is to be known about a check; empty where there is nothing."""
        return "" if check.said is None else self.reason(check.said)

    def policy(self, name: str) -> str:
        key = f"policy.{name}"
        return self.texts.text(key) if self.texts.has(key) else name

    def status(self, name: str | None) -> str:
        key = f"status.{name}"
        return self.texts.text(key) if name is not None and self.texts.has(key) else ABSENT

    def outcome(self, name: str | None) -> str:
        return ABSENT if name is None else self.outcomes.get(f"outcome.{name}.label", name)

    # ------------------------------------------------------------------ numbers
    def share(self, value: float | None) -> str:
        return self.numbers.value(value, Unit.SHARE)

    def points(self, value: float | None) -> str:
        return self.numbers.value(value, Unit.POINTS)

    def count(self, value: int | None) -> str:
        return self.numbers.value(value, Unit.COUNT)

    def p_value(self, value: float | None) -> str:
        return self.numbers.value(value, Unit.P_VALUE)

    def p_statement(self, value: float) -> str:
        return self.numbers.p_statement(Claim("", value, Unit.P_VALUE, ""))

    def change(self, value: float | None, interval: Interval | None) -> str:
        """``−3.2 pp (−5.0 to −1.4 pp)``."""
        if value is None or interval is None:
            return self.points(value)
        claim = Claim("", value, Unit.POINTS, "", ci_low=interval.low, ci_high=interval.high)
        return self.aside(self.points(value), self.numbers.interval(claim))

    def growth(self, value: float | None, interval: Interval | None = None) -> str:
        """A change in per cent of the baseline: ``+12.5% (+8.0 to +17.1%)``."""
        if value is None:
            return ABSENT
        shown = self._signed(value) + "%"
        if interval is None:
            return shown
        span = self.numbers.signed_range(self._signed(interval.low), self._signed(interval.high))
        return self.aside(shown, f"{span}%")

    def _signed(self, value: float) -> str:
        """Per cent with a sign, as points are printed, without their unit."""
        return self.points(value).removesuffix(self.numbers.points_suffix)

    # ------------------------------------------------------------------ gates
    def gate_name(self, gate: Gate) -> str:
        name = self.named("gate", gate.name)
        if gate.name == "outcomes" and gate.detail:
            return self.say("of_category", gate=name, category=self.outcome(gate.detail))
        return name

    def gate_side(self, gate: Gate, side: str) -> str:
        value: float | None = getattr(gate, side)
        if gate.unit != "ratio" or value is None:
            return self.share(value)
        return f"{self.count(round(value))} {self.named('unit', gate.detail)}"

    def gate_change(self, gate: Gate) -> str:
        told = self.growth if gate.unit == "ratio" else self.change
        return told(gate.change, gate.interval)

    def gate_margin(self, gate: Gate) -> str:
        if gate.unit == "ratio":
            return f"{self.numbers.value(100 * gate.margin, Unit.WORDS)}%"
        return self.numbers.magnitude(gate.margin, Unit.POINTS)

    def gate_status(self, gate: Gate) -> str:
        return self.say(f"status.{gate.status}")


def untranslated(language: str) -> set[str]:
    """Sentences of comparisons that a language does not have."""
    return set() if language == "en" else {k for k in SENTENCES if _REASON + k not in gate_catalogue(language)}
