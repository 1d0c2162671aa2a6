"""vLLM's own models, which after they are built see to it that nothing of the description was left out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.model_executor.models.llama import LlamaForCausalLM
from vllm.model_executor.models.qwen2 import Qwen2ForCausalLM
from vllm.model_executor.models.qwen3 import Qwen3ForCausalLM
from vllm.model_executor.models.utils import PPMissingLayer

from qrm_forensics.errors import InputError
from qrm_forensics.runtime.rounding import fake_quantize
from qrm_forensics.runtime.spec import CacheSpec
from qrm_forensics.vllm_plugin.methods import CacheMethod, LinearMethod, SideTensors, early_key_tensors
from qrm_forensics.vllm_plugin.quantization import FUSED, QrmConfig

_INTO = {part: fused for fused, parts in FUSED.items() for part in parts}


class _Taught:
    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        execute(self, vllm_config.quant_config)


class QrmQwen2ForCausalLM(_Taught, Qwen2ForCausalLM):  # type: ignore[misc]
    pass


class QrmQwen3ForCausalLM(_Taught, Qwen3ForCausalLM):  # type: ignore[misc]
    pass


class QrmLlamaForCausalLM(_Taught, LlamaForCausalLM):  # type: ignore[misc]
    pass


def execute(model: nn.Module, config: Any) -> None:
    """Round keys that a norm makes, which is no layer with a quantization method, and check that all others have theirs.

    Raises InputError for a part of the description that no layer took: executed without it the model would be garbage.
    """
    if not isinstance(config, QrmConfig):
        raise InputError("this checkpoint is quantized with qrm; leave vLLM's quantization argument out")
    spec = config.described.spec
    here = {n: layer for n, layer in enumerate(model.model.layers) if not isinstance(layer, PPMissingLayer)}
    for name in spec.linears:
        parent, _, part = name.rpartition(".")
        if int(name.split(".")[2]) in here:
            _took(model.get_submodule(f"{parent}.{_INTO.get(part, part)}"), LinearMethod, name)
    for number, attention in spec.attention.items():
        if number not in here:
            continue
        block, early = here[number].self_attn, config.early_keys(number)
        if attention.values is not None or (attention.keys is not None and early is None):
            _took(block.attn, CacheMethod, f"the cache of decoder layer {number}")
        if early is not None and config.key_norm:
            _round_normed(block.k_norm, block.qkv_proj, early, config)
        elif early is not None:
            _took(block.qkv_proj, LinearMethod, f"the keys of decoder layer {number}")


def _took(layer: nn.Module, kind: type, what: str) -> None:
    if not isinstance(getattr(layer, "quant_method", None), kind):
        raise InputError(
            f"this release of vLLM does not ask how {what} is quantized; see docs/vllm-plugin.md for those that do"
        )


def _round_normed(norm: nn.Module, qkv: nn.Module, spec: CacheSpec, config: QrmConfig) -> None:
    side = SideTensors(norm, early_key_tensors(qkv, spec, config.described.tensors), 0, spec)

    def change(module: nn.Module, _arguments: Any, output: Tensor) -> Tensor:
        # [tokens, kv heads, head dim]; a static grid has a scale for every channel of every head
        return fake_quantize(output.flatten(-2), spec.rounding, side.of(module)).view(output.shape)

    norm.register_forward_hook(change)
