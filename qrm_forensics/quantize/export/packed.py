"""What a quantizer hands to a format of real checkpoints, and what a format is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from qrm_forensics.recipes import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from qrm_forensics.quantize.affine import AffineGrid


@dataclass(frozen=True, slots=True)
class Codes:
    """One linear as integers.

    ``codes`` [rows, columns] and ``zero`` [rows, groups] are uint8 in [0, 2^bits - 1]; symmetric grids are shifted by 2^(bits-1), so that
    every grid reads ``(codes - zero) * scale``.  ``scale`` [rows, groups] is in the dtype that it is stored in.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor
    bits: int
    symmetric: bool

    @property
    def group(self) -> int:
        """Input channels that share a scale."""
        return int(self.codes.shape[1] // self.scale.shape[1])

    def dequantize(self) -> Tensor:
        """``[rows, columns]`` in the dtype of the scale: the exact product, rounded once.

        A difference of 8-bit codes times a scale of at most 16 bits is exact in float32, so every engine that rounds
        correctly gets these bits.
        """
        import torch

        groups = self.codes.unflatten(1, (self.scale.shape[1], -1)).to(torch.int16)
        steps = (groups - self.zero.unsqueeze(-1).to(torch.int16)).float()
        return (steps * self.scale.unsqueeze(-1).float()).flatten(1).to(self.scale.dtype)


def codes_of(grid: AffineGrid, codes: Tensor, dtype: torch.dtype) -> Codes:
    """The codes of a grid ``[rows, groups, 1]`` and of ``codes`` with as many elements as the weight, on the CPU.

    Raises ValueError where the grid's scales are not stored exactly in ``dtype``: codes that were computed with
    other scales than the stored ones would say something else.
    """
    import torch

    scale = grid.scale.squeeze(-1)
    stored = scale.to(dtype)
    if not torch.equal(stored.to(scale.dtype), scale):
        raise ValueError(f"the scales are not those that {dtype} can hold; make the grid with scale_dtype")
    rows = scale.shape[0]
    return Codes(
        codes=(codes.reshape(rows, -1) - grid.qmin).to("cpu", torch.uint8),
        scale=stored.cpu(),
        zero=(grid.zero.squeeze(-1) - grid.qmin).to("cpu", torch.uint8),
        bits=int(grid.qmax - grid.qmin + 1).bit_length() - 1,
        symmetric=grid.qmin != 0,
    )


class PackedFormat(Protocol):
    """A way to store linears as codes.  ``suffixes``: what the stored tensors are called behind the module's name."""

    name: str
    suffixes: tuple[str, ...]

    def refuse(self, recipe: Recipe) -> str | None:
        """Why it cannot hold this recipe, in one line.  Recipes that no engine loads in any format are not asked about."""

    def pack(self, codes: Codes) -> dict[str, Tensor]:
        """The tensors to store, by suffix.  Raises ValueError where the shape cannot be packed."""

    def unpack(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Codes:
        """What :meth:`pack` was given; ``config`` is the checkpoint's ``quantization_config``."""

    def config(self, recipe: Recipe, unquantized: Sequence[str]) -> dict[str, Any]:
        """``quantization_config``; ``unquantized``: full names of linears that keep their weights."""


def pack_bits(values: Tensor, bits: int) -> Tensor:
    """``[rows, n]`` uint8 below 2^bits -> ``[rows, n * bits / 32]`` int32: a dense little-endian stream of bits.

    For 4 and 8 bits, element i of a word is in its bits ``[i * bits, (i + 1) * bits)``.  Raises ValueError
    where a row does not fill whole words.
    """
    import torch

    per_word = 32 // bits
    if 32 % bits or values.shape[1] % per_word:
        raise ValueError(f"{values.shape[1]} values of {bits} bits do not fill whole 32-bit words")
    parts = values.unflatten(1, (-1, per_word)).long()
    words = (parts << (torch.arange(per_word) * bits)).sum(-1)
    # the same 32 bits, read as signed
    return (words - ((words >> 31) << 32)).to(torch.int32)


def unpack_bits(words: Tensor, bits: int) -> Tensor:
    """The inverse of :func:`pack_bits`."""
    import torch

    parts = (words.long().unsqueeze(-1) >> (torch.arange(32 // bits) * bits)) & (2**bits - 1)
    return parts.flatten(1).to(torch.uint8)


def tensor_hash(tensor: Tensor) -> str:
    """SHA-256 of the bytes of a tensor in its dtype, row by row, little-endian."""
    import torch

    return hashlib.sha256(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
