"""From a study to a measured run folder: the steps in order, each resumable, each repeatable alone.

``run`` plans everything first (which traces there have to be), then makes what is
missing.  A cell (one variant on one benchmark) that is sealed is never touched again;
verdicts and measures are made again only where what they were made from has changed.
Nothing is printed here: an :class:`Observer` is told.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from qrm_forensics.derive import derive
from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.generate import Checks, Generator, Serving, get_generator
from qrm_forensics.observing import Observer, Silent, Stopwatch
from qrm_forensics.pipeline import latency, perplexity
from qrm_forensics.pipeline.checkpoints import (
    OWN_TEXT_LIMIT,
    make_checkpoint,
    own_text_only_of_builtin,
    quantize_external,
    quantize_one,
    writes_own_text,
)
from qrm_forensics.pipeline.generation import backend_of, generate
from qrm_forensics.pipeline.plan import Plan, default_out, make_plan, model_folder, request_of
from qrm_forensics.recipes import thinking_of
from qrm_forensics.records import ModelRef, Variant
from qrm_forensics.store import Store

__all__ = [
    "OWN_TEXT_LIMIT",
    "STEPS",
    "Plan",
    "default_out",
    "make_plan",
    "model_folder",
    "quantize_external",
    "quantize_one",
    "request_of",
    "run",
]

STEPS = ("quantize", "generate", "score", "measure")


def run(
    plan: Plan,
    out: Path,
    *,
    observer: Observer | None = None,
    only: str | None = None,
    fresh: bool = False,
    generator: Generator | None = None,
    command: str = "run",
    external_python: str | None = None,
) -> Store:
    """Make (or finish) the run of ``plan`` in ``out``.

    ``only`` does one of STEPS and leaves the others as they are.  ``generator``
    replaces the study's backend (for scripted and replayed runs).  ``external_python``: the environments of other libraries, see
    :func:`qrm_forensics.quantize.external.interpreter`.  Raises StoreError where the folder belongs to a different request.
    """
    if only is not None and only not in STEPS:
        raise InputError(f"--only {only}: unknown step; known steps: {', '.join(STEPS)}")
    if fresh and only in ("score", "measure"):
        raise InputError(
            f"--fresh deletes the responses, so --only {only} would have nothing to do; leave one of them out"
        )
    if generator is None and only in (None, "quantize", "generate"):
        _refuse_early(plan, external_python)
    watch = Stopwatch(command)
    observer = observer or Silent()
    store = Store.create(out, request=request_of(plan), variants=plan.variants, baseline=plan.baseline, fresh=fresh)
    with store.writing():
        store.set_languages(plan.study.languages)
        store.write_problems(plan.problems)
        if only in (None, "quantize", "generate"):
            _quantize_and_generate(plan, store, observer, watch, only, generator, external_python)
        derive(store, observer, watch, steps=("score", "measure") if only is None else (only,))
        backend = generator.name if generator is not None else plan.study.backend.name
        made_with = {"engines": watch.engines} if watch.engines else {}
        store.add_run_info(
            {**asdict(watch.info()), "backend": backend, **made_with, "warnings": _warnings(plan, store)}
        )
    return store


def _warnings(plan: Plan, store: Store) -> list[str]:
    """What quantizing the checkpoints of this run warned of, one sentence each."""
    from qrm_forensics.quantize.diagnosis import read_warnings

    found = ((v.id, trap) for v in plan.variants for trap in read_warnings(store.checkpoint_dir(v.id)))
    return [f"{identity}: {trap.sentence}" for identity, trap in found]


def _refuse_early(plan: Plan, external_python: str | None) -> None:
    """Raise for recipes that cannot be made or loaded, before hours are spent on those that can."""
    from qrm_forensics.quantize import external, needs_calibration, refuse

    backend = backend_of(plan.study)
    refused = (
        backend.refuse([v.id for v in plan.variants if thinking_of(v.id)[0] == v.id])
        if isinstance(backend, Serving)
        else None
    )
    if refused:
        raise InputError(f"backend: {refused}")
    if isinstance(backend, Serving):
        return
    for variant in plan.variants:
        recipe = plan.recipes[variant.id]
        reason = refuse(recipe)
        if reason:
            raise InputError(f"recipes: {reason}")
        if recipe.library is not None:
            arm = external.arm(str(recipe))
            if unreadable := external.unreadable(arm, backend.name):
                raise EnvironmentMissing(f"recipes: {unreadable}")
            external.interpreter(arm, external_python)
        if recipe.quantized and needs_calibration(recipe) and writes_own_text(plan.study.calibration):
            own_text_only_of_builtin(plan.sources[variant.id], str(recipe))


def _quantize_and_generate(
    plan: Plan,
    store: Store,
    observer: Observer,
    watch: Stopwatch,
    only: str | None,
    generator: Generator | None,
    external_python: str | None,
) -> None:
    backend = generator or backend_of(plan.study)
    checked = only == "quantize" or not isinstance(backend, Checks)
    for variant in (v for v in plan.variants if thinking_of(v.id)[0] == v.id):
        # one checkpoint, which is opened once for all the ways in which it is to think
        thinking = [v for v in plan.variants if thinking_of(v.id)[0] == variant.id]
        open_cells = [(v, b) for v in thinking for b in plan.benchmarks() if not store.sealed(v.id, b)]
        measured = not perplexity.missing(store, variant.id, plan.text, plan.windows)
        if not open_cells and measured and not latency.missing(plan, store, variant.id):
            continue
        model = None
        if not checked and isinstance(backend, Checks):
            backend.check()
            checked = True
        if generator is None and not isinstance(backend, Serving):
            with watch.timing("quantize"):
                model = _checkpoint(plan, store, variant, observer, external_python)
        if only == "quantize":
            continue
        with watch.timing("generate"):
            generate(plan, store, variant, model, open_cells, observer, watch, generator)


def _checkpoint(
    plan: Plan, store: Store, variant: Variant, observer: Observer, external_python: str | None
) -> ModelRef:
    from qrm_forensics.quantize.diagnosis import read_warnings

    made = make_checkpoint(
        plan.sources[variant.id],
        plan.recipes[variant.id],
        store.checkpoint_dir(variant.id),
        plan.study.calibration,
        store.calibration_file(variant.model),
        get_generator("embedded"),  # calibration text does not depend on what answers the benchmarks
        observer,
        external_python=external_python,
    )
    for trap in read_warnings(store.checkpoint_dir(variant.id)):
        observer.note(f"{variant.id}: {trap.sentence}")
    return made
