"""Messages and outputs of chat models as their logs and servers write them: Inspect, OpenAI and those that imitate it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qrm_forensics.importers.files import at_path
from qrm_forensics.importers.foreign import whole

_Read = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Output:
    """One response.  ``apart``: its reasoning was stored apart from its text."""

    text: str | None
    stop_reason: str | None
    logprobs: list[float] | None
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float | None
    apart: bool


def output(value: Any, read: _Read = str) -> Output:
    """The output of one call: its first choice, and what it used.  ``read`` resolves references in texts."""
    choices = at_path(value, "choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    text, apart = message_text(at_path(first, "message"), read) if first is not None else (None, False)
    usage = at_path(value, "usage")
    seconds = at_path(value, "time")
    reason = at_path(first, "stop_reason")
    return Output(
        text=text,
        stop_reason=reason if isinstance(reason, str) else None,
        logprobs=logprobs(at_path(first, "logprobs")),
        prompt_tokens=whole(at_path(usage, "input_tokens")),
        completion_tokens=whole(at_path(usage, "output_tokens")),
        seconds=float(seconds)
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0
        else None,
        apart=apart,
    )


def message_text(message: Any, read: _Read = str) -> tuple[str | None, bool]:
    """What an assistant wrote, its reasoning before it as ``<think>…</think>``; and whether that was stored apart.

    Reasoning without any text after it was cut off there, so it is left open.
    """
    content = at_path(message, "content")
    thoughts: list[str] = []
    texts: list[str] = []
    if isinstance(content, str):
        texts.append(read(content))
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, str):
                texts.append(read(part))
            elif isinstance(thought := at_path(part, "reasoning"), str) and thought:
                thoughts.append(read(thought))
            elif isinstance(text := at_path(part, "text"), str):
                texts.append(read(text))
    for key in ("reasoning_content", "reasoning"):  # of servers with a reasoning parser
        if isinstance(thought := at_path(message, key), str) and thought and not thoughts:
            thoughts.append(read(thought))
    if not thoughts and not texts:
        return None, False
    text = "".join(texts)
    if not thoughts:
        return text, False
    opened = "<think>\n" + "\n".join(thoughts)
    return (f"{opened}\n</think>\n\n{text}" if text else opened), True


def logprobs(value: Any) -> list[float] | None:
    """The log-probability of every token (``{"content": [{"token", "logprob"}]}``), null unless all are numbers."""
    entries = at_path(value, "content")
    if not isinstance(entries, list) or not entries:
        return None
    found = [at_path(entry, "logprob") for entry in entries]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in found):
        return None
    return [float(v) for v in found]


def prompt(messages: Any, read: _Read = str) -> tuple[str, str]:
    """(everything that was said before the first response, the last turn of the user).

    One message of a user is itself; several are written with their roles, as the template that joins them is not known.
    """
    if isinstance(messages, str):
        return read(messages), read(messages)
    before: list[tuple[str, str]] = []
    for message in messages if isinstance(messages, list) else []:
        role = at_path(message, "role")
        if role == "assistant":
            break
        text, _ = message_text(message, read)
        before.append((str(role or "user"), text or ""))
    user = next((text for role, text in reversed(before) if role == "user"), "")
    if len(before) == 1:
        return before[0][1], user
    return "\n\n".join(f"[{role}]\n{text}" for role, text in before), user
