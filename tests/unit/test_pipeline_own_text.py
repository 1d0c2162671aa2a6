"""The calibration text that the built-in model writes for itself survives an interruption."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qrm_forensics import builtin
from qrm_forensics.errors import InputError
from qrm_forensics.observing import Silent
from qrm_forensics.pipeline import checkpoints


class Backend:
    """Answers at once, and stops answering after ``until`` responses."""

    def __init__(self, until: int) -> None:
        self.until, self.asked = until, 0

    @contextmanager
    def open(self, _ref: Any) -> Iterator[Backend]:
        yield self

    def sample(self, requests: list[Any], _sampling: Any) -> Iterator[Any]:
        for request in requests:
            self.asked += 1
            problem = request.problem
            text = f"answer to {problem.id}" if self.asked <= self.until else None
            yield SimpleNamespace(
                problem_id=problem.id, prompt="prompt", text=text, finish="stop", error="the machine went away"
            )


def test_goes_on_where_it_stopped(tmp_path: Path) -> None:
    target, source = tmp_path / "own.jsonl", builtin.weights_dir()
    stopped: Any = Backend(3)
    with pytest.raises(InputError, match="went away"):
        checkpoints._write_own_text(source, "awq-w4g128", target, 5, stopped, Silent())
    assert not target.exists()
    rest: Any = Backend(99)
    checkpoints._write_own_text(source, "awq-w4g128", target, 5, rest, Silent())
    assert rest.asked == 2
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [row["generated_text"] for row in rows] == [f"answer to {p.id}" for p in builtin.calibration_problems(5)]
