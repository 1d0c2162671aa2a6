"""Backends that turn planned requests into traces.

A ``Generator`` is found by name; what it needs is imported when it is opened, so
that this package, ``scripted`` and ``replay`` work where torch is not installed.

=========== =====================================================================
name        options
=========== =====================================================================
``embedded`` ``batch_size`` (64), ``dtype`` ("float32"), ``device`` ("auto"): transformers
``scripted`` ``function``: a callable ``Request -> str | Trace``
``replay``   ``traces``: an iterable of ``Trace`` or the Arrow table of an earlier run
=========== =====================================================================
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

from qrm_forensics.errors import InputError
from qrm_forensics.generate.noise import Divergence, NoiseFloor, noise_floor
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import ModelRef, Request, Trace

__all__ = ["GENERATORS", "Divergence", "Generator", "NoiseFloor", "Session", "get_generator", "noise_floor"]


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


#: Backend name -> "module:Class".
GENERATORS = {
    "embedded": "qrm_forensics.generate.embedded:Embedded",
    "scripted": "qrm_forensics.generate.scripted:Scripted",
    "replay": "qrm_forensics.generate.replay:Replay",
}


def get_generator(name: str, **options: Any) -> Generator:
    """The backend called ``name``; raises InputError for an unknown name or option."""
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
    return cast(Generator, backend(**options))
