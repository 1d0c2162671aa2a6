"""``quantize``: one checkpoint from another, simulated, real, or by another library."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from qrm_forensics.errors import InputError

EXTERNAL = "external:"
#: Keys of a module's record in the manifest, how the summary calls them, and how they are written.
_ERRORS = (
    ("relative_output_error", "output error", ".2e"),
    ("weight_sqnr_db", "weight SQNR (dB)", ".1f"),
    ("scaled_weight_sqnr_db", "scaled weight SQNR (dB)", ".1f"),
)


@click.command()
@click.argument("model")
@click.argument("recipe")
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    help="Checkpoint folder to write. A folder that exists and is no checkpoint, or a name that ends in /, is its parent.",
)
@click.option(
    "--real",
    is_flag=False,
    flag_value="compressed-tensors",
    metavar="[FORMAT]",
    help="Write integer codes that inference engines load: compressed-tensors (if no FORMAT is given), awq or gptq.",
)
@click.option("--twin", type=click.Path(path_type=Path), help="With --real: the same weights dequantized, as a folder.")
@click.option("--calibration", type=click.Path(path_type=Path), help="The model's own responses (JSON Lines).")
@click.option("--samples", default=128, type=click.IntRange(min=1), show_default=True, help="Calibration crops.")
@click.option(
    "--length", default=2048, type=click.IntRange(min=16), show_default=True, help="Tokens per calibration crop."
)
@click.option(
    "--external-python",
    metavar="PATH",
    envvar="QRM_EXTERNAL_PYTHON",
    help="Environment (folder or python) that holds the library of an external: recipe; also QRM_EXTERNAL_PYTHON.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def quantize(
    model: str,
    recipe: str,
    out: str,
    real: str | None,
    twin: Path | None,
    calibration: Path | None,
    samples: int,
    length: int,
    external_python: str | None,
    as_json: bool,
) -> None:
    """Quantize MODEL ('builtin' or a Hugging Face folder) with RECIPE, for example awq-w3g128.

    Weights are rounded and stored dequantized, so that anything loads them; --real stores their codes instead.
    Where a recipe needs calibration, the built-in model writes its own responses; other models need --calibration.
    RECIPE external:NAME lets another library do it, for example external:llmcompressor-fp8.
    """
    from qrm_forensics import pipeline
    from qrm_forensics.cli.progress import observer
    from qrm_forensics.quantize.naming import checkpoint_name
    from qrm_forensics.recipes import Recipe
    from qrm_forensics.study import CalibrationSpec

    if twin is not None and (real is None or recipe.startswith(EXTERNAL)):
        raise InputError("--twin dequantizes a real checkpoint of ours; add --real")
    spec = CalibrationSpec(path=str(calibration) if calibration else None, samples=samples, length=length)
    title = f"qrm-forensics {' '.join(sys.argv[1:])}"
    if recipe.startswith(EXTERNAL):
        from qrm_forensics.quantize import external

        if real is not None:
            raise InputError(f"{recipe}: is a real checkpoint already; leave --real out")
        folder = _folder(out, external.checkpoint_name(_model_name(model), external.arm(recipe)))
        with observer(title) as told:
            made = pipeline.quantize_external(model, recipe, folder, spec, told, external_python)
    else:
        parsed = Recipe.parse(recipe)
        folder = _folder(out, checkpoint_name(_model_name(model), parsed, real))
        with observer(title) as told:
            made = pipeline.quantize_one(model, parsed, folder, spec, told, real)
    manifest = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    result: dict[str, Any] = {
        "checkpoint": made.path,
        "recipe": made.recipe,
        "content_hash": made.content_hash,
        "realization": made.realization,
        "layers": layer_errors(manifest),
        "warnings": warnings(manifest),
    }
    if "real" in manifest:
        from qrm_forensics.quantize.export.verify import verify, write_twin

        result["format"] = manifest["real"]["format"]
        result["tensor_parallel"] = manifest["real"]["tensor_parallel"]
        result["bit_exact_modules"] = verify(folder)
        if twin is not None:
            write_twin(folder, twin)
            result["twin"] = str(twin)
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    click.echo(made.path)
    for line in _said(result):
        click.echo(line)


def _model_name(model: str) -> str:
    from qrm_forensics import builtin

    return builtin.MODEL_NAME if model == builtin.NAME else Path(model).expanduser().resolve().name


def _folder(out: str, name: str) -> Path:
    """``out`` itself, or a folder called ``name`` in it where it is a parent."""
    path = Path(out)
    parent = out.endswith(("/", os.sep)) or (path.is_dir() and not (path / "recipe.json").is_file())
    return path / name if parent else path


def layer_errors(manifest: dict[str, Any]) -> list[dict[str, float | int]]:
    """Means over the linears of each quantized decoder layer of what the manifest of a checkpoint says about their errors."""
    layers: dict[int, dict[str, list[float]]] = {}
    for module, record in manifest.get("modules", {}).items():
        numbers = [int(part) for part in module.split(".") if part.isdigit()]
        found = layers.setdefault(numbers[0] if numbers else -1, {})
        for key, _, _ in _ERRORS:
            if isinstance(record.get(key), int | float):
                found.setdefault(key, []).append(float(record[key]))
    return [
        {"layer": layer, **{key: fmean(values) for key, values in found.items()}}
        for layer, found in sorted(layers.items())
    ]


def warnings(manifest: dict[str, Any]) -> list[str]:
    """What somebody should know before using the checkpoint, in sentences."""
    found = [str(text) for text in manifest.get("warnings", [])]
    modules = manifest.get("modules", {})
    fallen = [name for name, record in modules.items() if record.get("fallback")]
    if fallen:
        found.append(
            f"{len(fallen)} linears were rounded to nearest, as their Hessian could not be factorised; the first: {fallen[0]}"
        )
    dead = [name for name, record in modules.items() if record.get("dead_channels")]
    if dead:
        found.append(
            f"{len(dead)} linears have input channels that calibration never used, whose weights are now 0; the first: {dead[0]}"
        )
    worse = [
        name
        for name, record in modules.items()
        if record.get("relative_output_error") is not None
        and record["relative_output_error"] > (record.get("relative_output_error_rtn") or float("inf"))
    ]
    if worse:
        found.append(f"{len(worse)} linears are worse than rounding to nearest; the first: {worse[0]}")
    real = manifest.get("real", {})
    if real and real["tensor_parallel"] != [1, 2, 4, 8]:
        said = ", ".join(map(str, real["tensor_parallel"])) or "none"
        found.append(f"of the tensor-parallel degrees 1, 2, 4 and 8, its groups can be split for: {said}")
    if "kv_cache" in real:
        found.append(f"the cache is {real['kv_cache']}")
    return found


def _said(result: dict[str, Any]) -> Iterator[str]:
    layers = result["layers"]
    shown = [(key, title, form) for key, title, form in _ERRORS if any(key in layer for layer in layers)]
    if shown:
        yield click.style("layer  " + "  ".join(title for _, title, _ in shown), dim=True)
    for layer in layers if shown else ():
        cells = [(format(layer[key], form) if key in layer else "-").rjust(len(title)) for key, title, form in shown]
        yield f"{layer['layer']:>5}  " + "  ".join(cells)
    if "bit_exact_modules" in result:
        yield f"{result['format']}: {result['bit_exact_modules']} linears dequantize to the simulated weights, bit for bit"
    if "twin" in result:
        yield f"simulated twin: {result['twin']}"
    for text in result["warnings"]:
        yield f"{click.style('note:', fg='yellow')} {text}"


COMMANDS = (quantize,)
