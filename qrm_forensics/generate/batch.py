"""The decoding loop: a batch whose slots are refilled as sequences end.

The slots in use are always the first ``n``.  A sequence that ends hands its slot to the
next request; where none is left, the last slot moves into the gap and the batch shrinks,
so a looping sequence neither holds up the others nor drags empty rows along.

Admission writes the keys and values of all prompt tokens but the last.  The last one is
fed by the ordinary decoding step, so there is one place only where tokens are drawn.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qrm_forensics.generate.admission import admit, decode
from qrm_forensics.generate.sampling import choose, sequence_key, statistics
from qrm_forensics.generate.slots import Masks, SlotCache, rounded
from qrm_forensics.generate.traces import error_trace, trace_of
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Finish, Request, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

#: Prompt tokens, padding included, in one prefill pass: bounds its memory.
PREFILL_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A request in flight."""

    request: Request
    prompt_ids: list[int]
    limit: int
    note: str | None  # why the limit is below max_new_tokens
    started: float


class Batch:
    """The state of one ``sample`` call: who sits in which slot, and what has been drawn."""

    def __init__(self, network: Any, tokenizer: Any, eos: frozenset[int], slots: int, sampling: Sampling) -> None:
        self.steps = 0
        self.prefills = 0
        self._network = network
        self._tokenizer = tokenizer
        self._eos = np.array(sorted(eos))
        self._sampling = sampling
        self._slots = slots
        self._max_length: int | None = getattr(network.config, "max_position_embeddings", None)
        self._masks = Masks(network.config)
        self._cache = SlotCache(slots)
        self._like = next(network.parameters()).new_zeros(())
        self._seated: list[_Sequence] = []
        # Per slot: the token to feed, its position, the number of drawn tokens, and its key.
        self._current = np.zeros(slots, np.int64)
        self._position = np.zeros(slots, np.int64)
        self._drawn = np.zeros(slots, np.int64)
        self._limit = np.zeros(slots, np.int64)
        self._key = np.zeros(slots, np.int64)
        # Per slot and step: the token, its log-probability and the entropy.
        self._tokens = np.zeros((slots, 0), np.int32)
        self._logprobs = np.zeros((slots, 0), np.float32)
        self._entropies = np.zeros((slots, 0), np.float32)

    def run(self, requests: Iterable[Request]) -> Iterator[Trace]:
        import torch

        waiting = iter(requests)
        exhausted = False
        while True:
            admitted: list[_Sequence] = []
            while not exhausted and len(self._seated) + len(admitted) < self._slots:
                request = next(waiting, None)
                if request is None:
                    exhausted = True
                    break
                prepared = self._prepare(request)
                if isinstance(prepared, Trace):
                    yield prepared
                else:
                    admitted.append(prepared)
            if admitted:
                with torch.inference_mode():
                    self._admit(admitted)
            if not self._seated:
                return
            # Never around a yield: inference mode belongs to the thread, so the caller would be in it too.
            with torch.inference_mode():
                ended = self._step()
            yield from ended

    def _prepare(self, request: Request) -> _Sequence | Trace:
        """The request as a sequence, or as the error trace that says why it cannot be one."""
        started = time.perf_counter()
        made = admit(request, self._tokenizer, self._max_length, self._sampling.max_new_tokens)
        if isinstance(made, Trace):
            return made
        return _Sequence(request, made.prompt_ids, made.limit, made.note, started)

    def _admit(self, admitted: list[_Sequence]) -> None:
        first = len(self._seated)
        for slot, sequence in enumerate(admitted, first):
            request = sequence.request
            self._seated.append(sequence)
            self._current[slot] = sequence.prompt_ids[-1]
            self._position[slot] = len(sequence.prompt_ids) - 1
            self._drawn[slot] = 0
            self._limit[slot] = sequence.limit
            self._key[slot] = sequence_key(request.seed, request.problem.benchmark, request.problem.id, request.sample)
        # Prompts of like length together, so that little of a pass is padding.
        order = sorted(range(first, len(self._seated)), key=lambda slot: len(self._seated[slot].prompt_ids))
        group: list[int] = []
        for slot in order:
            if group and (len(group) + 1) * len(self._seated[slot].prompt_ids) > PREFILL_TOKENS:
                self._prefill(group)
                group = []
            group.append(slot)
        self._prefill(group)

    def _prefill(self, slots: list[int]) -> None:
        """Write the keys and values of the prompts, all but their last token, padded at the right.

        No query looks ahead, so the padding changes nothing but columns that stay masked
        until a drawn token overwrites them.
        """
        import torch

        width = max(len(self._seated[slot].prompt_ids) for slot in slots) - 1
        if width == 0:
            return
        ids = np.zeros((len(slots), width), np.int64)
        for row, slot in enumerate(slots):
            prompt = self._seated[slot].prompt_ids[:-1]
            ids[row, : len(prompt)] = prompt
        self.prefills += 1
        self._cache.begin_prefill(self._tensor(np.array(slots)), width)
        self._network(
            input_ids=self._tensor(ids),
            attention_mask=self._masks.prefill(width, self._like),
            position_ids=torch.arange(width, device=self._like.device)[None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )

    def _step(self) -> list[Trace]:
        """One token for every seated sequence; the traces of those that ended with it."""
        n = len(self._seated)
        steps = self._drawn[:n]
        self._reserve(int(steps.max()) + 1)
        drawn, logprobs, entropies = self._draw(n)
        self.steps += 1
        rows = np.arange(n)
        self._tokens[rows, steps] = drawn
        self._logprobs[rows, steps] = logprobs
        self._entropies[rows, steps] = entropies
        self._current[:n] = drawn
        self._position[:n] += 1
        self._drawn[:n] += 1

        broken = ~(np.isfinite(logprobs) & np.isfinite(entropies))
        stopped = np.isin(drawn, self._eos)
        ended = np.flatnonzero(broken | stopped | (self._drawn[:n] >= self._limit[:n]))
        if not ended.size:
            return []
        now = time.perf_counter()
        traces = []
        for slot in ended.tolist():
            if broken[slot]:
                traces.append(self._failed(slot))
            else:
                traces.append(self._finished(slot, bool(stopped[slot]), now))
        # From the last to the first: a slot that moves down is then never one that has ended.
        for slot in reversed(ended.tolist()):
            self._leave(slot, wipe=bool(broken[slot]))
        return traces

    def _draw(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        import torch

        positions = self._tensor(self._position[:n])
        width = rounded(int(self._position[:n].max()) + 1)
        self._cache.begin_step(torch.arange(n, device=self._like.device), positions, width)
        logits = (
            self._network(
                input_ids=self._tensor(self._current[:n, None]),
                attention_mask=self._masks.step(positions, width, self._like),
                position_ids=positions[:, None],
                past_key_values=self._cache,
                use_cache=True,
            )
            .logits[:, -1]
            .float()
        )
        if logits.device.type == "npu":
            logits = logits.cpu()  # the draw is in float64, which NPUs do not compute in
        chosen = choose(
            logits,
            self._tensor(self._key[:n]).to(logits.device),
            self._tensor(self._drawn[:n]).to(logits.device),
            temperature=self._sampling.temperature,
            top_k=self._sampling.top_k,
            top_p=self._sampling.top_p,
        )
        # One transfer for all three; ids are exact in float64.
        packed = torch.stack([chosen.double(), *(x.double() for x in statistics(logits, chosen))]).cpu().numpy()
        return packed[0].astype(np.int64), packed[1], packed[2]

    def _finished(self, slot: int, stopped: bool, now: float) -> Trace:
        sequence, count = self._seated[slot], int(self._drawn[slot])
        ids: list[int] = self._tokens[slot, :count].tolist()
        return trace_of(
            sequence.request,
            decode(self._tokenizer, ids[:-1] if stopped else ids),
            Finish.STOP if stopped else Finish.LENGTH,
            token_ids=ids,
            logprobs=self._logprobs[slot, :count].tolist(),
            entropies=self._entropies[slot, :count].tolist(),
            prompt_tokens=len(sequence.prompt_ids),
            completion_tokens=count,
            seconds=now - sequence.started,
            error=None if stopped else sequence.note,
        )

    def _failed(self, slot: int) -> Trace:
        step = int(self._drawn[slot]) - 1
        return error_trace(
            self._seated[slot].request, f"the model's output is not finite (NaN or infinity) at generated token {step}"
        )

    def _leave(self, slot: int, *, wipe: bool) -> None:
        """Free a slot; the last one in use moves into it."""
        if wipe:
            self._cache.clear(slot)
        last = len(self._seated) - 1
        if slot != last:
            self._cache.move(last, slot, int(self._position[last]))
            for state in (self._current, self._position, self._drawn, self._limit, self._key):
                state[slot] = state[last]
            count = self._drawn[last]
            for log in (self._tokens, self._logprobs, self._entropies):
                log[slot, :count] = log[last, :count]
            self._seated[slot] = self._seated[last]
        self._seated.pop()

    def _reserve(self, steps: int) -> None:
        """Make room for ``steps`` logged tokens per slot."""
        have = self._tokens.shape[1]
        if steps > have:
            more = ((0, 0), (0, max(256, have, steps - have)))
            self._tokens = np.pad(self._tokens, more)
            self._logprobs = np.pad(self._logprobs, more)
            self._entropies = np.pad(self._entropies, more)

    def _tensor(self, array: NDArray[np.int64]) -> Tensor:
        """A copy on the model's device: the state arrays change while a pass may still read them."""
        import torch

        return torch.tensor(array, device=self._like.device)
