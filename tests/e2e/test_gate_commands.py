"""compare, check and bless as a user types them, on scripted runs: verdicts, exit codes, files, and what they refuse."""

from __future__ import annotations

import hashlib
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_command_line import HEAVY, command

from qrm_forensics import pipeline
from qrm_forensics.cli import cli
from qrm_forensics.errors import ForensicsError
from qrm_forensics.generate import get_generator
from qrm_forensics.recipes import Recipe, Sampling
from qrm_forensics.records import Finish, Request, Trace
from qrm_forensics.report.context import build_context
from qrm_forensics.report.render import render
from qrm_forensics.store import Store
from qrm_forensics.study import BenchmarkSpec, Study

POLICY = "margins: {accuracy: 8, loop: 8, truncated: 8, missing_answer: 8, length: 20, outcomes: 12}\n"


def draw(request: Request) -> int:
    """0..99, another one for every seed and problem, the same on every machine."""
    return hashlib.sha256(f"{request.problem.id}/{request.seed}".encode()).digest()[0] * 100 // 256


def said(request: Request, right: bool) -> str:
    shown = request.problem.gold if right else "-7"
    return f"So we add {request.seed} and {request.problem.id}.\n</think>\nThe answer is \\boxed{{{shown}}}."


def steady(request: Request) -> str | Trace:
    """Right in 96 % of cases; the 2-bit variant falls into a loop on every third problem."""
    if request.variant == "gptq-w2g128" and int(request.problem.id[:4]) % 3 == 0:
        text = "Wait, that does not look right. " * 90
        key = (request.variant, request.problem.benchmark, *request.key)
        return Trace(*key, request.problem.prompt, text, Finish.LENGTH, completion_tokens=720)
    return said(request, draw(request) >= 4)


def run(
    out: Path,
    *,
    seeds: tuple[int, ...] = (42,),
    limit: int = 100,
    recipes: tuple[str, ...] = ("bf16",),
    function: Callable[[Request], str | Trace] = steady,
    tokens: int = 768,
) -> Store:
    study = Study(
        name="scripted",
        models=("builtin",),
        recipes=tuple(Recipe.parse(r) for r in recipes),
        benchmarks=(BenchmarkSpec(name="builtin", limit=limit),),
        sampling=Sampling(max_new_tokens=tokens, seeds=seeds),
    )
    return pipeline.run(pipeline.make_plan(study), out, generator=get_generator("scripted", function=function))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base (seed 42), new (seed 43, with a 2-bit variant and its report), short (fewer problems), policy, baseline file."""
    root = tmp_path_factory.mktemp("gate")
    run(root / "runs" / "base")
    run(root / "runs" / "short", limit=60)
    new = run(root / "runs" / "new", seeds=(43,), recipes=("bf16", "gptq-w2g128"))
    render(build_context(new), ["en"], new.root / "report", formats=["html"])
    os.utime(new.study_file, (4e9, 4e9))  # the newest run, whatever other tests make
    (root / "policy.yaml").write_text(POLICY, encoding="utf-8")
    assert (
        cli.main(["bless", str(root / "runs" / "base"), "--out", str(root / "base.parquet")], standalone_mode=False)
        is None
    )
    return root


@pytest.fixture
def gate(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command in the folder of the runs; returns its exit code."""
    monkeypatch.chdir(place)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)

    def call(*args: str) -> int:
        try:
            return int(cli.main(list(args), standalone_mode=False) or 0)
        except ForensicsError as error:
            print(f"error: {error}")
            return error.exit_code

    return call


def check(*more: str, candidate: str, baseline: str = "base.parquet") -> list[str]:
    return ["check", "--baseline", baseline, "--candidate", candidate, "--policy", "policy.yaml", *more]


def test_another_seed_is_green_and_two_bits_are_red(
    gate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate(*check(candidate="runs/new")) == 0
    out = capsys.readouterr().out
    assert out.strip().splitlines()[-1] in ("No difference seen: bf16 against bf16", "Equivalent: bf16 against bf16")
    assert "\x1b" not in out
    assert gate(*check(candidate="gptq-w2g128")) == 1, "a bare name is a variant of the newest run"
    out = capsys.readouterr().out
    assert out.strip().splitlines()[-1] == "Regression: gptq-w2g128 against bf16"
    assert "accuracy fell by" in out and "responses that loop rose by" in out


def test_the_files_say_the_same_and_name_the_lost_problems(gate: Callable[..., int], place: Path) -> None:
    files = {name: place / f"out.{name}" for name in ("markdown", "junit", "json")}
    flags = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert gate(*check(*flags, candidate="runs/new::gptq-w2g128")) == 1
    told = json.loads(files["json"].read_text("utf-8"))
    assert told["verdict"] == "regression" and told["exit_code"] == 1
    lost = {row["problem_id"] for row in told["flips"] if row["direction"] == "lost"}
    assert len(lost) > 20
    root = ET.parse(files["junit"]).getroot()
    (suite,) = root
    assert int(suite.get("tests", 0)) == len(suite) and int(suite.get("failures", 0)) == len(suite.findall("*/failure"))
    verdict = next(case for case in suite if case.get("name") == "verdict")
    assert verdict.find("failure") is not None
    accuracy = next(case for case in suite if case.get("name", "").startswith("Accuracy"))
    failure = accuracy.find("failure")
    assert failure is not None and failure.text is not None and lost <= set(failure.text.splitlines())
    page = files["markdown"].read_text("utf-8")
    assert page.splitlines()[0] == "<!-- qrm-forensics gate: gptq-w2g128 -->"
    assert all(f"`{problem}`" in page for problem in lost)


def test_problems_that_the_report_shows_are_linked(gate: Callable[..., int], place: Path) -> None:
    file = place / "comment" / "gate.md"
    assert gate(*check("--markdown", str(file), candidate="runs/new::gptq-w2g128")) == 1
    page = file.read_text("utf-8")
    report = (place / "runs/new/report/report.html").read_text("utf-8")
    links = [part.partition(">)")[0] for part in page.split("](<")[1:]]
    anchors = [link.partition("#")[2] for link in links if "#" in link]
    assert anchors and all(f'id="{anchor}"' in report for anchor in anchors)
    assert all(link.startswith("../runs/new/report/report.html") for link in links)
    assert (
        gate(*check("--markdown", str(file), "--report-url", "https://ci/x/report.html", candidate="gptq-w2g128")) == 1
    )
    assert "](<https://ci/x/report.html#en:case/" in file.read_text("utf-8")


def test_the_summary_of_a_job_is_added_to(
    gate: Callable[..., int], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = place / "summary.md"
    summary.write_text("# Before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert gate(*check("--lang", "ko", candidate="runs/new")) == 0
    text = summary.read_text("utf-8")
    assert text.startswith("# Before\n") and "기준 모델" in text


def test_fewer_or_more_problems_than_planned_are_not_comparable(
    gate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate(*check(candidate="runs/short")) == 3
    out = capsys.readouterr().out
    assert "Not comparable" in out and "pp" not in out, "no difference may be printed"
    assert gate(*check(candidate="runs/new", baseline="runs/short")) == 3
    assert gate("compare", "runs/base", "runs/short") in (0, 4), "looking is not gating: what both have is compared"
    assert "60" in capsys.readouterr().out


def test_running_again_with_more_samples_or_other_seeds_is_no_way_to_pass(
    gate: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(place / "runs" / "again", seeds=(43, 44))
    assert gate(*check(candidate="runs/again")) == 3
    assert "Planned were 100 × 1" in capsys.readouterr().out
    pinned = place / "pinned.yaml"
    pinned.write_text(POLICY + "plan: {seeds: [42]}\n", encoding="utf-8")
    args = ["check", "--baseline", "base.parquet", "--policy", str(pinned), "--candidate"]
    assert gate(*args, "runs/new") == 3
    assert "seed 42" in capsys.readouterr().out
    assert gate(*args, "runs/base") == 0


def test_other_settings_are_not_comparable_unless_allowed(
    gate: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(place / "runs" / "longer", seeds=(43,), tokens=1024)
    assert gate(*check(candidate="runs/longer")) == 3
    assert "Token limit" in capsys.readouterr().out
    lax = place / "lax.yaml"
    lax.write_text(POLICY + "differences: {allow: [max_new_tokens]}\n", encoding="utf-8")
    assert gate("check", "--baseline", "base.parquet", "--candidate", "runs/longer", "--policy", str(lax)) == 0


def test_too_few_problems_are_said_with_how_many_would_do(
    gate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate("check", "--baseline", "base.parquet", "--candidate", "runs/new") == 4
    assert "problems would do" in " ".join(capsys.readouterr().out.split())


def test_verdicts_of_an_older_scorer_are_noted(
    gate: Callable[..., int], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qrm_forensics.score.stamp.scorer_version", lambda _lenient: "rules-999")
    assert gate(*check(candidate="runs/new")) == 0
    told = capsys.readouterr()
    assert "runs/new: some verdicts are not those of this version's scorer" in told.err
    assert "not checked" in told.out and "Scorer" in told.out


def test_a_second_baseline_tells_flips_from_noise(
    gate: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(place / "runs" / "base2", seeds=(44,))
    assert gate(*check("--second-baseline", "runs/base2", candidate="runs/new::gptq-w2g128")) == 1
    assert "by noise alone" in " ".join(capsys.readouterr().out.split())


def test_compare_prints_one_json_object(gate: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert gate("compare", "--run", "runs/new", "bf16", "gptq-w2g128", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["candidate"]["variant"] == "gptq-w2g128" and told["verdict"] == "regression"


def test_the_baseline_file_is_small_and_holds_no_text(place: Path) -> None:
    file = place / "base.parquet"
    assert file.stat().st_size < 120_000
    table = pq.read_table(file)
    assert table.num_rows == 100
    texts = {name for name in table.column_names if str(table.schema.field(name).type).endswith("string")}
    assert texts <= {
        *("benchmark", "problem_id", "gold_hash", "prompt_hash", "subject", "level", "status_strict", "status_lenient"),
        *("finish", "outcome", "loop_class"),
    }


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["compare", "runs/new::nobody", "runs/base"], "no variant is called 'nobody'"),
        (["compare", "runs/nowhere", "runs/base"], "runs/nowhere: no such run folder or file"),
        (["compare", "bf17", "runs/base"], "no variant is called 'bf17'"),
        (["compare", "none.parquet", "runs/base"], "qrm-forensics bless RUN"),
        (["compare", "policy.yaml", "runs/base"], "not a readable Parquet file"),
        (
            ["check", "--baseline", "base.parquet", "--candidate", "runs/new", "--policy", "no.yaml"],
            "no such policy file",
        ),
        (
            ["check", "--baseline", "base.parquet::other", "--candidate", "runs/new"],
            "baseline file of 'bf16', not of 'other'",
        ),
        (["check", "--baseline", "base.parquet", "--candidate", "runs/new", "--lang", "xx"], "choose from en, ko"),
        (["bless", "base.parquet", "--out", "other.parquet"], "is a baseline file already"),
        (["bless", "runs/base", "--out", "."], "is a directory"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    args: list[str], message: str, gate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    import click

    try:
        code = gate(*args)
        out = capsys.readouterr().out
    except click.UsageError as error:
        code, out = error.exit_code, error.format_message()
    assert code == 2 and message in out.replace('"', "'")


def test_an_unfinished_run_is_not_blessed(
    gate: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = run(place / "runs" / "cut", limit=5)
    (seal,) = store.root.glob("traces/*/*/SEALED")
    seal.unlink()
    assert gate("bless", "runs/cut", "--out", "cut.parquet") == 2
    assert "is not finished" in capsys.readouterr().out and not (place / "cut.parquet").exists()


def test_a_baseline_file_that_was_edited_is_refused(
    gate: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(place / "base.parquet")
    statuses = ["wrong"] * table.num_rows
    edited = table.set_column(table.column_names.index("status_strict"), "status_strict", [statuses])
    pq.write_table(edited.replace_schema_metadata(table.schema.metadata), place / "edited.parquet")
    assert gate(*check(candidate="runs/new", baseline="edited.parquet")) == 2
    assert "was changed after it was blessed" in capsys.readouterr().out


def test_a_table_of_scores_is_enough(gate: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["model,dataset,idx,is_correct,word_count"]
    for model, wrong in (("old", 10), ("new", 70)):
        rows += [f"{model},SUMS,{i},{i >= wrong},{100 + i}" for i in range(200)]
    (place / "scores.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert gate("bless", "scores.csv::old", "--out", "scores.parquet") == 0
    assert gate("check", "--baseline", "scores.parquet", "--candidate", "scores.csv::new") == 1
    assert "imported" in capsys.readouterr().out
    assert gate("check", "--baseline", "scores.parquet", "--candidate", "scores.csv") == 2
    assert "holds 2 models" in capsys.readouterr().out


def test_the_gate_works_without_torch_and_prints_no_colour(place: Path) -> None:
    args = ("check", "--baseline", "base.parquet", "--candidate", "runs/new::gptq-w2g128", "--policy", "policy.yaml")
    done = command(*args, cwd=place, hide=HEAVY)
    assert done.returncode == 1, done.stderr
    assert "Regression" in done.stdout and "\x1b" not in done.stdout and done.stderr == ""
