"""Backends that turn planned requests into traces.

A ``Generator`` is found by name; what it needs is imported when it is opened, so
that this package, ``scripted`` and ``replay`` work where torch is not installed.

=========== =====================================================================
name        options
=========== =====================================================================
``embedded`` ``batch_size`` (64), ``dtype`` ("float32"), ``device`` ("auto"): transformers
``vllm``     see :class:`qrm_forensics.generate.vllm_engine.VLLM`: vLLM on CUDA, CPU or NPU
``server``   ``base_url``, ``model``, ``api`` ("completions"), ``batch_size`` (8), ``timeout``, ``retries``, ``api_key_env``,
             ``logprobs``, ``extra``: any server with OpenAI's API
``scripted`` ``function``: a callable ``Request -> str | Trace``
``replay``   ``traces``: an iterable of ``Trace`` or the Arrow table of an earlier run
=========== =====================================================================
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import NoneType, UnionType
from typing import Any, Protocol, Union, cast, get_args, get_origin, get_type_hints, runtime_checkable

from qrm_forensics.errors import InputError
from qrm_forensics.generate.noise import Divergence, NoiseFloor, noise_floor
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import ModelRef, Request, Trace

__all__ = [
    "GENERATORS",
    "Checks",
    "Describes",
    "Divergence",
    "Generator",
    "NoiseFloor",
    "ScoresPrompts",
    "Serving",
    "Session",
    "defining_options",
    "get_generator",
    "noise_floor",
    "serves",
]


class Session(Protocol):
    """An opened model."""

    def sample(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Trace]:
        """Yield exactly one trace per request, each as soon as it has ended, in any order.

        What goes wrong with one request is a trace with ``finish="error"`` and a message, not an
        exception.  ``sampling.samples`` and ``sampling.seeds`` are the plan's business: the requests
        say which sample and seed they are.
        """
        ...


class Generator(Protocol):
    """A way to get responses out of a model."""

    name: str

    def open(self, model: ModelRef) -> AbstractContextManager[Session]:
        """Load ``model``; raises EnvironmentMissing or InputError where that cannot be done."""
        ...


@runtime_checkable
class ScoresPrompts(Protocol):
    """A session that can say how likely a given text is: what perplexity is measured with."""

    def prompt_logprobs(self, prompts: Sequence[str | list[int]]) -> list[list[float | None]] | None:
        """Per prompt and token its log-probability given what precedes it (natural log; null for the first token).

        Token ids are taken as they are, nothing is added.  None where this model's engine or server does not give them.
        """
        ...


@runtime_checkable
class Describes(Protocol):
    """A session that says what it runs on, for the manifest of the run."""

    def describe(self) -> dict[str, Any]:
        """Versions, device, arguments and environment as they really are: values that JSON has, and no secrets."""
        ...


@runtime_checkable
class Checks(Protocol):
    """A backend that can say before a checkpoint is made or loaded that it cannot run here."""

    def check(self) -> None:
        """Raises EnvironmentMissing or InputError as ``open`` would for any model."""
        ...


@runtime_checkable
class Serving(Protocol):
    """A backend whose checkpoints are elsewhere, so that none is made or loaded here."""

    #: What distinguishes it from the others for ``isinstance``.
    serves: bool

    def refuse(self, variants: Sequence[str]) -> str | None:
        """Why these variants (as a study calls them) cannot be asked for, or None."""
        ...


#: Backend name -> "module:Class".
GENERATORS = {
    "embedded": "qrm_forensics.generate.embedded:Embedded",
    "vllm": "qrm_forensics.generate.vllm_engine:VLLM",
    "server": "qrm_forensics.generate.server:Server",
    "scripted": "qrm_forensics.generate.scripted:Scripted",
    "replay": "qrm_forensics.generate.replay:Replay",
}


def _class_of(name: str) -> Any:
    module, _, attribute = GENERATORS.get(name, "").partition(":")
    return getattr(importlib.import_module(module), attribute) if module else None


def defining_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a backend without those that change how responses are made and not what they are."""
    operational = getattr(_class_of(name), "operational", ())
    return {k: v for k, v in options.items() if k not in operational}


def serves(name: str) -> bool:
    """Whether the checkpoints of this backend are elsewhere, see :class:`Serving`."""
    return bool(getattr(_class_of(name), "serves", False))


def get_generator(name: str, **options: Any) -> Generator:
    """The backend called ``name``; raises InputError for an unknown name or option, or one of another type."""
    if name not in GENERATORS:
        near = difflib.get_close_matches(name, GENERATORS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known backends: {', '.join(GENERATORS)}"
        raise InputError(f"unknown generation backend {name!r}; {hint}")
    module, _, attribute = GENERATORS[name].partition(":")
    backend = getattr(importlib.import_module(module), attribute)
    try:
        inspect.signature(backend).bind(**options)
    except TypeError as error:
        takes = ", ".join(inspect.signature(backend).parameters)
        raise InputError(f"backend {name!r}: {error}; its options are: {takes}") from None
    hints = get_type_hints(backend.__init__)
    for option, value in options.items():
        if not _fits(value, hints.get(option)):
            raise InputError(f"backend {name!r}: {option} must be {_said(hints[option])}; found {_shown(value)}")
    return cast(Generator, backend(**options))


#: How the types of options that a study file can hold are called; others are for code.
_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _fits(value: Any, hint: Any) -> bool:
    """Whether an option has the type that its backend says; True for types that no study file can hold."""
    parts = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if get_origin(hint) is Mapping:
        return isinstance(value, Mapping) and all(_fits(k, parts[0]) and _fits(v, parts[1]) for k, v in value.items())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _said(hint: Any) -> str:
    parts = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_said(part) for part in parts if part is not NoneType)
    return "keys with values" if get_origin(hint) is Mapping else _WORDS.get(hint, "of another type")


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)[:80]
