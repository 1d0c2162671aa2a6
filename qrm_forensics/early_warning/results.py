"""What the evaluation of the early warning says: frozen, every figure with what it was counted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from qrm_forensics.early_warning.concordance import Range

DEFINITIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "auc": {
            "en": "Probability that a random moment of a response that failed has a higher score than a random moment of one that "
            "did not (out of fold, each response weighing the same).",
            "ko": "실패한 응답의 임의 시점이 실패하지 않은 응답의 임의 시점보다 점수가 높을 확률(교차 검증의 보류 폴드 기준, 응답마다 같은 가중치).",
        },
        "auc_same_length": {
            "en": "The same probability for two moments after the same number of tokens, where length so far gives 0.5.",
            "ko": "토큰 수가 같은 두 시점끼리 비교한 같은 확률이며, 지금까지의 길이만으로는 0.5이다.",
        },
        "recall": {
            "en": "Share of the failed responses that raise an alarm: their score is above the threshold at least once before they end.",
            "ko": "실패한 응답 가운데 끝나기 전에 점수가 한 번이라도 임곗값을 넘어 경보가 울린 비율.",
        },
        "false_alarms": {
            "en": "Share of the responses that did not fail and that raise an alarm all the same; the threshold was set for the "
            "allowed share on the other folds.",
            "ko": "실패하지 않았는데 경보가 울린 응답의 비율이며, 임곗값은 나머지 폴드에서 허용 비율에 맞춰 정했다.",
        },
        "lead": {
            "en": "Tokens from the alarm to the end of a failed response that raised one: quartiles.",
            "ko": "경보가 울린 실패 응답에서 경보부터 응답 끝까지의 토큰 수(사분위수).",
        },
        "lead_before_loop": {
            "en": "Tokens from the alarm to the onset of the loop, below zero where the loop had begun before the alarm: quartiles.",
            "ko": "경보부터 반복 시작까지의 토큰 수(사분위수)이며, 반복이 먼저 시작되었으면 음수이다.",
        },
        "tokens_saved": {
            "en": "Tokens of failed responses behind their alarm, which stopping there would have saved.",
            "ko": "실패한 응답에서 경보 이후에 나온 토큰 수로, 그때 멈췄다면 아꼈을 양이다.",
        },
        "tokens_cut": {
            "en": "Tokens behind the false alarms, which stopping there would have cut from responses that did not fail.",
            "ko": "거짓 경보 이후에 나온 토큰 수로, 그때 멈췄다면 실패하지 않은 응답에서 잘려 나갔을 양이다.",
        },
        "lost": {
            "en": "Share of the correct responses that raise an alarm although they did not fail: stopping there would have lost them.",
            "ko": "실패하지 않은 정답 응답 가운데 경보가 울린 비율로, 그때 멈췄다면 잃었을 정답이다.",
        },
        "beats_length": {
            "en": "Whether the 95 % interval of the difference in AUC to 'length so far' lies above zero (the same resamples of "
            "problems for both).",
            "ko": "'지금까지의 길이'와의 AUC 차이의 95% 신뢰구간이 0보다 위에 있는지(두 예측에 같은 문제 재표본 사용).",
        },
    }
)


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``n``, and its 95 % interval by drawing problems (``concordance.share_interval``)."""

    count: int
    n: int
    interval: Range | None

    @property
    def value(self) -> float | None:
        return self.count / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Of ``n`` values, in tokens."""

    n: int
    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Model minus "length so far", and its 95 % interval with the same resamples of problems for both."""

    value: float
    interval: Range | None


@dataclass(frozen=True, slots=True)
class Landmark:
    """AUC among the responses that were still being written after ``tokens``; None below 5 of either kind."""

    tokens: int
    failed: int
    others: int
    auc: float | None
    interval: Range | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One alarm per response, at its first score above the threshold of its fold, set for ``allowed`` false alarms.

    ``tokens_failed`` and ``tokens_all``: tokens of the failed and of all evaluated responses.
    ``lead_before_loop``: of alarmed failed responses with a known loop; ``before_loop``: how many of those
    had the alarm before the loop began (all, where the loop is the target).  Both None where no onsets were given.
    ``lost``: of the responses that did not fail and are correct; None where that is not known.
    ``alarms``: token of the alarm for each response as given, None without one.
    """

    allowed: float
    recall: Share
    false_alarms: Share
    lead: Quartiles | None
    lead_before_loop: Quartiles | None
    before_loop: Share | None
    lost: Share | None
    tokens_saved: int
    tokens_failed: int
    tokens_cut: int
    tokens_all: int
    alarms: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Predictor:
    """A score and how it did out of fold.  ``operations``: one per allowed rate; None where too few responses set it.

    ``auc_same_length`` and ``landmarks`` are left out of "length so far", which cannot tell at equal length.
    """

    name: str
    auc: float
    auc_interval: Range | None
    auc_same_length: float | None
    auc_same_length_interval: Range | None
    landmarks: tuple[Landmark, ...]
    operations: Mapping[float, Operation | None]


@dataclass(frozen=True, slots=True)
class Shortage:
    """Too few of something to evaluate: ``found`` where ``needed`` are.

    ``what``: ``failed`` responses or ``others`` that are long enough to have a point, or
    ``failed_problems``, different problems among the failed.
    """

    what: str
    found: int
    needed: int


@dataclass(frozen=True, slots=True)
class EarlyWarning:
    """The early warning of one target, out of fold, beside "length so far" under the same protocol.

    Whether long or short is the bad sign, "length so far" learns from the other folds, too.

    n = failed + others; ``left_out`` more had no text or an unknown ending.  ``too_short``: of the n,
    without a single point.  Where there is a ``shortage`` the predictors are None and nothing is claimed.
    ``unit``: ``tokens`` where lengths in model tokens were given, else ``pseudo-tokens``; ``step`` is
    in pseudo-tokens always.  ``saved_differences``: of the share of the tokens of failed responses that an
    alarm saves, for each allowed share of false alarms.  ``coefficients``: of the model on all responses, per standard deviation.
    """

    target: str
    n: int
    failed: int
    others: int
    problems: int
    left_out: int
    too_short: int
    step: int
    unit: str
    folds: int
    seed: int
    resamples: int
    shortage: Shortage | None
    model: Predictor | None
    length: Predictor | None
    auc_difference: Difference | None
    saved_differences: Mapping[float, Difference | None]
    beats_length: bool | None
    coefficients: Mapping[str, float]
