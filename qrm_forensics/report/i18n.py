"""Catalogues: every word of a report, in every language, as gettext PO files ``locales/<language>/<area>.po``.

A language is a folder, and its catalogue the union of the folder's files: one file per area of the report
(``ui``, ``findings``, ``definitions``, …), so that a new part of the report brings an area file of its own,
the same in every language.  A key stands in one file only; in two it is a :class:`CatalogueError`.  Texts of
metrics and rules stand beside their code; :mod:`qrm_forensics.report.rule_texts` says in which languages.

Message ids are keys (``finding.worst``); a message holds named slots:

============================  =================================================================
``{accuracy}``                the value, linked to its evidence in HTML
``{accuracy:ci}``             its 95 % interval
``{accuracy:fraction}``       its numerator and denominator, ``263/500``
``{count:share}``             a count as the share of its denominator, ``52.6%``
``{difference:abs}``          the value without its sign
``{variant|은/는}``            the value and the Korean particle that follows its sound
``{p:p}``                     ``p = 0.023`` or ``p < 0.001``
``{lost#problem/problems}``  only the word: the first form where the value is 1, else the second
============================  =================================================================

Code between backticks and ``**strong**`` are the only markup.  Slots called ``policy``,
``other_policy``, ``outcome`` and ``column`` are printed by their name in the language.  The list of
languages is the list of folders.  A key that is missing and a slot that was not given are
errors, not blanks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from babel.messages.pofile import read_po
from markupsafe import Markup, escape

from qrm_forensics import symptoms
from qrm_forensics.errors import InputError
from qrm_forensics.metrics.registry import all_metrics
from qrm_forensics.report.model import Claim, Sentence, Unit
from qrm_forensics.report.numbers import Numbers
from qrm_forensics.report.particles import particle
from qrm_forensics.report.rule_texts import rule_texts
from qrm_forensics.report.visible import visible

LOCALES = Path(__file__).with_name("locales")

#: Languages whose BCP 47 tag says more than their folder's name: which of its scripts.
TAGS = {"zh": "zh-Hans"}

_SLOT = re.compile(
    r"\{(?P<name>[a-z_][a-z_0-9]*)"
    r"(?:#(?P<one>[^{}/]*)/(?P<many>[^{}/]*)|(?::(?P<style>[a-z]+))?(?:\|(?P<particle>[^{}]+))?)\}"
)
#: Characters of a name that a line of a narrow page still holds; longer ones may be broken.
_ONE_LINE = 30
_CODE = re.compile(r"`([^`]*)`")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")

Slot = Claim | str | int
Link = Callable[[Claim, str], Markup]


class MissingMessage(KeyError):
    """A key, a language or a slot that is not there; always a mistake in the program or a catalogue."""


class CatalogueError(ValueError):
    """A catalogue that contradicts itself; always a mistake in its files."""


def languages() -> tuple[str, ...]:
    """The languages that have a catalogue, in alphabetical order."""
    return tuple(sorted({path.parent.name for path in LOCALES.glob("*/*.po")}))


def _rules(language: str, messages: Mapping[str, str]) -> dict[str, str]:
    """The texts that rules bring along; ``outcome.<name>`` alone is the label, ``definition.<name>`` label and definition."""
    texts = rule_texts(language, messages)
    texts |= {f"outcome.{name}": texts[f"outcome.{name}.label"] for name in symptoms.OUTCOME_NAMES}
    for rule in (*symptoms.SYMPTOMS, *symptoms.REFERENCE_CATEGORIES):
        name = f"{rule.family}.{rule.name}"
        texts[name] = texts[f"{name}.label"]
        texts[f"definition.{name}"] = messages["pattern.rule"].format(
            label=texts[f"{name}.label"], definition=texts[f"{name}.definition"]
        )
    return texts


def check_languages(wanted: Iterable[str]) -> tuple[str, ...]:
    """``wanted`` without repetition; raises InputError for a language that has no catalogue."""
    known = languages()
    chosen = tuple(dict.fromkeys(wanted))
    unknown = [language for language in chosen if language not in known]
    if unknown or not chosen:
        raise InputError(f"report language {', '.join(unknown) or '(none given)'}: choose from {', '.join(known)}")
    return chosen


def read_catalogue(folder: Path) -> dict[str, str]:
    """Key to message over all PO files of one language's folder.

    An untranslated or fuzzy message is left out, so that it counts as missing.  Raises CatalogueError for a key
    that two of the files have, and babel's PoFileError for a file that is not PO.
    """
    texts: dict[str, str] = {}
    home: dict[str, str] = {}
    for path in sorted(folder.glob("*.po")):
        with path.open("rb") as file:
            messages = read_po(file, abort_invalid=True)
        for message in messages:
            if not message.id:
                continue  # the header
            key = str(message.id)
            if home.setdefault(key, path.name) != path.name:
                raise CatalogueError(f"{folder.name}: {key!r} is in {home[key]} and in {path.name}")
            if message.string and not message.fuzzy:
                texts[key] = str(message.string)
    return texts


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Key to message of one language: :func:`read_catalogue` of its folder, read once."""
    return read_catalogue(LOCALES / language)


def slots_of(message: str) -> frozenset[str]:
    """The names of the slots that a message uses."""
    return frozenset(match["name"] for match in _SLOT.finditer(message))


#: Slots whose value is a name that has a translation: slot -> prefix of the key.
_NAMED = {"policy": "policy.", "other_policy": "policy.", "column": "column.", "outcome": "outcome."}

#: Slots that hold a recipe or a marker, shown in the face of code.
_TECHNICAL = frozenset({"variant", "reference", "other", "variants", "marker"})


@dataclass(frozen=True)
class Texts:
    """The words and numbers of one language.

    ``link`` turns a claim and its printed form into HTML; without it a claim is plain text
    in HTML too.  ``quote`` escapes what is put into plain text (in Markdown even ``~``
    between two numbers means something).  ``labels`` and ``definitions`` are those of the measured columns, which their
    metrics bring along.
    """

    language: str
    numbers: Numbers
    messages: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)
    link: Link | None = None
    quote: Callable[[str], str] = str

    @classmethod
    def of(cls, language: str) -> Texts:
        """Texts with the labels and definitions of all installed metrics."""
        (checked,) = check_languages([language])
        told = catalogue(checked)
        rules = _rules(checked, told)
        columns = {
            column.name: f"metric.{metric.name}.{column.name}" for metric in all_metrics() for column in metric.columns
        }
        return cls(
            language=checked,
            numbers=Numbers.of(checked),
            messages={**told, **rules},
            labels={name: rules[f"{key}.label"] for name, key in columns.items()},
            definitions={name: rules[f"{key}.definition"] for name, key in columns.items()},
        )

    @property
    def tag(self) -> str:
        """The language as HTML's ``lang`` wants it (BCP 47): a script where the language has several."""
        return TAGS.get(self.language, self.language)

    def column(self, name: str) -> str:
        """The title of a measured column: the catalogue's short one, else its metric's, else its name."""
        return self.messages.get(f"column.{name}") or self.labels.get(name) or name

    def definition(self, key: str) -> str:
        """The exact definition behind a claim; those of measured columns come from their metric."""
        name = key.removeprefix("definition.column.")
        if name == key or name not in self.definitions:
            return self.raw(key)
        return self.raw("pattern.column").format(label=self.column(name), name=name, definition=self.definitions[name])

    def definition_html(self, key: str) -> Markup:
        return _marked(self.definition(key))

    def number(self, claim: Claim, style: str | None = None) -> Markup:
        """A claim as it is printed in HTML: linked to its evidence."""
        printed = self._printed(claim, style)
        return self.link(claim, printed) if self.link else escape(printed)

    def has(self, key: str) -> bool:
        return key in self.messages

    def raw(self, key: str) -> str:
        try:
            return self.messages[key]
        except KeyError:
            raise MissingMessage(f"no message {key!r} in the {self.language!r} catalogue") from None

    def text(self, key: str, /, **slots: Slot) -> str:
        """Plain text (Markdown keeps its backticks and stars)."""
        return _SLOT.sub(lambda match: self._fill(key, match, slots), self.raw(key))

    def html(self, key: str, /, **slots: Slot) -> Markup:
        """Escaped HTML: names in ``<bdi>``, claims linked to their evidence."""
        # Markup first, slots second: what a slot holds is never read as markup.
        message = str(_marked(self.raw(key)))
        pieces: list[str] = []
        position = 0
        for match in _SLOT.finditer(message):
            pieces += [message[position : match.start()], str(self._fill_html(key, match, slots))]
            position = match.end()
        return Markup("".join([*pieces, message[position:]]))

    def sentence(self, sentence: Sentence) -> str:
        return self.text(sentence.key, **sentence.slots)

    def sentence_html(self, sentence: Sentence) -> Markup:
        return self.html(sentence.key, **sentence.slots)

    def _printed(self, value: Slot, style: str | None) -> str:
        if isinstance(value, int):
            return self.numbers.value(value, Unit.COUNT)
        if isinstance(value, str):
            return value
        match style:
            case None:
                return self.numbers.claim(value)
            case "ci":
                return self.numbers.interval(value)
            case "fraction":
                return self.numbers.fraction(value)
            case "share":
                return self.numbers.share(value)
            case "abs":
                return self.numbers.magnitude(value.value, value.unit)
            case "p":
                return self.numbers.p_statement(value)
        raise MissingMessage(f"unknown slot style {style!r}")

    def _slot(self, key: str, match: re.Match[str], slots: Mapping[str, Slot]) -> tuple[Slot, bool]:
        """The value of a slot, and whether it is a name from outside (to be escaped)."""
        name = match["name"]
        try:
            value = slots[name]
        except KeyError:
            raise MissingMessage(f"message {key!r} needs the slot {name!r}") from None
        if not isinstance(value, str) or name not in _NAMED:
            return value, isinstance(value, str)
        if name == "column":
            return self.column(value), value not in self.labels
        known = self.messages.get(_NAMED[name] + value)
        return (value, True) if known is None else (known, False)

    @staticmethod
    def _word(match: re.Match[str], value: Slot) -> str:
        number = value.value if isinstance(value, Claim) else value
        return str(match["one"] if number in (1, "1") else match["many"])

    def _fill(self, key: str, match: re.Match[str], slots: Mapping[str, Slot]) -> str:
        value, _ = self._slot(key, match, slots)
        if match["one"] is not None:
            return self._word(match, value)
        printed = self._printed(value, match["style"])
        return self.quote(printed) + (particle(printed, match["particle"]) if match["particle"] else "")

    def _fill_html(self, key: str, match: re.Match[str], slots: Mapping[str, Slot]) -> Markup:
        value, foreign = self._slot(key, match, slots)
        if match["one"] is not None:
            return Markup(self._word(match, value))  # both forms were escaped with the message
        printed = self._printed(value, match["style"])
        if isinstance(value, Claim):
            shown = self.link(value, printed) if self.link else escape(printed)
        else:
            shown = _quoted(printed, match["name"] in _TECHNICAL) if foreign else escape(printed)
        return shown + (particle(printed, match["particle"]) if match["particle"] else "")


def _quoted(value: str, technical: bool) -> Markup:
    """Text that is not ours; of a list of names each by itself, so that a line breaks between them."""
    if not technical:
        return Markup("<bdi>{}</bdi>").format(visible(value))
    parts = value.split(", ")
    classes = ("name long" if len(part) > _ONE_LINE else "name" for part in parts)
    return Markup(", ").join(
        Markup('<bdi class="{}">{}</bdi>').format(c, visible(p)) for c, p in zip(classes, parts, strict=True)
    )


def _marked(message: str) -> Markup:
    """A message of ours as HTML, with its code and strong parts."""
    return Markup(_STRONG.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", str(escape(message)))))
