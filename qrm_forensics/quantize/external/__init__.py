"""Checkpoints that other libraries make, behind one interface: ``external:llmcompressor-w4a16`` and the like.

These libraries pin versions of torch, transformers and compressed-tensors that clash with ours and with each other, so each
runs in an environment of its own, as a subprocess.  What it needs goes through a file (model, options, token ids of the
calibration), and what it leaves is checked before it is called a checkpoint: configuration, tensors, hash.
"""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from qrm_forensics import __version__
from qrm_forensics.errors import EnvironmentMissing, InputError, RecipeError
from qrm_forensics.quantize import manifest
from qrm_forensics.quantize.calibration import Calibration
from qrm_forensics.quantize.external.check import check
from qrm_forensics.records import ModelRef
from qrm_forensics.weights import content_hash, open_checkpoint, side_files_hash

PREFIX = "external:"
VARIABLE = "QRM_EXTERNAL_PYTHON"
#: Grows when a worker asks its library for something else, so that a run that was begun before is not finished with it.
VERSION = 1
_PROBE = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"


@dataclass(frozen=True, slots=True)
class Arm:
    """One recipe of another library.

    ``package``: what pip installs, ``requirement`` with the version that this was written for.  ``worker``: the script in
    ``workers/`` that runs it with ``options``.  ``config``: how the library's result is named in the paper's style.
    ``methods``: the ``quant_method`` that the result may have.  ``reader``: the package without which transformers cannot load it.
    """

    name: str
    package: str
    requirement: str
    worker: str
    config: str
    methods: tuple[str, ...]
    reader: str
    calibrated: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> str:
        return PREFIX + self.name


def _llmcompressor(name: str, config: str, calibrated: bool, **options: Any) -> Arm:
    return Arm(
        name=f"llmcompressor-{name}",
        package="llmcompressor",
        requirement="llmcompressor==0.14.0.1",
        worker="run_llmcompressor.py",
        config=config,
        methods=("compressed-tensors",),
        reader="compressed-tensors",
        calibrated=calibrated,
        options=options,
    )


_INT4 = {"bits": 4, "group_size": 128}
_ALL = (
    _llmcompressor("w4a16", "gptq-llmcompressor-w4g128sym", True, modifier="gptq", scheme="W4A16"),
    _llmcompressor("w4a16_asym", "gptq-llmcompressor-w4g128", True, modifier="gptq", scheme="W4A16_ASYM"),
    _llmcompressor("awq-w4a16", "awq-llmcompressor-w4g128", True, modifier="awq", scheme="W4A16_ASYM"),
    _llmcompressor("w8a8", "smoothquant-llmcompressor-w8a8", True, modifier="smoothquant", scheme="W8A8"),
    _llmcompressor("nvfp4", "rtn-llmcompressor-nvfp4", True, modifier="rtn", scheme="NVFP4"),
    _llmcompressor("mxfp4", "rtn-llmcompressor-mxfp4", False, modifier="rtn", scheme="MXFP4"),
    _llmcompressor("fp8", "rtn-llmcompressor-fp8", False, modifier="rtn", scheme="FP8_DYNAMIC"),
    Arm(
        *("autoawq-w4g128", "autoawq", "autoawq==0.2.9", "run_autoawq.py", "awq-autoawq-w4g128", ("awq",), "gptqmodel"),
        options=_INT4,
    ),
    *(
        Arm(
            name=f"autoround-w{bits}g128",
            package="auto-round",
            requirement="auto-round==0.15.1",
            worker="run_autoround.py",
            config=f"autoround-autoround-w{bits}g128sym",
            methods=("auto-round", "gptq", "auto_gptq", "awq"),
            reader="auto-round",
            options={"bits": bits, "group_size": 128},
        )
        for bits in (4, 3)
    ),
    Arm(
        "gptqmodel-w4g128",
        "gptqmodel",
        "gptqmodel==7.6.0",
        "run_gptqmodel.py",
        "gptq-gptqmodel-w4g128sym",
        ("gptq",),
        "gptqmodel",
        options=_INT4,
    ),
)
ARMS = {made.name: made for made in _ALL}


def arm(recipe: str) -> Arm:
    """The arm of ``external:…``; raises RecipeError with the nearest name for an unknown one."""
    name = recipe.removeprefix(PREFIX)
    if name in ARMS:
        return ARMS[name]
    near = difflib.get_close_matches(name, ARMS, 1, 0.4)
    hint = f"did you mean {PREFIX + near[0]!r}?" if near else ""
    raise RecipeError(f"unknown external recipe {recipe!r}; {hint or 'known: ' + ', '.join(ARMS)}")


def unreadable(chosen: Arm, backend: str) -> str | None:
    """Why the backend cannot load what the arm leaves, in one line; None where nothing is known against it.

    Engines say themselves what they have no kernel for; transformers needs another package for some of the formats.
    """
    if backend != "embedded":
        return None
    try:
        metadata.version(chosen.reader)
    except metadata.PackageNotFoundError:
        return (
            f"{chosen.recipe}: transformers loads its {chosen.methods[0]} format only with the package {chosen.reader!r}, which is not "
            "installed here; install it, or ask vLLM for the responses (backend: {name: vllm})"
        )
    return None


def checkpoint_name(model: str, chosen: Arm) -> str:
    """``<model>-quantized.<method>-<library>-<config>``, as the paper's repository calls them."""
    return f"{model}-quantized.{chosen.config}"


def interpreter(chosen: Arm, given: str | None = None) -> tuple[Path, str]:
    """The first Python that has the arm's library, and the library's version there.

    ``given``: a Python or the folder of a virtual environment, or several of them with the separator of ``PATH`` between; without
    it :data:`VARIABLE` says the same, and else the running Python is asked.  Raises EnvironmentMissing with the command
    that makes such an environment.
    """
    places = [place for place in (given or os.environ.get(VARIABLE, "")).split(os.pathsep) if place]
    pythons = [_python(Path(place).expanduser()) for place in places] or [Path(sys.executable)]
    made = f"{chosen.package}-env"
    remedy = (
        f"make an environment with it: python -m venv {made} && {made}/bin/pip install '{chosen.requirement}', and add "
        f"--external-python {made} (or set {VARIABLE}={made})"
    )
    for place, python in zip(places, pythons, strict=False):
        if not python.is_file():
            raise EnvironmentMissing(f"{chosen.recipe}: there is no Python in {place}; {remedy}")
    for python in pythons:
        probe = [str(python), "-c", _PROBE, chosen.package]
        asked = subprocess.run(probe, capture_output=True, text=True, encoding="utf-8", env=_environment(), check=False)
        if not asked.returncode:
            return python, asked.stdout.strip()
    asked_of = " and ".join(map(str, pythons))
    raise EnvironmentMissing(
        f"{chosen.recipe}: needs the package {chosen.package!r}, which {asked_of} does not have; {remedy}"
    )


def _python(given: Path) -> Path:
    # not resolved: the link in a virtual environment is what tells Python that it is in one
    inside = given / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return (inside if given.is_dir() else given).absolute()


def _environment() -> dict[str, str]:
    """Ours without what would make another environment import our packages, and offline."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return kept | {"HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"}


def run(
    chosen: Arm, where: tuple[Path, str], source: Path, out: Path, calibration: Calibration | None = None
) -> ModelRef:
    """Make ``out``, or use what is there if it answers the same request.

    The library's output goes to ``<out>.log``.  Raises InputError where the source is quantized already, where the
    library fails (with its last words) and where its result is not a checkpoint with quantized weights.
    """
    python, version = where
    started = time.perf_counter()
    open_checkpoint(source)
    manifest.check_source(source)
    if chosen.calibrated and calibration is None:
        raise InputError(f"{chosen.recipe}: needs calibration text, for example the model's own responses")
    request = {
        "format": manifest.FORMAT,
        "recipe": chosen.recipe,
        "package": f"{chosen.package} {version}",
        "options": chosen.options,
        "source_hash": content_hash(source),
        "source_files_hash": side_files_hash(source),
        "calibration_hash": calibration.sha256 if calibration is not None else None,
    }
    there = manifest.finished(out, request)
    if there is not None:
        return ModelRef(str(out), None, chosen.recipe, there, "packed")
    log = out.parent / f"{out.name}.log"
    with manifest.published(out) as fresh, tempfile.TemporaryDirectory() as scratch:
        versions = _work(chosen, python, source, fresh, calibration, Path(scratch), log)
        found = check(fresh, source, chosen.recipe, chosen.methods)
        told = {
            "request": request,
            "recipe": {"name": chosen.recipe},
            "realization": "packed",
            "content_hash": found["content_hash"],
            "source": str(source),
            "settings": {**chosen.options, "quantization_config": found["quantization_config"]},
            "calibration": calibration.summary() if calibration is not None else None,
            "quantized_tensors": found["quantized_tensors"],
            "seconds": round(time.perf_counter() - started, 3),
            "versions": {"qrm-forensics": __version__, chosen.package: version, **versions},
        }
        manifest.write_manifest(fresh, told)
    return ModelRef(str(out), None, chosen.recipe, str(found["content_hash"]), "packed")


def _work(
    chosen: Arm,
    python: Path,
    source: Path,
    out: Path,
    calibration: Calibration | None,
    scratch: Path,
    log: Path,
) -> dict[str, str]:
    """Run the worker; the versions that it reports."""
    task = {
        "model": str(source.resolve()),
        "out": str(out.resolve()),
        "options": chosen.options,
        "token_ids": calibration.token_ids.tolist() if calibration is not None else None,
        "result": str(scratch / "result.json"),
    }
    (scratch / "task.json").write_text(json.dumps(task), encoding="utf-8")
    worker = Path(__file__).parent / "workers" / chosen.worker
    with log.open("w", encoding="utf-8") as written:
        code = subprocess.run(
            [str(python), str(worker), str(scratch / "task.json")],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            cwd=scratch,
            env=_environment(),
            check=False,
        ).returncode
    if code or not (scratch / "result.json").is_file():
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()]
        last = "".join(c for c in lines[-1][:200] if c.isprintable()) if lines else "no output"
        raise InputError(f"{chosen.recipe}: the library failed (exit {code}): {last}; all it said is in {log}")
    versions = json.loads((scratch / "result.json").read_text(encoding="utf-8"))
    return {str(name): str(version) for name, version in versions.items()}
