"""A study file: what to quantize, what to ask, how to sample.  Read once, checked whole.

A message about a study file names the file, the key at fault and, for a misspelt key,
the key that was probably meant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictInt,
    field_validator,
    model_serializer,
    model_validator,
)

from qrm_forensics.recipes import Recipe, Sampling, Thinking, sampling_preset
from qrm_forensics.settings_file import NAME_PATTERN, load_yaml

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
    limit: Annotated[StrictInt, Field(ge=1)] | None = None
    hub: StrictBool = False
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
    batch_size: Annotated[StrictInt, Field(ge=1)] | None = None
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
    samples: Annotated[StrictInt, Field(ge=1)] = 128
    length: Annotated[StrictInt, Field(ge=16)] = 2048
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

    problems: Annotated[StrictInt, Field(ge=1)] = 8


#: Languages that a report can be in; the catalogues are under ``report/locales``.
LANGUAGES = ("en", "ko", "zh")
#: What is written in their place: codes of countries, and how a language's name begins.
_COUNTRIES = {"kr": "ko", "cn": "zh", "ch": "zh", "us": "en", "uk": "en", "gb": "en"}


class Study(_Part):
    """One study: every model × recipe answers every benchmark, and does so once more under every way of thinking.

    ``thinking``: modes of :class:`~qrm_forensics.recipes.Thinking`, ``free`` always among them; the baseline thinks freely.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    recipes: Annotated[tuple[Recipe, ...], Field(min_length=1)]
    benchmarks: Annotated[tuple[BenchmarkSpec, ...], Field(min_length=1)]
    sampling: Sampling = Sampling()
    backend: BackendSpec = BackendSpec()
    calibration: CalibrationSpec = CalibrationSpec()
    baseline: Recipe = Recipe(method="bf16")
    languages: Annotated[tuple[str, ...], Field(min_length=1)] = ("en",)
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

    @field_validator("recipes", mode="before")
    @classmethod
    def _read_recipes(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple(Recipe.parse(item) if isinstance(item, str) else item for item in value)
        return value

    @field_validator("baseline", mode="before")
    @classmethod
    def _read_baseline(cls, value: Any) -> Any:
        return Recipe.parse(value) if isinstance(value, str) else value

    @field_validator("languages", mode="after")
    @classmethod
    def _known_languages(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := next((language for language in value if language not in LANGUAGES), None):
            begins = unknown.lower()[:2]  # of en-US, Korean, zh_CN
            near = _COUNTRIES.get(begins, begins)
            hint = f"did you mean {near!r}? " if near in LANGUAGES else ""
            raise ValueError(f"there are no reports in {unknown!r}; {hint}known languages: {', '.join(LANGUAGES)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, values in (
            ("recipes", [str(r) for r in self.recipes]),
            ("models", list(self.models)),
            ("benchmarks", [b.name for b in self.benchmarks]),
            ("thinking", [str(t) for t in self.thinking]),
            ("languages", list(self.languages)),
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
