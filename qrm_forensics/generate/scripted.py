"""``scripted``: traces from a function, for tests and for responses that come from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from qrm_forensics.errors import ForensicsError, InputError
from qrm_forensics.generate.traces import error_trace, run_key, text_trace
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import ModelRef, Request, Trace

Script = Callable[[Request], str | Trace]


class Scripted:
    """Asks ``function`` for each response.

    A string becomes the text of a trace that finished with ``stop``; a ``Trace`` is taken
    as it is and must carry the request's key (InputError otherwise).  What the function
    raises becomes that request's error trace, except for the suite's own errors.
    """

    name = "scripted"

    def __init__(self, function: Script) -> None:
        self._function = function

    @contextmanager
    def open(self, model: ModelRef) -> Iterator[ScriptedSession]:
        yield ScriptedSession(self._function)


class ScriptedSession:
    def __init__(self, function: Script) -> None:
        self._function = function

    def sample(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Trace]:
        for request in requests:
            yield self._answer(request)

    def _answer(self, request: Request) -> Trace:
        try:
            made = self._function(request)
        except ForensicsError:
            raise
        except Exception as error:  # a user's function: whatever it raises is this request's failure
            return error_trace(request, f"the scripted function raised {type(error).__name__}: {error}")
        if isinstance(made, str):
            return text_trace(request, made)
        wanted = (request.variant, request.problem.benchmark, *request.key)
        if run_key(made) != wanted:
            raise InputError(f"the scripted function was asked for {wanted} and returned a trace of {run_key(made)}")
        return made
