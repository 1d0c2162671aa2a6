"""What counts as unusual: thresholds taken from the baseline's own correct responses.

A fixed threshold on a count or a diversity is a test of length and of difficulty as much as of
damage.  So a rule asks instead: is this beyond what the unquantized model does where it is right?
Each threshold is an observed value, a quantile of its column among the baseline's responses that
the strict policy calls correct, so that by construction at most 1 % of them are beyond it.  Where there is
no baseline, or fewer than ``MIN_CORRECT`` such responses, a published constant stands in, and the
threshold says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from qrm_forensics.errors import InputError
from qrm_forensics.metrics.protocol import Said, said
from qrm_forensics.records import Status
from qrm_forensics.symptoms.facts import Facts, as_table, known_yes

#: Among fewer values the 1st percentile is the lowest of them: one response, not what is usual.
MIN_CORRECT = 100

Side = Literal["above", "below"]
How = Literal["calibrated", "published", "fixed"]


@dataclass(frozen=True, slots=True)
class Spec:
    """How one threshold is found.

    ``quantile`` None: never calibrated, ``published`` always holds.  ``floor``: a calibrated value is
    not taken below this one, because a column that is 0 in nearly every correct response would make
    a single occurrence a symptom.  ``source`` says where the constant comes from.
    """

    name: str
    column: str
    side: Side
    quantile: float | None
    published: float
    source: Said
    floor: float | None = None


@dataclass(frozen=True, slots=True)
class Threshold:
    """One threshold with its origin: a response is beyond it if ``column`` is strictly ``side`` of ``value``.

    Of a share (``*_share``) the rules say of what it is one.

    ``n``: correct responses of ``variant`` that have a value in the column, whether or not they
    were enough; 0 and None without a baseline.
    """

    name: str
    column: str
    side: Side
    value: float
    how: How
    quantile: float | None
    n: int
    variant: str | None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Every threshold that the rules name.  ``baseline`` is the variant that was asked for calibration."""

    baseline: str | None
    items: tuple[Threshold, ...]

    def __post_init__(self) -> None:
        names = [t.name for t in self.items]
        if names != [s.name for s in SPECS]:
            raise InputError(f"thresholds {names}: expected {[s.name for s in SPECS]}; calibrate again")
        if not all(math.isfinite(t.value) for t in self.items):
            raise InputError("thresholds must be finite numbers; calibrate again")

    def __iter__(self) -> Iterator[Threshold]:
        return iter(self.items)

    def __getitem__(self, name: str) -> Threshold:
        return next(t for t in self.items if t.name == name)

    @property
    def values(self) -> Mapping[str, float]:
        """Name -> value."""
        return MappingProxyType({t.name: t.value for t in self.items})

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_dict`` gives the same thresholds again."""
        return {"baseline": self.baseline, "items": [asdict(t) for t in self.items]}

    def to_json(self) -> str:
        """One line of JSON with sorted keys, fit for a hash or for the metadata of a table."""
        return json.dumps(self.as_dict(), ensure_ascii=False, sort_keys=True, allow_nan=False)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Thresholds:
        """Raises InputError where ``values`` is not what ``as_dict`` gives."""
        try:
            return Thresholds(values["baseline"], tuple(Threshold(**item) for item in values["items"]))
        except (KeyError, TypeError) as error:
            raise InputError(f"thresholds cannot be read ({error}); calibrate again") from error


SPECS: tuple[Spec, ...] = (
    Spec(
        "low_diversity",
        "mattr_500",
        "below",
        0.01,
        0.204,
        said(
            "1st percentile of 127 closed, boxed, correct responses of DeepSeek-R1-Distill-Qwen-1.5B under GPTQ w4 and KVQuant* kv3 (MATH-500 and AIME-90 parts).",
            "GPTQ w4와 KVQuant* kv3를 적용한 DeepSeek-R1-Distill-Qwen-1.5B의 정답 응답 127개(MATH-500 및 AIME-90 일부; 사고 종료, \\boxed{} 있음)의 1백분위수.",
        ),
    ),
    Spec(
        "gibberish",
        "gibberish_count",
        "above",
        0.99,
        20.0,
        said(
            "20 words, as many as make one word over-represented; also the least value that calibration gives.",
            "20단어: 한 단어를 과대 출현으로 보는 최소 횟수이며, 보정값의 하한이기도 하다.",
        ),
        floor=20.0,
    ),
    Spec(
        "gibberish_share",
        "gibberish_count",
        "above",
        None,
        0.1,
        said(
            "A tenth of the words (gibberish_count / n_words), by definition.",
            "정의에 따라 전체 단어의 10분의 1(gibberish_count / n_words).",
        ),
    ),
    Spec(
        "false_equations",
        "false_equations",
        "above",
        0.99,
        0.0,
        said(
            "Any false equation at all: without a baseline there is no telling how many a correct response holds.",
            "거짓 등식이 하나라도 있으면 해당: 기준 모델이 없으면 정답 응답에 보통 몇 개가 있는지 알 수 없다.",
        ),
    ),
    Spec(
        "loop_share",
        "loop_coverage",
        "above",
        None,
        0.7,
        said(
            "70 % of the tokens from the loop onset on, as in the definition of a response's onset (degenerate suffix).",
            "응답의 반복 시작 위치를 정할 때와 같이, 반복 시작 이후 토큰의 70%.",
        ),
    ),
)


def calibrate(table: pa.Table | pd.DataFrame, baseline: str | None, *, min_correct: int = MIN_CORRECT) -> Thresholds:
    """Thresholds from the correct responses (strict policy) of the variant ``baseline`` in a wide table.

    A row is one response; all benchmarks and seeds of the baseline in the table count alike, so
    filter it first where they should not.  None, or a variant without rows, gives the published
    constants.  Raises InputError where the table has no column ``variant`` or one of another type.
    """
    wide = as_table(table)
    if "variant" not in wide.column_names:
        raise InputError("the table has no column 'variant'; give the wide table of a run")
    facts = Facts(wide, {})
    chosen = known_yes(facts.judged("strict_status", Status.CORRECT))
    mine = pc.equal(wide.column("variant").combine_chunks().cast(pa.string()), baseline or "")
    chosen = pc.and_(chosen, known_yes(mine))
    items = []
    for spec in SPECS:
        values = pc.drop_null(facts.number(spec.column).filter(chosen)).to_numpy(zero_copy_only=False)
        items.append(_threshold(spec, values, baseline, min_correct))
    return Thresholds(baseline, tuple(items))


def _threshold(spec: Spec, values: npt.NDArray[np.float64], baseline: str | None, min_correct: int) -> Threshold:
    if spec.quantile is None:
        return Threshold(spec.name, spec.column, spec.side, spec.published, "fixed", None, 0, None)
    n = len(values)
    if baseline is None or n < max(1, min_correct):
        return Threshold(spec.name, spec.column, spec.side, spec.published, "published", None, n, baseline)
    # An observed value, and the one farther out of the two neighbours, so that no more than the stated share is beyond.
    rank = spec.quantile * (n - 1)
    value = float(np.sort(values)[math.ceil(rank) if spec.side == "above" else math.floor(rank)])
    if spec.floor is not None:
        value = max(value, spec.floor)
    return Threshold(spec.name, spec.column, spec.side, value, "calibrated", spec.quantile, n, baseline)
