"""``replay``: the traces of an earlier run, found again by key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from qrm_forensics.errors import InputError
from qrm_forensics.generate.traces import RunKey, error_trace, run_key
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import ModelRef, Request, Trace, from_row


class Replay:
    """Answers each request with the recorded trace of its key.

    ``traces`` is an iterable of ``Trace`` or an Arrow table with the trace columns.  A key
    that was not recorded, or that was recorded for another prompt, gives an error trace.
    Raises InputError where a key was recorded twice.
    """

    name = "replay"

    def __init__(self, traces: Iterable[Trace] | pa.Table) -> None:
        recorded = (from_row(Trace, row) for row in traces.to_pylist()) if isinstance(traces, pa.Table) else traces
        self._traces: dict[RunKey, Trace] = {}
        for trace in recorded:
            key = run_key(trace)
            if key in self._traces:
                raise InputError(f"replay: the trace {key} was recorded twice; keep one of them")
            self._traces[key] = trace

    @contextmanager
    def open(self, model: ModelRef) -> Iterator[ReplaySession]:
        yield ReplaySession(self._traces)


class ReplaySession:
    def __init__(self, traces: dict[RunKey, Trace]) -> None:
        self._traces = traces

    def sample(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Trace]:
        for request in requests:
            trace = self._traces.get((request.variant, request.problem.benchmark, *request.key))
            if trace is None:
                yield error_trace(request, "replay: no trace with this key was recorded")
            elif trace.prompt != request.problem.prompt:
                yield error_trace(request, "replay: the trace with this key was recorded for another prompt")
            else:
                yield trace
