"""A study file: what to quantize, what to ask, how to sample.  Read once, checked whole.

A message about a study file names the file, the key at fault and, for a misspelt key,
the key that was probably meant.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from qrm_forensics.errors import InputError
from qrm_forensics.recipes import Recipe, Sampling, Thinking, sampling_preset

#: What calibration text is made of, see :mod:`qrm_forensics.quantize.corpora`.
Corpus = Literal["responses", "wikitext2", "wikitext2-test", "pile-val", "file"]
#: How windows are taken from it, see :mod:`qrm_forensics.quantize.calibration`.
Arrangement = Literal["auto", "crops", "blocks", "short-documents", "truncated-documents"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldsSpec(_Part):
    """Which column of one's own file is which, where it is not called so."""

    problem: str | None = None
    answer: str | None = None
    id: str | None = None
    subject: str | None = None
    level: str | None = None
    choices: str | None = None
    starter_code: str | None = None


class BenchmarkSpec(_Part):
    """A set of problems: ``builtin``, one by its name (docs/benchmarks.md), or one's own file of problems and answers.

    ``path``: that file, or for a named one its folder, or the folder of all data sets; ``hub`` downloads a named one instead
    (at ``revision``).  ``limit``: only the first problems.  ``subset``: which release of LiveCodeBench.  ``prompt``: a preset's
    name, or a text with ``{problem}``.  ``system``: a system prompt.  ``kind`` and ``fields`` are for one's own file.
    ``lighteval``: the problems and wording of a task of lighteval (``math_500|0``, ``FILE.py::NAME|0``); docs/lighteval.md.
    """

    name: Annotated[str, Field(min_length=1)]
    path: str | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    hub: bool = False
    revision: str | None = None
    subset: str | None = None
    prompt: str | None = None
    system: Annotated[str, Field(min_length=1)] | None = None
    kind: Literal["math", "choice", "code"] | None = None
    fields: FieldsSpec = FieldsSpec()
    lighteval: Annotated[str, Field(min_length=1)] | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Younger keys are left out where they say nothing, so that runs that were begun before them can be finished."""
        written = {k: v for k, v in handler(self).items() if k in ("name", "path", "limit") or v not in (None, False)}
        columns = self.columns()
        return (written | {"fields": columns}) if columns else {k: v for k, v in written.items() if k != "fields"}

    def columns(self) -> dict[str, str]:
        """What is said about columns: what each is for -> what it is called."""
        return {name: value for name, value in self.fields if value is not None}


class BackendSpec(_Part):
    """What generates the responses.

    ``batch_size``: responses in flight (sequences of an engine, requests to a server); each backend has its own default.
    ``device``: for backends that run on one.  ``options`` go to the backend as they are; :mod:`qrm_forensics.generate` lists them.
    """

    name: str = "embedded"
    batch_size: Annotated[int, Field(ge=1)] | None = None
    device: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class CalibrationSpec(_Part):
    """Text for calibration: ``samples`` windows of ``length`` tokens.

    ``path`` is a file of the model's own responses in the layout of the paper's
    repository, or for another ``corpus`` its file or folder (without a path it comes from the hub).  Without path and corpus, the
    built-in model writes its own.  ``field``: the column that holds the text.  ``paper`` as the arrangement means what the paper's code
    does for each recipe's method: its corpus, its arrangement and its sizes; ``path`` is then the folder of all data sets.
    """

    path: str | None = None
    samples: Annotated[int, Field(ge=1)] = 128
    length: Annotated[int, Field(ge=16)] = 2048
    corpus: Corpus = "responses"
    field: Annotated[str, Field(min_length=1)] | None = None
    arrangement: Arrangement | Literal["paper"] = "auto"

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Younger keys are left out where they say nothing, so that runs that were begun before them can be finished."""
        younger = {"corpus": "responses", "field": None, "arrangement": "auto"}
        return {k: v for k, v in handler(self).items() if k not in younger or v != younger[k]}

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.corpus == "file" and self.path is None:
            raise ValueError("the corpus 'file' needs a path")
        if self.arrangement == "paper" and self.path is None:
            raise ValueError(
                "the arrangement 'paper' takes several corpora and needs the folder that they are in as path"
            )
        if self.arrangement == "paper" and self.corpus != "responses":
            raise ValueError("the arrangement 'paper' chooses the corpus by itself; leave corpus out")
        return self


class LatencySpec(_Part):
    """A pass of its own that measures time: one response in flight, the first ``problems`` of each benchmark."""

    problems: Annotated[int, Field(ge=1)] = 8


_NAME = r"^[\w][\w.-]*$"


class Study(_Part):
    """One study: every model × recipe answers every benchmark, and does so once more under every way of thinking.

    ``thinking``: modes of :class:`~qrm_forensics.recipes.Thinking`, ``free`` always among them; the baseline thinks freely.
    """

    name: Annotated[str, Field(pattern=_NAME)]
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    recipes: Annotated[tuple[Recipe, ...], Field(min_length=1)]
    benchmarks: Annotated[tuple[BenchmarkSpec, ...], Field(min_length=1)]
    sampling: Sampling = Sampling()
    backend: BackendSpec = BackendSpec()
    calibration: CalibrationSpec = CalibrationSpec()
    baseline: Recipe = Recipe(method="bf16")
    languages: Annotated[tuple[str, ...], Field(min_length=1)] = ("en", "ko")
    thinking: tuple[Thinking, ...] = (Thinking(),)
    latency: LatencySpec | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Younger keys are left out where they say nothing, so that runs that were begun before them can be finished."""
        written: dict[str, Any] = handler(self)
        for key, nothing in (("thinking", (Thinking(),)), ("latency", None)):
            if getattr(self, key) == nothing:
                written.pop(key, None)
        return written

    @field_validator("thinking", mode="before")
    @classmethod
    def _read_thinking(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        read = tuple(item if isinstance(item, Thinking | dict) else Thinking.parse(str(item)) for item in value)
        return (Thinking(), *(t for t in read if t != Thinking())) if read.count(Thinking()) < 2 else read

    @model_validator(mode="before")
    @classmethod
    def _read_sampling_preset(cls, value: Any) -> Any:
        """``sampling: {preset: paper}`` becomes the keys that it stands for, so that the frozen study shows them."""
        sampling = value.get("sampling") if isinstance(value, dict) else None
        if not isinstance(sampling, dict) or "preset" not in sampling:
            return value
        models = value.get("models")
        names = [str(model) for model in models] if isinstance(models, list | tuple) else []
        explicit = {k: v for k, v in sampling.items() if k != "preset"}
        return {**value, "sampling": sampling_preset(str(sampling["preset"]), names, explicit)}

    @field_validator("recipes", "baseline", mode="before")
    @classmethod
    def _read_recipes(cls, value: Any) -> Any:
        if isinstance(value, str):
            return Recipe.parse(value)
        if isinstance(value, list | tuple):
            return tuple(Recipe.parse(item) if isinstance(item, str) else item for item in value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, values in (
            ("recipes", [str(r) for r in self.recipes]),
            ("models", list(self.models)),
            ("benchmarks", [b.name for b in self.benchmarks]),
            ("thinking", [str(t) for t in self.thinking]),
        ):
            repeated = sorted({v for v in values if values.count(v) > 1})
            if repeated:
                raise ValueError(f"{what}: {', '.join(repeated)} is there more than once")
        limit = self.sampling.max_new_tokens
        if beyond := next((t for t in self.thinking if t.kind in ("suppress", "extend-to") and t.n >= limit), None):
            raise ValueError(f"thinking: {beyond} leaves no token for the answer; max_new_tokens is {limit}")
        if self.baseline not in self.recipes:
            raise ValueError(f"baseline {self.baseline} is not one of the recipes; add it to recipes, or name another")
        return self


#: Recipes of the study that runs without a study file.
DEMO_RECIPES = ("bf16", "awq-w4g128", "awq-w3g128", "gptq-w3g128", "rtn-w3g128", "gptq-w2g128")


def demo_study(max_new_tokens: int) -> Study:
    """The study of ``qrm-forensics run`` without arguments: the built-in model on its own benchmark."""
    return Study(
        name="demo",
        models=("builtin",),
        recipes=tuple(Recipe.parse(r) for r in DEMO_RECIPES),
        benchmarks=(BenchmarkSpec(name="builtin"),),
        sampling=Sampling(max_new_tokens=max_new_tokens),
        calibration=CalibrationSpec(samples=64, length=128),
    )


def load_study(path: Path) -> Study:
    """Read a study file.  Raises InputError that names the file and the key."""
    return load_yaml(path, Study, "study", "name, models, recipes")


Settings = TypeVar("Settings", bound=BaseModel)


def load_yaml(path: Path, model: type[Settings], what: str, such_as: str) -> Settings:
    """A YAML file that a person wrote, as ``model``.

    ``what`` it is called and which keys it has (``such_as``) are for messages.  Raises InputError that names the
    file, the key at fault and, for a misspelt key, the one that was probably meant.
    """
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what} file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2024-13-45
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected keys such as {such_as}; found {type(raw).__name__}")
    try:
        return model.model_validate(raw)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error, model, what)}") from None


#: What a person has to write where pydantic speaks of Python's types.
_SHAPES = {
    "tuple_type": "a list such as [a, b]",
    "list_type": "a list such as [a, b]",
    "dict_type": "keys with values such as {key: value}",
    "model_type": "keys with values such as {key: value}",
}


def _found(value: Any) -> str:
    if isinstance(value, dict):
        return "keys with values"
    if isinstance(value, list | tuple):
        return "a list"
    return "nothing" if value is None else repr(value)


def _explain(error: ValidationError, model: type[BaseModel], what: str) -> str:
    # A misspelt key also makes a required one missing; the misspelling is the thing to say.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"]) or what
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {where!r}; {hint}"
    if first["type"] in _SHAPES:
        message = f"expected {_SHAPES[first['type']]}; found {_found(first['input'])}"
    elif first["type"] == "string_pattern_mismatch" and first["ctx"]["pattern"] == _NAME:
        message = f"may hold letters, digits, '_', '.' and '-', and begins with none of the last two; found {first['input']!r}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {message}{more}"


def _keys_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys of the model that is found by following ``location`` down from ``model``."""
    for part in location:
        field = model.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field is not None else None
        model = inner if inner is not None else model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in a type such as ``tuple[BenchmarkSpec, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((part for part in found if part is not None), None)
