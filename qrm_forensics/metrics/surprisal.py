"""How surprised a model was by its own tokens.

The surprisal of a token is -ln p of it (nats), under the model that wrote it (Shannon, 1948).  A response that falls
apart shows as *spikes*, tokens that stand out from the response's own level, and as bursts of them; one that falls
into a loop shows as surprisal that sinks to nothing.  The level of a response is the median, its spread the median
absolute deviation (MAD; times 1.4826 it estimates a standard deviation, Rousseeuw and Croux, 1993, *JASA* 88).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics.protocol import Column, Said, Show, metric, rows, said

#: A spike lies so many robust standard deviations above the median, and is at least so many nats (p < 0.14): the
#: median of a confident model is near 0 and so is its spread, which alone would make a spike of every doubt.
DEVIATIONS, SPIKE_NATS = 10.0, 2.0
#: Spikes at most so many tokens apart are one burst.
BURST_GAP = 4

_Reals = npt.NDArray[np.float64]


def spike_level(surprisal: _Reals) -> float:
    """The surprisal (nats) that a spike exceeds, from the finite surprisals (n,) of a response, n > 0."""
    median = float(np.median(surprisal))
    spread = 1.4826 * float(np.median(np.abs(surprisal - median)))
    return max(median + DEVIATIONS * spread, SPIKE_NATS)


def longest_burst(spikes: npt.NDArray[np.int64]) -> int:
    """Tokens from the first to the last spike of the longest burst; ``spikes`` (k,) are token numbers that ascend."""
    if not len(spikes):
        return 0
    breaks = np.flatnonzero(np.diff(spikes) > BURST_GAP)
    firsts = spikes[np.concatenate([[0], breaks + 1])]
    lasts = spikes[np.concatenate([breaks, [len(spikes) - 1]])]
    return int((lasts - firsts).max()) + 1


def _measure(
    _text: str, logprobs: npt.NDArray[np.float32] | None, entropies: npt.NDArray[np.float32] | None
) -> tuple[object, ...]:
    entropy = None if entropies is None else _mean(entropies.astype(np.float64))
    if logprobs is None:
        return (None,) * 8
    # A probability that was too small to be written is a spike, but has no part in the means; NaN says nothing.
    surprisal = -logprobs.astype(np.float64)
    finite = surprisal[np.isfinite(surprisal)]
    if not len(finite):
        return (None,) * 8
    level = spike_level(finite)
    spikes = np.flatnonzero(surprisal > level)
    quarter = len(surprisal) // 4
    first, last = (surprisal[:quarter], surprisal[-quarter:]) if quarter else (surprisal, surprisal)
    return (
        float(finite.mean()),
        len(spikes),
        1000 * len(spikes) / len(surprisal),
        int(spikes[0]) if len(spikes) else None,
        longest_burst(spikes),
        _mean(first),
        _mean(last),
        entropy,
    )


def _mean(values: _Reals) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


_NONE = "the response has no token with a finite log-probability"


def _real(name: str, unit: str, label: Said, definition: Said, null: str = _NONE) -> Column:
    return Column(name, pa.float64(), Show.HISTOGRAM, unit=unit, label=label, definition=definition, nullable_when=null)


_COLUMNS = (
    _real(
        "mean_surprisal",
        "nats",
        said("Mean surprisal", "평균 놀람도"),
        said(
            "Mean of -ln p over the tokens, p being the probability that the model gave to the token it wrote.",
            "모델이 실제로 쓴 토큰에 준 확률 p에 대한 -ln p의 토큰 평균.",
        ),
    ),
    Column(
        "surprisal_spikes",
        pa.int64(),
        Show.HISTOGRAM,
        unit="tokens",
        better="lower",
        label=said("Surprisal spikes", "놀람도 급등 토큰 수"),
        definition=said(
            "Tokens of more than 2 nats and more than 10 robust standard deviations (1.4826 MAD) above the response's "
            "median.",
            "놀람도가 2내트를 넘고, 응답의 중앙값보다 강건 표준편차(1.4826 MAD)의 10배 넘게 높은 토큰의 수.",
        ),
        nullable_when=_NONE,
    ),
    _real(
        "surprisal_spikes_per_1000",
        "spikes",
        said("Spikes per 1,000 tokens", "1,000토큰당 급등 수"),
        said(
            "surprisal_spikes divided by the number of tokens, times 1,000.",
            "surprisal_spikes를 토큰 수로 나누고 1,000을 곱한 값.",
        ),
    ),
    Column(
        "surprisal_first_spike_token",
        pa.int64(),
        Show.HIDDEN,
        unit="tokens",
        label=said("First spike at", "첫 급등 위치"),
        definition=said(
            "Tokens before the first spike; empty where there is none.",
            "첫 급등 토큰 앞에 있는 토큰 수이며, 없으면 비워 둔다.",
        ),
        nullable_when="the response has no spike",
    ),
    Column(
        "surprisal_longest_burst",
        pa.int64(),
        Show.HISTOGRAM,
        unit="tokens",
        better="lower",
        label=said("Longest burst of spikes", "가장 긴 급등 연속"),
        definition=said(
            "Tokens from the first to the last of the spikes that follow each other within 4 tokens, at most; 0 "
            "without spikes.",
            "서로 4토큰 이내로 이어지는 급등 토큰의 처음부터 끝까지의 최대 길이(토큰)이며, 급등이 없으면 0이다.",
        ),
        nullable_when=_NONE,
    ),
    _real(
        "surprisal_first_quarter",
        "nats",
        said("Mean surprisal of the first quarter", "앞 4분의 1의 평균 놀람도"),
        said(
            "Mean of -ln p over the first quarter of the tokens (all below 4 tokens).",
            "앞 4분의 1 토큰(4개 미만이면 전체)의 -ln p 평균.",
        ),
        "the first quarter has no token with a finite log-probability",
    ),
    _real(
        "surprisal_last_quarter",
        "nats",
        said("Mean surprisal of the last quarter", "뒤 4분의 1의 평균 놀람도"),
        said(
            "Mean of -ln p over the last quarter of the tokens (all below 4 tokens); near 0 in a loop.",
            "뒤 4분의 1 토큰(4개 미만이면 전체)의 -ln p 평균으로, 반복에 빠지면 0에 가까워진다.",
        ),
        "the last quarter has no token with a finite log-probability",
    ),
    _real(
        "mean_entropy",
        "nats",
        said("Mean entropy", "평균 엔트로피"),
        said(
            "Mean entropy of the model's distribution over the next token.",
            "다음 토큰에 대한 모델 분포의 엔트로피 평균.",
        ),
        "the trace has no entropies, or no finite log-probability",
    ),
)


@metric(
    version=1,
    reads=("text", "logprobs", "entropies"),
    columns=_COLUMNS,
    title=said("Surprisal", "놀람도"),
    needs="logprobs",
)
def surprisal(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """The model's own doubt, token by token, where log-probabilities were stored.

    Under greedy decoding a token is the likeliest one, so a spike means that no token was likely; under sampling some
    spikes are chance, and are to be compared between variants that were sampled alike.
    """
    return rows(batch, [c.name for c in _COLUMNS], _measure)
