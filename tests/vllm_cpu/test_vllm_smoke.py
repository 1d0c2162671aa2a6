"""The sanity check on vLLM: a packed checkpoint against its dequantized twin, and against the wrong one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="needs vllm; run make vllm-test")

OPTIONS = ("dtype=bfloat16", "kv_cache_memory_bytes=67108864", "batch_size=8")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    # a process of its own: vLLM holds one model per process
    return subprocess.run(
        [sys.executable, "-m", "qrm_forensics", *arguments],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=900,
    )


def smoke(checkpoint: Path, twin: str) -> tuple[int, dict[str, Any]]:
    options = [part for option in OPTIONS for part in ("--option", option)]
    done = command("smoke", str(checkpoint), "--backend", "vllm", *options, "--twin", twin, "--tokens", "64", "--json")
    assert done.stdout.startswith("{"), done.stderr[-2000:]
    return done.returncode, json.loads(done.stdout)


def test_a_packed_checkpoint_is_its_twin_and_not_another_model(tmp_path: Path) -> None:
    packed, twin = tmp_path / "packed", tmp_path / "twin"
    made = command("quantize", "builtin", "rtn-w4g128sym", "--real", "--out", str(packed), "--twin", str(twin))
    assert made.returncode == 0, made.stderr
    code, report = smoke(packed, str(twin))
    assert (code, report["problems"]) == (0, [])
    assert report["twin"]["mean"] < 0.02 and report["twin"]["tokens"] > 500
    assert report["read"]["perplexity"] < 1.1
    other = command("quantize", "builtin", "rtn-w2g128", "--out", str(tmp_path / "other"))
    assert other.returncode == 0, other.stderr
    code, report = smoke(packed, str(tmp_path / "other"))
    assert code == 1 and any("is not the model" in problem for problem in report["problems"])
