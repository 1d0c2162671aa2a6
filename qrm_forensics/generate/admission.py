"""What a backend that tokenises by itself checks before it takes a request in, the same for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qrm_forensics.errors import InputError
from qrm_forensics.generate.traces import error_trace
from qrm_forensics.records import Request, Trace


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request as tokens.  ``limit``: new tokens at most; ``note``: why that is below ``max_new_tokens``."""

    prompt_ids: list[int]
    limit: int
    note: str | None


def admit(request: Request, tokenizer: Any, max_length: int | None, max_new_tokens: int) -> Admitted | Trace:
    """The request as tokens, or the error trace that says why it cannot be one.  ``max_length``: prompt and response."""
    try:
        ids = tokenizer.encode(request.problem.prompt, add_special_tokens=False)
    except (TypeError, ValueError) as error:  # for example a lone surrogate
        return error_trace(request, f"the prompt cannot be tokenised: {error}")
    bos = tokenizer.bos_token_id
    if not ids:
        return error_trace(request, "the prompt is empty")
    if bos is not None and ids[:2] == [bos, bos]:
        return error_trace(
            request,
            f"the prompt begins with {tokenizer.bos_token} twice; the chat template writes it already, "
            "so leave it out of the prompt text",
        )
    limit, note = max_new_tokens, None
    if max_length is not None:
        room = max_length - len(ids)
        if room < 1:
            return error_trace(
                request, f"the prompt has {len(ids)} tokens, which leaves no room in the model's {max_length}"
            )
        if room < limit:
            limit = room
            note = f"stopped at the model's maximum length of {max_length} tokens, before max_new_tokens"
    return Admitted(ids, limit, note)


def end_tokens(sources: Iterable[Any], path: str) -> frozenset[int]:
    """The ``eos_token_id`` of the first of ``sources`` that names one: generation config, config, tokenizer, in that order."""
    for source in sources:
        eos = getattr(source, "eos_token_id", None)
        if eos is not None:
            return frozenset([eos] if isinstance(eos, int) else eos)
    raise InputError(f"{path} names no end token; set eos_token_id in its generation_config.json")


def decode(tokenizer: Any, ids: list[int]) -> str:
    """Text with every special token kept; the end token is the caller's to leave out."""
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
