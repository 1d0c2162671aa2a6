"""One checkpoint's results, as items that can be compared with another's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd


@dataclass(frozen=True, slots=True)
class Facts:
    """What must agree before two sides are compared; None where it is not known.

    ``source`` is where the items were read from, ``created`` an ISO 8601 time, ``content_hash`` a hash of the items.
    """

    name: str
    source: str
    kind: Literal["run", "import", "baseline", "scores"]
    variant: str
    recipe: str | None
    model: str | None
    sampling: dict[str, str] | None
    max_new_tokens: int | None
    scorer: str | None
    engine: str | None
    created: str | None
    request_hash: str | None
    versions: dict[str, str]
    content_hash: str


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Facts and items.  ``items`` has one row per response, keyed by benchmark, problem_id, sample and seed.

    Further columns: gold_hash, prompt_hash, subject, level, status_strict and status_lenient
    (``records.Status`` or null), n_tokens, n_words, finish, truncated, closed, boxed, loop, missing_answer (yes/no
    or null), outcome, and any other column of numbers or yes/no.  A column may be absent, which is all null.
    """

    facts: Facts
    items: pd.DataFrame
