"""vLLM's quantization method ``qrm``: reads the runtime description, and gives every layer what the description says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
from vllm.model_executor.layers.quantization import register_quantization_config
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig, QuantizeMethodBase

from qrm_forensics.errors import InputError
from qrm_forensics.runtime.spec import (
    FILE,
    QUANT_METHOD,
    AttentionSpec,
    CacheSpec,
    LinearSpec,
    RuntimeSpec,
    read_runtime,
)
from qrm_forensics.vllm_plugin.configs import WITH_KEY_NORM
from qrm_forensics.vllm_plugin.methods import CacheMethod, LinearMethod
from qrm_forensics.weights import RUNTIME_FILES, weight_files

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Linears that vLLM fuses.  The description speaks of their parts, which lie in this order.
FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_LINEAR = re.compile(r"model\.layers\.(\d+)\.(?:self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)")


@dataclass(frozen=True, slots=True)
class Described:
    """A runtime description and its side tensors, on the CPU."""

    spec: RuntimeSpec
    tensors: Mapping[str, Tensor]


class QrmConfig(QuantizationConfig):  # type: ignore[misc]
    """The quantization of one checkpoint.  vLLM sends it to its other processes, which read the description for themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = ""
        #: Keys in front of RoPE are what the norm of keys makes, not the linear.
        self.key_norm = False

    def get_name(self) -> str:
        return QUANT_METHOD

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16, torch.float32]

    @classmethod
    def get_min_capability(cls) -> int:
        return 0  # there are no kernels of our own

    @staticmethod
    def get_config_filenames() -> list[str]:
        return []

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> QrmConfig:
        return cls()

    def maybe_update_config(self, model_name: str, hf_config: Any = None, revision: str | None = None) -> None:
        """Called with the checkpoint folder before another process is started or a weight is loaded.

        Raises InputError where the description is missing, damaged or of other weights, and where it speaks of what the
        model does not have.
        """
        if not Path(model_name).is_dir():
            raise InputError(f"{model_name}: is not a folder here; download the whole checkpoint and give its folder")
        if hf_config is None:
            raise InputError(
                "this release of vLLM does not say what model it is; see docs/vllm-plugin.md for those that do"
            )
        self.folder = model_name
        self.key_norm = hf_config.architectures[0] in WITH_KEY_NORM
        _check(self.described.spec, int(hf_config.num_hidden_layers))

    @property
    def described(self) -> Described:
        """Read and verified once in every process."""
        return _read(self.folder, _stamp(Path(self.folder)))

    def early_keys(self, layer: int) -> CacheSpec | None:
        """How keys are rounded in front of RoPE."""
        keys = self.described.spec.attention.get(layer, AttentionSpec()).keys
        return keys if keys is not None and keys.position == "before_rope" else None

    def get_quant_method(self, layer: nn.Module, prefix: str) -> QuantizeMethodBase | None:
        """What a layer computes with."""
        if not isinstance(layer, LinearBase | Attention):
            return None
        spec, tensors = self.described.spec, self.described.tensors
        within = _LAYER.match(prefix)
        if within is None:  # a head that vLLM puts on the model for another task
            return UnquantizedLinearMethod()
        number = int(within[1])
        if isinstance(layer, Attention):
            attention = spec.attention.get(number, AttentionSpec())
            keys = attention.keys if self.early_keys(number) is None else None
            return None if keys is attention.values is None else CacheMethod(self, keys, attention.values, tensors)
        parent, _, name = prefix.rpartition(".")
        parts = tuple(spec.linears.get(f"{parent}.{part}", LinearSpec()) for part in FUSED.get(name, (name,)))
        early = self.early_keys(number) if name == "qkv_proj" and not self.key_norm else None
        if early is None and all(part == LinearSpec() for part in parts):
            return UnquantizedLinearMethod()
        return LinearMethod(parts, early, tensors)


def _check(spec: RuntimeSpec, layers: int) -> None:
    for name in spec.linears:
        found = _LINEAR.fullmatch(name)
        if found is None or int(found[1]) >= layers:
            raise InputError(f"{spec.recipe}: names the module {name}, which the model does not have")
    if spec.attention and max(spec.attention) >= layers:
        raise InputError(f"{spec.recipe}: names decoder layer {max(spec.attention)}, the model has {layers}")


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when a file does that :func:`_read` reads."""
    files = [*weight_files(folder), *(folder / name for name in RUNTIME_FILES if (folder / name).is_file())]
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


@lru_cache(maxsize=1)
def _read(folder: str, _stamp: object) -> Described:
    found = read_runtime(Path(folder))
    if found is None:
        raise InputError(f"{folder}: has no {FILE}; give the checkpoint folder itself")
    return Described(*found)


def register() -> None:
    register_quantization_config(QUANT_METHOD)(QrmConfig)
