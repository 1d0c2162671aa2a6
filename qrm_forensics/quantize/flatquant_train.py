"""Trains the transforms of one layer against its own full-precision output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qrm_forensics.quantize.adapters import ModelMap
from qrm_forensics.quantize.flatquant_core import LayerTransforms, fake_quantize
from qrm_forensics.quantize.layerwise import first

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Of the paper's scripts: 15 epochs, batches of 4 windows, AdamW, learning rates of transforms and of clipping factors, cosine
#: to a thousandth.
EPOCHS, BATCH, RATE, CLIP_RATE, FLOOR = 15, 4, 5e-3, 5e-2, 1e-3


def train_layer(
    layer: nn.Module,
    model: ModelMap,
    transforms: LayerTransforms,
    inputs: list[Tensor],
    arguments: list[dict[str, Any]],
    *,
    epochs: int = EPOCHS,
) -> dict[str, float]:
    """Train in place.  ``inputs``: hidden states [batch, length, hidden] in front of the layer, with what else it takes.

    The loss is the mean squared difference of the layer's outputs, divided by its own value, so that every step has the
    same weight.  Inputs are those of the full-precision model.  Returns the loss before and after, relative to the
    outputs' mean square.
    """
    import torch

    with torch.no_grad():
        targets = [first(layer(x, **a)) for x, a in zip(inputs, arguments, strict=True)]
    power = float(torch.stack([t.square().mean() for t in targets]).mean())
    before = _loss(layer, model, transforms, inputs, arguments, targets) / power
    parameters = [p.requires_grad_(True) for p in transforms.parameters()]
    groups = [
        {"params": transforms.shape_parameters(), "lr": RATE},
        {"params": list(transforms.clips.values()), "lr": CLIP_RATE},
    ]
    optimizer = torch.optim.AdamW(groups)
    steps = epochs * len(inputs)

    def cosine(step: int) -> float:
        return FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * step / max(1, steps))) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine)
    for _ in range(epochs):
        for x, given, target in zip(inputs, arguments, targets, strict=True):
            with torch.enable_grad(), rounded(layer, model, transforms):
                loss = (first(layer(x, **given)) - target).square().mean()
                (loss / loss.detach().clamp(min=1e-30)).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
    for parameter in parameters:
        parameter.requires_grad_(False)
    after = _loss(layer, model, transforms, inputs, arguments, targets) / power
    return {"relative_loss_before": before, "relative_loss_after": after}


def _loss(
    layer: nn.Module,
    model: ModelMap,
    transforms: LayerTransforms,
    inputs: list[Tensor],
    arguments: list[dict[str, Any]],
    targets: list[Tensor],
) -> float:
    import torch

    with torch.no_grad(), rounded(layer, model, transforms):
        parts = [(first(layer(x, **a)) - t).square().mean() for x, a, t in zip(inputs, arguments, targets, strict=True)]
    return float(torch.stack(parts).mean())


@contextmanager
def rounded(layer: nn.Module, model: ModelMap, transforms: LayerTransforms) -> Iterator[None]:
    """Inside, the layer computes with transformed and rounded weights, inputs, keys and values, differentiably."""
    weights = transforms.transform_weights(layer)
    for linear in model.linears:
        weights[f"{linear}.weight"] = transforms.round_weight(linear, weights[f"{linear}.weight"])
    handles: list[Any] = []
    undo: list[Callable[[], None]] = []
    for name, stage in transforms.stages().items():
        for linear in stage.linears:
            module = layer.get_submodule(linear)
            handles.append(module.register_forward_pre_hook(_input_hook(transforms, name, linear)))
            undo += _replaced(module, weights[f"{linear}.weight"], weights.get(f"{linear}.bias"))
    attention = layer.get_submodule("self_attn")
    handles.append(attention.register_forward_pre_hook(_cache_hook(transforms), with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for one in undo:
            one()


def _replaced(module: Any, weight: Tensor, bias: Tensor | None) -> list[Callable[[], None]]:
    """Let a linear compute with other tensors, which need not be parameters; how to undo it."""
    import torch

    own = module.forward

    def forward(x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, weight, module.bias if bias is None else bias)

    module.forward = forward

    def undo() -> None:
        module.forward = own

    return [undo]


def _input_hook(transforms: LayerTransforms, stage: str, linear: str) -> Any:
    def change(_module: Any, positional: tuple[Any, ...]) -> tuple[Any, ...]:
        x = transforms.transform_input(stage, positional[0])
        groups = transforms.clips[f"{linear}.input.low"].shape[0]
        low, high = (transforms.clip(f"{linear}.input", end).unsqueeze(-1) for end in ("low", "high"))
        split = x.unflatten(-1, (groups, -1))
        return (fake_quantize(split, transforms.settings.activation_bits, low, high).flatten(-2), *positional[1:])

    return change


class _Rounds:
    """A cache that keeps nothing and rounds what it is given."""

    def __init__(self, transforms: LayerTransforms) -> None:
        self._transforms = transforms

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        import torch

        t = self._transforms
        p = t.matrices["k"][0]
        bits = t.settings.kv_bits
        keys = fake_quantize(keys @ p, bits, t.clip("k", "low"), t.clip("k", "high"))
        keys = keys @ torch.linalg.inv(p.double()).float()
        return keys, fake_quantize(values, bits, t.clip("v", "low"), t.clip("v", "high"))


def _cache_hook(transforms: LayerTransforms) -> Any:
    def change(_module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return positional, {**named, "past_key_values": _Rounds(transforms)}

    return change
