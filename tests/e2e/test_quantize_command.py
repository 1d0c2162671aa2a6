"""``quantize`` as a user types it: folders, summaries, real checkpoints, other libraries in environments of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from external_library import WORKS, library
from quantize_helpers import responses, save_tiny, write_lines

pytest.importorskip("torch", reason="quantizing needs torch")

MODEL = "tiny-model"


def run(*args: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1", **variables}
    if "QRM_EXTERNAL_PYTHON" not in variables:
        environment.pop("QRM_EXTERNAL_PYTHON", None)
    return subprocess.run(
        [sys.executable, "-m", "qrm_forensics", "quantize", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    save_tiny(folder / MODEL)
    write_lines(folder / "own.jsonl", responses(6))
    return folder


def test_a_parent_gets_a_folder_that_is_called_as_the_papers(desk: Path, tmp_path: Path) -> None:
    done = run(str(desk / MODEL), "rtn-w4g128", "--out", f"{tmp_path}/made/", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    folder = tmp_path / "made" / f"{MODEL}-rtn-w4g128-tp1"
    assert lines[0] == str(folder) and (folder / "recipe.json").is_file()
    assert lines[1].split() == ["layer", "weight", "error"]
    assert [line.split()[0] for line in lines[2:]] == ["0", "1"] and all(
        1e-3 < float(x.split()[1]) < 3e-2 for x in lines[2:]
    )
    assert "quantize: rtn-w4g128" in done.stderr
    # a checkpoint that is there is no parent: it is the answer to the same request
    again = run(str(desk / MODEL), "rtn-w4g128", "--out", str(folder), "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["checkpoint"] == str(folder) and "quantize:" not in again.stderr
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_real_checkpoint_with_its_twin(desk: Path, tmp_path: Path) -> None:
    options = ["--calibration", str(desk / "own.jsonl"), "--samples", "2", "--length", "32"]
    done = run(
        *(str(desk / MODEL), "gptq-w4g64sym", "--real", "gptq", "--twin", "twin", "--out", "real", "--json", *options),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["realization"], told["format"], told["bit_exact_modules"]) == ("packed", "gptq", 14)
    assert told["tensor_parallel"] == [1, 2] and any("1, 2" in text for text in told["warnings"])
    assert [layer["layer"] for layer in told["layers"]] == [0, 1]
    assert all(0 < layer["output_error"] < 0.1 for layer in told["layers"])
    config = json.loads((tmp_path / "real" / "config.json").read_text())["quantization_config"]
    assert (config["quant_method"], config["sym"], config["desc_act"]) == ("gptq", True, False)
    assert "quantization_config" not in json.loads((tmp_path / "twin" / "config.json").read_text())
    refused = run(str(tmp_path / "twin"), "rtn-w4g128", "--out", "x", cwd=tmp_path)
    assert refused.returncode == 2 and "quantized checkpoint already" in refused.stderr


def test_real_without_a_format_is_compressed_tensors(tmp_path: Path) -> None:
    done = run("builtin", "rtn-w4g128", "--real", "--out", f"{tmp_path}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "qrm-tiny-reasoner-quantized.rtn-compressed_tensors-w4g128"
    assert done.stdout.startswith(f"{folder}\n")
    assert "linears dequantize to the simulated weights, bit for bit" in done.stdout


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["awk-w4g128"], 2, "did you mean 'awq'"),
        (["awq-w3g128", "--real"], 2, "no kernel of vLLM takes 3-bit weights"),
        (["gptq-w4g128", "--real", "gptq"], 2, "vLLM refuses asymmetric gptq"),
        (["rtn-w4g128", "--real", "awk"], 2, "did you mean 'awq'"),
        (["gptq-w4g128"], 2, "needs the model's own responses"),
        (["gptq-w4g128", "--corpus", "file"], 2, "calibration: the corpus 'file' needs a path"),
        (["rtn-w4g128", "--twin", "t"], 2, "add --real"),
        (["external:llmcompressor-fp9"], 2, "did you mean 'external:llmcompressor-fp8'"),
        (["external:llmcompressor-fp8", "--real"], 2, "leave --real out"),
        (["external:autoawq-w4g128", "--external-python", "nowhere"], 5, "pip install 'autoawq==0.2.9'"),
    ],
)
def test_what_cannot_be_is_one_line(args: list[str], code: int, said: str, desk: Path, tmp_path: Path) -> None:
    done = run(str(desk / MODEL), *args, "--out", "x", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_another_library_in_its_own_environment(desk: Path, tmp_path: Path) -> None:
    environment = library(tmp_path / "env", WORKS)
    args = [str(desk / MODEL), "external:llmcompressor-fp8", "--out", f"{tmp_path}/made/", "--json"]
    done = run(*args, cwd=tmp_path, QRM_EXTERNAL_PYTHON=str(environment), PYTHONPATH="/nowhere")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "made" / f"{MODEL}-quantized.rtn-llmcompressor-fp8"
    told, manifest = json.loads(done.stdout), json.loads((folder / "recipe.json").read_text())
    assert told["checkpoint"] == str(folder) and told["content_hash"] == manifest["content_hash"]
    assert manifest["request"]["package"] == "llmcompressor 9.9" and manifest["realization"] == "packed"
    assert manifest["quantized_tensors"] == 2 and manifest["versions"]["torch"] == "1.0"
    assert "scheme FP8_DYNAMIC" in (folder.parent / f"{folder.name}.log").read_text()

    # the same request is not made again; calibrated ones are another request
    stamp = (folder / "recipe.json").stat().st_mtime_ns
    assert run(*args, "--external-python", str(environment), cwd=tmp_path).returncode == 0
    assert (folder / "recipe.json").stat().st_mtime_ns == stamp
    other = [args[0], "external:llmcompressor-w4a16", *args[2:], "--external-python", str(environment)]
    missing = run(*other, cwd=tmp_path)
    assert missing.returncode == 2 and "needs the model's own responses" in missing.stderr
    calibrated = run(*other, "--calibration", str(desk / "own.jsonl"), "--samples", "2", "--length", "32", cwd=tmp_path)
    assert calibrated.returncode == 0, calibrated.stderr
    made = Path(json.loads(calibrated.stdout)["checkpoint"])
    assert json.loads((made / "recipe.json").read_text())["calibration"]["samples"] == 2


@pytest.mark.parametrize(
    ("body", "method", "said"),
    [
        (
            "def oneshot(**_):\n    raise MemoryError('no more')\n",
            "compressed-tensors",
            "the library failed (exit 1): MemoryError",
        ),
        (WORKS, "bitsandbytes", "names the method 'bitsandbytes', expected compressed-tensors"),
    ],
)
def test_what_another_library_leaves_is_checked(body: str, method: str, said: str, desk: Path, tmp_path: Path) -> None:
    environment = library(tmp_path / "env", body)
    args = ["external:llmcompressor-fp8", "--out", "made", "--external-python", str(environment)]
    done = run(str(desk / MODEL), *args, cwd=tmp_path, FAKE=method)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert not (tmp_path / "made").exists() and not list(tmp_path.glob(".made*"))
