"""FlatQuant for one decoder layer: transforms and clipping factors that are trained so that rounding hurts least.

Sun et al., arXiv 2410.09426, with the settings of the paper's public code (methods/flatquant).  For a linear with input x and
weight W the layer computes Q(x D P) Q(W D⁻¹ P⁻ᵀ)ᵀ with D diagonal and P = A ⊗ B.  Attention's output is transformed by P_o ⊗ P_v, of
which P_v sits in v_proj; keys behind RoPE by P_k, queries by its inverse transpose, which is the same as transforming the
rounded keys back.  The clipping factors multiply both ends of every grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qrm_forensics.quantize.adapters import ModelMap, Stage

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Logit of the clipping factors at the start: sigmoid(4) = 0.982.
CLIP_LOGIT = 4.0
#: Exponent of the activations in the diagonal's start: w_max^0.7 / x_max^0.3.
DIAGONAL_ALPHA = 0.3


def kronecker_sizes(n: int) -> tuple[int, int]:
    """(a, b) with a b = n, as equal as possible: the smallest s for which s² - n is a square t² gives (s - t, s + t)."""
    s = math.isqrt(n - 1) + 1 if n > 1 else 1
    while True:
        t = math.isqrt(s * s - n)
        if t * t == s * s - n:
            return s - t, s + t
        s += 1
        if s > n:  # odd and even factors only: 1 · n always divides
            return 1, n


@dataclass(frozen=True, slots=True)
class Settings:
    """``shards``: parts of the inputs of row-parallel linears that have grids and blocks of their own."""

    weight_bits: int
    activation_bits: int
    kv_bits: int
    shards: int


class LayerTransforms:
    """The trainable parameters of one layer (float32, on the layer's device) and what they make of its weights.

    ``matrices``: name -> [blocks, n, n] (``ln.left``, ``ln.right``, ``up.*``, ``down.*``, ``o``, ``v``, ``k``);
    ``diagonals``: ``ln``, ``up`` [hidden], ``down`` [intermediate]; ``clips``: logits of the low and high factors,
    ``<linear>.weight.low`` [rows, groups] and ``<linear>.input.low`` [groups], ``k.low`` [1] and so on.
    """

    def __init__(
        self, layer: nn.Module, model: ModelMap, settings: Settings, peaks: Mapping[str, Tensor], seed: int
    ) -> None:
        import torch

        self.model, self.settings = model, settings
        device = next(layer.parameters()).device
        generator = torch.Generator().manual_seed(seed)
        g, shards = model.geometry, settings.shards
        sizes = {"ln": (g.hidden, 1), "up": (g.hidden, 1), "down": (g.intermediate // shards, shards)}
        self.matrices: dict[str, Tensor] = {}
        for name, (n, blocks) in sizes.items():
            a, b = kronecker_sizes(n)
            self.matrices[f"{name}.left"] = _orthogonal(a, blocks, generator).to(device)
            self.matrices[f"{name}.right"] = _orthogonal(b, blocks, generator).to(device)
        self.matrices["o"] = _orthogonal(g.heads // shards, shards, generator).to(device)
        self.matrices["v"] = _orthogonal(g.head_dim, 1, generator).to(device)
        self.matrices["k"] = _orthogonal(g.head_dim, 1, generator).to(device)
        self.diagonals: dict[str, Tensor] = {}
        for name, stage in self.stages().items():
            if name == "o":
                continue
            weights = torch.stack([_weight(layer, linear).abs().amax(0) for linear in stage.linears]).amax(0)
            x = peaks[name].clamp(min=1e-5)
            self.diagonals[name] = weights.clamp(min=1e-5) ** (1 - DIAGONAL_ALPHA) / x**DIAGONAL_ALPHA
        self.clips: dict[str, Tensor] = {}
        for linear in model.linears:
            groups = shards if linear in model.row_parallel else 1
            rows = _weight(layer, linear).shape[0]
            for end in ("low", "high"):
                self.clips[f"{linear}.weight.{end}"] = torch.full((rows, groups, 1), CLIP_LOGIT, device=device)
                self.clips[f"{linear}.input.{end}"] = torch.full((groups,), CLIP_LOGIT, device=device)
        for cache in ("k", "v"):
            for end in ("low", "high"):
                self.clips[f"{cache}.{end}"] = torch.full((1,), CLIP_LOGIT, device=device)

    def stages(self) -> dict[str, Stage]:
        """``ln`` (queries, keys, values), ``o``, ``up`` (up, gate) and ``down`` -> what shares that input."""
        return dict(zip(("ln", "o", "up", "down"), self.model.stages, strict=True))

    def shape_parameters(self) -> list[Tensor]:
        return [*self.matrices.values(), *self.diagonals.values()]

    def parameters(self) -> list[Tensor]:
        return [*self.shape_parameters(), *self.clips.values()]

    def clip(self, name: str, end: str) -> Tensor:
        import torch

        return torch.sigmoid(self.clips[f"{name}.{end}"])

    # --- inputs ---------------------------------------------------------------------------------

    def transform_input(self, name: str, x: Tensor) -> Tensor:
        """The input of stage ``name`` as its linears see it, before rounding; [..., n]."""
        if name == "o":
            blocks = self.settings.shards
            heads = x.unflatten(-1, (blocks, self.matrices["o"].shape[-1], self.model.geometry.head_dim))
            return (self.matrices["o"].transpose(-1, -2) @ heads).flatten(-3)
        return _kronecker(x * self.diagonals[name], self.matrices[f"{name}.left"], self.matrices[f"{name}.right"])

    # --- weights --------------------------------------------------------------------------------

    def transform_weights(self, layer: nn.Module, *, exact: bool = False) -> dict[str, Tensor]:
        """Parameter name -> transformed weight of every linear, and the bias of v_proj; before rounding.

        ``exact``: in float64.
        """
        import torch

        dtype = torch.float64 if exact else torch.float32
        inverse = {name: torch.linalg.inv(m.double()).transpose(-1, -2).to(dtype) for name, m in self.matrices.items()}
        v = self.matrices["v"][0].to(dtype)
        found = {}
        for name, stage in self.stages().items():
            for linear in stage.linears:
                w = _weight(layer, linear).to(dtype)
                if linear.endswith("v_proj"):
                    w = (v.T @ w.unflatten(0, (-1, v.shape[0]))).flatten(0, 1)
                if name == "o":
                    heads = w.unflatten(-1, (self.settings.shards, inverse["o"].shape[-1], v.shape[0]))
                    w = (inverse["o"].transpose(-1, -2) @ heads @ inverse["v"][0]).flatten(-3)
                else:
                    w = _kronecker(
                        w / self.diagonals[name].to(dtype), inverse[f"{name}.left"], inverse[f"{name}.right"]
                    )
                found[f"{linear}.weight"] = w
        bias = layer.get_submodule("self_attn.v_proj").bias
        if bias is not None:
            found["self_attn.v_proj.bias"] = (bias.to(dtype).unflatten(0, (-1, v.shape[0])) @ v).flatten()
        return found

    def restore_weights(self, changed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of :meth:`transform_weights` in float64, for weights that were rounded in between."""
        import torch

        m = {name: matrix.double().transpose(-1, -2) for name, matrix in self.matrices.items()}
        v = torch.linalg.inv(self.matrices["v"][0].double())
        found = {}
        for name, stage in self.stages().items():
            for linear in stage.linears:
                w = changed[f"{linear}.weight"].double()
                if name == "o":
                    heads = w.unflatten(-1, (self.settings.shards, m["o"].shape[-1], v.shape[0]))
                    w = (m["o"].transpose(-1, -2) @ heads @ m["v"][0]).flatten(-3)
                else:
                    w = _kronecker(w, m[f"{name}.left"], m[f"{name}.right"]) * self.diagonals[name].double()
                if linear.endswith("v_proj"):
                    w = (v.T @ w.unflatten(0, (-1, v.shape[0]))).flatten(0, 1)
                found[f"{linear}.weight"] = w
        return found

    def round_weight(self, linear: str, weight: Tensor) -> Tensor:
        """A transformed weight on its grid: symmetric, per row (row-parallel: and shard), clipped."""
        groups = self.clips[f"{linear}.weight.low"].shape[1]
        split = weight.unflatten(-1, (groups, -1))
        low, high = (self.clip(f"{linear}.weight", end).to(weight.dtype) for end in ("low", "high"))
        return fake_quantize(split, self.settings.weight_bits, low, high, symmetric=True).flatten(-2)


def fake_quantize(x: Tensor, bits: int, low: Tensor, high: Tensor, *, symmetric: bool = False) -> Tensor:
    """Rounding along the last axis with gradients: straight through where it rounds, exact in the ends of the range.

    ``low`` and ``high`` are factors that multiply the range (which includes 0), broadcast against it.
    """
    import torch

    bottom = x.amin(-1, keepdim=True).clamp(max=0) * low
    top = x.amax(-1, keepdim=True).clamp(min=0) * high
    empty = (bottom == 0) & (top == 0)
    bottom, top = torch.where(empty, -1.0, bottom), torch.where(empty, 1.0, top)
    if symmetric:
        scale = torch.maximum(bottom.abs(), top) / (2 ** (bits - 1) - 1)
        smallest, zero = -(2 ** (bits - 1)), torch.zeros_like(scale)
    else:
        scale = (top - bottom) / (2**bits - 1)
        smallest, zero = 0, _through(-bottom / scale)
    codes = (_through(x / scale) + zero).clamp(smallest, smallest + 2**bits - 1)
    return (codes - zero) * scale


def _through(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


def _kronecker(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """x (A ⊗ B) for rows x, block by block: [..., blocks · a · b] with [blocks, a, a] and [blocks, b, b]."""
    square = x.unflatten(-1, (left.shape[0], left.shape[-1], right.shape[-1]))
    return (left.transpose(-1, -2) @ square @ right).flatten(-3)


def _orthogonal(n: int, blocks: int, generator: Any) -> Tensor:
    import torch

    q, r = torch.linalg.qr(torch.randn(blocks, n, n, generator=generator, dtype=torch.float64))
    # unique for a given draw: the diagonal of R is positive
    return (q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)).float()


def _weight(layer: nn.Module, linear: str) -> Tensor:
    weight: Tensor = layer.get_submodule(linear).weight.detach().float()
    return weight
