"""A pass of its own that measures time and size: one response in flight (batch size 1).

The ``seconds`` of a trace that was made in a batch include what its neighbours cost, so they are no latency.  Here each
request is sent alone and waited for.  One short request goes before and is not counted, as the first one pays for compiling and
for warming up.  What is measured is stored with the run after every response, so that a killed pass goes on.

It says how fast *this* checkpoint is on *this* machine.  A simulated checkpoint (rounded weights, kept and computed in full
precision) is as fast as the original, so its time per token says nothing of a packed one; ``realization`` says which it is.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from qrm_forensics.generate import Describes, Session
from qrm_forensics.observing import Observer
from qrm_forensics.pipeline.plan import Plan
from qrm_forensics.records import ModelRef, Request, Variant
from qrm_forensics.store import Store, hash_of
from qrm_forensics.weights import disk_bytes

#: The analysis, and its version: raised with every change that can alter a figure.
ANALYSIS = "latency"
VERSION = 1
#: Tokens of the request that goes before.
WARM_UP_TOKENS = 16


@runtime_checkable
class Weighs(Protocol):
    """A session that knows what its model takes in memory."""

    def memory(self, *, reset: bool = False) -> dict[str, Any]:
        """``weights_bytes``, ``peak_bytes`` since the last reset (or None) and ``peak_of`` (``device``, ``process``, None)."""
        ...


def requests(plan: Plan, variant: str) -> list[Request]:
    """The first problems of every benchmark, their first sample with the first seed."""
    spec = plan.study.latency
    if spec is None:
        return []
    seed = plan.study.sampling.seeds[0]
    return [
        request
        for benchmark in plan.benchmarks()
        for request in [r for r in plan.requests(variant, benchmark) if (r.sample, r.seed) == (0, seed)][
            : spec.problems
        ]
    ]


def missing(plan: Plan, store: Store, variant: str) -> bool:
    """Whether a response of ``variant`` has still to be timed."""
    if plan.study.latency is None:
        return False
    timed = _kept(plan, store)["variants"].get(variant, {}).get("responses", [])
    return len(timed) < len(requests(plan, variant))


def measure(plan: Plan, store: Store, variant: Variant, model: ModelRef, session: Session, observer: Observer) -> None:
    """Time what has not been timed yet, and store it after every response."""
    asked = requests(plan, variant.id)
    kept = _kept(plan, store)
    stamp = _stamp(plan)
    mine: dict[str, Any] = kept["variants"].setdefault(variant.id, {"responses": []})
    done = {(r["benchmark"], r["problem_id"]) for r in mine["responses"]}
    sampling = plan.study.sampling
    observer.begin("latency", f"{variant.id}, one response in flight", len(asked), len(done))
    warm_up = sampling.model_copy(update={"max_new_tokens": min(WARM_UP_TOKENS, sampling.max_new_tokens)})
    for _ in session.sample(asked[:1], warm_up):
        pass
    if isinstance(session, Weighs):
        session.memory(reset=True)
    for request in asked:
        if (request.problem.benchmark, request.problem.id) in done:
            continue
        began = time.perf_counter()
        (trace,) = session.sample([request], sampling)
        seconds = time.perf_counter() - began
        mine["responses"].append(
            {
                "benchmark": request.problem.benchmark,
                "problem_id": request.problem.id,
                "seconds": seconds,
                "tokens": trace.completion_tokens,
                "prompt_tokens": trace.prompt_tokens,
                "finish": str(trace.finish),
            }
        )
        mine |= {
            "realization": model.realization if model.path else None,
            "disk_bytes": disk_bytes(Path(model.path)) if model.path else None,
            "memory": session.memory() if isinstance(session, Weighs) else None,
            "engine": session.describe() if isinstance(session, Describes) else None,
        }
        store.write_analysis(ANALYSIS, kept, stamp)
        observer.advance()
    observer.end()


def _stamp(plan: Plan) -> str:
    """Hash of what is timed: the requests and the settings, the backend and where it runs."""
    study = plan.study
    return hash_of(
        [
            VERSION,
            study.sampling.model_dump(mode="json", exclude={"samples"}),
            study.latency.model_dump(mode="json") if study.latency else None,
            study.backend.model_dump(mode="json", exclude={"batch_size"}),
        ]
    )


def _kept(plan: Plan, store: Store) -> dict[str, Any]:
    kept = store.analysis(ANALYSIS, derived=False)
    if kept is None or kept[0] != _stamp(plan) or not isinstance(kept[1], dict) or "variants" not in kept[1]:
        return {"variants": {}}
    return dict(kept[1])
