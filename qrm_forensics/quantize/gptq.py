"""GPTQ over a whole model: layer by layer, stage by stage, each seeing what was quantized before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qrm_forensics.quantize.adapters import model_map
from qrm_forensics.quantize.base import Job, Outcome, group_sizes
from qrm_forensics.quantize.gptq_layers import GPTQSettings, quantize_layer
from qrm_forensics.quantize.layerwise import LayerStream
from qrm_forensics.recipes import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from qrm_forensics.quantize.affine import AffineGrid


class GPTQ:
    """``gptq-w{b}g{g}``, asymmetric or ``sym``: act_order, static groups, range search in the 2.4-norm, damping 0.01.

    Within a layer the stages are [k, v, q], [o], [up, gate], [down].  Each collects its Hessian after
    the earlier ones were replaced by their quantized weights, as they will be stored; the next layer
    gets the output of the quantized layer.

    Presets differ in the calibration text alone (see :func:`~qrm_forensics.quantize.calibration.load_calibration`).
    In both, activations and Hessians are float32 (the paper's code runs the model in bfloat16) and a
    failed factorisation starts over as :func:`~qrm_forensics.quantize.hessian.inverse_factor` says.
    """

    name = "gptq"
    version = 2
    calibrated = True

    def refuse(self, recipe: Recipe) -> str | None:
        if recipe.preset == "paper-text":
            return f"{recipe}: the paper's text and code describe the same gptq; use fixed or paper-code"
        return None

    def quantize(self, job: Job) -> Outcome:
        import torch

        recipe, source = job.recipe, job.source
        model = model_map(source.config, source.shapes, str(source.folder))
        assert recipe.weight_bits is not None and job.calibration is not None
        modules = [model.name(index, linear) for index in range(model.layers) for linear in model.linears]
        settings = GPTQSettings(
            bits=recipe.weight_bits,
            symmetric=recipe.symmetric,
            act_order=True,
            groups=group_sizes(recipe, model, source.shapes),
            dtypes={module: source.dtype(f"{module}.weight") for module in modules},
            real=job.real is not None,
        )
        outcome = Outcome(settings=settings.said(model))
        skipped = recipe.skipped(model.layers)
        stream = LayerStream(source, job.calibration, torch.float32)
        outcome.resume(job, model.layers)
        for index in range(model.layers):
            layer = stream.layer(index)
            if job.finished.has(index):
                job.finished.load(index, layer)
                stream.advance(layer)
                stream.release(index)
                continue
            if index not in skipped:
                made: dict[str, tuple[AffineGrid, Tensor]] = {}
                outcome.modules |= quantize_layer(stream, index, layer, model, settings, recipe, made)
                for linear in model.linears:
                    module = model.name(index, linear)
                    stored = layer.get_submodule(linear).weight.detach()
                    outcome.tensors[f"{module}.weight"] = stored.to("cpu", settings.dtypes[module])
                outcome.pack(job, made)
            else:
                stream.advance(layer)
            job.finished.save(index, outcome, layer, settings.parameters(index, model))
            stream.release(index)
            job.progress(index + 1, model.layers)
        return outcome
