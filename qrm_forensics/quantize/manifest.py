"""``recipe.json``: how a checkpoint was made, and whether one that is there already answers a request."""

from __future__ import annotations

import json
import platform
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qrm_forensics import __version__
from qrm_forensics.errors import ForensicsError, InputError
from qrm_forensics.quantize.base import Job, Outcome, Quantizer
from qrm_forensics.quantize.export.verify import describe
from qrm_forensics.quantize.partial import FinishedLayers
from qrm_forensics.records import ModelRef
from qrm_forensics.weights import MANIFEST, content_hash, read_json, side_files_hash

FORMAT = 1


def build_request(quantizer: Quantizer, job: Job) -> dict[str, Any]:
    """All that the result depends on.  The same request gives the same checkpoint."""
    uses = quantizer.calibrated and job.calibration is not None
    real = {} if job.real is None else {"real": job.real.name}
    return real | {
        "format": FORMAT,
        "recipe": str(job.recipe),
        "quantizer": quantizer.name,
        "quantizer_version": quantizer.version,
        "source_hash": content_hash(job.source.folder),
        "source_files_hash": side_files_hash(job.source.folder),
        "calibration_hash": job.calibration.sha256 if uses and job.calibration else None,
    }


def build_manifest(
    request: dict[str, Any], quantizer: Quantizer, job: Job, outcome: Outcome, out_hash: str, seconds: float
) -> dict[str, Any]:
    """The whole manifest, JSON-able.

    ``modules`` has one record per quantized linear; ``full_precision`` says of every other tensor (layer
    numbers replaced by ``*``) that it is unchanged, converted, or has a scale folded into it.
    """
    return {
        "request": request,
        "recipe": {"name": str(job.recipe), **job.recipe.model_dump(mode="json")},
        "realization": realization(job),
        "content_hash": out_hash,
        "source": str(job.source.folder),
        "architecture": (job.source.config.get("architectures") or [None])[0],
        "settings": outcome.settings,
        "calibration": job.calibration.summary() if quantizer.calibrated and job.calibration else None,
        "full_precision": _full_precision(job, outcome),
        "tied_lm_head": "lm_head.weight" not in job.source.entries,
        "modules": outcome.modules,
        "seconds": round(seconds, 3),
        "versions": _versions(),
    } | ({} if job.real is None else {"real": describe(job, outcome)})


def realization(job: Job) -> str:
    """``simulated``: dequantized weights; ``packed``: codes; ``original``: no weight was rounded to a grid."""
    if job.real is not None:
        return "packed"
    return "simulated" if job.recipe.quantized else "original"


def _full_precision(job: Job, outcome: Outcome) -> dict[str, str]:
    states: dict[str, str] = {}
    quantized = {f"{module}.weight" for module in outcome.modules}
    for name in job.source.entries:
        if name in quantized:
            continue
        state = "unchanged"
        if name in outcome.tensors:
            state = "scale folded in" if outcome.modules else "converted"
        pattern = re.sub(r"\.\d+\.", ".*.", name)
        if states.setdefault(pattern, state) != state:
            states[pattern] = "scale folded in, where it was not 1"
    return dict(sorted(states.items()))


def _versions() -> dict[str, str]:
    import safetensors
    import torch
    import transformers

    return {
        "qrm-forensics": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
        "safetensors": str(safetensors.__version__),
    }


def reference(out: Path, job: Job, out_hash: str) -> ModelRef:
    return ModelRef(
        path=str(out), revision=None, recipe=str(job.recipe), content_hash=out_hash, realization=realization(job)
    )


def finished(out: Path, request: dict[str, Any]) -> str | None:
    """The content hash of the checkpoint in ``out``, if it answers ``request`` and its weights are as they were written."""
    if not (out / MANIFEST).is_file():
        return None
    try:
        manifest = read_json(out / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("request") != request:
            return None
        now = content_hash(out)
    except ForensicsError:  # a damaged checkpoint is made again
        return None
    return now if now == manifest.get("content_hash") else None


def finished_layers(out: Path, request: dict[str, Any]) -> FinishedLayers:
    """Where the layers of this request are kept until its checkpoint is whole.  Layers of other library versions are not mixed in."""
    return FinishedLayers(out.with_name(f"{out.name}.partial"), {**request, "versions": _versions()})


def check_source(folder: Path) -> None:
    """Raise InputError where the source was itself made by quantizing."""
    if not (folder / MANIFEST).is_file():
        return
    manifest = read_json(folder / MANIFEST)
    if isinstance(manifest, dict) and manifest.get("realization") != "original":
        name = manifest.get("recipe", {}).get("name") if isinstance(manifest.get("recipe"), dict) else None
        raise InputError(f"{folder}: is a quantized checkpoint already ({name}); give the original")


@contextmanager
def published(out: Path) -> Iterator[Path]:
    """An empty folder beside ``out`` that takes its place when the block ends well, and is removed when not.

    Raises InputError where ``out`` holds something that is not a checkpoint of ours.
    """
    if out.exists() and not (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        raise InputError(f"{out}: exists and is not a checkpoint with a {MANIFEST}; choose another folder or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    name = f".{out.name}.{uuid.uuid4().hex[:8]}"
    fresh, old = out.parent / f"{name}.tmp", out.parent / f"{name}.old"
    fresh.mkdir()
    try:
        yield fresh
        if out.exists():
            out.replace(old)
        fresh.replace(out)
    finally:
        if old.exists() and not out.exists():
            old.replace(out)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
