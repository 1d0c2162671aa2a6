"""The command as a user types it: exit codes, one clear line per error, nothing heavy where it is not needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}

#: Not None in sys.modules, which scipy takes for a package that is there.
HIDING = """
import sys
class Hidden:
    names = sys.argv.pop(1).split(",")
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""


def command(*args: str, cwd: Path, hide: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``qrm-forensics ARGS``; ``hide`` makes these comma-separated packages impossible to import."""
    program = HIDING + "from qrm_forensics.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, hide, *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
    )


def responses(folder: Path) -> Path:
    """Two variants of a model in the layout of the paper's repository."""
    root = folder / "outputs"
    for name, text in (
        ("Tiny-1B-seed42", "So it is 4.\n</think>\n\nThe answer is \\boxed{4}."),
        ("Tiny-1B-awq-w3g128-tp1-seed42", "Wait, that is not right. " * 80),
    ):
        rows = [
            {
                "full_prompt": f"<｜begin▁of▁sentence｜><｜User｜>What is {i} + {4 - i}?<｜Assistant｜><think>\n",
                "generated_text": text,
                "gold": ["4"],
                "metrics": {"extractive_match": float("boxed" in text)},
            }
            for i in range(4)
        ]
        (root / name).mkdir(parents=True)
        (root / name / "SUMS.jsonl").write_text(json.dumps(rows), encoding="utf-8")
    return root


HEAVY = "torch,transformers,vllm,safetensors,tokenizers,compressed_tensors"


def test_import_report_and_export_work_without_torch(tmp_path: Path) -> None:
    responses(tmp_path)
    imported = command("import", "outputs", "--out", "runs/mine", "--json", cwd=tmp_path, hide=HEAVY)
    assert imported.returncode == 0, imported.stderr
    assert json.loads(imported.stdout) == {"run": "runs/mine", "traces": 8}
    reported = command("report", "--lang", "ko", "--lang", "en", cwd=tmp_path, hide=HEAVY)
    assert reported.returncode == 0, reported.stderr
    assert (tmp_path / "runs/mine/report/claims.jsonl").stat().st_size > 0
    exported = command("export", "--out", "wide.csv", "--json", cwd=tmp_path, hide=HEAVY)
    assert exported.returncode == 0, exported.stderr
    assert json.loads(exported.stdout)["rows"] == 8


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv=['qrm-forensics','--help']\n"
        "from qrm_forensics.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in ('torch','transformers','pandas','pyarrow','plotly','sympy','scipy','numpy','pydantic')"
        " if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_quantizing_without_torch_names_the_extra(tmp_path: Path) -> None:
    done = command("quantize", "builtin", "rtn-w3g128", "--out", "ck", cwd=tmp_path, hide=HEAVY)
    assert done.returncode == 5
    assert 'pip install "qrm-forensics[models]"' in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["report"], 2, "no runs here"),
        (["report", "nowhere"], 2, "not a run folder"),
        (["rum"], 2, "Did you mean 'run'"),
        (["run", "none.yaml"], 2, "no such study file"),
        (["run", "--only", "cook"], 2, "unknown step"),
        (["run", "--limit", "0"], 2, "--limit"),
        (["import", "nothing-here"], 2, "nothing-here"),
        (["quantize", "builtin", "awq-w3", "--out", "x"], 2, "needs a group size"),
        (["quantize", "builtin", "flatquant-w4a4kv4+paper-text", "--out", "x"], 2, "use fixed or paper-code"),
        (["export", "--out", "x.docx"], 2, "--format"),
        (["quantize", "builtin", "awq-w3g128", "--out", "x", "--samples", "0"], 2, "--samples"),
        (["quantize", "builtin", "awq-w" + "9" * 5000, "--out", "x"], 2, "cannot read"),
    ],
)
def test_bad_usage_is_one_clear_line(args: list[str], code: int, said: str, tmp_path: Path) -> None:
    done = command(*args, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_import_that_fails_leaves_no_run_behind(tmp_path: Path) -> None:
    root = responses(tmp_path)
    broken = root / "Tiny-1B-awq-w3g128-tp1-seed42" / "SUMS.jsonl"
    broken.write_text(broken.read_text(encoding="utf-8")[:700], encoding="utf-8")
    done = command("import", "outputs", "--out", "runs/mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "SUMS.jsonl" in done.stderr and "Traceback" not in done.stderr
    assert command("report", "runs/mine", cwd=tmp_path).returncode == 2


def test_doctor_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    done = command("doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["built-in model"]["ok"] is True


def test_what_the_system_refuses_is_one_clear_line(tmp_path: Path) -> None:
    root = responses(tmp_path)
    (tmp_path / "file").touch()
    for out in ("file", "file/below"):
        done = command("import", "outputs", "--out", out, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("error:")) == (2, 1) and "Traceback" not in done.stderr
    (root / "Tiny-1B-seed42" / "SUMS.jsonl").rename(root / "Tiny-1B-seed42" / f"{'가' * 60}.jsonl")
    done = command("import", "outputs", "--out", "long", cwd=tmp_path)
    assert done.returncode == 2 and "File name too long" in done.stderr and "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_not_an_error_message_and_not_a_regression(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "qrm_forensics", "doctor", "--json"],
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        timeout=300,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
