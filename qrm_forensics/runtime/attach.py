"""Runs a model of transformers as its runtime description says, by hooks on its own modules; nothing is forked or patched.

Inputs of linears are changed by forward pre-hooks.  Keys in front of RoPE are what ``k_proj`` (or the key norm) returns.
Keys behind it, and values, are caught where attention writes them into its cache: the attention module is given a cache that
rounds what it is given and hands it on, and one that only rounds where the caller keeps no cache.  So every token is rounded
once, as a quantized cache would do, and a forward pass without a cache computes the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import InputError
from qrm_forensics.runtime import hadamard
from qrm_forensics.runtime.rounding import fake_quantize
from qrm_forensics.runtime.spec import CacheSpec, LinearSpec, RuntimeSpec, Transform, plain_config, read_runtime

if TYPE_CHECKING:
    from torch import Tensor, nn

Tensors = Mapping[str, "Tensor"]


def load_model(path: str, *, revision: str | None = None, **options: Any) -> Any:
    """``AutoModelForCausalLM.from_pretrained`` for ordinary checkpoints and for ours, which come with their hooks.

    Raises InputError for one of ours that is damaged or mixed (see :func:`read_runtime`), OSError and ValueError as
    transformers does.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    found = read_runtime(Path(path)) if Path(path).is_dir() else None
    with no_progress_bar():
        if found is None:
            return AutoModelForCausalLM.from_pretrained(path, revision=revision, **_unpacking(Path(path)), **options)
        entries = plain_config(json.loads((Path(path) / "config.json").read_text(encoding="utf-8")))
        config = AutoConfig.for_model(entries.pop("model_type"), **entries)
        model = AutoModelForCausalLM.from_pretrained(path, config=config, **options)
    attach(model, *found)
    return model


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Without the bars that transformers draws: they would break the caller's own progress line."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def _unpacking(folder: Path) -> dict[str, Any]:
    """Codes packed by compressed-tensors are dequantized once while they are loaded, not at every step.

    Beside the time, with transformers 5.23 and compressed-tensors 0.20 codes with zero-points do not load otherwise.
    """
    try:
        entries = json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]
        packed = entries["quant_method"] == "compressed-tensors" and entries["format"] == "pack-quantized"
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # an ordinary checkpoint, or one whose loader says what is wrong
    if not packed:
        return {}
    from transformers import CompressedTensorsConfig

    return {"quantization_config": CompressedTensorsConfig(run_compressed=False)}


@dataclass(slots=True)
class Attached:
    """Hooks on a model; :meth:`detach` takes them off again."""

    handles: list[Any]
    undo: list[Callable[[], None]]

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()
        for undo in reversed(self.undo):
            undo()
        self.handles.clear()
        self.undo.clear()


def attach(model: nn.Module, spec: RuntimeSpec, tensors: Tensors) -> Attached:
    """Put the hooks on.  ``tensors`` are moved to the devices of the modules as they are needed, in float32.

    Raises InputError where the description names a module that the model does not have.
    """
    made = Attached([], [])
    side, latest = _Side(tensors), _Latest()
    for name, linear in spec.linears.items():
        module = _module(model, name, spec)
        made.handles.append(module.register_forward_pre_hook(_input_hook(linear, side, latest)))
    layers = _module(model, "model.layers", spec)
    for index, attention in spec.attention.items():
        if index >= len(layers):
            raise InputError(f"{spec.recipe}: names decoder layer {index}, the model has {len(layers)}")
        block = layers[index].self_attn
        keys, values = attention.keys, attention.values
        if keys is not None and keys.position == "before_rope":
            _round_keys_early(block, keys, side, made)
            keys = None
        if keys is not None or values is not None:
            hook = _cache_hook(keys, values, side)
            made.handles.append(block.register_forward_pre_hook(hook, with_kwargs=True))
    return made


def _module(model: nn.Module, name: str, spec: RuntimeSpec) -> Any:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise InputError(f"{spec.recipe}: names the module {name}, which the model does not have") from None


class _Side:
    """Side tensors on any device, copied there once."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = dict(tensors)
        self._there: dict[tuple[str, str], Tensor] = {}

    def of(self, spec: LinearSpec | CacheSpec, like: Tensor) -> dict[str, Tensor]:
        """What ``spec`` names: name in the file -> tensor, float32, on the device of ``like``."""
        found = {}
        for name in spec.tensor_names():
            key = (name, str(like.device))
            if key not in self._there:
                self._there[key] = self._tensors[name].to(like.device).float()
            found[name] = self._there[key]
        return found


@dataclass(slots=True)
class _Latest:
    """What the last linear was given and what became of it: queries, keys and values, or gate and up, have one input."""

    given: Tensor | None = None
    spec: LinearSpec | None = None
    made: Tensor | None = None


def _input_hook(spec: LinearSpec, side: _Side, latest: _Latest) -> Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]:
    def change(_module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        x = arguments[0]
        if x is not latest.given or spec != latest.spec:
            made = change_input(x, spec, side.of(spec, x))
            latest.given, latest.spec, latest.made = x, spec, made
        return (latest.made, *arguments[1:])

    return change


def change_input(x: Tensor, spec: LinearSpec, tensors: Tensors) -> Tensor:
    """The input of a linear as its product sees it; ``tensors`` are those that ``spec`` names, on the device of ``x``."""
    for transform in spec.transforms:
        x = apply(transform, x, tensors)
    return x if spec.rounding is None else fake_quantize(x, spec.rounding, tensors)


def hadamard_cores(width: int, *specs: LinearSpec | CacheSpec | None) -> dict[str, Tensor]:
    """Tensors that :func:`apply` looks for among its ``tensors``, and makes at every call where it does not find them.

    ``width``: values that the transforms of ``specs`` are applied to.  On the CPU, float32.
    """
    found = {}
    for spec in specs:
        transforms = spec.transforms if isinstance(spec, LinearSpec) else () if spec is None else (spec.transform,)
        for transform in transforms:
            if transform is not None and transform.kind == "hadamard":
                dense = hadamard.core(width // transform.blocks)
                if dense is not None:
                    found[_core_name(width // transform.blocks)] = dense
    return found


def _core_name(n: int) -> str:
    return f"hadamard {n}"  # no name of a side tensor has a space


def apply(transform: Transform, x: Tensor, tensors: Tensors, *, inverse: bool = False) -> Tensor:
    """A transform of the last axis of ``x``, or its inverse; same shape and dtype, computed in float32 at least.

    ``tensors``: those that ``transform`` names, and perhaps :func:`hadamard_cores`; on the device of ``x``.
    """
    import torch

    names, n = transform.tensors, x.shape[-1] // transform.blocks
    if transform.kind == "hadamard":
        return hadamard.multiply(x, transform.blocks, transposed=inverse, dense=tensors.get(_core_name(n)))
    work = x.double() if x.dtype == torch.float64 else x.float()
    parts = work.unflatten(-1, (transform.blocks, n))

    def by(name: str) -> Tensor:
        return tensors[names[name]].to(work.dtype)

    if transform.kind == "diagonal":
        parts = parts / by("diagonal") if inverse else parts * by("diagonal")
    elif transform.kind == "matrix":
        parts = (parts.unsqueeze(-2) @ by("inverse" if inverse else "matrix")).squeeze(-2)
    else:
        left, right = (by(f"{side}_inverse" if inverse else side) for side in ("left", "right"))
        square = parts.unflatten(-1, (left.shape[-1], right.shape[-1]))
        # x (A ⊗ B), row by row: Aᵀ X B for X the row as a matrix
        parts = (left.transpose(-1, -2) @ square @ right).flatten(-2)
    return parts.flatten(-2).to(x.dtype)


def round_cache(states: Tensor, spec: CacheSpec, tensors: Tensors) -> Tensor:
    """Keys or values [..., head dim] as a cache would give them back."""
    if spec.transform is not None:
        states = apply(spec.transform, states, tensors)
    states = fake_quantize(states, spec.rounding, tensors)
    if spec.transform is not None:
        states = apply(spec.transform, states, tensors, inverse=True)
    return states


def _round_keys_early(block: Any, spec: CacheSpec, side: _Side, made: Attached) -> None:
    """Keys as ``k_proj`` or the key norm makes them.  A bias that is to stay out is taken off the linear and added by the
    hook: to add it and to subtract it again would lose what a large bias hides (bfloat16 near 400 has steps of 2).
    """
    source = getattr(block, "k_norm", None) or block.k_proj
    bias = None
    if spec.before_bias and getattr(source, "bias", None) is not None:
        bias, source.bias = source.bias, None
        made.undo.append(lambda: setattr(source, "bias", bias))

    def change(_module: Any, _arguments: Any, output: Tensor) -> Tensor:
        # the norm's output has an axis of heads, the linear's has not
        flat = output.flatten(-2) if output.dim() == 4 else output
        rounded = fake_quantize(flat, spec.rounding, side.of(spec, flat))
        if bias is not None:
            rounded = rounded + bias.to(rounded.device, rounded.dtype)
        return rounded.reshape(output.shape)

    made.handles.append(source.register_forward_hook(change))


class _RoundingCache:
    """What attention sees of a cache: what is written into it is rounded first.  ``cache`` may be None."""

    def __init__(self, cache: Any, keys: CacheSpec | None, values: CacheSpec | None, side: _Side) -> None:
        self._cache, self._keys, self._values, self._side = cache, keys, values, side

    def update(self, keys: Tensor, values: Tensor, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        if self._keys is not None:
            keys = round_cache(keys, self._keys, self._side.of(self._keys, keys))
        if self._values is not None:
            values = round_cache(values, self._values, self._side.of(self._values, values))
        if self._cache is None:
            return keys, values
        kept: tuple[Tensor, Tensor] = self._cache.update(keys, values, *arguments, **named)
        return kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


def _cache_hook(keys: CacheSpec | None, values: CacheSpec | None, side: _Side) -> Callable[..., Any]:
    def change(
        _module: Any, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return positional, {
            **named,
            "past_key_values": _RoundingCache(named.get("past_key_values"), keys, values, side),
        }

    return change
