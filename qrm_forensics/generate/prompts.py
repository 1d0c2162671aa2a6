"""The final prompt text of a question, as a model's own chat template renders it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qrm_forensics.errors import InputError
from qrm_forensics.tokenizer import load_tokenizer

#: The instruction of the paper's repository (lighteval's math tasks), appended to every question.
MATH_INSTRUCTION = "\n\nPlease reason step by step, and put your final answer within \\boxed{}."


def math_prompts(models: Sequence[Path], questions: Sequence[str]) -> list[str]:
    """One prompt per question, one user turn, generation prompt added, no system prompt.

    A problem has one prompt for all variants of a study, so models whose chat templates
    render it differently are refused with an InputError.
    """
    rendered: list[str] | None = None
    for folder in models:
        tokenizer = load_tokenizer(folder)
        if not tokenizer.chat_template:
            raise InputError(f"{folder}: the tokenizer has no chat template, so no prompt can be made")
        prompts = [
            str(
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": q + MATH_INSTRUCTION}], tokenize=False, add_generation_prompt=True
                )
            )
            for q in questions
        ]
        if rendered is not None and prompts != rendered:
            raise InputError(
                f"{folder}: its chat template differs from {models[0]}'s; put these models into two studies"
            )
        rendered = prompts
    return rendered or []
