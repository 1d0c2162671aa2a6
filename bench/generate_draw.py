"""How often a small change of the logits changes the drawn token: Gumbel-max against inverting the CDF in id order.

    python bench/generate_draw.py

Both draw from the same distributions (temperature 0.6, top-p 0.95) with numbers that stay
the same while the logits move by normal noise of the given size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qrm_forensics.generate.sampling import choose

if TYPE_CHECKING:
    import torch

ROWS, VOCAB = 40_000, 576


def inverse_cdf(logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    import torch

    p = (logits.double() / temperature).softmax(-1)
    ordered, ids = p.sort(-1, descending=True)
    ordered[(ordered.cumsum(-1) - ordered) >= top_p] = 0
    kept = torch.zeros_like(p).scatter_(1, ids, ordered)
    cdf = (kept / kept.sum(-1, keepdim=True)).cumsum(-1)
    return torch.searchsorted(cdf, uniform[:, None]).clamp_max(VOCAB - 1)[:, 0]


def main() -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    keys, steps = torch.arange(ROWS), torch.zeros(ROWS, dtype=torch.int64)
    uniform = torch.rand(ROWS, dtype=torch.float64, generator=generator)
    for spread in (4.0, 2.0):
        logits = torch.randn(ROWS, VOCAB, generator=generator) * spread
        for noise in (1e-2, 1e-1, 1.0):
            moved = logits + noise * torch.randn(ROWS, VOCAB, generator=generator)
            gumbel = [choose(x, keys, steps, temperature=0.6, top_p=0.95) for x in (logits, moved)]
            inverse = [inverse_cdf(x, uniform, 0.6, 0.95) for x in (logits, moved)]
            print(
                f"logits of spread {spread}, moved by {noise:g}: changed "
                f"{(gumbel[0] != gumbel[1]).float().mean().item():.4%} (Gumbel-max), "
                f"{(inverse[0] != inverse[1]).float().mean().item():.4%} (inverse CDF)"
            )


if __name__ == "__main__":
    main()
