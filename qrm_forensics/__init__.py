"""Failure forensics for quantized reasoning models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qrm_forensics.notebook import open_run

__version__ = "0.1.0"
__all__ = ["__version__", "open_run"]


def __getattr__(name: str) -> object:
    # What a notebook needs takes a second to load, and the command line's --help should not wait for it.
    if name == "open_run":
        from qrm_forensics.notebook import open_run

        return open_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
