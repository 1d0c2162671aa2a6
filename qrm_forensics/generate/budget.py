"""Budget forcing over any backend: a model is made to stop thinking, or to go on (arXiv 2501.19393).

A :class:`BudgetedSession` asks the session that it wraps for a part of a response, writes the forced text behind it, and asks it to
go on from the prompt and all of that.  What comes out is one trace per request, as if there had been one response, and
one :class:`Forced` per trace that says what in it is not the model's own.

The part before the first forced text has the request's own seed, so that it is the beginning of the free response; every
continuation has a seed of its own (:func:`continuation_seed`), as the same random numbers may not be used twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from qrm_forensics.errors import InputError
from qrm_forensics.generate import Session
from qrm_forensics.generate.traces import error_trace, trace_of
from qrm_forensics.recipes import Sampling, Thinking
from qrm_forensics.records import Finish, Request, Trace

CLOSE, WAIT, FINAL = "</think>", "Wait", "\n\nFinal Answer:"
#: Requests that are on their way together: what a kill can lose at most, since their parts are not stored.
WAVE = 256
#: How often ``extend-to`` writes "Wait" at most; a model that closes its thinking at once would be asked for ever.
EXTENSIONS = 64
#: Tokens that one character can be spread over (UTF-8 has at most four bytes).
_SPREAD = 4


@dataclass(frozen=True, slots=True)
class Forced:
    """What was written for the model in one response, and what of its own was thrown away.

    ``spans``: half-open ranges of code points of the text; ``token_spans``: the same in tokens, null where the ids are not known.
    ``thinking_tokens``: tokens before ``</think>``, forced ones included, all tokens where it never came.  ``forced_tokens``
    and ``dropped_tokens`` (generated, and not in the trace): null where the tokenizer is not known.  ``closed_by``: who wrote
    ``</think>``: ``model``, ``budget`` or ``nobody``.  ``seeds`` of the continuations.  ``retokenised``: whether the model read the text
    so far in other tokens than it had been written in; null where that cannot be seen.
    """

    variant: str
    benchmark: str
    problem_id: str
    sample: int
    seed: int
    mode: str
    closed_by: str
    spans: list[tuple[int, int]]
    token_spans: list[tuple[int, int]] | None
    thinking_tokens: int | None
    forced_tokens: int | None
    dropped_tokens: int | None
    seeds: list[int]
    retokenised: bool | None


def continuation_seed(seed: int, number: int) -> int:
    """The seed of the ``number``-th continuation (from 1) of a response with ``seed``: 31 bits, which every engine takes."""
    digest = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8, person=b"qrm-continued").digest()
    return int.from_bytes(digest, "little") & 0x7FFFFFFF


class BudgetedSession:
    """``inner``, made to think as ``mode`` says.

    ``tokenizer``: of the model, or None where there is none here; token ids and their counts are then null in responses that were
    continued.  ``record`` is told of every trace before it is yielded.  Raises InputError for ``extend-to`` without a tokenizer.
    """

    def __init__(self, inner: Session, mode: Thinking, tokenizer: Any, record: Callable[[Forced], None]) -> None:
        if mode.kind == "extend-to" and tokenizer is None:
            raise InputError(
                f"thinking: {mode} counts tokens, and the tokenizer of this model is not here; use extend-1"
            )
        self._inner = inner
        self._mode = mode
        self._tokenizer = tokenizer
        self._record = record

    def sample(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Trace]:
        """One trace per request; see :class:`~qrm_forensics.generate.Session`."""
        waiting = iter(requests)
        while wave := list(islice(waiting, WAVE)):
            courses = [_Course(r, self._mode, self._tokenizer, sampling.max_new_tokens) for r in wave]
            while courses:
                going_on: list[_Course] = []
                for limit in sorted({c.limit for c in courses}):
                    asked = {c.key: c for c in courses if c.limit == limit}
                    part = sampling.model_copy(update={"max_new_tokens": limit})
                    for trace in self._inner.sample([c.next_request() for c in asked.values()], part):
                        course = asked[trace.variant, trace.benchmark, trace.problem_id, trace.sample, trace.seed]
                        whole = course.take(trace)
                        if whole is None:
                            going_on.append(course)
                        else:
                            self._record(course.forced(whole))
                            yield whole
                courses = going_on


@dataclass
class _Course:
    """One response on its way."""

    request: Request
    mode: Thinking
    tokenizer: Any
    max_new_tokens: int
    text: str = ""
    ids: list[int] | None = field(default_factory=list)
    logprobs: list[float | None] | None = field(default_factory=list)
    entropies: list[float | None] | None = field(default_factory=list)
    seconds: float | None = 0.0
    #: Tokens so far, counted too high rather than too low where the ids are not known.
    used: int = 0
    estimated: bool = False
    prompt_tokens: int | None = None
    spans: list[tuple[int, int]] = field(default_factory=list)
    token_spans: list[tuple[int, int]] = field(default_factory=list)
    dropped: int = 0
    seeds: list[int] = field(default_factory=list)
    retokenised: bool | None = False
    closed_here: bool = False

    @property
    def seed(self) -> int:
        return self.seeds[-1] if self.seeds else self.request.seed

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        r = self.request
        return (r.variant, r.problem.benchmark, r.problem.id, r.sample, self.seed)

    @property
    def limit(self) -> int:
        """How many tokens the next part may have."""
        room = self.max_new_tokens - self.used
        return min(self.mode.n, room) if self.mode.kind == "suppress" and not self.seeds else room

    def next_request(self) -> Request:
        problem = replace(self.request.problem, prompt=self.request.problem.prompt + self.text)
        return replace(self.request, problem=problem, seed=self.seed)

    def take(self, part: Trace) -> Trace | None:
        """Add a part; the whole trace where that was the last, else None."""
        limit = self.limit
        if part.text is None or part.finish is Finish.ERROR:
            where = f"continuation {len(self.seeds)}: " if self.seeds else ""
            return error_trace(self.request, f"{where}{part.error}")
        self._append(part)
        reached = part.finish is Finish.LENGTH and part.completion_tokens in (None, limit)
        closed = self.text.find(CLOSE)
        if self.mode.kind == "suppress":
            if not reached or self.seeds or self.used >= self.max_new_tokens:
                return self._whole(part)
            if closed < 0:
                self._drop_half_a_character()
                self._force("\n" * (not self.text.endswith("\n")) + CLOSE + FINAL * self.mode.final)
                self.closed_here = True
        elif closed >= 0 and self._too_early(closed):
            self._cut(closed)
            self._force(WAIT)
        else:
            return self._whole(part)
        if self.used >= self.max_new_tokens:
            return self._whole(replace(part, finish=Finish.LENGTH))
        self.seeds.append(continuation_seed(self.request.seed, len(self.seeds) + 1))
        return None

    def _append(self, part: Trace) -> None:
        assert part.text is not None
        if not self.seeds:
            self.prompt_tokens = part.prompt_tokens
        elif self.ids is None or self.tokenizer is None:
            self.retokenised = None
        elif self.retokenised is False:
            read = self._encode(self.request.problem.prompt + self.text)
            written = [*self._encode(self.request.problem.prompt), *self.ids]
            self.retokenised = read != written
        self.text += part.text
        self.seconds = None if self.seconds is None or part.seconds is None else self.seconds + part.seconds
        if self.ids is None or part.token_ids is None:
            self._lose_tokens()
        else:
            self.ids = [*self.ids, *part.token_ids]
            n = len(part.token_ids)
            self.logprobs = _joined(self.logprobs, part.logprobs, n)
            self.entropies = _joined(self.entropies, part.entropies, n)
        self.estimated = self.ids is None and part.completion_tokens is None
        if self.ids is not None:
            self.used = len(self.ids)
        elif self.seeds and part.prompt_tokens is not None and self.prompt_tokens is not None:
            self.used = part.prompt_tokens - self.prompt_tokens + (part.completion_tokens or 0)
        else:
            self.estimated |= bool(self.seeds)
            self.used += part.completion_tokens or 0

    def _too_early(self, closed: int) -> bool:
        if self.mode.kind == "extend":
            return len(self.seeds) < self.mode.n
        thought = self._tokens_before(closed)
        return thought is not None and thought < self.mode.n and len(self.seeds) < EXTENSIONS

    def _force(self, text: str) -> None:
        start = len(self.text)
        self.text += text
        self.spans.append((start, len(self.text)))
        if self.ids is None or self.tokenizer is None:
            self._lose_tokens()
            self.estimated = True
            self.used += len(text)
            return
        ids = self._encode(text)
        self.token_spans.append((len(self.ids), len(self.ids) + len(ids)))
        self.ids = [*self.ids, *ids]
        nothing = [None] * len(ids)
        self.logprobs = None if self.logprobs is None else [*self.logprobs, *nothing]
        self.entropies = None if self.entropies is None else [*self.entropies, *nothing]
        self.used = len(self.ids)

    def _lose_tokens(self) -> None:
        self.ids = self.logprobs = self.entropies = None

    def _cut(self, end: int) -> None:
        """Keep the text before code point ``end``, and of it what is whole tokens."""
        kept = self._tokens_before(end)
        if kept is None or self.ids is None:
            self.text = self.text[:end]
            self._lose_tokens()
            return
        self.text = self._decode(self.ids[:kept])
        self._keep(kept)

    def _keep(self, tokens: int) -> None:
        assert self.ids is not None
        self.dropped += len(self.ids) - tokens
        self.ids = self.ids[:tokens]
        self.logprobs = None if self.logprobs is None else self.logprobs[:tokens]
        self.entropies = None if self.entropies is None else self.entropies[:tokens]
        self.used = tokens

    def _drop_half_a_character(self) -> None:
        """The budget can end inside a character of several tokens; its beginning would be read as U+FFFD."""
        if not self.text.endswith("\ufffd"):
            return
        if self.ids is None or self.tokenizer is None:
            self.text = self.text.rstrip("\ufffd")
            return
        for tokens in range(len(self.ids) - 1, max(len(self.ids) - _SPREAD, 0), -1):
            text = self._decode(self.ids[:tokens])
            if not text.endswith("\ufffd"):
                self.text = text
                self._keep(tokens)
                return

    def _tokens_before(self, end: int) -> int | None:
        """How many of the tokens lie before code point ``end`` as a whole; None where that is not known."""
        if self.ids is None or self.tokenizer is None:
            return None
        low, high = 0, len(self.ids)
        while low < high:
            middle = (low + high + 1) // 2
            if len(self._decode(self.ids[:middle])) <= end:
                low = middle
            else:
                high = middle - 1
        return low if self.text.startswith(self._decode(self.ids[:low])) else None

    def _whole(self, last: Trace) -> Trace:
        if not self.seeds and not self.spans:
            return last  # nothing was done to it
        return trace_of(
            self.request,
            self.text,
            last.finish,
            token_ids=self.ids,
            logprobs=self.logprobs,
            entropies=self.entropies,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=None if self.estimated else self.used,
            seconds=self.seconds,
            error=last.error,
        )

    def forced(self, whole: Trace) -> Forced:
        failed = whole.finish is Finish.ERROR
        closed = -1 if failed else self.text.find(CLOSE)
        known = self.ids is not None and not failed
        return Forced(
            variant=whole.variant,
            benchmark=whole.benchmark,
            problem_id=whole.problem_id,
            sample=whole.sample,
            seed=whole.seed,
            mode=str(self.mode),
            closed_by="nobody" if closed < 0 else "budget" if self.closed_here else "model",
            spans=[] if failed else self.spans,
            token_spans=self.token_spans if known else None,
            thinking_tokens=None if not known else self._thought(closed),
            forced_tokens=sum(end - start for start, end in self.token_spans) if known else None,
            dropped_tokens=self.dropped if known else None,
            seeds=self.seeds,
            retokenised=None if not known else self.retokenised,
        )

    def _thought(self, closed: int) -> int | None:
        if closed < 0:
            return len(self.ids or [])
        if self.closed_here and self.token_spans:
            return self.token_spans[0][0]
        return self._tokens_before(closed)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text


def _joined(before: list[float | None] | None, part: list[float] | None, n: int) -> list[float | None] | None:
    """Both, or null where either says nothing."""
    return None if before is None or part is None or len(part) != n else [*before, *part]
