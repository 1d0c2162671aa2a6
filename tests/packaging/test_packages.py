"""Wheel and sdist hold everything that the program needs, and the templates are found from each."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.xdist_group("packaging")


def build(kind: str, out: Path) -> Path:
    """Build with hatchling itself, without a build environment: nothing is downloaded."""
    program = f"from hatchling.build import build_{kind}; print(build_{kind}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return out / done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_templates_catalogues_and_the_model(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        weights = archive.getinfo("qrm_forensics/builtin/weights/model.safetensors")
    assert "qrm_forensics/report/_templates/base.html.j2" in names
    assert "qrm_forensics/builtin/weights/tokenizer.json" in names
    assert {"qrm_forensics/report/locales/ko/ui.po", "qrm_forensics/report/gate/locales/ko/gate.po"} <= names
    assert weights.file_size <= 12_000_000
    assert not [n for n in names if n.startswith(("tests/", "runs/", "bench/"))]


def test_the_templates_are_found_from_an_unpacked_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import qrm_forensics;"
        "from qrm_forensics.report.render import templates_dir; print(qrm_forensics.__file__); print(templates_dir())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    package, templates = done.stdout.strip().splitlines()
    assert package.startswith(str(tmp_path))
    assert templates == str(tmp_path / "qrm_forensics" / "report" / "_templates")


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert (source / "reports" / "templates" / "base.html.j2").is_file()
    program = f"from hatchling.build import build_wheel; print(build_wheel({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True, check=True)
    again = tmp_path / done.stdout.strip().splitlines()[-1]
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())
