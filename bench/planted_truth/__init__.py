"""Planted loops: texts whose loops are known to the character, and what detectors make of them.

``cases(half, n, seed)`` gives planted texts, ``clean(half)`` correct responses without a
loop.  The halves ``tuning`` and ``holdout`` share no problem, no random stream and no
wording of a template; thresholds are chosen on ``tuning`` alone.
"""

from .bases import HALVES, Base, Half, bases, clean, tokens
from .plant import Case, Truth, cases

__all__ = ["HALVES", "Base", "Case", "Half", "Truth", "bases", "cases", "clean", "tokens"]
