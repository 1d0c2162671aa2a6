"""The texts that metrics, symptoms and topics bring along, in every language.

They stand beside their code in English and Korean (:data:`qrm_forensics.metrics.protocol.LANGUAGES`).  Every other
language has them in its catalogue, under the same keys:

* ``metric.<metric>.title``, ``metric.<metric>.<column>.label``, ``metric.<metric>.<column>.definition``
* ``outcome.<name>.label`` and ``.definition``, the same for ``symptom`` and ``reference``; ``threshold.<name>.source``,
  ``reference.note``, ``symptoms.reason``
* ``topic.<name>``

A definition may quote the terms that a metric looks for.  They are part of its code, so a catalogue does not repeat
them: ``{terms1}`` is the first list of three or more quoted terms of the English definition, ``{terms2}`` the second.
A metric of a plugin may bring a text in the language itself; one that does not is told in English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from qrm_forensics import symptoms
from qrm_forensics.benchmarks.taxonomy import CATEGORIES
from qrm_forensics.metrics.protocol import LANGUAGES, Said
from qrm_forensics.metrics.registry import all_metrics

_TERMS = re.compile(r"'[^']+'(?:, '[^']+'){2,}")
_SLOT = re.compile(r"\{terms(\d+)\}")


def rule_texts(language: str, messages: Mapping[str, str]) -> dict[str, str]:
    """Key to text.  ``messages`` is the catalogue of the language, for what does not stand beside the code.

    Raises KeyError for a symptom or a topic that has no text in the language.
    """
    texts: dict[str, str] = {}
    for metric in all_metrics():
        said: dict[str, Said] = {f"metric.{metric.name}.title": metric.title}
        for column in metric.columns:
            said[f"metric.{metric.name}.{column.name}.label"] = column.label
            said[f"metric.{metric.name}.{column.name}.definition"] = column.definition
        for key, text in said.items():
            texts[key] = text.get(language) or with_terms(messages.get(key, text["en"]), text["en"])
    if language in LANGUAGES:
        texts |= symptoms.catalogue(language)
        return texts | {f"topic.{c.name}": c.label[language] for c in CATEGORIES}
    texts |= {key: messages[key] for key in symptoms.catalogue("en")}
    return texts | {f"topic.{c.name}": messages[f"topic.{c.name}"] for c in CATEGORIES}


def rule_keys() -> frozenset[str]:
    """The keys that a language needs which has no texts beside the code."""
    return frozenset(rule_texts("en", {}))


def with_terms(text: str, english: str) -> str:
    """``text`` with the lists of terms that the English definition quotes; IndexError for one that it does not have."""
    lists = _TERMS.findall(english)
    return _SLOT.sub(lambda match: lists[int(match[1]) - 1], text)
