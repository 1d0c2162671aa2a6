"""Baseline files: what is written is read again, whatever the rows hold; the hash is that of the rows and of nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
from comparison_helpers import FACTS
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.compare.baseline_file import read_baseline, write_baseline
from qrm_forensics.compare.items import ITEM_SCHEMA, Side, content_hash, items_frame

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
REAL = st.floats(allow_nan=False, width=64)
VALUES: dict[pa.DataType, st.SearchStrategy[object]] = {
    pa.string(): TEXT,
    pa.int64(): st.integers(-(2**53), 2**53),
    pa.bool_(): st.booleans(),
    pa.float64(): REAL,
}


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    n = draw(st.integers(1, 6))
    fields = [*ITEM_SCHEMA, pa.field("status_imported", pa.string()), pa.field("ttr", pa.float64())]
    columns = {}
    for field in fields:
        value = VALUES[field.type] if not field.nullable else st.none() | VALUES[field.type]
        columns[field.name] = pa.array(draw(st.lists(value, min_size=n, max_size=n)), field.type)
    columns["problem_id"] = pa.array([f"{draw(TEXT)}/{i}" for i in range(n)])
    return items_frame(pa.table(columns))


def side(items: pd.DataFrame) -> Side:
    facts = {name: getattr(FACTS, name) for name in FACTS.__dataclass_fields__} | {"content_hash": content_hash(items)}
    return Side(type(FACTS)(**facts), items)


@settings(max_examples=40, deadline=None)
@given(frames())
def test_what_was_blessed_is_read_again(items: pd.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "b.parquet"
        written = write_baseline(side(items), path, now=lambda: "2026-01-01T00:00:00+00:00")
        read = read_baseline(path)
    assert read.facts == written.facts and read.facts.kind == "baseline"
    kept = list(read.items.columns)
    assert set(items.columns) - set(kept) <= {c for c in items.columns if items[c].isna().all()}
    pd.testing.assert_frame_equal(read.items, items[kept])


@settings(max_examples=40, deadline=None)
@given(frames(), st.randoms(use_true_random=False))
def test_the_hash_is_of_the_rows_whatever_their_order(items: pd.DataFrame, random: Random) -> None:
    rng = np.random.default_rng(random.getrandbits(32))
    shuffled = items.iloc[rng.permutation(len(items))][list(rng.permutation(items.columns))]
    assert content_hash(shuffled) == content_hash(items)
    changed = items.copy()
    changed.loc[0, "n_words"] = 7 if pd.isna(items.loc[0, "n_words"]) else int(items.loc[0, "n_words"]) + 1
    assert content_hash(changed) != content_hash(items)
