"""Whether what another library left is a quantized checkpoint of the model that it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qrm_forensics.errors import InputError
from qrm_forensics.weights import content_hash, open_checkpoint

#: How safetensors calls dtypes that weights have before quantization.
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


def check(folder: Path, source: Path, recipe: str, methods: tuple[str, ...]) -> dict[str, Any]:
    """``quantization_config``, ``content_hash`` and the number of ``quantized_tensors`` of a result.

    Raises InputError where the folder is not a whole checkpoint, is of another architecture or size than
    ``source``, says nothing (or something else than one of ``methods``) about its quantization, or has no quantized tensor.
    """
    made, before = open_checkpoint(folder), open_checkpoint(source)
    for key in ("architectures", "num_hidden_layers", "hidden_size", "vocab_size"):
        if made.config.get(key) != before.config.get(key):
            raise InputError(
                f"{recipe}: the result's config.json has {key} {made.config.get(key)!r}, the source's {before.config.get(key)!r}"
            )
    config = made.config.get("quantization_config")
    method = config.get("quant_method") if isinstance(config, dict) else None
    if method not in methods:
        raise InputError(
            f"{recipe}: the result's quantization_config names the method {method!r}, expected {' or '.join(methods)}"
        )
    quantized = [name for name, entry in made.entries.items() if entry.dtype not in _FLOATS]
    if not quantized:
        raise InputError(
            f"{recipe}: every tensor of the result is stored as floating-point numbers; nothing was quantized"
        )
    for layer in range(int(before.config.get("num_hidden_layers") or 0)):
        if not any(f"layers.{layer}." in name for name in made.entries):
            raise InputError(f"{recipe}: the result has no tensor of decoder layer {layer}")
    return {
        "quantization_config": config,
        "content_hash": content_hash(folder),
        "quantized_tensors": len(quantized),
    }
