"""Norm fusion and rotations, folded into the weights of a loaded model in float64.

Ashkboos et al., QuaRot (arXiv 2404.00456).  An RMSNorm without weight commutes with an orthogonal map of the hidden
states, so the map can be folded into everything that writes them and everything that reads them: the model computes the same
function.  Unlike the paper's public code, values and o_proj are always rotated head by head (with one shard
that code rotates o_proj over its full width, which nothing undoes), heads may have any size, and a tied lm_head is untied first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import InputError
from qrm_forensics.quantize.adapters import ModelMap
from qrm_forensics.runtime import hadamard

if TYPE_CHECKING:
    from torch import Tensor, nn


def untie(network: nn.Module, model: ModelMap) -> bool:
    """Give a tied lm_head weights of its own; returns whether it was tied."""
    import torch

    head, embedding = network.get_submodule(model.lm_head), network.get_submodule(model.embedding)
    if head.weight.data_ptr() != embedding.weight.data_ptr():
        return False
    head.weight = torch.nn.Parameter(embedding.weight.detach().clone(), requires_grad=False)
    network.config.tie_word_embeddings = False
    return True


def fuse_norms(network: nn.Module, model: ModelMap) -> None:
    """Multiply the weight of every norm of hidden states into the linears that read it, and set it to 1.

    lm_head must not be tied (:func:`untie`).  Norms of heads (Qwen3) are no norms of hidden states and stay.
    """
    for index in range(model.layers):
        layer = network.get_submodule(f"{model.prefix}.{index}")
        for stage in model.stages:
            if stage.source in model.norms:
                scale = layer.get_submodule(stage.source).weight.double()
                for linear in stage.linears:
                    _set(layer.get_submodule(linear), "weight", lambda w, scale=scale: w * scale)
        for norm in model.norms:
            layer.get_submodule(norm).weight.data.fill_(1)
    final = network.get_submodule(model.final_norm)
    scale = final.weight.double()
    _set(network.get_submodule(model.lm_head), "weight", lambda w: w * scale)
    final.weight.data.fill_(1)


def rotate_hidden(network: nn.Module, model: ModelMap, q: Tensor) -> None:
    """Replace the hidden states h by h Q; ``q`` [hidden, hidden], float64, orthogonal.  Norms must be fused."""
    _set(network.get_submodule(model.embedding), "weight", lambda w: w @ q)
    _set(network.get_submodule(model.lm_head), "weight", lambda w: w @ q)
    for linear, writes in _hidden_linears(network, model):
        if writes:
            _set(linear, "weight", lambda w: q.T @ w)
            _set(linear, "bias", lambda b: b @ q)
        else:
            _set(linear, "weight", lambda w: w @ q)


def _hidden_linears(network: nn.Module, model: ModelMap) -> Iterator[tuple[Any, bool]]:
    """Every linear of every layer with whether it writes hidden states (or reads them)."""
    for index in range(model.layers):
        layer = network.get_submodule(f"{model.prefix}.{index}")
        for linear in model.linears:
            yield layer.get_submodule(linear), linear in model.row_parallel


def rotate_values(network: nn.Module, model: ModelMap) -> None:
    """Rotate the values of every head by the Hadamard matrix, in v_proj (weight and bias), and back in o_proj."""
    h = hadamard.matrix(model.geometry.head_dim)
    for index in range(model.layers):
        attention = network.get_submodule(f"{model.prefix}.{index}.self_attn")
        _set(attention.v_proj, "weight", lambda w: (h.T @ w.unflatten(0, (-1, len(h)))).flatten(0, 1))
        _set(attention.v_proj, "bias", lambda b: (b.unflatten(0, (-1, len(h))) @ h).flatten())
        _set(attention.o_proj, "weight", lambda w: (w.unflatten(1, (-1, len(h))) @ h).flatten(1))


def rotate_down_input(network: nn.Module, model: ModelMap, shards: int) -> None:
    """Fold the inverse of a Hadamard transform of ``down_proj``'s input (of each of its shards) into its weight.

    The transform itself has to be applied as the model runs.
    """
    for index in range(model.layers):
        down = network.get_submodule(f"{model.prefix}.{index}.mlp.down_proj")
        _set(down, "weight", lambda w: hadamard.multiply(w, shards))


def hidden_rotation(size: int, kind: str, seed: int) -> Tensor:
    """An orthogonal matrix [size, size], float64: a Hadamard matrix with random signs, or a Householder reflection.

    ``hadamard``: diag(±1) H / √n, signs from ``seed``.  ``householder``: I - 2 v vᵀ, v a random direction from ``seed``;
    every size has one, but it mixes less: an outlier keeps most of itself where v is small.
    Raises InputError where there is no Hadamard matrix of that size.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    if kind == "householder":
        v = torch.randn(size, generator=generator, dtype=torch.float64)
        v /= v.norm()
        return torch.eye(size, dtype=torch.float64) - 2 * torch.outer(v, v)
    try:
        h = hadamard.matrix(size)
    except ValueError as error:
        raise InputError(f"quarot: {error}; the option +householder has every size") from None
    flips = torch.randint(0, 2, (size,), generator=generator, dtype=torch.float64) * 2 - 1
    return flips.unsqueeze(1) * h


def _set(module: Any, name: str, change: Any) -> None:
    """Change a parameter in float64, and keep its dtype; one that is not there stays so."""
    parameter = getattr(module, name, None)
    if parameter is not None:
        parameter.data = change(parameter.data.double()).to(parameter.dtype)
