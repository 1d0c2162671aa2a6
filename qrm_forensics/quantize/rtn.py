"""Round to nearest: the grid of each group spans its weights and 0; nothing is calibrated."""

from __future__ import annotations

from qrm_forensics.quantize.adapters import model_map
from qrm_forensics.quantize.affine import minmax_grid, split_groups, sqnr_db
from qrm_forensics.quantize.base import Job, Outcome, group_sizes
from qrm_forensics.recipes import Recipe


class RTN:
    """``rtn-w{b}g{g}``, asymmetric or ``sym``."""

    name = "rtn"
    version = 1
    calibrated = False

    def refuse(self, recipe: Recipe) -> str | None:
        if recipe.preset != "fixed":
            return (
                f"{recipe}: rtn has no calibration and no variant, so the preset {recipe.preset} would change nothing"
            )
        return None

    def quantize(self, job: Job) -> Outcome:
        """Weights are rounded in float32 and stored in their original dtype."""
        recipe, source = job.recipe, job.source
        model = model_map(source.config, source.shapes, str(source.folder))
        groups = group_sizes(recipe, model, source.shapes)
        assert recipe.weight_bits is not None
        outcome = Outcome(settings={"range": "min and max of the group, including 0", "arithmetic": "float32"})
        skipped = recipe.skipped(model.layers)
        outcome.resume(job, model.layers)
        for layer in range(model.layers):
            if job.finished.has(layer):
                continue
            for linear in model.linears if layer not in skipped else ():
                module = model.name(layer, linear)
                stored = source.tensor(f"{module}.weight")
                weight = stored.float()
                split = split_groups(weight, groups[module])
                grid = minmax_grid(
                    split,
                    recipe.weight_bits,
                    symmetric=recipe.symmetric,
                    scale_dtype=job.scale_dtype(stored.dtype),
                )
                codes = grid.codes(split)
                rounded = grid.dequantize(codes).reshape_as(weight).to(stored.dtype)
                outcome.tensors[f"{module}.weight"] = rounded
                outcome.modules[module] = {
                    "shape": list(weight.shape),
                    "group": groups[module],
                    "scales": grid.summary(),
                    "weight_sqnr_db": sqnr_db(weight, rounded.float()),
                }
                outcome.pack(job, {module: (grid, codes)})
            job.finished.save(layer, outcome)
            job.progress(layer + 1, model.layers)
        return outcome
