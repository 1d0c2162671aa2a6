"""``quantize``: one checkpoint from another, simulated, real, or by another library."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import click

from qrm_forensics.errors import InputError

if TYPE_CHECKING:
    from qrm_forensics.study import Arrangement, Corpus

EXTERNAL = "external:"
CORPORA = ("responses", "wikitext2", "wikitext2-test", "pile-val", "file")
ARRANGEMENTS = ("auto", "crops", "blocks", "short-documents", "truncated-documents", "paper")
#: Errors of a linear in the diagnosis, and how the summary calls them; both are relative and squared.
_ERRORS = (("weight_error", "weight error"), ("output_error", "output error"))


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
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="The model's own responses, or the file or folder of --corpus.",
)
@click.option(
    "--corpus", type=click.Choice(CORPORA), default="responses", show_default=True, help="What calibration text it is."
)
@click.option("--field", help="Column of the corpus that holds its text.")
@click.option(
    "--arrangement",
    type=click.Choice(ARRANGEMENTS),
    default="auto",
    show_default=True,
    help="How windows are cut from it; paper: corpus, rule and sizes of the paper's code.",
)
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
    corpus: Corpus,
    field: str | None,
    arrangement: Arrangement | Literal["paper"],
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
    from pydantic import ValidationError

    from qrm_forensics import pipeline
    from qrm_forensics.cli.progress import observer
    from qrm_forensics.quantize.naming import checkpoint_name
    from qrm_forensics.recipes import Recipe
    from qrm_forensics.study import CalibrationSpec

    if twin is not None and (real is None or recipe.startswith(EXTERNAL)):
        raise InputError("--twin dequantizes a real checkpoint of ours; add --real")
    try:
        spec = CalibrationSpec(
            path=str(calibration) if calibration else None,
            samples=samples,
            length=length,
            corpus=corpus,
            field=field,
            arrangement=arrangement,
        )
    except ValidationError as error:
        raise InputError(f"calibration: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
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
    """Means over the linears of each quantized decoder layer of the relative squared errors in the diagnosis of a checkpoint."""
    layers: dict[int, dict[str, list[float]]] = {}
    for module, record in manifest.get("diagnosis", {}).get("modules", {}).items():
        found = layers.setdefault(next((int(part) for part in module.split(".") if part.isdigit()), -1), {})
        for key, _ in _ERRORS:
            if record.get(key) is not None:
                found.setdefault(key, []).append(float(record[key]))
    return [
        {"layer": layer, **{key: fmean(values) for key, values in found.items()}}
        for layer, found in sorted(layers.items())
    ]


def warnings(manifest: dict[str, Any]) -> list[str]:
    """What somebody should know before using the checkpoint, in sentences."""
    found = [str(trap["sentence"]) for trap in manifest.get("diagnosis", {}).get("warnings", [])]
    real = manifest.get("real", {})
    if real and real["tensor_parallel"] != [1, 2, 4, 8]:
        said = ", ".join(map(str, real["tensor_parallel"])) or "none"
        found.append(f"of the tensor-parallel degrees 1, 2, 4 and 8, its groups can be split for: {said}")
    if "kv_cache" in real:
        found.append(f"the cache is {real['kv_cache']}")
    return found


def _said(result: dict[str, Any]) -> Iterator[str]:
    layers = result["layers"]
    shown = [(key, title) for key, title in _ERRORS if any(key in layer for layer in layers)]
    if shown:
        yield click.style("layer  " + "  ".join(title for _, title in shown), dim=True)
        for layer in layers:
            cells = [(f"{layer[key]:.2e}" if key in layer else "-").rjust(len(title)) for key, title in shown]
            yield f"{layer['layer']:>5}  " + "  ".join(cells)
    if "bit_exact_modules" in result:
        yield f"{result['format']}: {result['bit_exact_modules']} linears dequantize to the simulated weights, bit for bit"
    if "twin" in result:
        yield f"simulated twin: {result['twin']}"
    for text in result["warnings"]:
        yield f"{click.style('note:', fg='yellow')} {text}"


COMMANDS = (quantize,)
