"""What a study has to become: problems, variants, and what identifies the request."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from qrm_forensics import builtin
from qrm_forensics.benchmarks import wikitext
from qrm_forensics.benchmarks.registry import PERPLEXITY_NAMES
from qrm_forensics.benchmarks.rows import sha256_of
from qrm_forensics.benchmarks.wikitext import Text
from qrm_forensics.errors import InputError
from qrm_forensics.generate import defining_options, serves
from qrm_forensics.pipeline.problems import problems_of
from qrm_forensics.recipes import Recipe, variant_name
from qrm_forensics.records import Problem, Request, Variant
from qrm_forensics.store import hash_of
from qrm_forensics.study import Study


@dataclass(frozen=True, slots=True)
class Plan:
    """What a study has to become: problems, variants and the sources of the variants.

    A recipe is a variant for every way of thinking; those of one checkpoint differ in what follows the ``@`` of their name.

    ``problems`` are those of the whole benchmarks; ``limits`` says how many of each are asked.  ``partial``: named benchmarks
    whose files hold only some of their problems, so that no figure is called that of the whole benchmark.
    ``text``: what perplexity is measured on, and on how many of its windows (None: all of them).
    """

    study: Study
    problems: tuple[Problem, ...]
    limits: dict[str, int]
    variants: tuple[Variant, ...]
    sources: dict[str, Path]
    recipes: dict[str, Recipe]
    baseline: str
    partial: tuple[str, ...] = ()
    text: Text | None = None
    windows: int | None = None

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
    chat = _asks_by_chat(study)
    sources = {name: Path(name) if chat and name != builtin.NAME else model_folder(name) for name in study.models}
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
    for free in tuple(variants):
        for thinking in study.thinking[1:]:
            forced = replace(free, id=variant_name(free.id, thinking))
            variants.append(forced)
            variant_sources[forced.id], recipes[forced.id] = variant_sources[free.id], recipes[free.id]
    problems: list[Problem] = []
    limits: dict[str, int] = {}
    partial: list[str] = []
    text, windows = None, None
    for spec in study.benchmarks:
        if spec.name in PERPLEXITY_NAMES:
            text, windows = wikitext.load(spec), spec.limit
            continue
        whole, size = problems_of(spec, sources, messages=chat)
        if whole[0].benchmark in limits:
            raise InputError(f"benchmarks: two are called {whole[0].benchmark!r}; rename one of them")
        problems += whole
        limits[whole[0].benchmark] = spec.limit or len(whole)
        if size is not None and len(whole) < size:
            partial.append(whole[0].benchmark)
    if not problems:
        raise InputError("benchmarks: perplexity is measured beside problems; add a benchmark")
    baseline = next(v.id for v in variants if recipes[v.id] == study.baseline)
    return Plan(
        *(study, tuple(problems), limits, tuple(variants), variant_sources, recipes, baseline),
        *(tuple(partial), text, windows),
    )


def _asks_by_chat(study: Study) -> bool:
    """Whether a server puts the questions into its model's chat template, so that no folder of the model is needed here."""
    if not (study.backend.name == "server" and study.backend.options.get("api") == "chat"):
        return False
    if len(study.thinking) > 1:
        raise InputError("thinking: a chat server begins each response anew; budgets need the option api: completions")
    return True


def model_folder(name: str) -> Path:
    """The checkpoint folder that ``name`` means: ``builtin``, or a Hugging Face folder.  Raises InputError for others."""
    if name == builtin.NAME:
        return builtin.weights_dir()
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise InputError(f"models: {name!r} is neither 'builtin' nor a Hugging Face folder with a config.json")
    return folder


def request_of(plan: Plan) -> dict[str, object]:
    """What identifies a run: the study and the content of all that it names, not the machine."""
    from qrm_forensics.quantize import content_hash, quantizer_version, side_files_hash

    folders = dict.fromkeys(plan.sources.values())
    backend = plan.study.backend
    # How many responses are in flight, and where, changes nothing but rounding noise; another engine or dtype is another run.
    # The built-in backend as it is has no entry: runs that were begun before there were others can be finished.
    engine = (
        {}
        if backend.name == "embedded" and not backend.options
        else {"backend": [backend.name, defining_options(backend.name, backend.options)]}
    )
    return {
        "kind": "run",
        **engine,
        **({"perplexity": plan.text.sha256} if plan.text is not None else {}),
        **({"size_known": dict.fromkeys(plan.partial, False)} if plan.partial else {}),
        "study": plan.study.model_dump(mode="json", exclude={"languages", "backend", "latency"}),
        "problems": hash_of([asdict(p) for p in plan.problems]),
        "sources": {
            str(i): [None if serves(backend.name) else content_hash(f), side_files_hash(f) if f.is_dir() else str(f)]
            for i, f in enumerate(folders)
        },
        "quantizers": {str(recipe): quantizer_version(recipe) for recipe in plan.study.recipes},
        "calibration": _calibration_hash(plan),
    }


def _calibration_hash(plan: Plan) -> str | None:
    """Of the file, or of all files in a folder that some recipe is calibrated on; None where none is named."""
    from qrm_forensics.quantize import needs_calibration
    from qrm_forensics.quantize.calibration import calibration_files

    spec = plan.study.calibration
    if spec.path is None:
        return None
    found = {} if Path(spec.path).is_dir() else {Path(spec.path): None}
    if not found:
        for identity, recipe in plan.recipes.items():
            if recipe.quantized and needs_calibration(recipe):
                method = recipe.method if recipe.library is None else str(recipe)
                found |= dict.fromkeys(calibration_files(spec, plan.sources[identity], method, recipe.preset))
    try:
        return sha256_of(sorted(found))
    except InputError as error:
        raise InputError(f"calibration: {error}") from error


def default_out(runs: Path, study: Study, request: dict[str, object]) -> Path:
    """The folder of a request under ``runs``: the same request finds the same folder again."""
    return runs / f"{study.name}-{hash_of(request)[:8]}"
