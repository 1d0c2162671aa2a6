"""MATH-500, the AIMEs and GSM8K: a problem, a short answer.

What the data sets call their columns differs: MATH-500 has ``problem``, ``answer``, ``subject``, ``level`` and
``unique_id``; Maxwell-Jia/AIME_2024 has ``Problem``, ``Answer`` and ``ID``; AIME90 and aime_2025 ``problem``, ``answer``
and ``id``; GSM8K ``question`` and a worked ``answer`` that ends in ``#### 72``.
"""

from __future__ import annotations

from qrm_forensics.benchmarks.fields import ProblemIds, optional_field, short_answer, text_field
from qrm_forensics.benchmarks.items import Item, Rows


def read(rows: Rows) -> list[Item]:
    """All problems in the order of the rows.  Raises InputError for a row without problem or answer, or a repeated id."""
    ids = ProblemIds()
    items = []
    for where, row in rows:
        question = text_field(row, ("problem", "question", "Problem"), where)
        gold = short_answer(text_field(row, ("answer", "Answer"), where))
        own_id = optional_field(row, ("unique_id", "id", "ID"), where)
        subject, level = (optional_field(row, (name,), where) for name in ("subject", "level"))
        items.append(Item(ids.take(own_id, where), question, gold, subject, level))
    return items
