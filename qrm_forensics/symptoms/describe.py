"""Every rule and threshold as plain data, for documentation, legends and translation."""

from __future__ import annotations

from typing import Any

from qrm_forensics.metrics.protocol import said
from qrm_forensics.symptoms.flags import REFERENCE_CATEGORIES, REFERENCE_NOTE, SYMPTOMS
from qrm_forensics.symptoms.outcomes import OUTCOMES, UNASSIGNED, UNASSIGNED_DEFINITION, UNASSIGNED_LABEL
from qrm_forensics.symptoms.thresholds import MIN_CORRECT, SPECS

_REASON = said(
    "The rule '{outcome}' cannot be decided: nothing is known about {columns}.",
    "'{outcome}' 규칙을 판단할 수 없음: 값이 없는 열 {columns}.",
)


def describe() -> dict[str, list[dict[str, Any]]]:
    """``outcomes`` in their order, ``symptoms``, ``reference`` and ``thresholds``, each a list of plain dicts.

    Rules have ``name``, ``column``, ``label`` and ``definition`` (language -> text), ``reads`` and ``thresholds``;
    outcomes have ``order`` from 1, and ``unassigned`` is the last.  Thresholds have ``name``,
    ``column``, ``side``, ``quantile``, ``min_correct``, ``published``, ``floor`` (None without one), ``source``.
    """

    def plain(rule: Any) -> dict[str, Any]:
        return {
            "name": rule.name,
            "column": "outcome" if rule.family == "outcome" else rule.column,
            "label": dict(rule.label),
            "definition": dict(rule.definition),
            "reads": list(rule.reads),
            "thresholds": list(rule.limits),
        }

    last = {
        "name": UNASSIGNED,
        "column": "outcome",
        "label": dict(UNASSIGNED_LABEL),
        "definition": dict(UNASSIGNED_DEFINITION),
        "reads": [],
        "thresholds": [],
    }
    return {
        "outcomes": [{**o, "order": i} for i, o in enumerate([*map(plain, OUTCOMES), last], start=1)],
        "symptoms": [plain(rule) for rule in SYMPTOMS],
        "reference": [{**plain(rule), "note": dict(REFERENCE_NOTE)} for rule in REFERENCE_CATEGORIES],
        "thresholds": [
            {
                "name": s.name,
                "column": s.column,
                "side": s.side,
                "quantile": s.quantile,
                "min_correct": None if s.quantile is None else MIN_CORRECT,
                "published": s.published,
                "floor": s.floor,
                "source": dict(s.source),
            }
            for s in SPECS
        ],
    }


def catalogue(lang: str) -> dict[str, str]:
    """Every text in one language: ``outcome.<name>.label``, ``outcome.<name>.definition``, the same for ``symptom``
    and ``reference``, ``threshold.<name>.source``, ``reference.note`` and ``symptoms.reason`` (slots ``outcome``,
    ``columns``).  Raises KeyError for a language that is not there.
    """
    texts = {
        f"{rule.family}.{rule.name}.{part}": text[lang]
        for rule in (*OUTCOMES, *SYMPTOMS, *REFERENCE_CATEGORIES)
        for part, text in (("label", rule.label), ("definition", rule.definition))
    }
    texts[f"outcome.{UNASSIGNED}.label"] = UNASSIGNED_LABEL[lang]
    texts[f"outcome.{UNASSIGNED}.definition"] = UNASSIGNED_DEFINITION[lang]
    texts |= {f"threshold.{s.name}.source": s.source[lang] for s in SPECS}
    texts["reference.note"] = REFERENCE_NOTE[lang]
    texts["symptoms.reason"] = _REASON[lang]
    return texts
