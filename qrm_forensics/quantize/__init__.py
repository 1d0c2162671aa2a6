"""Quantizes checkpoints: a source folder and a recipe become an ordinary Hugging Face folder with a manifest.

Weights are *fake-quantized*: rounded to the recipe's grid and stored dequantized, in their original dtype, so that
anything that loads the source loads the result.  Only the linears of the decoder layers are quantized;
lm_head, embeddings, norms and biases stay in full precision, which ``recipe.json`` repeats tensor by tensor.

Adding a method is one file with a class like :class:`~qrm_forensics.quantize.base.Quantizer`, and one line in
:data:`QUANTIZERS`.  Importing this package imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from qrm_forensics.errors import InputError, RecipeError, missing_extra
from qrm_forensics.quantize.base import Job, Outcome, Quantizer
from qrm_forensics.quantize.calibration import Calibration, load_calibration
from qrm_forensics.quantize.export import packed_format
from qrm_forensics.recipes import Recipe
from qrm_forensics.records import ModelRef
from qrm_forensics.runtime.spec import write_runtime
from qrm_forensics.weights import (
    content_hash,
    open_checkpoint,
    side_files_hash,
    weights_hash,
    write_checkpoint,
)

__all__ = [
    "QUANTIZERS",
    "Calibration",
    "Job",
    "Outcome",
    "Quantizer",
    "content_hash",
    "load_calibration",
    "needs_calibration",
    "quantize",
    "quantizer_version",
    "refuse",
    "side_files_hash",
]

#: Recipe.method -> "module:Class", imported when asked for; of quarot, the cache alone is a method of its own.
QUANTIZERS = {
    "bf16": "qrm_forensics.quantize.unquantized:Unquantized",
    "fp16": "qrm_forensics.quantize.unquantized:Unquantized",
    "fp32": "qrm_forensics.quantize.unquantized:Unquantized",
    "rtn": "qrm_forensics.quantize.rtn:RTN",
    "awq": "qrm_forensics.quantize.awq:AWQ",
    "gptq": "qrm_forensics.quantize.gptq:GPTQ",
    "kvquant_star": "qrm_forensics.quantize.kvquant_star:KVQuantStar",
    "flatquant": "qrm_forensics.quantize.flatquant:FlatQuant",
    "mxfp4": "qrm_forensics.quantize.mxfp4:MXFP4",
    "quarot": "qrm_forensics.quantize.quarot:QuaRot",
    "quarot-kv": "qrm_forensics.quantize.quarot:QuaRotCache",
    "smoothquant": "qrm_forensics.quantize.smoothquant:SmoothQuant",
}


def refuse(recipe: Recipe) -> str | None:
    """Why ``recipe`` cannot be made, in one line; None where it can.  Loads no weight and no torch."""
    if recipe.library is not None:
        return None
    if recipe.method not in QUANTIZERS:
        return f"{recipe}: the method {recipe.method} is not available; available are {', '.join(QUANTIZERS)}"
    return _quantizer(recipe).refuse(recipe)


def needs_calibration(recipe: Recipe) -> bool:
    """Whether :func:`quantize` wants calibration text for this recipe.  Raises RecipeError where it is refused."""
    reason = refuse(recipe)
    if reason:
        raise RecipeError(reason)
    if recipe.library is not None:
        from qrm_forensics.quantize import external

        return external.arm(str(recipe)).calibrated
    return _quantizer(recipe).calibrated


def quantizer_version(recipe: Recipe) -> int | None:
    """The version of the method that makes ``recipe`` (of what asks another library for it); None where there is none."""
    if recipe.library is not None:
        from qrm_forensics.quantize import external

        return external.VERSION
    return None if refuse(recipe) else _quantizer(recipe).version


def _quantizer(recipe: Recipe) -> Quantizer:
    cache_alone = recipe.method == "quarot" and recipe.weight_bits is None
    module, _, name = QUANTIZERS["quarot-kv" if cache_alone else recipe.method].partition(":")
    return cast(Quantizer, getattr(importlib.import_module(module), name)())


def quantize(
    source: str | Path,
    recipe: Recipe,
    out: Path,
    calibration: Calibration | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    real: str | None = None,
) -> ModelRef:
    """Make ``out`` from the checkpoint folder ``source`` (safetensors weights), and say what it is.

    ``progress`` is called with (decoder layers done, layers in all).  The result is written under a
    temporary name beside ``out`` and renamed when it is whole; where the process is killed, the layers that are finished are kept in
    ``<out>.partial``, and the same request goes on behind them.  A finished checkpoint in ``out`` that was made
    from the same recipe, source files and calibration tokens, and whose weights still have their hash, is used
    as it is; one of another request is replaced.  ``real`` names a format of :mod:`~qrm_forensics.quantize.export`: the checkpoint then holds
    integer codes that inference engines load, read back and compared with the simulated weights before it is called
    whole.

    Raises RecipeError for a refused recipe, or one that cannot be real; InputError for a source that cannot be read or does not
    fit (named module), for calibration that is missing or of another preset than the recipe's, and where ``out``
    holds something else; EnvironmentMissing without torch, transformers and safetensors.
    """
    reason = refuse(recipe)
    if recipe.library is not None:
        reason = f"{recipe}: is made by another library; see qrm_forensics.quantize.external"
    if reason:
        raise RecipeError(reason)
    layout = None if real is None else packed_format(real, recipe)
    quantizer = _quantizer(recipe)
    if quantizer.calibrated and calibration is None:
        raise InputError(f"{recipe}: needs calibration text, for example the baseline's own responses")
    if quantizer.calibrated and calibration is not None and calibration.preset != recipe.preset:
        raise InputError(
            f"{recipe}: the calibration was loaded with the preset {calibration.preset}; load it with {recipe.preset}"
        )
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise missing_extra("quantizing a checkpoint", "models", error) from error
    from qrm_forensics.quantize import manifest
    from qrm_forensics.quantize.adapters import model_map
    from qrm_forensics.quantize.diagnosis import diagnose, witness_for
    from qrm_forensics.quantize.export.verify import verify
    from qrm_forensics.quantize.witness import witnessed

    started = time.perf_counter()
    folder = Path(source)
    job = Job(open_checkpoint(folder), recipe, calibration, progress or _silent, layout)
    manifest.check_source(folder)
    if folder.resolve() == out.resolve():
        raise InputError(f"{out}: is the source itself; choose another folder")
    config: dict[str, Any] = {}
    if layout is not None:
        model = model_map(job.source.config, job.source.shapes, str(folder))
        linears = {f"{name}.weight" for i in range(model.layers) for name in model.modules(i)}
        wide = sorted(name for name in linears if job.source.entries[name].dtype not in ("BF16", "F16"))
        if wide:
            raise InputError(
                f"{folder}: {wide[0]} is stored as {job.source.entries[wide[0]].dtype}; engines multiply codes in 16 bits, so make "
                "a bf16 checkpoint first (the recipe bf16) and quantize that one"
            )
        skipped = [name for i in sorted(recipe.skipped(model.layers)) for name in model.modules(i)]
        config["quantization_config"] = layout.config(recipe, [model.lm_head, *skipped])
    request = manifest.build_request(quantizer, job)
    there = manifest.finished(out, request)
    if there is not None:
        return manifest.reference(out, job, there)
    job = replace(job, finished=manifest.finished_layers(out, request))
    try:
        with manifest.published(out) as fresh:
            told: dict[str, Any] = {}
            if recipe.quantized:
                with witnessed(witness_for(job)) as witness:
                    outcome = quantizer.quantize(job)
                told["diagnosis"] = diagnose(job, outcome, witness)
            else:
                outcome = quantizer.quantize(job)
            dtype = None if recipe.quantized else str(outcome.settings["dtype"])
            instead = {
                f"{module}.weight": {f"{module}.{suffix}": tensor for suffix, tensor in linear.tensors.items()}
                for module, linear in outcome.packed.items()
            }
            write_checkpoint(
                job.source,
                outcome.tensors,
                fresh,
                dtype,
                added=outcome.added,
                config=outcome.config | config,
                instead=instead,
            )
            if outcome.runtime:
                write_runtime(fresh, replace(outcome.runtime, weights_hash=weights_hash(fresh)), outcome.side)
            made = content_hash(fresh)
            seconds = time.perf_counter() - started
            whole = manifest.build_manifest(request, quantizer, job, outcome, made, seconds)
            manifest.write_manifest(fresh, whole | told)
            if layout is not None:
                verify(fresh)
    except FileNotFoundError:
        # another process that made the same has ended, and thrown the finished layers away
        there = manifest.finished(out, request)
        if there is None:
            raise
        return manifest.reference(out, job, there)
    job.finished.remove()
    return manifest.reference(out, job, made)


def _silent(_done: int, _total: int) -> None:
    """No progress wanted."""
