"""The ledger of claims as the page reads it: every claim once, for all languages, until somebody looks for one.

A table of all claims in every language would be most of a report's weight, and a browser would build it before it
shows the first word.  The page gets this instead, compressed, and makes the card or the rows that are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qrm_forensics.report.views import View


def ledger_json(views: Mapping[str, View]) -> str:
    """JSON of the claims of one report seen in several languages (language -> view).

    ``rows``: per claim, sorted by id: ``[id, anchor or 0, definition, table, filter, interval method, note, value,
    fraction, interval]``; definition, table, filter, method and note are numbers of entries in the lists of those
    names, -1 for none; the last three are as printed, a list by language where the languages differ.  ``definitions``
    holds anchors in the page, ``methods`` and ``notes`` texts by language.  Anchors are without their language.

    Raises ValueError where the views name a claim differently, as a link to it would then not last.
    """
    languages = list(views)
    first = views[languages[0]]
    definitions, stored, filters, methods, notes = _Index(), _Index(), _Index(), _Index(), _Index()
    rows: list[list[Any]] = []
    for claim in first.sorted_claims:
        names = {_bare(view.claim_anchor(claim)) for view in views.values()}
        if len(names) > 1:
            raise ValueError(f"claim {claim.id!r} has several anchors: {sorted(names)}")
        (anchor,) = names
        printed = [
            _by_language([view.plain_claim(claim, style) if there else "" for view in views.values()])
            for style, there in (
                (None, True),
                ("fraction", claim.denominator is not None),
                ("ci", claim.ci_low is not None),
            )
        ]
        rows.append(
            [
                claim.id,
                0 if anchor == f"claim/{claim.id}" else anchor,
                definitions.of(claim.definition),
                stored.of(claim.table),
                filters.of(claim.filter),
                methods.of(claim.ci_method),
                notes.of(claim.note),
                *printed,
            ]
        )
    texts = {language: view.texts for language, view in views.items()}
    told = {
        "languages": languages,
        "definitions": [_bare(first.definition_anchor(key)) for key in definitions.names],
        "tables": stored.names,
        "filters": filters.names,
        "methods": [[t.text(f"ci.{m}") for t in texts.values()] for m in methods.names],
        "notes": [[t.text(n) for t in texts.values()] for n in notes.names],
        "rows": rows,
    }
    return json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class _Index:
    """Numbers for names, in the order in which they come up."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._at: dict[str, int] = {}

    def of(self, name: str | None) -> int:
        if not name:
            return -1
        if name not in self._at:
            self._at[name] = len(self.names)
            self.names.append(name)
        return self._at[name]


def _bare(anchor: str) -> str:
    return anchor.partition(":")[2]


def _by_language(printed: list[str]) -> str | list[str]:
    return printed[0] if len(set(printed)) == 1 else printed
