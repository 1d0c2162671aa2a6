"""What this machine can do, without importing anything heavy."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``doctor``: what was looked for, what was found, how to get it."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at Python, the packages of each command, devices, the built-in model, and the working folder."""
    from qrm_forensics import builtin

    findings = [
        Finding("python", sys.version_info >= (3, 11), sys.version.split()[0]),
        _package("report, import, export", "plotly", ""),
        _package("run, quantize (torch)", "torch", "models"),
        _package("run, quantize (transformers)", "transformers", "models"),
    ]
    weights = builtin.weights_dir() / "model.safetensors"
    findings.append(Finding("built-in model", weights.is_file(), str(weights.parent)))
    findings.append(_accelerator())
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    findings.append(
        Finding(
            "browser (tests only)", chromium is not None, chromium or "none", "" if chromium else "install chromium"
        )
    )
    free = shutil.disk_usage(Path.cwd()).free
    findings.append(Finding("disk", free > 2**30, f"{free / 2**30:.0f} GiB free in {Path.cwd()}"))
    return findings


def _package(name: str, package: str, extra: str) -> Finding:
    try:
        return Finding(name, True, f"{package} {metadata.version(package)}")
    except metadata.PackageNotFoundError:
        remedy = f'pip install "qrm-forensics[{extra}]"' if extra else "pip install qrm-forensics"
        return Finding(name, False, f"{package} is not installed", remedy)


def _accelerator() -> Finding:
    if util.find_spec("torch") is None:
        return Finding("accelerator", False, "unknown without torch")
    import torch

    if torch.cuda.is_available():
        return Finding("accelerator", True, torch.cuda.get_device_name(0))
    return Finding("accelerator", True, f"none, the CPU is used ({torch.get_num_threads()} threads)")
