"""The baseline recipes: a checkpoint in one of the floating-point formats, nothing rounded to a grid."""

from __future__ import annotations

from qrm_forensics.quantize.base import Job, Outcome
from qrm_forensics.recipes import Recipe

_FLOATS = {"bf16": ("BF16", "bfloat16"), "fp16": ("F16", "float16"), "fp32": ("F32", "float32")}


class Unquantized:
    """``bf16``, ``fp16``, ``fp32``: every floating-point tensor in that format.

    A checkpoint that is stored so already is copied bit by bit, whatever its architecture.
    """

    name = "unquantized"
    version = 1
    calibrated = False

    def refuse(self, recipe: Recipe) -> str | None:
        return None

    def quantize(self, job: Job) -> Outcome:
        import torch

        stored, dtype = _FLOATS[job.recipe.method]
        outcome = Outcome(settings={"dtype": dtype})
        for name, entry in job.source.entries.items():
            if entry.dtype != stored and entry.dtype in {code for code, _ in _FLOATS.values()}:
                outcome.tensors[name] = job.source.tensor(name).to(getattr(torch, dtype))
        outcome.settings["converted_tensors"] = len(outcome.tensors)
        job.progress(1, 1)
        return outcome
