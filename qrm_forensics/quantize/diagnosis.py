"""What quantizing a model tells about it: errors and outliers per module, and warnings where a recipe meets a known trap.

Nothing is run for it: sizes of inputs and keys come from the passes that calibration makes anyway
(:mod:`~qrm_forensics.quantize.witness`), errors from the records of the method, and what a grid does to keys is simulated from the key bias
alone where no text goes through the model.  The result stands in ``recipe.json`` under ``diagnosis``.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import ForensicsError
from qrm_forensics.quantize.adapters import ModelMap, model_map
from qrm_forensics.quantize.base import Job, Outcome
from qrm_forensics.quantize.traps import Trap, traps
from qrm_forensics.quantize.witness import Witness
from qrm_forensics.weights import MANIFEST, read_json

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1


def witness_for(job: Job) -> Witness:
    """An eye on the passes of the calibration text of ``job``."""
    return Witness(_map(job))


def diagnose(job: Job, outcome: Outcome, witness: Witness) -> dict[str, Any]:
    """For the manifest, JSON-able.

    ``modules``: of every quantized linear the relative squared error of its weight, of its output where the method judges it, and of
    its inputs the largest channel (by largest \\|x\\|) over the median one.  ``keys``: per layer the largest key bias over the median one, and the
    error of the grid that the recipe rounds keys on.  ``warnings``: see :func:`~qrm_forensics.quantize.traps.traps`.
    """
    model = _map(job)
    modules = {name: _module(name, record, witness) for name, record in outcome.modules.items()}
    keys = [_keys(job, model, outcome, witness, layer) for layer in range(model.layers)]
    found: dict[str, Any] = {
        "format": FORMAT,
        "inputs": "seen in calibration" if witness.inputs else "not seen: the recipe needs no calibration text",
        "modules": modules,
        "keys": keys,
        "warnings": [asdict(trap) for trap in traps(job, outcome, modules, keys)],
    }
    whole: dict[str, Any] = _finite(found)
    return whole


def _finite(value: Any) -> Any:
    """JSON has neither infinity nor NaN, and a diagnosis of broken numbers must not cost the checkpoint: they become null."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_warnings(folder: Path) -> list[Trap]:
    """The warnings of a checkpoint that is there; none where it has no diagnosis."""
    try:
        manifest = read_json(folder / MANIFEST)
        return [Trap(**raw) for raw in manifest["diagnosis"]["warnings"]]
    except (ForensicsError, OSError, KeyError, TypeError):
        return []


def _map(job: Job) -> ModelMap:
    return model_map(job.source.config, job.source.shapes, str(job.source.folder))


def _module(name: str, record: dict[str, Any], witness: Witness) -> dict[str, Any]:
    sqnr = record.get("weight_sqnr_db", record.get("scaled_weight_sqnr_db"))
    error = record.get("relative_output_error", record.get("relative_key_error"))
    seen = witness.of(name)
    found: dict[str, Any] = {
        # no noise in dB is no number; weights that were on the grid already have an error of 0
        "weight_error": 10 ** (-sqnr / 10) if sqnr is not None else (0.0 if "weight_sqnr_db" in record else None),
        "output_error": error,
        "input_vectors": seen.vectors if seen else None,
        "input_outlier": None,
    }
    if seen is not None and seen.peak is not None:
        channel = int(seen.peak.argmax())
        median = float(seen.peak.median())
        peak = float(seen.peak[channel])
        found["input_outlier"] = {
            "channel": channel,
            "peak": peak,
            "median_peak": median,
            "ratio": peak / median if median > 0 else None,
        }
    return found


def _keys(job: Job, model: ModelMap, outcome: Outcome, witness: Witness, layer: int) -> dict[str, Any]:
    """Bias, spread and grid of the keys of one layer."""
    from qrm_forensics.quantize.key_grids import Channels, grid_error, rope_theta

    name = model.name(layer, "self_attn.k_proj")
    found: dict[str, Any] = {"layer": layer, "largest_bias": None}
    bias = _bias(job, model, layer, "k")
    if bias is not None:
        channel = int(bias.abs().argmax())
        median = float(bias.abs().median())
        found |= {
            "largest_bias": float(bias[channel].abs()),
            "bias_head": channel // model.geometry.head_dim,
            "bias_channel": channel % model.geometry.head_dim,
            "median_bias": median,
            "bias_ratio": float(bias[channel].abs()) / median if median > 0 else None,
        }
    seen = witness.keys.get(layer)
    spread = seen.spread() if seen is not None else None
    found["spread_from"] = "calibration" if spread is not None else "weights"
    if spread is None:
        spread = _expected_spread(job, model, layer, "k")
    found["median_spread"] = float(spread.median())
    if seen is not None:
        found["beyond_first_half"] = seen.beyond / seen.judged if seen.judged else None
        found["judged_values"] = seen.judged
    attention = outcome.runtime.attention.get(layer) if outcome.runtime else None
    spec = attention.keys if attention else None
    found["grid_error"] = None
    if spec is not None and spec.position == "after_rope":
        tensors = {tensor: value.float().cpu() for tensor, value in outcome.side.items()}
        keys = Channels(bias if bias is not None else spread.new_zeros(spread.shape), spread.cpu())
        queries = _expected_spread(job, model, layer, "q")
        constant = _bias(job, model, layer, "q")
        asked = Channels(constant if constant is not None else queries.new_zeros(queries.shape), queries)
        error = grid_error(spec, tensors, keys, asked, model.geometry, rope_theta(job.source.config))
        found["grid_error"] = {"error": error.error, "even": error.even, "head": error.head}
    found["module"] = name
    return found


def _bias(job: Job, model: ModelMap, layer: int, which: str) -> Tensor | None:
    """Of ``k_proj`` or ``q_proj``, float [heads x head dim]; None without one, or where a norm behind it takes its size away."""
    name = f"{model.name(layer, f'self_attn.{which}_proj')}.bias"
    if name not in job.source.entries or model.head_norms:
        return None
    return job.source.tensor(name).float()


def _expected_spread(job: Job, model: ModelMap, layer: int, which: str) -> Tensor:
    """Root mean square of Wx per channel where x is what a norm makes of independent hidden states: sqrt(Σ (w g)²).

    Behind a norm of keys or queries it is that norm's weight.
    """
    if model.head_norms:
        norm = job.source.tensor(f"{model.name(layer, f'self_attn.{which}_norm')}.weight").float().abs()
        return norm.repeat(model.geometry.kv_heads if which == "k" else model.geometry.heads)
    gain = job.source.tensor(f"{model.name(layer, model.norms[0])}.weight").float()
    weight = job.source.tensor(f"{model.name(layer, f'self_attn.{which}_proj')}.weight").float()
    return (weight * gain).square().sum(1).sqrt()
