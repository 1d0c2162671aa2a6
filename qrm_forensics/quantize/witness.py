"""What can be learnt of a model while calibration text goes through it anyway: sizes of input channels, and of keys.

A quantizer runs every decoder layer once over the whole text to get the inputs of the next one.  The witness looks on: with the
weights as the quantizer has left them by then (rounded ones with GPTQ, those of the source with AWQ).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from qrm_forensics.quantize.adapters import ModelMap

_CURRENT: ContextVar[Witness | None] = ContextVar("witness", default=None)


def current_witness() -> Witness | None:
    """The witness of the quantization that is going on, if it has one."""
    return _CURRENT.get()


@contextmanager
def witnessed(witness: Witness) -> Iterator[Witness]:
    """While the block lasts, every :class:`~qrm_forensics.quantize.layerwise.LayerStream` shows its passes to ``witness``."""
    token = _CURRENT.set(witness)
    try:
        yield witness
    finally:
        _CURRENT.reset(token)


@dataclass(slots=True)
class InputChannels:
    """Of the inputs of one linear: largest |x| per channel (float32 [channels]), and the number of input vectors."""

    peak: Tensor | None = None
    vectors: int = 0

    def add(self, x: Tensor) -> None:
        import torch

        rows = x.detach().reshape(-1, x.shape[-1])
        found = rows.abs().amax(0).float()
        self.peak = found if self.peak is None else torch.maximum(self.peak, found)
        self.vectors += rows.shape[0]


@dataclass(slots=True)
class KeyChannels:
    """Of the keys of one layer in front of RoPE, less their bias: sums per channel, float64 [kv heads x head dim].

    ``low`` and ``high`` are the range of the windows of the first half (None where there is only one window), ``beyond`` counts
    values of the second half that are outside of it, ``judged`` all values of the second half.  Ranges have 0 in them.
    """

    windows: int
    bias: Tensor | None
    total: Tensor | None = None
    squares: Tensor | None = None
    vectors: int = 0
    low: Tensor | None = None
    high: Tensor | None = None
    beyond: int = 0
    judged: int = 0
    _seen: int = 0

    def add(self, keys: Tensor) -> None:
        """``keys``: [windows, tokens, channels], or with heads as an axis of their own."""
        values = keys.detach().flatten(2).float()
        if self.bias is not None:
            values = values - self.bias.to(values.device, values.dtype)
        rows = values.flatten(0, 1)
        first = max(0, min(len(values), self.windows // 2 - self._seen))
        self._seen += len(values)
        total, squares = rows.sum(0).double().cpu(), rows.square().sum(0).double().cpu()
        self.total = total if self.total is None else self.total + total
        self.squares = squares if self.squares is None else self.squares + squares
        self.vectors += len(rows)
        if first:
            self._widen(values[:first].flatten(0, 1))
        if self.low is not None and self.high is not None and first < len(values):
            later = values[first:].flatten(0, 1)
            self.beyond += int(((later < self.low) | (later > self.high)).sum())
            self.judged += later.numel()

    def _widen(self, rows: Tensor) -> None:
        import torch

        low, high = rows.amin(0).clamp(max=0), rows.amax(0).clamp(min=0)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)

    def spread(self) -> Tensor | None:
        """Root mean square per channel, float64."""
        return None if self.squares is None else (self.squares / self.vectors).sqrt()


@dataclass(slots=True)
class Witness:
    """``inputs`` by full name of the first linear of each stage, ``keys`` by layer number."""

    model: ModelMap
    inputs: dict[str, InputChannels] = field(default_factory=dict)
    keys: dict[int, KeyChannels] = field(default_factory=dict)

    def of(self, module: str) -> InputChannels | None:
        """What was seen of the inputs of a linear, which shares them with the others of its stage."""
        layer, _, linear = module.removeprefix(f"{self.model.prefix}.").partition(".")
        for stage in self.model.stages:
            if linear in stage.linears:
                return self.inputs.get(self.model.name(int(layer), stage.linears[0]))
        return None

    def seen(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is asked of a witness once its layers are behind it: tensors by name, and numbers (JSON-able)."""
        tensors = {f"inputs/{name}": found.peak.cpu() for name, found in self.inputs.items() if found.peak is not None}
        tensors |= {f"keys/{layer}": found.squares for layer, found in self.keys.items() if found.squares is not None}
        return tensors, {
            "inputs": {name: found.vectors for name, found in self.inputs.items()},
            "keys": {str(layer): [f.windows, f.vectors, f.beyond, f.judged] for layer, f in self.keys.items()},
        }

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Know again what :meth:`seen` told."""
        for name, vectors in numbers["inputs"].items():
            self.inputs[name] = InputChannels(tensors.get(f"inputs/{name}"), vectors)
        for layer, (windows, vectors, beyond, judged) in numbers["keys"].items():
            squares = tensors.get(f"keys/{layer}")
            self.keys[int(layer)] = KeyChannels(
                windows, None, squares=squares, vectors=vectors, beyond=beyond, judged=judged
            )

    @contextmanager
    def watching(
        self, layer: nn.Module, index: int, windows: int, *, attention: bool = True, mlp: bool = True
    ) -> Iterator[None]:
        """Look on while ``windows`` windows go through decoder layer ``index``, or only through one half of it."""
        with ExitStack() as hooks:
            for stage in self.model.stages:
                if attention if stage.linears[0].startswith("self_attn.") else mlp:
                    seen = self.inputs[self.model.name(index, stage.linears[0])] = InputChannels()
                    handle = layer.get_submodule(stage.linears[0]).register_forward_pre_hook(_input_of(seen))
                    hooks.callback(handle.remove)
            if not attention:
                yield
                return
            source: Any = layer.get_submodule(self.model.key_source)
            bias = None if self.model.head_norms else getattr(source, "bias", None)
            keys = self.keys[index] = KeyChannels(windows, bias)
            hooks.callback(source.register_forward_hook(_output_of(keys)).remove)
            yield
            keys.bias = None


def _input_of(seen: InputChannels) -> Any:
    def hook(_module: Any, arguments: tuple[Any, ...]) -> None:
        seen.add(arguments[0])

    return hook


def _output_of(keys: KeyChannels) -> Any:
    def hook(_module: Any, _arguments: Any, output: Tensor) -> None:
        keys.add(output)

    return hook
