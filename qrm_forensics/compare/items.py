"""One checkpoint's results, as rows that can be laid beside another's: what comparing starts from.

Nothing here knows where the rows came from; ``sides`` reads them from runs, baseline files and tables of scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd
import pyarrow as pa

from qrm_forensics.store import hash_of

SideKind = Literal["run", "import", "baseline", "scores"]

#: Key of an item: one response of the checkpoint.
ITEM_KEY = ("benchmark", "problem_id", "sample", "seed")

_TEXT, _INT, _YES_NO = pa.string(), pa.int64(), pa.bool_()
#: The columns that every side has, in this order; null where a figure was not measured.
ITEM_SCHEMA = pa.schema(
    [
        pa.field("benchmark", _TEXT, False),
        pa.field("problem_id", _TEXT, False),
        pa.field("sample", _INT, False),
        pa.field("seed", _INT, False),
        pa.field("gold_hash", _TEXT),
        pa.field("prompt_hash", _TEXT),
        pa.field("subject", _TEXT),
        pa.field("level", _TEXT),
        pa.field("status_strict", _TEXT),
        pa.field("status_lenient", _TEXT),
        pa.field("n_tokens", _INT),
        pa.field("n_words", _INT),
        pa.field("finish", _TEXT, False),
        pa.field("truncated", _YES_NO),
        pa.field("closed", _YES_NO),
        pa.field("boxed", _YES_NO),
        pa.field("loop", _YES_NO),
        pa.field("missing_answer", _YES_NO),
        pa.field("outcome", _TEXT),
    ]
)


@dataclass(frozen=True)
class Facts:
    """What the results of one checkpoint were made with; None where that is not known.

    ``name`` is what outputs call it, ``source`` where it was read from.  ``sampling`` has the decoding
    settings without the token limit (temperature, top_p, top_k) as text.  ``scorer`` names what made the
    verdicts, ``engine`` what made the responses.  ``created``: when the responses were made, ISO 8601.
    ``request_hash`` identifies the run, ``content_hash`` the items.  ``blessed``: when the baseline file was written.
    ``coverage``: benchmark -> which part of it was answered (``full``, ``prefix``, ``selected``, ``unknown``).
    """

    name: str
    source: str
    kind: SideKind
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
    blessed: str | None = None
    coverage: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """The results of one checkpoint: one row per response, the columns of ``ITEM_SCHEMA`` first.

    ``status_<policy>`` is ``correct``, ``wrong``, ``missing``, ``unscored`` or null; whole numbers, yes/no
    and text are nullable pandas types.  ``truncated``: stopped from outside; ``loop``: repeats itself (tier 1
    or 2, no enumeration); ``missing_answer``: ended without a final answer.  Any other
    column is a further figure of the response.
    """

    facts: Facts
    items: pd.DataFrame

    @property
    def policies(self) -> tuple[str, ...]:
        """The scoring policies that judged at least one item, in the order of the columns."""
        found = [c for c in self.items.columns if c.startswith("status_") and self.items[c].notna().any()]
        return tuple(c.removeprefix("status_") for c in found)


def items_frame(table: pa.Table) -> pd.DataFrame:
    """A table of items as a frame with nullable types; columns of ``ITEM_SCHEMA`` that it lacks are null."""
    columns = {
        f.name: table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(table.num_rows, f.type)
        for f in ITEM_SCHEMA
    }
    statuses = [c for c in table.column_names if c.startswith("status_") and c not in columns]
    columns |= {name: table[name] for name in [*statuses, *table.column_names] if name not in columns}
    frame: pd.DataFrame = pa.table(columns).to_pandas(types_mapper=_PANDAS.get)
    return frame


_PANDAS = {
    pa.string(): pd.StringDtype(),
    pa.large_string(): pd.StringDtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.float64(): pd.Float64Dtype(),
}


def content_hash(items: pd.DataFrame) -> str:
    """SHA-256 of the items, whatever the order of rows and columns; a column without a value counts for nothing."""
    ordered = items.sort_values(list(ITEM_KEY), kind="stable")
    return hash_of({str(name): _plain(ordered[name]) for name in sorted(items.columns) if items[name].notna().any()})


def _plain(column: pd.Series) -> list[object]:
    return [None if pd.isna(v) else v for v in column.astype(object)]


def short_hash(text: str) -> str | None:
    """What stands for a gold answer or a prompt: 16 hex digits of SHA-256, None for no text."""
    return hash_of(text)[:16] if text else None


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names for a message, the first few of them; names come from files, so they are quoted as JSON."""
    every = [json.dumps(name, ensure_ascii=False) for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
