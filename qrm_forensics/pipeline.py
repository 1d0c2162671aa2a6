"""From a study to a measured run folder: the steps in order, each resumable, each repeatable alone.

``run`` plans everything first (which traces there have to be), then makes what is
missing.  A cell (one variant on one benchmark) that is sealed is never touched again;
verdicts and measures are made again only where what they were made from has changed.
Nothing is printed here: an :class:`Observer` is told.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qrm_forensics import builtin
from qrm_forensics.benchmarks.datasets import load_dataset
from qrm_forensics.derive import derive
from qrm_forensics.errors import InputError
from qrm_forensics.generate import Generator, get_generator
from qrm_forensics.observing import Observer, Silent, Stopwatch
from qrm_forensics.recipes import Preset, Recipe, Sampling
from qrm_forensics.records import Key, Kind, ModelRef, Problem, Request, Trace, Variant
from qrm_forensics.store import Store, hash_of, write_text
from qrm_forensics.study import CalibrationSpec, Study

if TYPE_CHECKING:
    from qrm_forensics.quantize import Calibration

#: The built-in model writes at most so many responses for calibration; its problem families are finite.
OWN_TEXT_LIMIT = 1024
STEPS = ("quantize", "generate", "score", "measure")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a study has to become: problems, variants and the sources of the variants.

    ``problems`` are those of the whole benchmarks; ``limits`` says how many of each are asked.
    """

    study: Study
    problems: tuple[Problem, ...]
    limits: dict[str, int]
    variants: tuple[Variant, ...]
    sources: dict[str, Path]
    recipes: dict[str, Recipe]
    baseline: str

    def benchmarks(self) -> list[str]:
        return list(dict.fromkeys(p.benchmark for p in self.problems))

    def requests(self, variant: str, benchmark: str) -> list[Request]:
        """Every planned sample of one cell, problem by problem."""
        sampling = self.study.sampling
        asked = [p for p in self.problems if p.benchmark == benchmark][: self.limits[benchmark]]
        return [
            Request(variant, problem, sample, seed)
            for problem in asked
            for seed in sampling.seeds
            for sample in range(sampling.samples)
        ]


def make_plan(study: Study) -> Plan:
    """Resolve names to folders and problems.  Raises InputError before anything is computed."""
    sources = {name: model_folder(name) for name in study.models}
    several = len(study.models) > 1
    variants, variant_sources, recipes = [], {}, {}
    ordered = sorted(study.recipes, key=lambda r: r != study.baseline)
    for name, folder in sources.items():
        model = builtin.MODEL_NAME if name == builtin.NAME else folder.resolve().name
        for recipe in ordered:
            identity = f"{model}--{recipe}" if several else str(recipe)
            if identity in variant_sources:
                raise InputError(f"models: two folders are called {model!r}; rename one of them")
            variants.append(Variant(identity, model, str(recipe), recipe.quant_shards))
            variant_sources[identity] = folder
            recipes[identity] = recipe
    problems: list[Problem] = []
    limits: dict[str, int] = {}
    for spec in study.benchmarks:
        if spec.name == builtin.NAME:
            strangers = [name for name in study.models if name != builtin.NAME]
            if strangers:
                raise InputError(
                    f"benchmarks: the prompts of 'builtin' are in the built-in model's own chat format, so {strangers[0]!r} "
                    "cannot answer them; give that model a benchmark with a path"
                )
            if spec.path is not None:
                raise InputError(
                    "benchmarks: 'builtin' comes with the package and takes no path; give yours another name"
                )
            whole = builtin.problems(builtin.BENCHMARK_SIZE)
        elif spec.path is None:
            raise InputError(f"benchmarks: {spec.name} needs a path to a JSON Lines file with 'problem' and 'answer'")
        else:
            whole = _file_problems(spec.name, Path(spec.path), list(sources.values()))
        if whole[0].benchmark in limits:
            raise InputError(f"benchmarks: two are called {whole[0].benchmark!r}; rename one of them")
        problems += whole
        limits[whole[0].benchmark] = spec.limit or len(whole)
    baseline = next(v.id for v in variants if recipes[v.id] == study.baseline)
    return Plan(study, tuple(problems), limits, tuple(variants), variant_sources, recipes, baseline)


def model_folder(name: str) -> Path:
    """The checkpoint folder that ``name`` means: ``builtin``, or a Hugging Face folder.  Raises InputError for others."""
    if name == builtin.NAME:
        return builtin.weights_dir()
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise InputError(f"models: {name!r} is neither 'builtin' nor a Hugging Face folder with a config.json")
    return folder


def _file_problems(name: str, path: Path, models: Sequence[Path]) -> list[Problem]:
    from qrm_forensics.generate.prompts import math_prompts

    problems = load_dataset(path).problems
    prompts = math_prompts(models, [p.question for p in problems])
    return [
        Problem(name, p.id, p.question, prompt, p.answer, Kind.MATH, p.subject, p.level)
        for p, prompt in zip(problems, prompts, strict=True)
    ]


def request_of(plan: Plan) -> dict[str, object]:
    """What identifies a run: the study and the content of all that it names, not the machine."""
    from qrm_forensics.quantize import content_hash, quantizer_version, side_files_hash

    folders = dict.fromkeys(plan.sources.values())
    return {
        "kind": "run",
        "study": plan.study.model_dump(mode="json", exclude={"languages", "backend"}),
        "problems": hash_of([asdict(p) for p in plan.problems]),
        "sources": {str(i): [content_hash(f), side_files_hash(f)] for i, f in enumerate(folders)},
        "quantizers": {str(recipe): quantizer_version(recipe) for recipe in plan.study.recipes},
        "calibration": _calibration_hash(plan),
    }


def _calibration_hash(plan: Plan) -> str | None:
    """Of the file, or of all files in a folder that some recipe is calibrated on; None where none is named."""
    from qrm_forensics.quantize import needs_calibration
    from qrm_forensics.quantize.calibration import calibration_files
    from qrm_forensics.quantize.corpora import files_hash

    spec = plan.study.calibration
    if spec.path is None:
        return None
    if not Path(spec.path).is_dir():
        return _file_hash(Path(spec.path))
    found: dict[Path, None] = {}
    for identity, recipe in plan.recipes.items():
        if recipe.quantized and needs_calibration(recipe):
            found |= dict.fromkeys(calibration_files(spec, plan.sources[identity], recipe.method, recipe.preset))
    return files_hash(sorted(found))


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"calibration: {path} cannot be read ({error.strerror}); check the path") from error


def default_out(runs: Path, study: Study, request: dict[str, object]) -> Path:
    """The folder of a request under ``runs``: the same request finds the same folder again."""
    return runs / f"{study.name}-{hash_of(request)[:8]}"


def run(
    plan: Plan,
    out: Path,
    *,
    observer: Observer | None = None,
    only: str | None = None,
    fresh: bool = False,
    generator: Generator | None = None,
    command: str = "run",
) -> Store:
    """Make (or finish) the run of ``plan`` in ``out``.

    ``only`` does one of STEPS and leaves the others as they are.  ``generator``
    replaces the study's backend (for scripted and replayed runs).  Raises StoreError where the
    folder belongs to a different request.
    """
    if only is not None and only not in STEPS:
        raise InputError(f"--only {only}: unknown step; known steps: {', '.join(STEPS)}")
    if fresh and only in ("score", "measure"):
        raise InputError(
            f"--fresh deletes the responses, so --only {only} would have nothing to do; leave one of them out"
        )
    if generator is None and only in (None, "quantize", "generate"):
        _refuse_early(plan)
    watch = Stopwatch(command)
    observer = observer or Silent()
    store = Store.create(out, request=request_of(plan), variants=plan.variants, baseline=plan.baseline, fresh=fresh)
    with store.writing():
        store.write_problems(plan.problems)
        if only in (None, "quantize", "generate"):
            _quantize_and_generate(plan, store, observer, watch, only, generator)
        derive(store, observer, watch, steps=("score", "measure") if only is None else (only,))
        backend = generator.name if generator is not None else plan.study.backend.name
        store.add_run_info({**asdict(watch.info()), "backend": backend, "warnings": _warnings(plan, store)})
    return store


def _warnings(plan: Plan, store: Store) -> list[str]:
    """What quantizing the checkpoints of this run warned of, one sentence each."""
    from qrm_forensics.quantize.diagnosis import read_warnings

    found = ((v.id, trap) for v in plan.variants for trap in read_warnings(store.checkpoint_dir(v.id)))
    return [f"{identity}: {trap.sentence}" for identity, trap in found]


def _refuse_early(plan: Plan) -> None:
    """Raise for recipes that cannot be made, before hours are spent on those that can."""
    from qrm_forensics.quantize import needs_calibration, refuse

    for variant in plan.variants:
        recipe = plan.recipes[variant.id]
        reason = refuse(recipe)
        if reason:
            raise InputError(f"recipes: {reason}")
        if recipe.quantized and needs_calibration(recipe) and _own_text(plan.study.calibration):
            _own_text_only_of_builtin(plan.sources[variant.id], str(recipe))
    _backend(plan.study)


def _own_text(spec: CalibrationSpec) -> bool:
    """Whether the model is to write its own calibration text."""
    return spec.path is None and spec.corpus == "responses"


def _own_text_only_of_builtin(source: Path, recipe: str) -> None:
    if source != builtin.weights_dir():
        raise InputError(
            f"calibration: {recipe} needs the model's own responses; give a file with 'full_prompt' and "
            "'generated_text', which gen-calib writes (only the built-in model writes its own without being asked), or name a corpus"
        )


def _quantize_and_generate(
    plan: Plan, store: Store, observer: Observer, watch: Stopwatch, only: str | None, generator: Generator | None
) -> None:
    for variant in plan.variants:
        open_cells = [b for b in plan.benchmarks() if not store.sealed(variant.id, b)]
        if not open_cells:
            continue
        model = None
        if generator is None:
            with watch.timing("quantize"):
                model = _checkpoint(plan, store, variant, observer)
        if only == "quantize":
            continue
        with watch.timing("generate"):
            _generate(plan, store, variant, model, open_cells, observer, watch, generator)


def _checkpoint(plan: Plan, store: Store, variant: Variant, observer: Observer) -> ModelRef:
    from qrm_forensics.quantize.diagnosis import read_warnings

    made = _make_checkpoint(
        plan.sources[variant.id],
        plan.recipes[variant.id],
        store.checkpoint_dir(variant.id),
        plan.study.calibration,
        store.calibration_file(variant.model),
        _backend(plan.study),
        observer,
    )
    for trap in read_warnings(store.checkpoint_dir(variant.id)):
        observer.note(f"{variant.id}: {trap.sentence}")
    return made


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
    return _make_checkpoint(source, recipe, out, spec, own_text, get_generator("embedded"), observer, real)


def quantize_external(
    model: str, name: str, out: Path, spec: CalibrationSpec, observer: Observer, python: str | None = None
) -> ModelRef:
    """One checkpoint by another library (``external:…``), which runs in the environment of ``python``."""
    from qrm_forensics.quantize import external

    source = model_folder(model)
    arm = external.arm(name)
    interpreter = external.interpreter(arm, python)
    calibration = None
    if arm.calibrated:
        backend, own_text = get_generator("embedded"), _own_text_file(source, out, spec)
        calibration = _calibration(source, arm.recipe, "fixed", spec, own_text, backend, observer)
    observer.begin("quantize", arm.recipe, 1)
    made = external.run(arm, interpreter, source, out, calibration)
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
    if _own_text(spec):
        text = own_text
        if not own_text.is_file():
            _write_own_text(source, recipe, own_text, spec.samples, backend, observer)
    method = recipe if recipe.startswith("external:") else Recipe.parse(recipe).method
    return calibration_for(spec, text, source, method, preset)


def _make_checkpoint(
    source: Path,
    recipe: Recipe,
    out: Path,
    spec: CalibrationSpec,
    own_text: Path,
    backend: Generator,
    observer: Observer,
    real: str | None = None,
) -> ModelRef:
    from qrm_forensics.quantize import content_hash, needs_calibration, quantize, refuse

    if not recipe.quantized:
        return ModelRef(str(source), None, str(recipe), content_hash(source), "original")
    reason = refuse(recipe)
    if reason:
        raise InputError(f"recipe {recipe}: {reason}")
    calibration = None
    if needs_calibration(recipe):
        calibration = _calibration(source, str(recipe), recipe.preset, spec, own_text, backend, observer)
    seen = 0

    def progress(done: int, total: int) -> None:
        nonlocal seen
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
    """The built-in model's own reasoning on training-side problems, in the layout of the paper's repository."""
    _own_text_only_of_builtin(source, recipe)
    problems = builtin.calibration_problems(min(count, OWN_TEXT_LIMIT))
    observer.begin("calibrate", "the model writes its own calibration text", len(problems))
    rows: dict[str, dict[str, str]] = {}
    with backend.open(ModelRef(str(source), None, "bf16", None, "original")) as session:
        sampling = Sampling(max_new_tokens=builtin.MAX_NEW_TOKENS)
        for trace in session.sample([Request("calibration", p, 0, 42) for p in problems], sampling):
            if trace.text is None:
                raise InputError(f"calibration: {trace.problem_id} could not be generated: {trace.error}")
            rows[trace.problem_id] = {"full_prompt": trace.prompt, "generated_text": trace.text}
            observer.advance()
    write_text(target, "".join(json.dumps(rows[p.id], ensure_ascii=False) + "\n" for p in problems))
    observer.end()


def _backend(study: Study) -> Generator:
    return get_generator(study.backend.name, batch_size=study.backend.batch_size, device=study.backend.device)


def _generate(
    plan: Plan,
    store: Store,
    variant: Variant,
    model: ModelRef | None,
    benchmarks: Sequence[str],
    observer: Observer,
    watch: Stopwatch,
    generator: Generator | None,
) -> None:
    backend = generator or _backend(plan.study)
    opened = model or ModelRef("", None, variant.recipe, None, "original")
    with backend.open(opened) as session:
        for benchmark in benchmarks:
            planned = plan.requests(variant.id, benchmark)
            store.recover(variant.id, benchmark)
            there: set[Key] = set(store.trace_keys(variant.id, benchmark))
            missing = [r for r in planned if r.key not in there]
            observer.begin("generate", f"{variant.id} · {benchmark}", len(planned), len(there))
            live = _Live()
            with store.cell_writer(variant.id, benchmark) as add:
                for trace in session.sample(missing, plan.study.sampling):
                    add(trace)
                    watch.traces_made += 1
                    observer.advance(1, **live.facts(trace))
            store.seal(variant.id, benchmark, [r.key for r in planned])
            observer.end()


class _Live:
    """Live facts about the responses that one call has made so far."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.tokens = self.traces = self.truncated = self.looping = 0

    def facts(self, trace: Trace) -> dict[str, str]:
        from qrm_forensics.metrics.loop_detector import find_loops

        self.traces += 1
        self.tokens += trace.completion_tokens or 0
        self.truncated += trace.finish == "length"
        if trace.text is not None:
            self.looping += find_loops(trace.text, closed=None).loop
        rate = self.tokens / max(time.perf_counter() - self.start, 1e-9)
        return {
            "tokens/s": f"{rate:,.0f}",
            "truncated": f"{self.truncated / self.traces:.0%}",
            "looping": f"{self.looping / self.traces:.0%}",
        }
