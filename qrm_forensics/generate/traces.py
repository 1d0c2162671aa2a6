"""Traces as the backends build them."""

from __future__ import annotations

from typing import Any

from qrm_forensics.records import Finish, Request, Trace

#: The key of a trace in a whole run: variant, benchmark, problem id, sample, seed.
RunKey = tuple[str, str, str, int, int]


def run_key(item: Trace) -> RunKey:
    return (item.variant, item.benchmark, item.problem_id, item.sample, item.seed)


def trace_of(request: Request, text: str | None, finish: Finish, **made: Any) -> Trace:
    """The trace of a request; ``made`` are the fields of Trace that the backend knows beyond the text."""
    return Trace(
        variant=request.variant,
        benchmark=request.problem.benchmark,
        problem_id=request.problem.id,
        sample=request.sample,
        seed=request.seed,
        prompt=request.problem.prompt,
        text=text,
        finish=finish,
        **made,
    )


def text_trace(request: Request, text: str) -> Trace:
    """A finished response of which only the text is known."""
    return trace_of(request, text, Finish.STOP)


def error_trace(request: Request, message: str) -> Trace:
    """The row of a request that could not be answered; everything that was not made is null."""
    return trace_of(request, None, Finish.ERROR, error=message)
