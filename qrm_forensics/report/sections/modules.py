"""Which modules of a checkpoint its recipe rounded, so that a hypothesis about an untouched one can be ruled out.

The methods of the reference study, and the quantizers here, round only linears of the decoder layers (weights), their
inputs (activations) and the key-value cache; the LM head and the embeddings stay in full precision (*Quantization Hurts
Reasoning?*, sec. 2.1).  A checkpoint that was made here says so itself, tensor by tensor, in its manifest; of an
imported one only its name is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from qrm_forensics.errors import ForensicsError
from qrm_forensics.recipes import Recipe
from qrm_forensics.report.data import RunData
from qrm_forensics.weights import MANIFEST, read_json

#: Modules in the order of display.
MODULES = ("attention", "mlp", "lm_head", "kv_cache", "activations")
_PATTERNS = {
    "attention": re.compile(r"\.(self_attn|attn|attention)\."),
    "mlp": re.compile(r"\.(mlp|feed_forward)\."),
    "lm_head": re.compile(r"(^|\.)(lm_head|embed_tokens|wte)(\.|$)"),
}


@dataclass(frozen=True)
class Touched:
    """``bits`` of each module of ``MODULES``, None where the recipe leaves it in full precision.

    ``source``: ``manifest`` where the checkpoint itself says which linears were rounded, else ``name``.
    """

    bits: dict[str, int | None]
    source: str


def touched(run: RunData, variant: str) -> Touched:
    """What the recipe of a variant rounds."""
    recipe = Recipe.parse(run.variants[variant].recipe)
    bits: dict[str, int | None] = {
        "attention": recipe.weight_bits,
        "mlp": recipe.weight_bits,
        "lm_head": None,
        "kv_cache": recipe.kv_bits,
        "activations": recipe.activation_bits,
    }
    rounded = _rounded(run, variant)
    if rounded is None:
        return Touched(bits, "name")
    for module, pattern in _PATTERNS.items():
        bits[module] = recipe.weight_bits if any(pattern.search(name) for name in rounded) else None
    return Touched(bits, "manifest")


def _rounded(run: RunData, variant: str) -> list[str] | None:
    """Names of the rounded linears, from the manifest of the checkpoint; None where there is none to read."""
    path = run.store.checkpoint_dir(variant) / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest: Any = read_json(path)
    except ForensicsError:  # a damaged manifest says nothing; the name of the recipe still does
        return None
    modules = manifest.get("modules") if isinstance(manifest, dict) else None
    return [str(name) for name in modules] if isinstance(modules, dict) and modules else None
