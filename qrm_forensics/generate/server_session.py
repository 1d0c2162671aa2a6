"""Asking a server: request bodies, what it does not know, and many requests at the same time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from qrm_forensics.errors import EnvironmentMissing, ForensicsError, InputError
from qrm_forensics.generate.admission import admit
from qrm_forensics.generate.sampling import sequence_key
from qrm_forensics.generate.server_answers import Aborted, Answer, Unusable, prompt_logprobs, read_answer
from qrm_forensics.generate.server_http import Connection, GaveUp, Rejected
from qrm_forensics.generate.traces import error_trace, trace_of
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Finish, Request, Trace

PATHS = {"completions": "/completions", "chat": "/chat/completions"}
#: Fields that some servers do not know.  One that is refused by name is left out from then on; all others are what the study asks for.
OPTIONAL = (
    "seed",
    "logprobs",
    "return_token_ids",
    "add_special_tokens",
    "skip_special_tokens",
    "spaces_between_special_tokens",
)
_REFUSES = re.compile(
    r"unrecogni[sz]ed|unknown|unexpected|unsupported|not supported|support|extra|not permitted|forbidden|not allowed|"
    r"not implemented|max allowed|disabled|invalid",
    re.I,
)
#: Requests in a row that may be given up before the server is taken to be gone.
STREAK = 4


@dataclass(frozen=True, slots=True)
class Served:
    """A model as the server lists it.  ``max_length``: tokens of prompt and response together, where it says so."""

    name: str
    max_length: int | None


def request_seed(request: Request) -> int:
    """The seed that is sent: of this sample alone, so that no two samples of a plan are drawn with the same numbers.

    The last 31 bits of what the other backends draw with: not every server takes more.
    """
    return sequence_key(request.seed, request.problem.benchmark, request.problem.id, request.sample) & 0x7FFFFFFF


def _latest(held: Mapping[int, Trace]) -> str | None:
    return list(held.values())[-1].error


class ServerSession:
    """A model at a server.  ``notes``: what the server does not give, one sentence each, each said once."""

    def __init__(
        self,
        connection: Connection,
        served: Served,
        *,
        chat: bool,
        concurrency: int,
        logprobs: bool,
        extra: Mapping[str, Any],
        tokenizer: Any,
    ) -> None:
        self._connection = connection
        self._served = served
        self._chat = chat
        self._concurrency = concurrency
        self._wants_logprobs = logprobs
        self._extra = extra
        self._tokenizer = tokenizer
        self._dropped: set[str] = set()
        self._limit_field = "max_tokens"
        self.notes: list[str] = []
        self.requests_sent = 0

    @property
    def model(self) -> str:
        """What the server calls the model."""
        return self._served.name

    def describe(self) -> dict[str, Any]:
        """What the traces of this session are made with; the key is not part of it.  ``notes`` grows while the server is asked."""
        return {
            "base_url": self._connection.base_url,
            "model": self.model,
            "max_length": self._served.max_length,
            "notes": self.notes,
        }

    def sample(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Trace]:
        """One trace per request, each as it ends; ``requests`` is read only as the server is free to take more.

        A request that fails after all attempts is an error trace.  Where so many fail in a row that the server must be
        gone (EnvironmentMissing), or the first ones are all refused (InputError), their traces are held back, so that
        another call asks them again.
        """
        waiting = enumerate(requests)
        running: dict[Future[Trace], tuple[int, Request]] = {}
        held: dict[int, Trace] = {}  # failures that may be the server's, not the requests'
        silent = False  # whether the latest of them is a server that does not answer
        exhausted = answered = False
        try:
            while True:
                while not exhausted and len(running) < self._concurrency:
                    number, request = next(waiting, (0, None))
                    if request is None:
                        exhausted = True
                        break
                    running[self._connection.submit(self._respond(request, sampling))] = (number, request)
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                fatal: ForensicsError | None = None
                for future in done:
                    number, request = running.pop(future)
                    try:
                        trace = future.result()
                    except GaveUp as error:
                        held[number] = error_trace(request, f"the server: {error}")
                        silent = True
                        continue
                    except ForensicsError as error:
                        fatal = error
                        continue
                    if trace.finish is Finish.ERROR and not answered:
                        held[number] = trace
                        silent = False
                        continue
                    if trace.finish is not Finish.ERROR:
                        answered = True
                        # What was asked later was answered: the server was there.
                        for earlier in [n for n in held if n < number]:
                            yield held.pop(earlier)
                    yield trace
                if fatal is not None:
                    raise fatal
                if len(held) >= max(STREAK, self._concurrency):
                    raise self._gone(held) if silent else self._useless(held)
            if silent and held:
                self._refuse_silence(held)
            yield from held.values()
        finally:
            for future in running:
                future.cancel()

    def prompt_logprobs(self, prompts: Sequence[str | list[int]]) -> list[list[float | None]] | None:
        """Per prompt (text or token ids) and token its log-probability given what precedes it, in nats; null for the first.

        None where the server does not give them: OpenAI's API has no such field, vLLM's has.
        """
        if self._chat:
            return None
        found: list[list[float | None]] = []
        for prompt in prompts:
            body = {
                "model": self.model,
                "prompt": prompt,
                "max_tokens": 1,
                "temperature": 0.0,
                "prompt_logprobs": 0,
                **{k: v for k, v in self._precise().items() if k not in self._dropped},
            }
            try:
                answer = self._connection.submit(self._connection.ask("/completions", body)).result()
            except (Rejected, GaveUp):
                return None
            rows = prompt_logprobs(answer)
            if rows is None:
                return None
            found.append(rows)
        return found

    def _gone(self, held: Mapping[int, Trace]) -> EnvironmentMissing:
        return EnvironmentMissing(
            f"the server at {self._connection.base_url} does not answer any more ({_latest(held)}); "
            f"what it did answer is kept: see to the server, then run again to ask the rest"
        )

    def _useless(self, held: Mapping[int, Trace]) -> InputError:
        return InputError(f"{self._connection.base_url}: the first {len(held)} requests all failed: {_latest(held)}")

    def _refuse_silence(self, held: Mapping[int, Trace]) -> None:
        """The last requests failed: theirs is an error trace only if the server is still there."""
        try:
            self._connection.submit(self._connection.ask("/models", at_most=1)).result()
        except GaveUp:
            raise self._gone(held) from None
        except (Rejected, InputError):
            return

    async def _respond(self, request: Request, sampling: Sampling) -> Trace:
        admitted = None
        if self._tokenizer is not None and not self._chat:
            taken = admit(request, self._tokenizer, self._served.max_length, sampling.max_new_tokens)
            if isinstance(taken, Trace):
                return taken
            admitted = taken
        limit = admitted.limit if admitted is not None else sampling.max_new_tokens
        started = time.perf_counter()
        while True:
            body = self._body(request, sampling, limit)
            try:
                self.requests_sent += 1
                raw = await self._connection.ask(PATHS["chat" if self._chat else "completions"], body)
                answer = read_answer(raw, chat=self._chat)
            except Rejected as error:
                if self._adapt(str(error), body):
                    continue
                return error_trace(request, f"the server {error}")
            except Aborted as error:
                raise GaveUp(str(error)) from None
            except Unusable as error:
                return error_trace(request, f"the server {self._connection.hidden(str(error))}")
            break
        seconds = time.perf_counter() - started
        cut = None
        if admitted is not None:
            self._same_prompt(admitted.prompt_ids, raw, answer)
            cut = admitted.note
        self._notice(answer)
        notes = [note for note in (cut if answer.finish is Finish.LENGTH else None, answer.note) if note]
        return trace_of(
            request,
            answer.text,
            answer.finish,
            token_ids=answer.token_ids,
            logprobs=answer.logprobs,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            seconds=seconds,
            error="; ".join(notes) or None,
        )

    def _precise(self) -> dict[str, Any]:
        """What makes vLLM and SGLang read the prompt, and write the text, exactly."""
        fields: dict[str, Any] = {"return_token_ids": True, "skip_special_tokens": False}
        if not self._chat:
            fields |= {"add_special_tokens": False, "spaces_between_special_tokens": False}
        return fields

    def _body(self, request: Request, sampling: Sampling, limit: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            self._limit_field: limit,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stream": False,
        }
        if sampling.top_k > 0:
            body["top_k"] = sampling.top_k
        optional: dict[str, Any] = {"seed": request_seed(request), **self._precise()}
        if self._chat:
            body["messages"] = [{"role": "user", "content": request.problem.prompt}]
            optional["logprobs"] = True
        else:
            body["prompt"] = request.problem.prompt
            optional["logprobs"] = 1
        if not self._wants_logprobs:
            del optional["logprobs"]
        return body | {k: v for k, v in optional.items() if k not in self._dropped} | dict(self._extra)

    def _adapt(self, refusal: str, body: Mapping[str, Any]) -> bool:
        """Leave out the optional field that the refusal names; whether there is something to send again."""
        if self._limit_field in body and "max_completion_tokens" in refusal and self._limit_field == "max_tokens":
            self._limit_field = "max_completion_tokens"
            return True
        if "max_tokens" in body and self._limit_field != "max_tokens":
            return True
        named = [f for f in OPTIONAL if f in body and re.search(rf"(?<![a-z_]){f}(?![a-z_])", refusal, re.I)]
        if not named or not _REFUSES.search(refusal):
            return False
        field = min(named, key=refusal.lower().index)
        if field not in self._dropped:  # several requests meet the same refusal at the same time
            self._dropped.add(field)
            self._note(f"the server takes no {field!r}; it is left out{_LOST.get(field, '')}")
        return True

    def _same_prompt(self, prompt_ids: list[int], raw: Mapping[str, Any], answer: Answer) -> None:
        """Raise InputError where the server reads the prompt differently, as with a second BOS in front of it."""
        told = raw["choices"][0].get("prompt_token_ids")
        differs = told != prompt_ids if isinstance(told, list) else answer.prompt_tokens not in (None, len(prompt_ids))
        if differs:
            read = f"{told[:4]}…" if isinstance(told, list) else f"{answer.prompt_tokens} tokens"
            own = f"{prompt_ids[:4]}…" if isinstance(told, list) else f"{len(prompt_ids)} tokens"
            raise InputError(
                f"the server reads the prompt as {read}, the checkpoint's tokenizer as {own}: it has another tokenizer, or "
                "it puts a BOS in front of a prompt that has one; use the server's option to add no special tokens"
            )

    def _notice(self, answer: Answer) -> None:
        if self._wants_logprobs and answer.logprobs is None and "logprobs" not in self._dropped and not answer.note:
            self._note("the server gives no log-probabilities; they are unknown for this run")
        if answer.token_ids is None and "return_token_ids" not in self._dropped:
            self._note("the server gives no token ids; they are unknown for this run")
        if answer.finish is Finish.UNKNOWN:
            self._note("the server does not say why responses end; whether they were truncated is unknown")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


#: What is lost with an optional field.
_LOST = {
    "seed": ": another run will give other responses",
    "logprobs": ": log-probabilities are unknown for this run",
    "return_token_ids": ": token ids are unknown for this run",
    "add_special_tokens": ": the server may put a BOS in front of the prompt",
    "skip_special_tokens": ": special tokens are missing from the texts",
}
