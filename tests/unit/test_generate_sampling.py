"""The draw: exact distributions against transformers' warpers, and random numbers that depend on the key alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from qrm_forensics.generate.sampling import CANDIDATES, choose, gumbel_noise, sequence_key, statistics  # noqa: E402

MASK = (1 << 64) - 1


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The work is too small to be shared; on a busy machine threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def warped(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    """The filtered distribution as transformers defines it."""
    scores = transformers.TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        scores = transformers.TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = transformers.TopPLogitsWarper(top_p)(None, scores)
    return scores.softmax(-1)


@pytest.mark.parametrize(
    ("spread", "temperature", "top_k", "top_p"),
    [
        (2.0, 1.0, 0, 1.0),
        (2.0, 0.6, 0, 0.95),
        (2.0, 1.3, 5, 1.0),
        (2.0, 0.7, 7, 0.8),
        (0.2, 1.0, 0, 0.9),  # a nucleus larger than the first look
        (0.2, 1.0, CANDIDATES + 5, 0.99),
        (2.0, 0.6, 1000, 0.95),  # a top-k above the vocabulary filters nothing
        (8.0, 0.3, 0, 0.01),  # one token at least
    ],
)
def test_draws_follow_the_filtered_distribution(spread: float, temperature: float, top_k: int, top_p: float) -> None:
    draws = 20_000
    logits = torch.randn(1, 60, generator=torch.Generator().manual_seed(3)) * spread
    expected = warped(logits, temperature, min(top_k, 60), top_p)[0].double().numpy()
    keys = torch.tensor([sequence_key(1, "b", "p", i) for i in range(draws)])
    steps = torch.arange(draws) % 7
    chosen = choose(logits.expand(draws, -1), keys, steps, temperature=temperature, top_k=top_k, top_p=top_p)
    counts = np.bincount(chosen.numpy(), minlength=60)
    assert not counts[expected == 0].any()
    often = expected * draws >= 5
    seen = np.append(counts[often], counts[~often].sum())
    hoped = np.append(expected[often], expected[~often].sum()) * draws
    if hoped[-1] == 0:
        seen, hoped = seen[:-1], hoped[:-1]
    if len(seen) == 1:
        assert seen[0] == draws
    else:
        assert stats.chisquare(seen, hoped * draws / hoped.sum()).pvalue > 1e-3


def test_ties_at_the_cut_are_all_kept_also_beyond_the_first_look() -> None:
    logits = torch.zeros(4000, 50)
    keys = torch.arange(4000)
    chosen = choose(logits, keys, torch.zeros_like(keys), temperature=1.0, top_k=1)
    assert len(set(chosen.tolist())) == 50


def test_temperature_zero_is_greedy() -> None:
    logits = torch.randn(9, 40, generator=torch.Generator().manual_seed(0))
    keys = torch.arange(9)
    assert torch.equal(choose(logits, keys, keys, temperature=0.0, top_k=3, top_p=0.5), logits.argmax(-1))


def test_a_row_draws_the_same_whatever_stands_beside_it() -> None:
    logits = torch.randn(64, 80, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.1, 6, 64)[:, None]
    keys, steps = torch.arange(64) * 7919, torch.arange(64)
    options = {"temperature": 0.8, "top_p": 0.9}
    together = choose(logits, keys, steps, **options)
    backwards = choose(logits.flip(0), keys.flip(0), steps.flip(0), **options).flip(0)
    alone = torch.cat([choose(logits[i : i + 1], keys[i : i + 1], steps[i : i + 1], **options) for i in range(64)])
    assert torch.equal(together, backwards) and torch.equal(together, alone)


def split_mix(x: int) -> int:
    """SplitMix64's finaliser on Python's own integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_noise_equals_the_definition_on_unbounded_integers() -> None:
    golden = 0x9E3779B97F4A7C15
    key, step, token = -(2**62) + 12345, 17, 150_000
    row = split_mix((key + (step + 1) * golden) & MASK)
    bits = split_mix(split_mix(((token + 1) * golden) & MASK) ^ row)
    expected = -math.log(-math.log(((bits >> 11) + 0.5) * 2**-53))
    got = gumbel_noise(torch.tensor([key]), torch.tensor([step]), torch.tensor([[token]]))
    assert got.item() == pytest.approx(expected, rel=1e-12)


def test_noise_is_gumbel_and_uncorrelated_between_neighbours() -> None:
    keys, steps = torch.arange(300), torch.zeros(300, dtype=torch.int64)
    noise = gumbel_noise(keys, steps, torch.arange(100)[None])
    assert stats.kstest(noise.flatten().numpy(), "gumbel_r").pvalue > 1e-3
    assert not torch.equal(noise, gumbel_noise(keys, steps + 1, torch.arange(100)[None]))
    for x, y in ((noise[:-1], noise[1:]), (noise[:, :-1], noise[:, 1:])):
        assert abs(np.corrcoef(x.flatten(), y.flatten())[0, 1]) < 0.03


def test_the_key_of_a_sequence_never_changes_and_tells_its_parts_apart() -> None:
    # Recorded traces can only be made again while these stay as they are.
    assert sequence_key(42, "MATH-500", "p1", 0) == -1756548578808716126
    keys = {sequence_key(*parts) for parts in [(4, "2", "p", 1), (42, "", "p", 1), (4, "2", "p1", 0), (4, "2p", "", 1)]}
    assert len(keys) == 4


def test_statistics_are_those_of_the_unfiltered_distribution() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, float("-inf"), 0.0], [float("nan"), 0.0, 1.0]])
    log_p, entropy = statistics(logits, torch.tensor([1, 2, 0]))
    p = np.exp([2.0, 0.0, -1.0]) / np.exp([2.0, 0.0, -1.0]).sum()
    assert log_p[0].item() == pytest.approx(math.log(p[1]), abs=1e-6)
    assert entropy[0].item() == pytest.approx(-(p * np.log(p)).sum(), abs=1e-6)
    assert entropy[1].item() == pytest.approx(math.log(2), abs=1e-6)
    assert math.isnan(log_p[2].item()) and math.isnan(entropy[2].item())
