"""Responses of one variant: what is missing is generated and stored as it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.generate import Describes, Generator, Serving, Session, get_generator
from qrm_forensics.observing import Observer, Stopwatch
from qrm_forensics.pipeline import latency, perplexity
from qrm_forensics.pipeline.plan import Plan
from qrm_forensics.recipes import thinking_of
from qrm_forensics.records import Key, ModelRef, Trace, Variant
from qrm_forensics.store import Store
from qrm_forensics.study import Study


def backend_of(study: Study) -> Generator:
    """The study's backend.  Raises InputError for an unknown one, or for an option that it does not have."""
    spec = study.backend
    given = {
        name: value for name, value in (("batch_size", spec.batch_size), ("device", spec.device)) if value is not None
    }
    twice = sorted(given.keys() & spec.options.keys())
    if twice:
        raise InputError(f"backend: {twice[0]} is there twice, in backend and in its options; remove one")
    return get_generator(spec.name, **given, **spec.options)


def generate(
    plan: Plan,
    store: Store,
    variant: Variant,
    model: ModelRef | None,
    cells: Sequence[tuple[Variant, str]],
    observer: Observer,
    watch: Stopwatch,
    generator: Generator | None,
) -> None:
    """Make what is missing in ``cells``: ways in which the checkpoint of ``variant`` thinks, and benchmarks."""
    backend = generator or backend_of(plan.study)
    # A server holds its checkpoint, and knows the variant by its name; the folder says how the prompt is tokenised.
    folder = str(plan.sources[variant.id]) if isinstance(backend, Serving) else ""
    opened = model or ModelRef(folder, None, variant.id if folder else variant.recipe, None, "original")
    with backend.open(opened) as session:
        if isinstance(session, Describes):
            watch.engines[variant.id] = session.describe()
        for thinking, benchmark in cells:
            planned = plan.requests(thinking.id, benchmark)
            store.recover(thinking.id, benchmark)
            there: set[Key] = set(store.trace_keys(thinking.id, benchmark))
            missing = [r for r in planned if r.key not in there]
            observer.begin("generate", f"{thinking.id} · {benchmark}", len(planned), len(there))
            live = _Live()
            with ExitStack() as writers:
                asked = _thinking(session, thinking.id, benchmark, backend.name, opened, store, writers)
                add = writers.enter_context(store.cell_writer(thinking.id, benchmark))
                for trace in asked.sample(missing, plan.study.sampling):
                    add(trace)
                    watch.traces_made += 1
                    observer.advance(1, **live.facts(trace))
            store.seal(thinking.id, benchmark, [r.key for r in planned])
            observer.end()
        if perplexity.missing(store, variant.id, plan.text, plan.windows) and plan.text is not None:
            source = plan.sources[variant.id]
            perplexity.measure(store, variant.id, session, source, plan.text, plan.windows, observer)
        if backend.name != "replay" and latency.missing(plan, store, variant.id):
            # what a server or a script runs is no folder here
            latency.measure(plan, store, variant, model or replace(opened, path=""), session, observer)
        for note in getattr(session, "notes", ()):
            observer.note(f"{variant.id}: {note}")


def _thinking(
    session: Session, variant: str, benchmark: str, backend: str, model: ModelRef, store: Store, writers: ExitStack
) -> Session:
    """The session, made to think as the variant's name says."""
    from qrm_forensics.generate.budget import BudgetedSession

    mode = thinking_of(variant)[1]
    if mode.kind == "free":
        return session
    if backend == "replay":
        raise InputError(f"{variant}: a recorded response cannot be continued; thinking budgets need a model")
    keep = writers.enter_context(store.forced_writer(variant, benchmark))
    return BudgetedSession(session, mode, _tokenizer(model), lambda forced: keep(asdict(forced)))


def _tokenizer(model: ModelRef) -> Any:
    """The tokenizer of the model's folder, or None where there is none here (a model behind a server, a scripted one)."""
    if not model.path or not Path(model.path).is_dir():
        return None
    from qrm_forensics.tokenizer import load_tokenizer

    try:
        return load_tokenizer(model.path, model.revision)
    except (OSError, ValueError, EnvironmentMissing):
        return None


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
