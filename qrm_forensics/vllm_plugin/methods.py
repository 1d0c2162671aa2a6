"""What linears and attention layers of vLLM do under a runtime description, by vLLM's own interfaces for quantization.

The arithmetic is that of the transformers path (:mod:`qrm_forensics.runtime`); here is only where it happens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from vllm.distributed import tensor_model_parallel_all_gather
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.layers.quantization.kv_cache import BaseKVCacheMethod

from qrm_forensics.errors import InputError
from qrm_forensics.runtime import mxfp
from qrm_forensics.runtime.attach import change_input, hadamard_cores, round_cache
from qrm_forensics.runtime.rounding import fake_quantize
from qrm_forensics.runtime.spec import CacheSpec, LinearSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Values of ``kv_cache_dtype`` with which the cache keeps what it is given.
_FAITHFUL = ("auto", "float32", "bfloat16", "float16")


class SideTensors:
    """Side tensors as buffers of a layer, where compilation and CUDA graphs look for them; float32, on the layer's device.

    ``width``: values that transforms of ``specs`` are applied to.  The constant matrices of Hadamard transforms are among
    the buffers, so that nothing is copied to the device while the model runs.
    """

    def __init__(
        self, layer: nn.Module, tensors: Mapping[str, Tensor], width: int, *specs: LinearSpec | CacheSpec | None
    ) -> None:
        names = sorted({name for spec in specs if spec is not None for name in spec.tensor_names()})
        needed = {name: tensors[name] for name in names} | hadamard_cores(width, *specs)
        self._buffers = {name: f"qrm_{number}" for number, name in enumerate(needed)}
        device = torch.empty(0).device  # vLLM builds models under the worker's
        for name, buffer in self._buffers.items():
            layer.register_buffer(buffer, needed[name].to(device, torch.float32), persistent=False)

    def of(self, layer: nn.Module) -> dict[str, Tensor]:
        return {name: getattr(layer, buffer) for name, buffer in self._buffers.items()}


def early_key_tensors(qkv: Any, keys: CacheSpec, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """``tensors`` with the scales and zero-points of keys in front of RoPE cut to the heads that this rank of ``qkv`` makes.

    Raises InputError where a group that is fitted as the model runs has values of several ranks.
    """
    width, all_heads = qkv.num_kv_heads * qkv.head_size, qkv.total_num_kv_heads
    rounding = keys.rounding
    if rounding.static:
        # a small model on many ranks: several of them have the same head
        first = qkv.tp_rank // qkv.num_kv_head_replicas * qkv.num_kv_heads
        by_head = {name: tensors[name].view(all_heads, qkv.head_size) for name in rounding.tensors.values()}
        return {**tensors, **{name: t[first : first + qkv.num_kv_heads].flatten() for name, t in by_head.items()}}
    fitted = mxfp.BLOCK if rounding.kind == "mxfp4" else all_heads * qkv.head_size
    group = fitted if rounding.group == -1 else rounding.group
    if width % group:
        raise InputError(
            f"tensor_parallel_size={qkv.tp_size}: keys are rounded in groups of {group} values across heads, and a rank has "
            f"{width}; use 1, with pipeline or data parallelism where one device is too small or too slow"
        )
    return tensors


class LinearMethod(UnquantizedLinearMethod):  # type: ignore[misc]
    """A linear whose input is changed; of ``qkv_proj`` also the keys that it makes.

    ``parts``: of every linear that vLLM has fused into this one, in the order of their rows.  Where they are not
    all the same (FlatQuant learns how to clip the same input for each), every part has a product of its own.

    Under tensor parallelism a rank has some of the inputs of ``o_proj`` and ``down_proj``.  Transforms and ranges go over all of
    them, so they are gathered, changed on every rank alike, and each rank goes on with its own.
    """

    def __init__(self, parts: Sequence[LinearSpec], keys: CacheSpec | None, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._parts, self._keys, self._tensors = tuple(parts), keys, tensors
        self._fused = all(part == parts[0] for part in parts)
        #: Transforms that parts share are applied once.
        self._turns = [LinearSpec(part.transforms) for part in parts]
        self._first = [self._turns.index(turn) for turn in self._turns]
        self._roundings = [LinearSpec(rounding=part.rounding) for part in parts]

    def create_weights(
        self,
        layer: nn.Module,
        input_size_per_partition: int,
        output_partition_sizes: list[int],
        *arguments: Any,
        **named: Any,
    ) -> None:
        super().create_weights(layer, input_size_per_partition, output_partition_sizes, *arguments, **named)
        self._sizes = list(output_partition_sizes)
        self._gathered = self._parts[0] != LinearSpec() and input_size_per_partition < layer.input_size
        self._inputs = input_size_per_partition
        tensors = self._tensors if self._keys is None else early_key_tensors(layer, self._keys, self._tensors)
        self._side = SideTensors(layer, tensors, layer.input_size, *self._parts, self._keys)

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        if self._fused:
            super().process_weights_after_loading(layer)
        else:  # not packed for a CPU; and plain tensors, because compilation cannot split vLLM's own kind
            whole = layer.weight.data.as_subclass(torch.Tensor)
            for number, weight in enumerate(whole.split(self._sizes)):
                layer.register_buffer(f"qrm_weight_{number}", weight, persistent=False)
        bias = getattr(layer, "bias", None)
        if bias is not None and self._keys is not None and self._keys.before_bias:
            q, k, v = bias.data.split(self._sizes)
            # Keys are rounded without it: to take it off again would lose what a large bias hides.
            layer.register_buffer("qrm_key_bias", k.clone(), persistent=False)
            layer.register_buffer("qrm_other_bias", torch.cat((q, torch.zeros_like(k), v)), persistent=False)

    def apply(self, layer: nn.Module, x: Tensor, bias: Tensor | None = None) -> Tensor:
        side = self._side.of(layer)
        late = bias is not None and self._keys is not None and self._keys.before_bias
        bias = layer.qrm_other_bias if late else bias
        if self._fused:
            out = super().apply(layer, self._changed(layer, x, side), bias)
        else:
            out = self._by_parts(layer, x, bias, side)
        if self._keys is None:
            return out
        q, k, v = out.split(self._sizes, dim=-1)
        k = fake_quantize(k, self._keys.rounding, side)
        if late:
            k = k + layer.qrm_key_bias.to(k.dtype)
        return torch.cat((q, k, v), dim=-1)

    def _changed(self, layer: nn.Module, x: Tensor, side: Mapping[str, Tensor]) -> Tensor:
        if not self._gathered:
            return change_input(x, self._parts[0], side)
        whole = change_input(tensor_model_parallel_all_gather(x.contiguous(), dim=-1), self._parts[0], side)
        return whole.narrow(-1, layer.tp_rank * self._inputs, self._inputs).contiguous()

    def _by_parts(self, layer: nn.Module, x: Tensor, bias: Tensor | None, side: Mapping[str, Tensor]) -> Tensor:
        biases = (None,) * len(self._parts) if bias is None else bias.split(self._sizes)
        turned: dict[int, Tensor] = {}
        made = []
        for number, first in enumerate(self._first):
            if first == number:
                turned[number] = change_input(x, self._turns[number], side)
            given = change_input(turned[first], self._roundings[number], side)
            made.append(torch.nn.functional.linear(given, getattr(layer, f"qrm_weight_{number}"), biases[number]))
        return torch.cat(made, dim=-1)


class CacheMethod(BaseKVCacheMethod):  # type: ignore[misc]
    """Keys behind RoPE and values, rounded on their way into attention and its cache: every token once."""

    def __init__(
        self, config: Any, keys: CacheSpec | None, values: CacheSpec | None, tensors: Mapping[str, Tensor]
    ) -> None:
        super().__init__(config)
        self._keys, self._values, self._tensors = keys, values, tensors

    def create_weights(self, layer: nn.Module) -> None:
        """Raises InputError where vLLM's own cache would round what is rounded already."""
        if layer.kv_cache_dtype not in _FAITHFUL:
            raise InputError(f"kv_cache_dtype={layer.kv_cache_dtype}: this checkpoint rounds its own cache; use auto")
        super().create_weights(layer)
        self._side = SideTensors(layer, self._tensors, layer.head_size, self._keys, self._values)
        layer.register_forward_pre_hook(self._round)

    def _round(self, layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        query, key, value, *others = arguments
        return (query, self._by_head(layer, key, self._keys), self._by_head(layer, value, self._values), *others)

    def _by_head(self, layer: nn.Module, states: Tensor, spec: CacheSpec | None) -> Tensor:
        """``states`` [tokens, kv heads x head dim]."""
        if spec is None:
            return states
        heads = states.unflatten(-1, (-1, layer.head_size))
        return round_cache(heads, spec, self._side.of(layer)).flatten(-2)
