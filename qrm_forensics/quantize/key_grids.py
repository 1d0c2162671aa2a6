"""What the grids that a recipe rounds keys on do to the keys of a layer with a given bias: simulated, without text.

Keys and queries of a layer are drawn as their biases plus independent normal values of the layer's own spread, turned by RoPE at random
positions, and the keys are rounded by the very code that rounds the cache as the model runs.  What a huge bias costs is then the error of
the attention scores relative to everything in them that depends on the keys' text, next to that of keys without bias and outliers.  Scores
are what counts: a channel may be made large in the keys and small in the queries without changing the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qrm_forensics.runtime.attach import apply
from qrm_forensics.runtime.rounding import fake_quantize

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from qrm_forensics.quantize.adapters import Geometry
    from qrm_forensics.runtime.spec import CacheSpec

TOKENS = 256
#: Queries per head.
QUERIES = 32
POSITIONS = 4096
SEED = 0


@dataclass(frozen=True, slots=True)
class GridError:
    """Root mean square error of attention scores over the root mean square of what depends on the keys' text, of the worst kv head.

    ``even``: the same for keys without bias whose large channels are made ordinary (and the queries' larger), which gives the same scores.
    """

    error: float
    even: float
    head: int


def rope_theta(config: Mapping[str, Any]) -> float:
    """The base of the rotary frequencies, wherever the version of transformers that wrote the config keeps it."""
    parameters = config.get("rope_parameters") or {}
    return float(config.get("rope_theta") or parameters.get("rope_theta") or 10000.0)


def turn(keys: Tensor, positions: Tensor, theta: float) -> Tensor:
    """RoPE (Su et al., arXiv 2104.09864) in the half-split layout of Llama and Qwen: ``keys`` [heads, tokens, head dim].

    Frequencies are theta^(-2i/d), without any scaling for long contexts.
    """
    import torch

    half = keys.shape[-1] // 2
    exponents = torch.arange(half, dtype=torch.float64) / half
    angles = positions.double().unsqueeze(-1) * theta**-exponents
    cos, sin = (torch.cat([part, part], -1).to(keys.dtype) for part in (angles.cos(), angles.sin()))
    turned = torch.cat([-keys[..., half:], keys[..., :half]], -1)
    rotated: Tensor = keys * cos + turned * sin
    return rotated


@dataclass(frozen=True, slots=True)
class Channels:
    """Constant part and root mean square of the rest of queries or keys in front of RoPE, float [heads x head dim]."""

    bias: Tensor
    spread: Tensor


def grid_error(
    spec: CacheSpec, tensors: Mapping[str, Tensor], keys: Channels, queries: Channels, geometry: Geometry, theta: float
) -> GridError:
    """The error of ``spec`` (keys behind RoPE) in the attention scores of a layer with such keys and queries."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    text, constant = _drawn(keys, geometry.kv_heads, TOKENS, geometry.head_dim, theta, generator)
    asking = sum(_drawn(queries, geometry.heads, QUERIES, geometry.head_dim, theta, generator))
    # [kv heads, queries of all heads of the group, head dim]
    asked = asking.reshape(geometry.kv_heads, -1, geometry.head_dim)

    def spread_of(parts: Tensor) -> Tensor:
        """Per kv head; softmax does not see what all keys of a query have in common."""
        scores = asked @ parts.transpose(-1, -2)
        return (scores - scores.mean(-1, keepdim=True)).square().mean((1, 2)).sqrt()

    signal = spread_of(text).clamp(min=1e-30)
    error = spread_of(_rounded(text + constant, spec, tensors) - (text + constant)) / signal
    factor = _unevenness(keys.spread, geometry)
    flat = text / factor
    asked = asked * factor
    even = spread_of(_rounded(flat, spec, tensors) - flat) / signal
    head = int(error.argmax())
    return GridError(float(error[head]), float(even[head]), head)


def _unevenness(spread: Tensor, geometry: Geometry) -> Tensor:
    """Float32 [kv heads, 1, head dim]: how much larger a pair of channels that RoPE turns together is than the median pair; at least 1."""
    pairs = spread.float().reshape(geometry.kv_heads, 2, -1).square().mean(1).sqrt()
    factor = (pairs / pairs.median(-1, keepdim=True).values.clamp(min=1e-30)).clamp(min=1)
    return factor.repeat(1, 2).unsqueeze(1)


def _drawn(
    channels: Channels, heads: int, tokens: int, head_dim: int, theta: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random and constant part behind RoPE at random positions, each float32 [heads, tokens, head dim]."""
    import torch

    shape, by_head = (heads, tokens, head_dim), (heads, 1, head_dim)
    noise = torch.randn(shape, generator=generator)
    positions = torch.randint(0, POSITIONS, (tokens,), generator=generator)
    text = noise * channels.spread.float().reshape(by_head)
    constant = channels.bias.float().reshape(by_head).expand(shape)
    return turn(text, positions, theta), turn(constant, positions, theta)


def _rounded(keys: Tensor, spec: CacheSpec, tensors: Mapping[str, Tensor]) -> Tensor:
    """As the cache gives them back."""
    if spec.transform is not None:
        keys = apply(spec.transform, keys, tensors)
    keys = fake_quantize(keys, spec.rounding, tensors)
    if spec.transform is not None:
        keys = apply(spec.transform, keys, tensors, inverse=True)
    return keys
