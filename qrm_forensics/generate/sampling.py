"""Choosing the next token, so that a choice depends on the sequence alone.

**Random numbers.**  Each sequence has a 64-bit key, a hash of (seed, benchmark,
problem id, sample).  The number that token ``v`` gets at step ``t`` is a pure function
of (key, t, v): two rounds of the SplitMix64 finaliser (Steele, Lea and Flood 2014,
"Fast splittable pseudorandom number generators", with Stafford's constants) over key and
step, xored with the token's own.  So it does not matter which other sequences run, in
what order, or in how large a batch.  The variant is not part of the key: variants of one
model share their random numbers, so that they part where their weights make them part.

**The draw** is the Gumbel-max trick: the kept token with the largest
``log p + g``, ``g = -log(-log u)``, which is an exact sample of the kept distribution.
It was chosen over inverting the distribution function because it is the more robust to
small changes of the logits.  With the CDF in id order a change that moves mass from
token i to token j shifts every boundary between them, and a cut of top-p that adds or
drops one token rescales all of them; under Gumbel-max two distributions at total
variation distance d choose differently with probability at most 2d/(1+d), whatever the
order of the ids (Daliri, Musco and Suresh 2024, arXiv 2408.07978), and a token that
comes or goes at the cut matters only where it would have won.  ``bench/generate_draw.py``
counts both.

**The filters** are those of vLLM and of transformers' logits warpers, in their order:
temperature, then top-k, then top-p on what is left, renormalised.  Top-k keeps every
logit that is at least the k-th largest.  Top-p keeps a token while the mass of the
strictly preceding ones is below p, so at least one.  Tokens tied with the last one that
is kept are kept as well; the two libraries leave that to their sort.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# SplitMix64 constants as signed 64-bit numbers, since torch has no arithmetic on uint64.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)

#: How many of the largest logits are looked at first.  A nucleus is rarely larger; where
#: it is, the rows concerned are done again on the whole vocabulary.
CANDIDATES = 16


def sequence_key(seed: int, benchmark: str, problem_id: str, sample: int) -> int:
    """The key of a sequence's random numbers: a signed 64-bit integer."""
    parts = (str(seed), benchmark, problem_id, str(sample))
    # Each part is preceded by its length, so that no two different tuples read alike.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=b"qrm-sampling").digest()
    return int.from_bytes(digest, "little", signed=True)


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64, which wraps around; shifts are made logical by a mask."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _MIX_1
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _MIX_2
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def gumbel_noise(keys: Tensor, steps: Tensor, token_ids: Tensor) -> Tensor:
    """Standard Gumbel numbers of (key, step, token id).

    ``keys`` and ``steps`` int64 [n], ``token_ids`` int64 [n, c] or [1, c] → float64 [n, c].
    """
    rows = _mix(keys + (steps + 1) * _GOLDEN)
    bits = _mix(_mix((token_ids + 1) * _GOLDEN) ^ rows[:, None])
    uniform = ((bits >> 11) & 0x1FFFFFFFFFFFFF).double().add_(0.5).mul_(2.0**-53)  # in (0, 1), never at an end
    return uniform.log_().neg_().log_().neg_()


def choose(
    logits: Tensor, keys: Tensor, steps: Tensor, *, temperature: float, top_k: int = 0, top_p: float = 1.0
) -> Tensor:
    """One token per row: ``logits`` float32 [n, vocab] → int64 [n].

    ``temperature`` 0 is greedy (the other filters cannot change the largest logit); ``top_k`` 0
    and ``top_p`` 1 filter nothing.  A row with a NaN gives an arbitrary token; see ``statistics``.
    """
    import torch

    if temperature == 0:
        return logits.argmax(-1)
    vocab = logits.shape[1]
    if top_p >= 1 and not 0 < top_k < vocab:
        ids = torch.arange(vocab, device=logits.device)[None]
        return (logits.double() / temperature + gumbel_noise(keys, steps, ids)).argmax(-1)

    count = min(vocab, max(CANDIDATES, 2 * top_k))
    chosen, complete = _choose_among(logits, keys, steps, count, temperature, top_k, top_p)
    if count < vocab and not bool(complete.all()):
        rows = (~complete).nonzero()[:, 0]
        chosen[rows], _ = _choose_among(logits[rows], keys[rows], steps[rows], vocab, temperature, top_k, top_p)
    return chosen


def _choose_among(
    logits: Tensor, keys: Tensor, steps: Tensor, count: int, temperature: float, top_k: int, top_p: float
) -> tuple[Tensor, Tensor]:
    """The choice among the ``count`` largest logits, and whether all that the filters keep was among them."""
    vocab = logits.shape[1]
    # A full sort is several times faster than a top-k of everything.
    values, ids = logits.topk(count) if count < vocab else logits.sort(-1, descending=True)
    scaled = values.double() / temperature
    if 0 < top_k < vocab:
        kept = values >= values[:, top_k - 1 : top_k]
        scaled = scaled.masked_fill(~kept, float("-inf"))
        total = scaled.logsumexp(-1, keepdim=True)
    else:
        # The same float64 sum whether or not the row is done again, so that its cut cannot move.
        total = (logits.double() / temperature).logsumexp(-1, keepdim=True)
    if top_p < 1:
        mass = (scaled - total).exp()
        inside = (mass.cumsum(-1) - mass) < top_p
        inside[:, 0] = True
        floor = values.masked_fill(~inside | (scaled == float("-inf")), float("inf")).amin(-1, keepdim=True)
    else:
        floor = values[:, top_k - 1 : top_k]
    kept = values >= floor
    race = (scaled + gumbel_noise(keys, steps, ids)).masked_fill_(~kept, float("-inf"))
    chosen = ids.gather(1, race.argmax(-1, keepdim=True))[:, 0]
    # Complete once a logit below the floor has been seen: what was not looked at is no larger.
    return chosen, values[:, -1] < floor[:, 0]


def statistics(logits: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of ``chosen`` and entropy, in nats, under softmax(logits): no temperature, no filter.

    ``logits`` float32 [n, vocab], ``chosen`` int64 [n] → two float32 [n]; NaN where a row is not finite.
    """
    import torch

    log_p = torch.log_softmax(logits, -1)
    # A token that the model excludes (-inf) has no share in the entropy: 0 · log 0 = 0.
    entropy = -(log_p.exp() * log_p.clamp_min(torch.finfo(log_p.dtype).min)).sum(-1)
    return log_p.gather(1, chosen[:, None])[:, 0], entropy
