"""What a model and its process take in memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def weight_bytes(network: Any) -> int:
    """Bytes of the parameters and buffers of a torch module; what is shared (tied embeddings) counts once."""
    tensors = {t.data_ptr(): t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers())}
    return sum(tensors.values())


def reset_peak(device: Any) -> bool:
    """Begin to measure the peak anew; whether that can be done here."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:  # Linux: sets the high-water mark of the process to what it holds now
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak(device: Any) -> tuple[int, str] | None:
    """Bytes at most since :func:`reset_peak`, and of what: ``device`` (torch's allocations) or ``process`` (all of it, Python too)."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device)), "device"
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return (1024 * int(found[1]), "process") if found else None
