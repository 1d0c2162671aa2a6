"""Configurations of the model types ``qrm_qwen2``, ``qrm_qwen3`` and ``qrm_llama``: the plain ones by another name.

They are known to ``AutoConfig`` and not to ``AutoModelForCausalLM``, so that transformers goes on to refuse such a checkpoint, which
without its hooks would be garbage.  vLLM sends them to its other processes, so they are classes of this module.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, LlamaConfig, Qwen2Config, Qwen3Config

from qrm_forensics.errors import InputError
from qrm_forensics.runtime.spec import TYPE_PREFIX

#: Architecture in ``config.json`` -> the class of :mod:`qrm_forensics.vllm_plugin.models` that runs it.
ARCHITECTURES = {
    "Qwen2ForCausalLM": "QrmQwen2ForCausalLM",
    "Qwen3ForCausalLM": "QrmQwen3ForCausalLM",
    "LlamaForCausalLM": "QrmLlamaForCausalLM",
}
#: Those that normalize keys in front of RoPE.
WITH_KEY_NORM = ("QrmQwen3ForCausalLM",)


class _Taught:
    """Names the architecture that executes the runtime description."""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Raises InputError for an architecture that has no such class."""
        given = (config_dict.get("architectures") or ["(none)"])[0]
        taught = ARCHITECTURES.get(given, given)
        if taught not in ARCHITECTURES.values():
            raise InputError(f"vLLM was not taught to run a quantized {given}; known are {', '.join(ARCHITECTURES)}")
        return super().from_dict(config_dict | {"architectures": [taught]}, **kwargs)  # type: ignore[misc]


class QrmQwen2Config(_Taught, Qwen2Config):  # type: ignore[misc]
    model_type = f"{TYPE_PREFIX}qwen2"


class QrmQwen3Config(_Taught, Qwen3Config):  # type: ignore[misc]
    model_type = f"{TYPE_PREFIX}qwen3"


class QrmLlamaConfig(_Taught, LlamaConfig):  # type: ignore[misc]
    model_type = f"{TYPE_PREFIX}llama"


def register() -> None:
    for config in (QrmQwen2Config, QrmQwen3Config, QrmLlamaConfig):
        AutoConfig.register(config.model_type, config, exist_ok=True)
