"""What a run has measured of perplexity, as a table: the rows behind claims on it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from qrm_forensics.store import Store

#: The analysis of the run that holds them, as the pipeline keeps it, and what claims call its table.
ANALYSIS = "perplexity"
_COLUMNS = ["variant", "window", "nll"]


def perplexity_table(store: Store) -> pd.DataFrame:
    """One row per checkpoint and window: the mean negative log-likelihood of its tokens, in nats."""
    rows = [
        {"variant": variant, "window": window, "nll": nll}
        for variant, told in told_of(store).items()
        for window, nll in enumerate(told.get("windows") or [])
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def told_of(store: Store) -> dict[str, dict[str, Any]]:
    """Checkpoint -> what was stored about it; empty where perplexity was not measured."""
    kept = store.analysis(ANALYSIS, derived=False)
    variants = kept[1].get("variants") if kept is not None and isinstance(kept[1], dict) else None
    return {v: told for v, told in variants.items() if isinstance(told, dict)} if isinstance(variants, dict) else {}
