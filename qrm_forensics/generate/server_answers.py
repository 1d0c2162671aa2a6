"""What OpenAI-compatible servers answer, as the fields of a trace.

An answer is foreign text: every field is checked, and what is not as it should be becomes a null and a note, or,
where no response can be made of it, :class:`Unusable`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qrm_forensics.records import Finish

#: What servers call the ways to end.  vLLM says ``repetition`` where its repetition detection ended a response.
FINISHES = {
    "stop": Finish.STOP,
    "eos": Finish.STOP,
    "eos_token": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "length": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
    "repetition": Finish.LOOP_STOPPED,
}
#: Ways to end that say that the response was not finished for a reason of the server's.
ABORTED = ("abort", "aborted", "cancelled", "error")
_MAX_ID = 2**31


class Unusable(Exception):
    """The answer holds no response."""


class Aborted(Unusable):
    """The server ended the response for a reason of its own, such as being shut down."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response.  ``note``: what was wrong with parts of it that are null now."""

    text: str
    finish: Finish
    token_ids: list[int] | None
    logprobs: list[float] | None
    prompt_tokens: int | None
    completion_tokens: int | None
    note: str | None


def read_answer(body: object, *, chat: bool) -> Answer:
    """The response in the JSON value of a ``/completions`` or a ``/chat/completions`` answer; raises Unusable."""
    if not isinstance(body, Mapping):
        raise Unusable(f"answered {type(body).__name__} where a JSON object was expected")
    if isinstance(body.get("error"), Mapping | str) and not body.get("choices"):
        raise Unusable(f"answered an error: {error_text(body)}")
    choices = body.get("choices")
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
        raise Unusable("answered without choices")
    choice = choices[0]
    if not isinstance(choice, Mapping):
        raise Unusable("answered a choice that is no JSON object")
    text = _chat_text(choice.get("message")) if chat else choice.get("text")
    if not isinstance(text, str):
        raise Unusable("answered a choice without text")
    reason = choice.get("finish_reason")
    if reason in ABORTED:
        raise Aborted(f"ended the response early (finish_reason {reason!r})")
    notes: list[str] = []
    finish = FINISHES.get(reason, Finish.UNKNOWN) if isinstance(reason, str) else Finish.UNKNOWN
    if finish is Finish.UNKNOWN and reason is not None:
        notes.append(f"the server said finish_reason {str(reason)[:40]!r}")
    ids = _ids(choice.get("token_ids"), notes)
    logprobs = _logprobs(choice.get("logprobs"), chat, notes)
    if ids is not None and logprobs is not None and len(ids) != len(logprobs):
        notes.append(f"the server gave {len(logprobs)} log-probabilities for {len(ids)} tokens; they were left out")
        logprobs = None
    usage = body.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    return Answer(
        text,
        finish,
        ids,
        logprobs,
        _count(usage.get("prompt_tokens")),
        len(ids) if ids is not None else _count(usage.get("completion_tokens")),
        "; ".join(notes) or None,
    )


def _chat_text(message: object) -> str | None:
    """The text as the model wrote it: servers that take the thinking out say it in a field of its own.

    Where nothing follows the thinking, the closing tag is left out: it cannot be known whether it was written.
    """
    if not isinstance(message, Mapping):
        return None
    content, thinking = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
    if content is None and not isinstance(thinking, str):
        return "" if "content" in message else None
    if not isinstance(content, str | None):
        return None
    if not isinstance(thinking, str) or not thinking:
        return content
    return f"<think>{thinking}</think>{content}" if content else f"<think>{thinking}"


def _ids(value: object, notes: list[str]) -> list[int] | None:
    if value is None:
        return None
    if isinstance(value, list) and all(type(i) is int and 0 <= i < _MAX_ID for i in value):
        return value
    notes.append("the server's token ids are no token ids; they were left out")
    return None


def _logprobs(value: object, chat: bool, notes: list[str]) -> list[float] | None:
    """Of the tokens that were drawn: ``token_logprobs`` of completions, ``content[].logprob`` of chat."""
    if not isinstance(value, Mapping):
        return None
    found: object = value.get("token_logprobs")
    content = value.get("content")
    if isinstance(content, list) and (chat or found is None):
        found = [item.get("logprob") if isinstance(item, Mapping) else None for item in content]
    if not isinstance(found, list):
        return None
    kept = [min(float(x), 0.0) for x in found if type(x) in (int, float) and _sane(x)]
    if len(kept) == len(found):
        return kept
    notes.append("some of the server's log-probabilities are no log-probabilities; all were left out")
    return None


def _sane(x: Any) -> bool:
    try:
        return math.isfinite(x) and x <= 1e-3
    except OverflowError:
        return False


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**40 else None


def error_text(body: object) -> str:
    """What an error answer says: ``error.message`` (OpenAI, vLLM), ``error``, ``detail`` or ``message``; at most 500 characters."""
    found: object = body
    if isinstance(body, Mapping):
        found = next((body[key] for key in ("error", "detail", "message") if body.get(key)), body)
        if isinstance(found, Mapping) and found.get("message"):
            parameter = found.get("param")
            named = f" (param {parameter})" if isinstance(parameter, str) and parameter else ""
            found = f"{found['message']}{named}"
    return " ".join(str(found).split())[:500]


def prompt_logprobs(body: object) -> list[float | None] | None:
    """Log-probabilities of the prompt's own tokens, where vLLM gave them (``prompt_logprobs``: a mapping by token id per
    position, the token that is there first); null at position 0.  None where the answer has none.
    """
    if not isinstance(body, Mapping) or not isinstance(body.get("choices"), list) or not body["choices"]:
        return None
    choice = body["choices"][0]
    rows, ids = (
        choice.get(k) if isinstance(choice, Mapping) else None for k in ("prompt_logprobs", "prompt_token_ids")
    )
    if not isinstance(rows, list) or not rows:
        return None
    found: list[float | None] = []
    for position, row in enumerate(rows):
        value: object = None
        if isinstance(row, Mapping) and row:
            wanted = str(ids[position]) if isinstance(ids, list) and len(ids) == len(rows) else next(iter(row))
            entry = row.get(wanted)
            value = entry.get("logprob") if isinstance(entry, Mapping) else None
        found.append(float(value) if isinstance(value, int | float) and _sane(value) else None)
    return found
