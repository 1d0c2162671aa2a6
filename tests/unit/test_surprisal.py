"""Surprisal, counted by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from qrm_forensics.metrics.surprisal import longest_burst, spike_level, surprisal
from qrm_forensics.records import TRACE_SCHEMA


def measured(
    logprobs: list[float] | None, entropies: list[float] | None = None, text: str | None = "x"
) -> dict[str, Any]:
    row = {"text": [text], "logprobs": [logprobs], "entropies": [entropies]}
    batch = pa.table(row, schema=pa.schema([TRACE_SCHEMA.field(name) for name in row]))
    found: dict[str, Any] = surprisal(batch).to_pylist()[0]
    return found


def test_means_are_in_nats() -> None:
    row = measured([math.log(0.5)] * 4 + [math.log(0.25)] * 4, [0.5, 1.5])
    assert row["mean_surprisal"] == pytest.approx(1.5 * math.log(2))
    assert row["surprisal_first_quarter"] == pytest.approx(math.log(2))
    assert row["surprisal_last_quarter"] == pytest.approx(2 * math.log(2))
    assert row["mean_entropy"] == pytest.approx(1.0)
    assert row["surprisal_spikes"] == row["surprisal_longest_burst"] == 0
    assert row["surprisal_first_spike_token"] is None


def test_spikes_stand_out_from_the_response_and_exceed_two_nats() -> None:
    quiet = [-0.01] * 200
    quiet[50] = quiet[53] = quiet[57] = quiet[120] = -3.0
    quiet[10] = -1.9
    row = measured(quiet)
    assert (row["surprisal_spikes"], row["surprisal_first_spike_token"]) == (4, 50)
    assert row["surprisal_spikes_per_1000"] == pytest.approx(20.0)
    assert row["surprisal_longest_burst"] == 8
    # where the model is unsure throughout, three nats are nothing special
    unsure = [-1.0, -1.5, -2.0] * 67
    unsure[50] = -3.0
    assert measured(unsure)["surprisal_spikes"] == 0
    assert spike_level(-np.array(unsure)) == pytest.approx(1.5 + 10 * 1.4826 * 0.5)


def test_bursts() -> None:
    assert longest_burst(np.array([], np.int64)) == 0
    assert longest_burst(np.array([7])) == 1
    assert longest_burst(np.array([0, 5, 9, 13, 30])) == 9


def test_tokens_without_a_finite_value() -> None:
    row = measured([-0.1, -math.inf, math.nan, -0.1])
    assert row["mean_surprisal"] == pytest.approx(0.1)
    assert (row["surprisal_spikes"], row["surprisal_first_spike_token"]) == (1, 1)
    for nothing in (None, [], [math.nan], [-math.inf]):
        assert set(measured(nothing).values()) == {None}
    assert set(measured([-0.1], text=None).values()) == {None}
    assert measured([-0.1])["mean_entropy"] is None
    edge = measured([-math.inf, -0.1, -0.1, -math.inf])
    assert edge["surprisal_first_quarter"] is edge["surprisal_last_quarter"] is None
