"""What a run holds beside its measures, as tables: recipes, tensors of its checkpoints, and which responses have tokens.

These are the rows behind claims on bits, sizes and what is there.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from qrm_forensics.errors import ForensicsError
from qrm_forensics.recipes import Recipe
from qrm_forensics.records import TRACE_KEY
from qrm_forensics.store import Store, read_row_group
from qrm_forensics.weights import MANIFEST, open_checkpoint, read_json

#: Bits of a scale (and of any weight that is not quantized) where the checkpoint does not say otherwise.
SCALE_BITS = 16
_DTYPES = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "I64": 64,
    "I32": 32,
    "I8": 8,
    "U8": 8,
}
_TENSORS = ["variant", "tensor", "elements", "bits", "bytes"]


def bits_per_weight(recipe: Recipe, columns: int | None = None) -> float | None:
    """Bits that one weight of a quantized linear takes once packed, its share of scale and zero point included.

    w + (16 + w) / g with a zero point, w + 16 / g without; MXFP4 shares 8 bits among 32 weights.  ``columns``: length of a row, which is the group where
    the recipe has one per row; None for such a recipe where it is not known.  Weights that the recipe leaves alone
    take 16 bits (32 for ``fp32``).
    """
    if recipe.weight_bits is None:
        return 32.0 if recipe.method == "fp32" else 16.0
    if recipe.method == "mxfp4":
        return recipe.weight_bits + 8 / 32
    group = recipe.group_size if recipe.group_size not in (None, -1) else columns
    if group is None:
        return None
    return recipe.weight_bits + (SCALE_BITS + (0 if recipe.symmetric else recipe.weight_bits)) / group


def variant_table(store: Store) -> pd.DataFrame:
    """One row per variant: its record, the fields of its recipe, and ``bits_per_weight`` (null where not known)."""
    rows: list[dict[str, Any]] = []
    for variant in store.variants:
        recipe = Recipe.parse(variant.recipe)
        fields = recipe.model_dump() | {"bits_per_weight": bits_per_weight(recipe)}
        own = asdict(variant)
        rows.append({"variant": own.pop("id"), **own, **fields})
    return pd.DataFrame(rows)


def tensor_table(store: Store) -> pd.DataFrame:
    """One row per tensor and variant: elements, bits of each, bytes once packed.

    From the folders of the run's quantized checkpoints; an unquantized variant has the tensors of a checkpoint of
    the same model, as they are stored.  Variants of which no folder is there, or whose folder cannot be read, have no rows.
    """
    rows: list[dict[str, Any]] = []
    for variant in store.variants:
        recipe = Recipe.parse(variant.recipe)
        siblings = [v.id for v in store.variants if v.model == variant.model] if not recipe.quantized else []
        found = next((t for name in (variant.id, *siblings) if (t := _tensors(store, name, recipe)) is not None), [])
        rows += [{"variant": variant.id, **row} for row in found]
    return pd.DataFrame(rows, columns=_TENSORS)


def _tensors(store: Store, folder: str, recipe: Recipe) -> list[dict[str, Any]] | None:
    path = store.checkpoint_dir(folder)
    try:
        entries = open_checkpoint(path).entries
        manifest = read_json(path / MANIFEST)
    except ForensicsError:
        return None
    modules = manifest.get("modules", {}) if isinstance(manifest, dict) else {}
    rows = []
    for name, entry in entries.items():
        elements = math.prod(entry.shape)
        module = modules.get(name.removesuffix(".weight")) if name.endswith(".weight") else None
        bits: float | None = float(_DTYPES[entry.dtype]) if entry.dtype in _DTYPES else None
        if module is not None and recipe.quantized:
            bits = bits_per_weight(recipe, entry.shape[-1])
        if bits is None:
            return None
        rows.append({"tensor": name, "elements": elements, "bits": bits, "bytes": elements * bits / 8})
    return rows


def token_table(store: Store) -> pd.DataFrame:
    """The keys of the responses whose token ids are stored, a row group in memory at a time."""
    found = []
    for variant, benchmark in store.cells():
        for group in store.row_groups(variant, benchmark):
            table = read_row_group(group, [*TRACE_KEY, "token_ids"])
            found.append(table.filter(pc.is_valid(table["token_ids"])).select(TRACE_KEY))
    return pa.concat_tables(found).to_pandas() if found else pd.DataFrame(columns=TRACE_KEY)
