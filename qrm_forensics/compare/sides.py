"""Reading one side of a comparison: a checkpoint in a run folder, a baseline file, or a table of scores."""

from __future__ import annotations

from qrm_forensics.compare.items import ITEM_KEY, ITEM_SCHEMA, Facts, Side

__all__ = ["ITEM_KEY", "ITEM_SCHEMA", "Facts", "Side"]
