"""Checkpoints of a run, and single ones outside of any run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qrm_forensics import builtin
from qrm_forensics.errors import InputError
from qrm_forensics.generate import Generator, get_generator
from qrm_forensics.generate.own_text import write_responses
from qrm_forensics.observing import Observer
from qrm_forensics.pipeline.plan import model_folder
from qrm_forensics.recipes import Preset, Recipe, Sampling
from qrm_forensics.records import ModelRef, Request, Trace
from qrm_forensics.study import CalibrationSpec

if TYPE_CHECKING:
    from qrm_forensics.quantize import Calibration

#: The built-in model writes at most so many responses for calibration; its problem families are finite.
OWN_TEXT_LIMIT = 1024
OWN_TEXT_SEED = 42


def writes_own_text(spec: CalibrationSpec) -> bool:
    """Whether the model is to write its own calibration text."""
    return spec.path is None and spec.corpus == "responses"


def own_text_only_of_builtin(source: Path, recipe: str) -> None:
    if source != builtin.weights_dir():
        raise InputError(
            f"calibration: {recipe} needs the model's own responses; give a file with 'full_prompt' and "
            "'generated_text', which gen-calib writes (only the built-in model writes its own without being asked), or name a corpus"
        )


def quantize_one(
    model: str, recipe: Recipe, out: Path, spec: CalibrationSpec, observer: Observer, real: str | None = None
) -> ModelRef:
    """One checkpoint, outside of any run; ``model`` is ``builtin`` or a Hugging Face folder, ``real`` the format of a real one."""
    from qrm_forensics.quantize import quantize, refuse
    from qrm_forensics.quantize.export import packed_format

    source = model_folder(model)
    reason = refuse(recipe)
    if reason:
        raise InputError(f"recipe {recipe}: {reason}")
    if real is not None:
        packed_format(real, recipe)
    if not recipe.quantized:
        return quantize(source, recipe, out)
    own_text = _own_text_file(source, out, spec)
    return make_checkpoint(source, recipe, out, spec, own_text, get_generator("embedded"), observer, real)


def quantize_external(
    model: str, name: str, out: Path, spec: CalibrationSpec, observer: Observer, python: str | None = None
) -> ModelRef:
    """One checkpoint by another library (``external:…``), which runs in the environment of ``python``."""
    from qrm_forensics.quantize import external

    source = model_folder(model)
    where = external.interpreter(external.arm(name), python)
    own_text = _own_text_file(source, out, spec)
    return _by_another_library(source, name, out, spec, own_text, get_generator("embedded"), observer, where)


def _by_another_library(
    source: Path,
    name: str,
    out: Path,
    spec: CalibrationSpec,
    own_text: Path,
    backend: Generator,
    observer: Observer,
    where: tuple[Path, str],
) -> ModelRef:
    from qrm_forensics.quantize import external

    arm = external.arm(name)
    calibration = None
    if arm.calibrated:
        calibration = _calibration(source, arm.recipe, "fixed", spec, own_text, backend, observer)
    observer.begin("quantize", arm.recipe, 1)
    made = external.run(arm, where, source, out, calibration)
    observer.advance()
    observer.end()
    return made


def _own_text_file(source: Path, out: Path, spec: CalibrationSpec) -> Path:
    """Named by what it depends on, so that another model's text, or a shorter one, is never taken for it."""
    from qrm_forensics.quantize import content_hash

    return out.parent / f"{out.name}.calibration-{spec.samples}-{content_hash(source)[:8]}.jsonl"


def _calibration(
    source: Path,
    recipe: str,
    preset: Preset,
    spec: CalibrationSpec,
    own_text: Path,
    backend: Generator,
    observer: Observer,
) -> Calibration:
    from qrm_forensics.quantize.calibration import calibration_for

    text = Path(spec.path) if spec.path is not None else None
    if writes_own_text(spec):
        text = own_text
        if not own_text.is_file():
            _write_own_text(source, recipe, own_text, spec.samples, backend, observer)
    method = recipe if recipe.startswith("external:") else Recipe.parse(recipe).method
    return calibration_for(spec, text, source, method, preset)


def make_checkpoint(
    source: Path,
    recipe: Recipe,
    out: Path,
    spec: CalibrationSpec,
    own_text: Path,
    backend: Generator,
    observer: Observer,
    real: str | None = None,
    external_python: str | None = None,
) -> ModelRef:
    """The checkpoint of a recipe in ``out``; of another library's, which runs in the environment of ``external_python``."""
    from qrm_forensics.quantize import content_hash, external, needs_calibration, quantize, refuse

    if not recipe.quantized:
        return ModelRef(str(source), None, str(recipe), content_hash(source), "original")
    if recipe.library is not None:
        where = external.interpreter(external.arm(str(recipe)), external_python)
        return _by_another_library(source, str(recipe), out, spec, own_text, backend, observer, where)
    reason = refuse(recipe)
    if reason:
        raise InputError(f"recipe {recipe}: {reason}")
    calibration = None
    if needs_calibration(recipe):
        calibration = _calibration(source, str(recipe), recipe.preset, spec, own_text, backend, observer)
    seen = 0

    def progress(done: int, total: int) -> None:
        nonlocal seen
        if seen == 0 and done > 1:  # of an attempt that was stopped
            observer.begin("quantize", str(recipe), total, done)
        else:
            if seen == 0:
                observer.begin("quantize", str(recipe), total)
            observer.advance(done - seen)
        seen = done

    made = quantize(source, recipe, out, calibration, progress=progress, real=real)
    if seen:
        observer.end()
    return made


def _write_own_text(
    source: Path, recipe: str, target: Path, count: int, backend: Generator, observer: Observer
) -> None:
    """The built-in model's own reasoning on training-side problems, in the layout of the paper's repository.

    Where the process is killed, the responses that are there are kept in ``<target>.partial``.
    """
    from qrm_forensics.quantize import content_hash

    own_text_only_of_builtin(source, recipe)
    problems = builtin.calibration_problems(min(count, OWN_TEXT_LIMIT))
    sampling = Sampling(max_new_tokens=builtin.MAX_NEW_TOKENS)
    identity = {
        "model": content_hash(source),
        "sampling": sampling.model_dump(mode="json"),
        "seed": OWN_TEXT_SEED,
        "problems": [problem.id for problem in problems],
    }

    def sample(missing: list[Request]) -> Iterator[Trace]:
        with backend.open(ModelRef(str(source), None, "bf16", None, "original")) as session:
            for trace in session.sample(missing, sampling):
                if trace.text is None:
                    raise InputError(f"calibration: {trace.problem_id} could not be generated: {trace.error}")
                yield trace

    requests = [Request("calibration", problem, 0, OWN_TEXT_SEED) for problem in problems]
    write_responses(target, identity, requests, sample, observer)
