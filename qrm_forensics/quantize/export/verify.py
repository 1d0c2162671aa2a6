"""Whether a real checkpoint says what the quantizer decided: its codes, read back from the files, against the weights they stand for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import InputError
from qrm_forensics.quantize.export import packed_format
from qrm_forensics.quantize.export.packed import tensor_hash
from qrm_forensics.recipes import Recipe
from qrm_forensics.weights import MANIFEST, Checkpoint, open_checkpoint, read_json, weights_hash, write_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from qrm_forensics.quantize.base import Job, Outcome

_DEGREES = (1, 2, 4, 8)


def describe(job: Job, outcome: Outcome) -> dict[str, Any]:
    """The manifest's part about the packing of a real checkpoint.

    ``tensor_parallel``: the degrees (of 1, 2, 4, 8) whose ranks get whole groups and whole words of every linear.
    ``weight_sha256``: by module, of the simulated weight, which :func:`verify` compares with.
    """
    assert job.real is not None
    shapes = {module: job.source.shapes[f"{module}.weight"] for module in outcome.packed}
    groups = {module: int(outcome.modules[module]["group"]) for module in outcome.packed}
    described: dict[str, Any] = {
        "format": job.real.name,
        "tensor_parallel": [n for n in _DEGREES if all(_splits(m, shapes[m], groups[m], n) for m in shapes)],
        "weight_sha256": {module: linear.weight_sha256 for module, linear in outcome.packed.items()},
    }
    if job.recipe.activation_bits is not None:
        described["activations"] = "per token, asymmetric, by the engine"
        described["kv_cache"] = "not rounded; start the engine with a cache of 8 bits"
    return described


def _splits(module: str, shape: tuple[int, ...], group: int, ranks: int) -> bool:
    rows, columns = shape
    if module.endswith(("o_proj", "down_proj")):
        # a row that is one group is scaled by the same number on every rank
        return columns % (ranks * (8 if group == columns else max(group, 8))) == 0
    return rows % (ranks * 8) == 0


def dequantized(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """(module, weight [rows, columns]) of every packed linear of a real checkpoint of ours, read from its files.

    Raises InputError where ``folder`` is not one, or lacks a tensor.
    """
    manifest = _manifest(folder)
    checkpoint = open_checkpoint(folder)
    for module in manifest["real"]["weight_sha256"]:
        yield module, _dequantized(checkpoint, module, manifest)


def verify(folder: Path) -> int:
    """The number of packed linears, all of whose dequantized weights have the hash of the simulated ones, bit for bit.

    Raises InputError that names the first one that has not.
    """
    hashes = _manifest(folder)["real"]["weight_sha256"]
    for module, weight in dequantized(folder):
        if tensor_hash(weight) != hashes[module]:
            raise InputError(f"{folder}: {module} does not dequantize to the simulated weight; quantize again")
    return len(hashes)


def write_twin(folder: Path, out: Path) -> None:
    """The simulated checkpoint that a real one stands for: the same weights dequantized, in a new folder ``out``.

    Raises InputError where ``out`` exists and is not empty, and as :func:`verify` does.
    """
    manifest = _manifest(folder)
    checkpoint = open_checkpoint(folder)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: exists and is not empty; choose another folder")
    verify(folder)
    instead: dict[str, Mapping[str, Tensor]] = {}
    suffixes = _format(manifest).suffixes
    for module in manifest["real"]["weight_sha256"]:
        stored = [f"{module}.{s}" for s in suffixes if f"{module}.{s}" in checkpoint.entries]
        instead |= {name: {} for name in stored}
        instead[stored[0]] = {f"{module}.weight": _dequantized(checkpoint, module, manifest)}
    out.mkdir(parents=True, exist_ok=True)
    write_checkpoint(checkpoint, {}, out, instead=instead)
    config = {key: value for key, value in checkpoint.config.items() if key != "quantization_config"}
    told = {key: value for key, value in manifest.items() if key != "real"}
    told |= {"realization": "simulated", "content_hash": weights_hash(out)}
    for name, value in (("config.json", config), (MANIFEST, told)):
        (out / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copymode(folder / "config.json", out / "config.json")


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST)
    try:
        if manifest["realization"] == "packed" and manifest["real"]["weight_sha256"]:
            return dict(manifest)
    except (KeyError, TypeError):
        pass
    raise InputError(f"{folder / MANIFEST}: does not describe a real checkpoint that was made here")


def _format(manifest: Mapping[str, Any]) -> Any:
    return packed_format(str(manifest["real"]["format"]), Recipe.parse(str(manifest["recipe"]["name"])))


def _dequantized(checkpoint: Checkpoint, module: str, manifest: Mapping[str, Any]) -> Tensor:
    layout = _format(manifest)
    names = {suffix: f"{module}.{suffix}" for suffix in layout.suffixes}
    tensors = {suffix: checkpoint.tensor(name) for suffix, name in names.items() if name in checkpoint.entries}
    try:
        weight: Tensor = layout.unpack(tensors, checkpoint.config["quantization_config"]).dequantize()
    except (KeyError, RuntimeError, ValueError) as error:
        raise InputError(f"{checkpoint.folder}: {module} cannot be unpacked ({error}); quantize again") from error
    return weight
