"""What a run has measured of time and size, as tables: the rows behind claims on latency and memory."""

from __future__ import annotations

from typing import Any

import pandas as pd

from qrm_forensics.errors import ForensicsError
from qrm_forensics.recipes import Recipe
from qrm_forensics.records import Variant
from qrm_forensics.store import Store
from qrm_forensics.weights import MANIFEST, disk_bytes, read_json

#: The analysis of the run that holds them.
ANALYSIS = "latency"
_RESPONSES = ["variant", "benchmark", "problem_id", "seconds", "tokens", "prompt_tokens", "finish"]
_FOOTPRINT = ["variant", "realization", "disk_bytes", "weights_bytes", "peak_bytes", "peak_of"]


def latency_table(store: Store) -> pd.DataFrame:
    """One row per response that was timed alone (one in flight)."""
    rows = [{"variant": v, **r} for v, told in _told(store).items() for r in told.get("responses", [])]
    return pd.DataFrame(rows, columns=_RESPONSES)


def footprint_table(store: Store) -> pd.DataFrame:
    """One row per checkpoint that was timed: bytes of its files, of its weights in memory, and at most while it answered.

    Where the pass did not know the files, those of the run's own checkpoint folder are taken.
    """
    rows: list[dict[str, Any]] = [
        {
            "variant": v,
            "realization": told.get("realization"),
            "disk_bytes": told.get("disk_bytes") or disk_bytes(store.checkpoint_dir(v)),
            **(told.get("memory") or {}),
        }
        for v, told in _told(store).items()
    ]
    return pd.DataFrame(rows, columns=_FOOTPRINT)


def backends(store: Store) -> str:
    """The backends that made the run, as a study names them."""
    names = [info.get("backend") for info in store.study["runs"]]
    return ", ".join(dict.fromkeys(str(n) for n in names if n)) or "–"


def realization(store: Store, variant: Variant) -> str | None:
    """``original``, ``packed`` or ``simulated`` (computed in full precision); None for a quantized checkpoint that is not here."""
    timed = _told(store).get(variant.id, {}).get("realization")
    if timed is not None:
        return str(timed)
    if not Recipe.parse(variant.recipe).quantized:
        return "original"
    try:
        manifest = read_json(store.checkpoint_dir(variant.id) / MANIFEST)
    except (ForensicsError, OSError):
        return None
    found = manifest.get("realization") if isinstance(manifest, dict) else None
    return None if found is None else str(found)


def _told(store: Store) -> dict[str, dict[str, Any]]:
    kept = store.analysis(ANALYSIS, derived=False)
    told = kept[1].get("variants") if kept is not None and isinstance(kept[1], dict) else None
    return told if isinstance(told, dict) else {}
