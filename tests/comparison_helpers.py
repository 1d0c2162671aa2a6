"""Sides made of a few columns, for tests of comparing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from qrm_forensics.compare.items import Facts, Side, content_hash

STATUS = {1: "correct", 0: "wrong", None: "unscored"}

FACTS = Facts(
    name="base",
    source="runs/base",
    kind="run",
    variant="base",
    recipe=None,
    model="m",
    sampling={"temperature": "0.6", "top_p": "0.95"},
    max_new_tokens=4096,
    scorer="scorer 1",
    engine="transformers 5",
    created="2026-01-01T00:00:00+00:00",
    request_hash="r",
    versions={"torch": "2.13"},
    content_hash="",
)


def make_side(
    right: Sequence[int | None] | Sequence[Sequence[int | None]],
    name: str = "base",
    *,
    benchmark: str = "b",
    ids: Sequence[str] | None = None,
    seed: int = 1,
    facts: dict[str, Any] | None = None,
    **columns: Any,
) -> Side:
    """One response per entry of ``right`` (1, 0, or None for unscored), or several where entries are lists.

    ``columns`` are per response, or one value for all.
    """
    samples = [list(r) if isinstance(r, (list, tuple)) else [r] for r in right]
    ids = [f"p{i:04d}" for i in range(len(samples))] if ids is None else list(ids)
    rows = [
        {"benchmark": benchmark, "problem_id": i, "sample": s, "seed": seed + s, "status_strict": STATUS[v]}
        for i, values in zip(ids, samples, strict=True)
        for s, v in enumerate(values)
    ]
    items = pd.DataFrame(rows, columns=["benchmark", "problem_id", "sample", "seed", "status_strict"])
    items["gold_hash"] = "g" + items["problem_id"]
    items["prompt_hash"] = "q" + items["problem_id"]
    for column, values in columns.items():
        items[column] = values
    return Side(replace(FACTS, name=name, variant=name, content_hash=content_hash(items), **(facts or {})), items)


def pair_of(lost: int, gained: int, both: int, neither: int) -> tuple[list[int], list[int]]:
    """Two columns of right and wrong with these counts."""
    x = [1] * lost + [0] * gained + [1] * both + [0] * neither
    y = [0] * lost + [1] * gained + [1] * both + [0] * neither
    return x, y
