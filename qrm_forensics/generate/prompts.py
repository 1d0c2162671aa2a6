"""The final prompt text of a question, as a model's own chat template renders it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qrm_forensics.benchmarks import presets
from qrm_forensics.errors import InputError
from qrm_forensics.tokenizer import load_tokenizer

#: The instruction of the paper's repository, appended to every mathematical problem.
MATH_INSTRUCTION = presets.MATH.removeprefix(presets.PROBLEM)


def math_prompts(models: Sequence[Path], questions: Sequence[str]) -> list[str]:
    """One prompt per question, asked as the preset ``math`` asks, no system prompt; see ``chat_prompts``."""
    return chat_prompts(models, [presets.message("math", q) for q in questions])


def chat_prompts(models: Sequence[Path], messages: Sequence[str], system: str | None = None) -> list[str]:
    """One prompt per message: one user turn, behind the system prompt where there is one, generation prompt added.

    A problem has one prompt for all variants of a study, so models whose chat templates render it differently are
    refused with an InputError, as is a template whose prompts would begin with two begin-of-text tokens.
    """
    rendered: list[str] | None = None
    before = [{"role": "system", "content": system}] if system is not None else []
    for folder in models:
        tokenizer = load_tokenizer(folder)
        if not tokenizer.chat_template:
            raise InputError(f"{folder}: the tokenizer has no chat template, so no prompt can be made")
        prompts = [_rendered(tokenizer, [*before, {"role": "user", "content": m}], folder) for m in messages]
        if system is not None and prompts and system.strip() not in prompts[0]:
            raise InputError(f"{folder}: its chat template drops the system prompt; leave it out, or use another model")
        if prompts:
            refuse_double_bos(tokenizer, prompts[0], str(folder))
        if rendered is not None and prompts != rendered:
            raise InputError(
                f"{folder}: its chat template differs from {models[0]}'s; put these models into two studies"
            )
        rendered = prompts
    return rendered or []


def refuse_double_bos(tokenizer: Any, prompt: str, model: str, *, adds_special_tokens: bool = False) -> None:
    """Raise InputError where the model would read two begin-of-text tokens at the start of ``prompt``.

    ``adds_special_tokens``: whether the backend lets the tokenizer add its own to the text of the prompt.  Chat templates
    of DeepSeek-R1 and Llama write the token, and their tokenizers add one as well; with both, a model reads a text
    that it was never trained on, and nothing says so.
    """
    bos = tokenizer.bos_token_id
    if bos is None:
        return
    ids = tokenizer.encode(prompt, add_special_tokens=adds_special_tokens)
    if ids[:2] != [bos, bos]:
        return
    written = tokenizer.encode(prompt, add_special_tokens=False)[:2] == [bos, bos]
    why = (
        "its chat template writes it twice; remove one from the template (or from the prompt or system prompt)"
        if written
        else "its chat template writes it, and the tokenizer adds another; send token ids, or text without it"
    )
    raise InputError(f"{model}: the prompt would begin with {tokenizer.bos_token} twice: {why}")


def _rendered(tokenizer: Any, turns: list[dict[str, str]], folder: Path) -> str:
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as error:
        if not type(error).__module__.startswith("jinja2"):
            raise
        # some templates refuse a system turn
        raise InputError(f"{folder}: its chat template refuses these turns ({error})") from error
