"""Our backends as a model of lighteval: give this file as ``model_definition_file_path``.

::

    lighteval custom CHECKPOINT "$(python -m qrm_forensics.lighteval_bridge)" "math_500|0"

``model_name`` is a checkpoint's folder, or ``builtin``; a checkpoint that ``qrm-forensics quantize`` wrote is executed as its
manifest says.  The backend is ``embedded`` unless ``QRM_FORENSICS_BACKEND`` names another, with its options as YAML:
``QRM_FORENSICS_BACKEND='{name: vllm, options: {dtype: bfloat16}}'``.  lighteval's generation parameters are the sampling
(temperature 0 where it says none, as lighteval's own models do); samples are drawn by task, row, number and seed.

This is the only module that imports lighteval when it is imported: lighteval takes the first class of it that is a model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from lighteval.models.abstract_model import LightevalModel
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import SamplingMethod
from lighteval.utils.cache_management import SampleCache, cached

from qrm_forensics import builtin
from qrm_forensics.errors import InputError
from qrm_forensics.generate import get_generator
from qrm_forensics.generate.prompts import chat_prompts
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Kind, ModelRef, Problem, Request, Trace
from qrm_forensics.study import BackendSpec
from qrm_forensics.tokenizer import load_tokenizer

__all__ = ["ForensicsModel"]

BACKEND = "QRM_FORENSICS_BACKEND"
#: The seed where lighteval's parameters name none, as in the paper.
_SEED = 42
#: The limit where neither the parameters nor the task name one.
_LIMIT = 32768


class ForensicsModel(LightevalModel):  # type: ignore[misc]
    """A checkpoint behind one of our backends.  ``config``: a ``CustomModelConfig``."""

    def __init__(self, config: Any) -> None:
        self.config = config
        folder = builtin.weights_dir() if config.model_name == builtin.NAME else Path(config.model_name).expanduser()
        if not (folder / "config.json").is_file():
            raise InputError(f"lighteval: {config.model_name!r} is neither 'builtin' nor a folder with a config.json")
        self._folder = folder
        self._tokenizer = load_tokenizer(folder)
        spec = _backend()
        given = {k: v for k in ("batch_size", "device") if (v := getattr(spec, k)) is not None}
        self._held = ExitStack()
        self._session = self._held.enter_context(
            get_generator(spec.name, **given, **spec.options).open(_reference(folder))
        )
        # lighteval stores responses by the configuration, which does not say the backend; another one is another cache.
        parts = {"cache_dir": str(Path(config.cache_dir) / f"qrm-forensics-{spec.name}")}
        self._cache = SampleCache(config.model_copy(update=parts))

    def cleanup(self) -> None:
        self._held.close()

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    @property
    def add_special_tokens(self) -> bool:
        return False

    @property
    def max_length(self) -> int:
        told = json.loads((self._folder / "config.json").read_text("utf-8")).get("max_position_embeddings")
        return int(told) if told else _LIMIT

    @cached(SamplingMethod.GENERATIVE)  # type: ignore[untyped-decorator]
    def greedy_until(self, docs: Sequence[Any]) -> list[Any]:
        """One ``ModelResponse`` per document: its prompt in the chat template, texts and token ids of all samples.

        Raises InputError for stop sequences and few-shot examples, which our backends and prompts do not have, and
        RuntimeError where a response could not be generated: lighteval has no word for that.
        """
        for doc in docs:
            if doc.stop_sequences or doc.fewshot_samples:
                what = "stop sequences" if doc.stop_sequences else "few-shot examples"
                raise InputError(f"lighteval: {doc.task_name} asks for {what}, which this model does not take")
        prompts = chat_prompts([self._folder], [doc.query for doc in docs], self.config.system_prompt)
        responses: list[Any] = [None] * len(docs)
        # A task has one limit for all of its documents, but several tasks may come together.
        for limit in dict.fromkeys(doc.generation_size for doc in docs):
            numbers = [i for i, doc in enumerate(docs) if doc.generation_size == limit]
            sampling = self._sampling(limit)
            problems = {_place(docs[i]): _problem(docs[i], prompts[i]) for i in numbers}
            requests = [
                Request("lighteval", problems[_place(docs[i])], sample, sampling.seeds[0])
                for i in numbers
                for sample in range(docs[i].num_samples)
            ]
            made: dict[tuple[str, str, int], Trace] = {}
            for trace in self._session.sample(requests, sampling):
                if trace.text is None:
                    raise RuntimeError(f"{trace.benchmark}, {trace.problem_id}: no response: {trace.error}")
                made[trace.benchmark, trace.problem_id, trace.sample] = trace
            for i in numbers:
                traces = [made[(*_place(docs[i]), sample)] for sample in range(docs[i].num_samples)]
                responses[i] = ModelResponse(
                    input=prompts[i],
                    input_tokens=self._tokenizer.encode(prompts[i], add_special_tokens=False),
                    text=[trace.text or "" for trace in traces],
                    output_tokens=[list(trace.token_ids or []) for trace in traces],
                )
        return responses

    def loglikelihood(self, docs: Sequence[Any]) -> list[Any]:
        raise NotImplementedError(
            "this model generates; tasks that compare log-likelihoods need one of lighteval's own models"
        )

    def loglikelihood_rolling(self, docs: Sequence[Any]) -> list[Any]:
        raise NotImplementedError("this model generates; for perplexity name the benchmark WikiText-2 in a study")

    def _sampling(self, limit: int | None) -> Sampling:
        given = self.config.generation_parameters
        return Sampling(
            temperature=given.temperature if given.temperature is not None else 0.0,
            top_p=given.top_p if given.top_p is not None else 1.0,
            top_k=max(given.top_k or 0, 0),
            max_new_tokens=given.max_new_tokens or limit or _LIMIT,
            seeds=(given.seed if given.seed is not None else _SEED,),
        )


def _place(doc: Any) -> tuple[str, str]:
    """(benchmark, problem id), by which samples are drawn: the row of the data set, wherever lighteval's shuffle put it.

    They are what a study calls them that asks the same task under its own name, so that its responses are the same.
    """
    return doc.task_name.partition("|")[0], f"idx-{doc.id}"


def _problem(doc: Any, prompt: str) -> Problem:
    return Problem(*_place(doc), "", prompt, "", Kind.MATH, None, None)


def _backend() -> BackendSpec:
    told = os.environ.get(BACKEND, "").strip()
    value = yaml.safe_load(told) if told else {}
    return BackendSpec.model_validate({"name": value} if isinstance(value, str) else value)


def _reference(folder: Path) -> ModelRef:
    """A checkpoint by its manifest where it has one of ours, else as it is."""
    manifest = folder / "recipe.json"
    told = json.loads(manifest.read_text("utf-8")) if manifest.is_file() else {}
    recipe = told.get("recipe")
    name = recipe.get("name") if isinstance(recipe, dict) else None
    return ModelRef(
        str(folder), None, str(name or "bf16"), told.get("content_hash"), str(told.get("realization") or "original")
    )
