"""What a study will cost, before anything is computed or written: requests, tokens, memory and disk.

Nothing has to be there but the study file.  Whatever cannot be known without a model's or a benchmark's files is null, and
``unknown`` says why; nothing is guessed silently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qrm_forensics import builtin
from qrm_forensics.benchmarks.load import check, load
from qrm_forensics.benchmarks.registry import BENCHMARKS, PERPLEXITY_NAMES
from qrm_forensics.errors import InputError
from qrm_forensics.generate import Serving, serves
from qrm_forensics.pipeline.checkpoints import writes_own_text
from qrm_forensics.pipeline.generation import backend_of
from qrm_forensics.pipeline.plan import model_folder
from qrm_forensics.recipes import variant_name
from qrm_forensics.study import BenchmarkSpec, Study
from qrm_forensics.weights import open_checkpoint, read_json

#: Mean tokens of a response.  MATH-500 and AIME-90: DeepSeek-R1-Distill-Qwen-1.5B at gptq-w4g128, 50 and 90 real responses of
#: 11,600 and 43,000 characters, at 3 characters to a token.  Of 3 bits they were three times as long.
TYPICAL = {
    "builtin": 110,
    "MATH-500": 3900,
    "AIME-90": 14300,
    "AIME-2024": 14300,
    "AIME-2025": 14300,
    "AIME-120": 14300,
}
#: Bytes of a stored token: its id, its log-probability, and its text, before compression.
BYTES_PER_TOKEN = 12
_DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2, "float": 4, "half": 2, "F32": 4, "BF16": 2, "F16": 2}
_NAMED_SIZE = re.compile(r"(?<![\w.])(\d{1,4}(?:\.\d{1,2})?)[bB](?![a-zA-Z])")


@dataclass(frozen=True, slots=True)
class Cell:
    """All variants alike.  ``requests``: of one variant.  ``tokens_at_most`` and ``tokens_expected``: generated, of one variant."""

    benchmark: str
    problems: int | None
    requests: int | None
    tokens_at_most: int | None
    tokens_expected: int | None


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Of one model; its quantized variants are stored dequantized, so they need as much.

    ``parameters_by``: ``weights``, ``config`` or ``name``.  ``weights`` and ``cache``: bytes of device memory, the cache for
    ``batch`` sequences of the full length (``cache_per_sequence`` each).  ``checkpoint``: bytes on disk of one variant.
    """

    model: str
    parameters: int | None
    parameters_by: str | None
    weights: int | None
    cache_per_sequence: int | None
    batch: int | None
    cache: int | None
    checkpoint: int | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """``variants``: names as in the run.  ``traces_at_most``, ``checkpoints``: bytes on disk of the whole run.

    Passes beside the responses: ``perplexity``, the texts that every checkpoint reads, and ``timed``, how many responses are
    made again one by one for the latency of one checkpoint; 0 where none is asked for.
    """

    study: str
    backend: str
    variants: list[str]
    cells: list[Cell]
    models: list[ModelCost]
    requests: int | None
    tokens_at_most: int | None
    tokens_expected: int | None
    traces_at_most: int | None
    checkpoints: int | None
    perplexity: list[str]
    timed: int | None
    unknown: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def estimate(study: Study) -> Estimate:
    """Raises InputError for what is wrong with the study whatever its files hold: recipes, backend and options."""
    from qrm_forensics.quantize import refuse

    backend = backend_of(study)
    served = serves(study.backend.name)
    unknown: list[str] = []
    several = len(study.models) > 1
    recipes = sorted(study.recipes, key=lambda r: r != study.baseline)
    named = {m: builtin.MODEL_NAME if m == builtin.NAME else Path(m).name for m in study.models}
    free = [f"{named[m]}--{r}" if several else str(r) for m in study.models for r in recipes]
    if isinstance(backend, Serving):
        reason = backend.refuse(free)
        if reason:
            raise InputError(f"backend: {reason}")
    else:
        reasons = (refuse(recipe) for recipe in study.recipes)
        if reason := next((r for r in reasons if r), None):
            raise InputError(f"recipes: {reason}")
        _calibration(study, unknown)
    variants = free + [variant_name(name, thinking) for name in free for thinking in study.thinking[1:]]
    cells = [_cell(study, spec, unknown) for spec in study.benchmarks if spec.name not in PERPLEXITY_NAMES]
    if not cells:
        raise InputError("benchmarks: perplexity is measured beside problems; add a benchmark")
    models = [] if served else [_model(study, name, unknown) for name in study.models]
    n = len(variants)
    expected = _total([c.tokens_expected for c in cells], n)
    most = _total([c.tokens_at_most for c in cells], n)
    quantized = sum(recipe.quantized for recipe in study.recipes)
    return Estimate(
        study.name,
        study.backend.name,
        variants,
        cells,
        models,
        _total([c.requests for c in cells], n),
        most,
        expected,
        None if most is None else most * BYTES_PER_TOKEN,
        0 if served else _total([m.checkpoint for m in models], quantized),
        [spec.name for spec in study.benchmarks if spec.name in PERPLEXITY_NAMES],
        _timed(study, cells),
        list(dict.fromkeys(unknown)),
    )


def _timed(study: Study, cells: list[Cell]) -> int | None:
    if study.latency is None:
        return 0
    first = study.latency.problems
    return _total([None if c.problems is None else min(c.problems, first) for c in cells], 1)


def _total(parts: list[int | None], times: int) -> int | None:
    return None if any(p is None for p in parts) else sum(p or 0 for p in parts) * times


def _cell(study: Study, spec: BenchmarkSpec, unknown: list[str]) -> Cell:
    sampling = study.sampling
    problems = _size(spec, unknown)
    asked = problems if spec.limit is None or problems is None else min(problems, spec.limit)
    requests = None if asked is None else asked * len(sampling.seeds) * sampling.samples
    typical = TYPICAL.get(spec.name)
    if typical is None:
        unknown.append(f"{spec.name}: how long responses usually are")
    per = None if typical is None else min(typical, sampling.max_new_tokens)
    return Cell(
        spec.name,
        asked,
        requests,
        None if requests is None else requests * sampling.max_new_tokens,
        None if requests is None or per is None else requests * per,
    )


def _size(spec: BenchmarkSpec, unknown: list[str]) -> int | None:
    """Problems of a benchmark: of its files where they are here, else as many as it is known to have."""
    if spec.name == builtin.NAME:
        return builtin.BENCHMARK_SIZE
    if spec.lighteval is None:
        check(spec)
    if spec.path is not None and Path(spec.path).expanduser().exists() and not spec.hub:
        return len(load(spec).items)
    known = BENCHMARKS.get(spec.name)
    where = "comes from the hub" if spec.hub else f"{spec.path} is not here" if spec.path else "its files are not here"
    if known is None or spec.kind is not None:
        unknown.append(
            f"{spec.name}: how many problems it has ({where})" + ("" if spec.limit is None else "; limit is taken")
        )
        return spec.limit
    if known.prompt == "code":
        from qrm_forensics.benchmarks import livecodebench

        subset = spec.subset or livecodebench.DEFAULT
        if subset not in livecodebench.SUBSETS:
            raise InputError(f"benchmarks: {spec.name} has no subset {subset!r}")
        return livecodebench.size_of(subset)
    return known.size


def _calibration(study: Study, unknown: list[str]) -> None:
    from qrm_forensics.quantize import needs_calibration

    if not any(recipe.quantized and needs_calibration(recipe) for recipe in study.recipes):
        return
    spec = study.calibration
    if spec.path is not None and not Path(spec.path).expanduser().exists():
        hint = "; gen-calib writes a model's own responses" if spec.corpus == "responses" else ""
        unknown.append(f"calibration: {spec.path} is not here{hint}")
    elif writes_own_text(spec) and any(model != builtin.NAME for model in study.models):
        raise InputError("calibration: only the built-in model writes its own text; give a path, or name a corpus")


def _model(study: Study, name: str, unknown: list[str]) -> ModelCost:
    try:
        folder = model_folder(name)
    except InputError:
        named = _named_size(name)
        known = "its size is taken from its name" if named else "nor can its weights"
        unknown.append(f"{name}: is not a folder here, so the memory of its cache cannot be estimated; {known}")
        return _cost(study, name, {}, named, "name" if named else None, None)
    config = read_json(folder / "config.json")
    config = config if isinstance(config, dict) else {}
    try:
        checkpoint = open_checkpoint(folder)
        parameters: int | None = sum(math.prod(shape) for shape in checkpoint.shapes.values())
        by: str | None = "weights"
        stored: int | None = sum(entry.stop - entry.start for entry in checkpoint.entries.values())
    except InputError:
        counted = _counted(config)
        parameters, by, stored = counted, "config" if counted else None, None
        unknown.append(
            f"{name}: its weights are not here" + ("" if counted else "; how many it has cannot be estimated")
        )
    return _cost(study, name, config, parameters, by, stored)


def _cost(
    study: Study, name: str, config: Mapping[str, Any], parameters: int | None, by: str | None, stored: int | None
) -> ModelCost:
    options = study.backend.options
    own = _DTYPES.get(str(config.get("dtype") or config.get("torch_dtype") or "bfloat16"), 2)
    default = "float32" if study.backend.name == "embedded" else "auto"
    width = _DTYPES.get(str(options.get("dtype", default)), own)
    cache_width = 1 if str(options.get("kv_cache_dtype", "")).startswith("fp8") else width
    layers, heads, head = _attention(config)
    longest = study.sampling.max_new_tokens
    if isinstance(config.get("max_position_embeddings"), int):
        longest = min(longest, int(config["max_position_embeddings"]))
    per = None if not (layers and heads and head) else 2 * layers * heads * head * cache_width * longest
    batch = study.backend.batch_size or {"embedded": 64}.get(study.backend.name)
    return ModelCost(
        name,
        parameters,
        by,
        None if parameters is None else parameters * width,
        per,
        batch,
        None if per is None or batch is None else per * batch,
        stored if stored is not None else None if parameters is None else parameters * own,
    )


def _attention(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Layers, heads of keys and values, and their width; zeros where the config does not say."""
    layers, heads, hidden = (config.get(k) for k in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    if not (isinstance(layers, int) and isinstance(heads, int) and isinstance(hidden, int) and heads > 0):
        return 0, 0, 0
    of_keys, width = config.get("num_key_value_heads"), config.get("head_dim")
    return (
        layers,
        of_keys if isinstance(of_keys, int) else heads,
        width if isinstance(width, int) else hidden // heads,
    )


def _counted(config: Mapping[str, Any]) -> int | None:
    """Parameters of a dense decoder of the Llama family by its config; None for others, such as mixtures of experts."""
    if config.get("model_type") not in ("llama", "qwen2", "qwen3", "mistral"):
        return None
    layers, kv_heads, width = _attention(config)
    sizes = [config.get(k) for k in ("hidden_size", "intermediate_size", "vocab_size", "num_attention_heads")]
    if not layers or not all(isinstance(size, int) for size in sizes):
        return None
    hidden, inner, vocabulary, heads = (int(size) for size in sizes if size is not None)
    attention = 2 * hidden * heads * width + 2 * hidden * kv_heads * width
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return layers * (attention + 3 * hidden * inner + 2 * hidden) + embeddings + hidden


def _named_size(name: str) -> int | None:
    """What ``…-Qwen-1.5B`` says about itself."""
    found = _NAMED_SIZE.findall(Path(name).name)
    return int(float(found[-1]) * 1e9) if found else None
