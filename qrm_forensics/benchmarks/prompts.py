"""The question inside a prompt: chat template and answer instruction taken off."""

from __future__ import annotations

import re
import unicodedata

from qrm_forensics.benchmarks import presets

#: The last user turn of the chat templates of DeepSeek-R1, ChatML (Qwen, QwQ) and Llama 3.
_TURNS = (
    ("<｜User｜>", "<｜Assistant｜>"),
    ("<|im_start|>user\n", "<|im_end|>"),
    ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
)
#: lighteval's and the paper's instruction after a mathematical problem.
_INSTRUCTION = re.compile(r"\s*Please reason step by step,? and put your final answer within \\boxed\{\}\.?\s*\Z")


def question_of(prompt: str) -> str:
    """The problem text of a prompt; the whole prompt where no known template is found."""
    text = prompt
    for opening, closing in _TURNS:
        start = prompt.rfind(opening)
        if start >= 0:
            start += len(opening)
            end = prompt.find(closing, start)
            text = prompt[start : end if end >= 0 else len(prompt)]
            break
    text = _unframed(text)
    # The search has a cheap literal in front: \s* before a literal is quadratic on long white space.
    if "Please reason step by step" in text[-200:]:
        head, tail = text[:-200], text[-200:]
        text = head + _INSTRUCTION.sub("", tail)
    return text.strip()


def _unframed(text: str) -> str:
    """Without what the presets for options and for programs write around a question."""
    for preset in (presets.CHOICE, presets.CODE):
        before, _, _ = preset.partition(presets.PROBLEM)
        head, found, rest = text.partition(before)
        if found and not head.strip():
            ends = [rest.rfind(end) for end in presets.CODE_ENDS] if preset is presets.CODE else []
            return rest[: max(ends)] if ends and max(ends) >= 0 else rest
    return text


def normalized(text: str) -> str:
    """Text for comparison: Unicode NFC, runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())
