"""Machine code that is kept goes out of date with the constants and kernels that it was made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

KERNEL = """
from qrm_forensics.metrics.kernels import cached
import constants
@cached(constants)
def answer():
    return constants.ANSWER
print(answer(), sum(answer.stats.cache_hits.values()))
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    (tmp_path / "kernel.py").write_text(KERNEL, encoding="utf-8")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def ran(constant: int) -> str:
        (tmp_path / "constants.py").write_text(f"ANSWER = {constant}\n", encoding="utf-8")
        done = subprocess.run([sys.executable, "kernel.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return ran


def test_kept_until_an_imported_constant_changes(run) -> None:  # type: ignore[no-untyped-def]
    assert run(42) == "42 0"
    assert run(42) == "42 1"
    assert run(43) == "43 0"
    assert run(42) == "42 1"
