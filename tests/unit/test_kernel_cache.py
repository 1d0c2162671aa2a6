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


BETWEEN = """
import subprocess, sys
import numpy as np
from numba.core.caching import IndexDataCacheFile as Kept
from qrm_forensics.metrics.kernels import cached
@cached()
def total(xs):
    found = xs[0]
    for x in xs[1:]:
        found += x
    return found
role = sys.argv[1]
if role == "first":  # the second comes between its index and its machine code
    save = Kept._save_data
    def late(self, name, data):
        subprocess.run([sys.executable, "total.py", "second"], check=True)
        save(self, name, data)
    Kept._save_data = late
if role == "second":  # it has read the index before the first wrote it
    Kept._load_index = lambda self: {}
print(total(np.array([1, 2] if role == "first" else [1.5, 2.0])), sum(total.stats.cache_hits.values()))
"""


def test_two_processes_that_compile_at_the_same_time_do_not_take_each_others_machine_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "total.py").write_text(BETWEEN, encoding="utf-8")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))

    def run(role: str) -> list[str]:
        command = [sys.executable, "total.py", role]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split("\n")

    assert run("first") == ["3.5 0", "3 0", ""]
    assert run("third") == ["3.5 1", ""]
