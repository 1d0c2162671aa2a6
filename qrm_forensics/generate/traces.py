"""Traces as the backends build them."""

from __future__ import annotations

from qrm_forensics.records import Finish, Request, Trace

#: The key of a trace in a whole run: variant, benchmark, problem id, sample, seed.
RunKey = tuple[str, str, str, int, int]


def run_key(item: Trace) -> RunKey:
    return (item.variant, item.benchmark, item.problem_id, item.sample, item.seed)


def text_trace(request: Request, text: str) -> Trace:
    """A finished response of which only the text is known."""
    return Trace(
        variant=request.variant,
        benchmark=request.problem.benchmark,
        problem_id=request.problem.id,
        sample=request.sample,
        seed=request.seed,
        prompt=request.problem.prompt,
        text=text,
        finish=Finish.STOP,
    )


def error_trace(request: Request, message: str) -> Trace:
    """The row of a request that could not be answered; everything that was not made is null."""
    return Trace(
        variant=request.variant,
        benchmark=request.problem.benchmark,
        problem_id=request.problem.id,
        sample=request.sample,
        seed=request.seed,
        prompt=request.problem.prompt,
        text=None,
        finish=Finish.ERROR,
        error=message,
    )
