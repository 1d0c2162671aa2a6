"""Hadamard matrices of every size that a model needs, and their fast product.

H is an n × n matrix of ±1 with H Hᵀ = n I.  Sylvester (1867): H_2n = [[H, H], [H, -H]].  Paley (1933): from the squares
modulo a prime q, of order q + 1 where q = 3 mod 4 (construction I) and of order 2(q + 1) where q = 1 mod 4 (construction II).
A size is n = m · 2^k with m of Paley and k as large as can be, which keeps the dense factor small.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Signs = NDArray[np.int8]


@cache
def factors(n: int) -> tuple[int, int]:
    """(m, 2^k) with n = m · 2^k, m the order of a core and 2^k as large as possible.

    Raises ValueError where no such core is known to this construction.
    """
    if n < 1:
        raise ValueError(f"there is no Hadamard matrix of order {n}")
    power = n & -n
    while power >= 1:
        if _has_core(n // power):
            return n // power, power
        power //= 2
    raise ValueError(f"no Hadamard matrix of order {n} by Sylvester and Paley; pad, or use another rotation")


def _has_core(m: int) -> bool:
    return m in (1, 2) or (m % 4 == 0 and (_paley_one(m) or _paley_two(m)))


def _paley_one(m: int) -> bool:
    return (m - 1) % 4 == 3 and _prime(m - 1)


def _paley_two(m: int) -> bool:
    return m % 2 == 0 and (m // 2 - 1) % 4 == 1 and _prime(m // 2 - 1)


def _prime(q: int) -> bool:
    return q > 1 and all(q % d for d in range(2, int(q**0.5) + 1))


@cache
def _core(m: int) -> Signs:
    if m == 1:
        return np.ones((1, 1), np.int8)
    if m == 2:
        return np.array([[1, 1], [1, -1]], np.int8)
    if _paley_one(m):
        q = m - 1
        s = np.zeros((m, m), np.int8)
        s[0, 1:], s[1:, 0] = 1, -1
        s[1:, 1:] = _jacobsthal(q)
        return s + np.eye(m, dtype=np.int8)
    q = m // 2 - 1
    c = np.zeros((q + 1, q + 1), np.int8)
    c[0, 1:], c[1:, 0] = 1, 1
    c[1:, 1:] = _jacobsthal(q)
    plus, minus = np.array([[1, 1], [1, -1]], np.int8), np.array([[1, -1], [-1, -1]], np.int8)
    return np.asarray(np.kron(c, plus) + np.kron(np.eye(q + 1, dtype=np.int8), minus), np.int8)


def _jacobsthal(q: int) -> Signs:
    """Q_ij = χ(i - j), χ the quadratic character modulo the prime q."""
    character = np.full(q, -1, np.int8)
    character[np.arange(1, q) ** 2 % q] = 1
    character[0] = 0
    i = np.arange(q)
    return np.asarray(character[(i[:, None] - i[None, :]) % q], np.int8)


def signs(n: int) -> Signs:
    """The matrix itself, entries ±1, int8 [n, n]: core ⊗ Sylvester."""
    m, power = factors(n)
    found = _core(m)
    sylvester = np.ones((1, 1), np.int8)
    while sylvester.shape[0] < power:
        sylvester = np.block([[sylvester, sylvester], [sylvester, -sylvester]])
    return np.asarray(np.kron(found, sylvester), np.int8)


def core(n: int) -> Tensor | None:
    """The dense factor of order m of a product of size n, float32 [m, m]; None where m is 1, so that there is none.

    Raises ValueError where a size has no known matrix.
    """
    import torch

    m, _ = factors(n)
    return torch.from_numpy(_core(m)).float() if m > 1 else None


def multiply(x: Tensor, blocks: int = 1, *, transposed: bool = False, dense: Tensor | None = None) -> Tensor:
    """``x`` H / √n over the last axis (or over each of ``blocks`` equal parts of it); H is orthogonal so scaled.

    O(n (m + log n)) instead of O(n²).  ``transposed``: by Hᵀ, the inverse.  ``dense``: :func:`core` of n on the device of ``x``;
    without it every call copies it there.  Same shape and dtype; float16 and bfloat16 are computed in float32.
    Raises ValueError where a size has no known matrix.
    """
    import torch

    width = x.shape[-1]
    if width % blocks:
        raise ValueError(f"{blocks} blocks do not divide {width} values")
    n = width // blocks
    m, power = factors(n)
    work = x if x.dtype in (torch.float32, torch.float64) else x.float()
    values = work.reshape(-1, m, power)
    length = 1
    while length < power:  # the butterflies of Sylvester's part
        values = values.reshape(-1, m, power // (2 * length), 2, length)
        values = torch.stack((values[..., 0, :] + values[..., 1, :], values[..., 0, :] - values[..., 1, :]), dim=-2)
        length *= 2
        values = values.reshape(-1, m, power)
    if m > 1:
        dense = (torch.from_numpy(_core(m)) if dense is None else dense).to(values.device, values.dtype)
        # row vectors: (x H)_j = Σ_i x_i H_ij
        values = torch.einsum("rip,ij->rjp", values, dense.T if transposed else dense)
    return (values.reshape(x.shape) / n**0.5).to(x.dtype)


def matrix(n: int, dtype: torch.dtype | None = None) -> Tensor:
    """The orthogonal matrix H / √n, float64 unless said otherwise."""
    import torch

    return torch.from_numpy(signs(n)).to(dtype or torch.float64) / n**0.5


if TYPE_CHECKING:
    import torch
