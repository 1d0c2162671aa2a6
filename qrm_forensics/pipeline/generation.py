"""Responses of one variant: what is missing is generated and stored as it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence

from qrm_forensics.errors import InputError
from qrm_forensics.generate import Generator, Serving, get_generator
from qrm_forensics.observing import Observer, Stopwatch
from qrm_forensics.pipeline.plan import Plan
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
    benchmarks: Sequence[str],
    observer: Observer,
    watch: Stopwatch,
    generator: Generator | None,
) -> None:
    backend = generator or backend_of(plan.study)
    # A server holds its checkpoint, and knows the variant by its name; the folder says how the prompt is tokenised.
    folder = str(plan.sources[variant.id]) if isinstance(backend, Serving) else ""
    opened = model or ModelRef(folder, None, variant.id if folder else variant.recipe, None, "original")
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
        for note in getattr(session, "notes", ()):
            observer.note(f"{variant.id}: {note}")


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
