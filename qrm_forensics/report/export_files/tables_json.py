"""Tables of a report as JSON: raw values with their evidence, no language, one file per table."""

from __future__ import annotations

import json
from typing import Any

from qrm_forensics.report.model import Claim, Sentence
from qrm_forensics.report.tables import Head, ModelText, TableData, Value, is_key

SCHEMA = 1


def to_json(table: TableData) -> str:
    """``columns`` with name, catalogue key and unit, and ``rows`` of cells in that order.

    A number with evidence is an object with its claim ``id`` (as in ``claims.jsonl``), ``value``, ``unit`` and, where it
    has them, ``numerator``, ``denominator``, ``ci_low``, ``ci_high``, ``ci_method``, ``note``; words are an object with
    their catalogue ``key`` and slots; what a model wrote is ``{"text": …}``; names are strings; nothing is null.
    """
    whole = {
        "table": table.name,
        "schema": SCHEMA,
        "columns": [_column(head) for head in table.heads],
        "rows": [[_cell(value) for value in row] for row in table.rows],
    }
    return json.dumps(whole, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _column(head: Head) -> dict[str, Any]:
    title = head.title.key if isinstance(head.title, Sentence) else head.title
    slots = {k: _cell(v) for k, v in head.title.slots.items()} if isinstance(head.title, Sentence) else {}
    found: dict[str, Any] = {"name": head.name, "title": title}
    if slots:
        found["slots"] = slots
    if head.policy is not None:
        found["policy"] = head.policy
    return found


def _cell(value: Value) -> Any:
    match value:
        case Claim():
            told = {name: getattr(value, name) for name in _CLAIM}
            return {"id": value.id, "value": value.value, "unit": str(value.unit)} | {
                name: found for name, found in told.items() if found is not None
            }
        case Sentence():
            slots = {name: _cell(slot) for name, slot in value.slots.items()}
            return {"key": value.key} | ({"slots": slots} if slots else {})
        case ModelText():
            return {"text": value.text}
        case str() if is_key(value):
            return {"key": value}
        case _:
            return value


_CLAIM = ("numerator", "denominator", "ci_low", "ci_high", "ci_method", "note")
