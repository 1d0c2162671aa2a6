"""GPTQ over a whole model: layer by layer, stage by stage, each seeing what was quantized before it."""

from __future__ import annotations

from qrm_forensics.errors import InputError
from qrm_forensics.quantize.adapters import model_map
from qrm_forensics.quantize.affine import MSE_NORM, MSE_SHRINK, MSE_STEPS, sqnr_db
from qrm_forensics.quantize.base import Job, Outcome, group_sizes
from qrm_forensics.quantize.gptq_core import BLOCK, quantize_weight
from qrm_forensics.quantize.hessian import ATTEMPTS, DAMPING, InputMoments
from qrm_forensics.quantize.layerwise import LayerStream
from qrm_forensics.recipes import Recipe


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
    version = 1
    calibrated = True

    def refuse(self, recipe: Recipe) -> str | None:
        if recipe.preset == "paper-text":
            return f"{recipe}: the paper's text and code describe the same gptq; use fixed or paper-code"
        return None

    def quantize(self, job: Job) -> Outcome:
        import torch

        recipe, source = job.recipe, job.source
        model = model_map(source.config, source.shapes, str(source.folder))
        groups = group_sizes(recipe, model, source.shapes)
        assert recipe.weight_bits is not None and job.calibration is not None
        outcome = Outcome(
            settings={
                "act_order": True,
                "static_groups": True,
                "block": BLOCK,
                "damping": DAMPING,
                "damping_on_failure": f"doubled, up to {ATTEMPTS} attempts, then rtn",
                "range_search": {"norm": MSE_NORM, "steps": MSE_STEPS, "shrink": MSE_SHRINK},
                "stages": [list(stage.linears) for stage in model.stages],
                "activations": "float32",
            }
        )
        stream = LayerStream(source, job.calibration, torch.float32)
        for index in range(model.layers):
            layer = stream.layer(index)
            for stage in model.stages:
                moments = InputMoments()
                stream.observe(layer, {stage.linears[0]: moments.add}, until=stage.linears[0])
                hessian = moments.hessian()
                for linear in stage.linears:
                    module = model.name(index, linear)
                    live = layer.get_submodule(linear).weight
                    try:
                        result = quantize_weight(
                            live,
                            hessian,
                            bits=recipe.weight_bits,
                            group=groups[module],
                            symmetric=recipe.symmetric,
                        )
                    except ValueError as error:
                        raise InputError(f"{recipe}: {module}: {error}; check the checkpoint") from error
                    stored = source.tensor(f"{module}.weight")
                    rounded = result.weight.to("cpu", stored.dtype)
                    outcome.tensors[f"{module}.weight"] = rounded
                    outcome.modules[module] = {
                        "shape": list(stored.shape),
                        "group": groups[module],
                        "scales": result.grid.summary(),
                        "input_vectors": moments.count,
                        "damping": result.damping,
                        "attempts": result.attempts,
                        "fallback": result.fallback,
                        "dead_channels": result.dead,
                        "relative_output_error": result.error,
                        "relative_output_error_rtn": result.rtn_error,
                        "weight_sqnr_db": sqnr_db(stored.float(), rounded.float()),
                    }
                    live.data.copy_(rounded)
            stream.advance(layer)
            stream.release(index)
            job.progress(index + 1, model.layers)
        return outcome
