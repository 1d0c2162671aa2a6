"""Where the program is in a response: fenced blocks of Markdown, found in one pass over the lines."""

from __future__ import annotations

import re
from typing import Final

from qrm_forensics.answers import Found, Missing, after_thinking

_FENCE: Final = re.compile(r"[ \t]{0,8}```[ \t]*([A-Za-z0-9_+-]*)[ \t]*(.*)")
_PYTHON: Final = ("python", "python3", "py")
_MARK: Final = "```"


def find_code(text: str, policy: str) -> Found | Missing:
    """The program of a response.

    ``strict``: the last closed block that says it is Python, after the last ``</think>``.  ``lenient``: lighteval's and
    LiveCodeBench's rule, what stands between the last two lines that have a fence in them, anywhere.
    """
    return _last_block(text) if policy == "strict" else _between_last_fences(text)


def _last_block(text: str) -> Found | Missing:
    start = after_thinking(text)
    if start is None:
        return Missing("the reasoning is never closed: no </think>")
    begin: int | None = None
    span: tuple[int, int] | None = None
    opened = False
    at = start
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        fence = _FENCE.fullmatch(text, at, end) if _MARK in text[at:end] else None
        if fence is not None:
            if begin is not None and not fence[1] and not fence[2]:
                if opened:
                    span = (begin, at)
                begin = None
            else:  # a block that opens within another one: the other was never closed
                opened = fence[1].lower() in _PYTHON
                begin = end + 1
        at = end + 1
    if span is None:
        return Missing("no closed ```python block after </think>")
    if not text[span[0] : span[1]].strip():
        return Missing("the last ```python block after </think> is empty")
    return Found(text[span[0] : span[1]], "python-block", span)


def _between_last_fences(text: str) -> Found | Missing:
    last = text.rfind(_MARK)
    end = text.rfind("\n", 0, last) + 1 if last >= 0 else 0
    before = text.rfind(_MARK, 0, end)
    if before < 0:
        return Missing("there are no two lines with ``` in the response")
    begin = text.find("\n", before) + 1
    if not text[begin:end].strip():
        return Missing("there is nothing between the last two lines with ```")
    return Found(text[begin:end], "last-fences", (begin, end))
