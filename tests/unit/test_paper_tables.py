"""The two tables of the paper's repository, against values computed apart."""

from __future__ import annotations

import csv
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from qrm_forensics.cli import cli
from qrm_forensics.errors import InputError
from qrm_forensics.importers import import_run
from qrm_forensics.records import Finish, Kind, Problem, Status, Trace, Variant, Verdict
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.paper_tables import PaperTable, notes, paper_tables
from qrm_forensics.store import Store

SHARED = Path(__file__).parents[2].parent / "shared"
TRACES, DATASETS = SHARED / "traces" / "outputs" / "inference", SHARED / "datasets"
SIZES = {"AIME-90": 9, "AIME-2025": 3, "MATH-500": 5}


def make(root: Path, right: Mapping[tuple[str, str, int], int], baseline: str | None = "bf16") -> Store:
    """``right``: (variant, benchmark, seed) -> how many are right; problem i of seed s has i + s - 40 steps."""
    names = list(dict.fromkeys(v for v, _, _ in right))
    store = Store.create(
        root,
        request={"kind": "import"},
        variants=[Variant(v, "tiny", v.partition("|")[0], 1) for v in names],
        baseline=baseline,
    )
    problems = {
        b: [Problem(b, f"p{i}", "Q", "Q", "1", Kind.MATH, None, None) for i in range(n)] for b, n in SIZES.items()
    }
    store.write_problems(p for ps in problems.values() for p in ps)
    for variant, benchmark in dict.fromkeys((v, b) for v, b, _ in right):
        traces, verdicts = [], []
        for (v, b, seed), count in right.items():
            if (v, b) == (variant, benchmark):
                for i, problem in enumerate(problems[b]):
                    text = "\n\n".join("x" * (i + seed - 40))
                    traces.append(Trace(v, b, problem.id, 0, seed, "Q", text, Finish.STOP))
                    status = Status.CORRECT if i < count else Status.WRONG
                    verdicts.append(Verdict(v, b, problem.id, 0, seed, "lenient", status, None, None, None))
        store.append_traces(variant, benchmark, traces)
        store.seal(variant, benchmark, [t.key for t in traces])
        store.write_verdicts("lenient", variant, benchmark, verdicts, store.cell_stamp(variant, benchmark))
    return store


FULL = {("bf16", "AIME-90", s): s - 40 for s in (42, 43, 44)} | {
    **{("bf16", "AIME-2025", s): 1 for s in (42, 43, 44)},
    **{("bf16", "MATH-500", s): 5 for s in (42, 43, 44)},
    **{("rtn-w3g128", "AIME-90", s): 0 for s in (42, 43, 44)},
    **{("rtn-w3g128", "AIME-2025", s): 0 for s in (42, 43, 44)},
    **{("rtn-w3g128", "MATH-500", s): s - 41 for s in (42, 43, 44)},
}


def by_name(store: Store) -> dict[str, PaperTable]:
    return {t.name: t for t in paper_tables(store)}


def test_means_deviations_average_and_drop_over_three_seeds(tmp_path: Path) -> None:
    table = by_name(make(tmp_path / "run", FULL))["accuracy-lenient"]
    assert table.columns == ("AIME-120", "MATH-500", "Avg.", "Drop") and table.seeds == (42, 43, 44)
    aime = [100 * (0.75 * k / 9 + 0.25 / 3) for k in (2, 3, 4)]
    three = [100 * k / 5 for k in (1, 2, 3)]
    base = [(x + 100) / 2 for x in aime]
    mean, sd = dict(table.mean), dict(table.sd)
    assert mean["bf16"][:3] == pytest.approx((np.mean(aime), 100, np.mean(base))) and mean["bf16"][3] is None
    assert sd["bf16"] == pytest.approx((np.std(aime, ddof=1), 0, np.std(base, ddof=1)))
    assert mean["rtn-w3g128"] == pytest.approx((0, 40, 20, 20 - np.mean(base)))
    assert sd["rtn-w3g128"] == pytest.approx((0, statistics.stdev(three), statistics.stdev(three) / 2))


def test_steps_are_counted_as_the_script_does(tmp_path: Path) -> None:
    table = by_name(make(tmp_path / "run", FULL))["steps"]
    steps = [np.mean([len("\n\n".join("x" * (i + s - 40)).split("\n\n")) for i in range(5)]) for s in (42, 43, 44)]
    assert dict(table.mean)["bf16"][1] == pytest.approx(np.mean(steps)) == pytest.approx(5)
    assert table.policy is None


def test_a_missing_seed_leaves_a_dash_in_every_cell_that_needs_it(tmp_path: Path) -> None:
    right = {k: v for k, v in FULL.items() if k != ("rtn-w3g128", "AIME-2025", 44)}
    table = by_name(make(tmp_path / "run", right))["accuracy-lenient"]
    mean = dict(table.mean)["rtn-w3g128"]
    assert (mean[0], mean[2], mean[3]) == (None, None, None) and mean[1] == pytest.approx(40)
    assert dict(table.sd)["rtn-w3g128"][0] is None


def test_one_seed_has_no_deviation_and_one_part_of_aime_stands_for_itself(tmp_path: Path) -> None:
    right = {k: v for k, v in FULL.items() if k[2] == 42 and k[1] != "AIME-2025"}
    table = by_name(make(tmp_path / "run", right))["accuracy-lenient"]
    assert table.columns == ("AIME-90", "MATH-500", "Avg.", "Drop")
    assert all(value is None for _, row in table.sd for value in row)


@pytest.mark.parametrize("language", ["en", "ko", "zh"])
def test_the_command_prints_the_tables_and_writes_them(tmp_path: Path, language: str) -> None:
    store = make(tmp_path / "run", FULL)
    result = CliRunner().invoke(cli, ["report", str(store.root), "--format", "table", "--lang", language])
    assert result.exit_code == 0, result.output
    assert "AIME-120" in result.output and "-46.67" in result.output
    folder = store.root / "report" / "tables"
    assert {p.name for p in folder.iterdir()} == {
        f"paper-{n}{end}"
        for n in ("accuracy-lenient", "steps")
        for end in (".csv", f".{language}.md", f".{language}.tex")
    }
    assert "| rtn-w3g128 | 0.00 | 40.00 | 20.00 | -46.67 |" in (
        (folder / f"paper-accuracy-lenient.{language}.md").read_text("utf-8")
    )
    rows = list(csv.DictReader((folder / "paper-accuracy-lenient.csv").open(encoding="utf-8")))
    assert float(rows[1]["MATH-500 sd"]) == pytest.approx(20) and rows[0]["Drop mean"] == ""
    tex = (folder / f"paper-accuracy-lenient.{language}.tex").read_text("utf-8")
    assert r"rtn-w3g128 & 0.00 & 40.00 & 20.00 & -46.67 \\" in tex


def test_a_reader_who_leaves_costs_no_file_and_ends_as_the_shell_says(tmp_path: Path) -> None:
    store = make(tmp_path / "run", {("bf16", "MATH-500", 42): 5})
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "qrm_forensics", "report", str(store.root), "--format", "table"]
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=300)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
    assert len(list((store.root / "report" / "tables").iterdir())) == 3 * len(paper_tables(store)) > 0


def test_names_from_outside_are_no_markup(tmp_path: Path) -> None:
    right = {(v, b, s): n for (v, b, s), n in FULL.items() if v == "bf16"}
    store = make(tmp_path / "run", {(f"{v}|[red]_x_&", b, s): n for (v, b, s), n in right.items()}, baseline=None)
    result = CliRunner().invoke(cli, ["report", str(store.root), "--format", "table"])
    assert result.exit_code == 0 and "bf16|[red]_x_&" in result.stdout
    folder = store.root / "report" / "tables"
    assert r"bf16\|\[red\]\_x\_\&" in (folder / "paper-steps.en.md").read_text("utf-8")
    assert r"{[}red]\_x\_\& &" in (folder / "paper-steps.en.tex").read_text("utf-8")


def test_a_context_has_no_steps(tmp_path: Path) -> None:
    (tmp_path / "context.json").write_text("{}", encoding="utf-8")
    arguments = ["report", "--context", str(tmp_path / "context.json"), "--format", "table"]
    with pytest.raises(InputError, match="which a context has not"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)


@pytest.mark.skipif(
    not (TRACES.is_dir() and DATASETS.is_dir()), reason=f"no real traces beside the checkout ({TRACES})"
)
def test_real_traces_give_what_their_files_give(tmp_path: Path) -> None:
    store = import_run([TRACES], tmp_path / "run", problems=DATASETS)
    steps = dict(by_name(store)["steps"].mean)
    file = next(TRACES.glob("*gptq-w4g128*/AIME-90.jsonl"))
    texts = [item["generated_text"] for item in json.loads(file.read_text("utf-8"))]
    assert steps["gptq-w4g128"][0] == pytest.approx(np.mean([len(t.split("\n\n")) for t in texts]))
    # MATH-500 is a subset that somebody selected: shown, but in no average
    assert steps["gptq-w4g128"][2:] == (None, None)


def test_what_was_not_judged_is_counted_and_a_missing_accuracy_is_said(tmp_path: Path) -> None:
    cells = [(v, b) for v in ("bf16", "rtn-w3g128") for b in ("AIME-90", "MATH-500")]
    store = make(tmp_path / "run", {(v, b, 42): 1 for v, b in cells})

    def judge(variant: str, benchmark: str, judged: int) -> None:
        """The first so many responses are right, no verdict can be had of the next, and the rest has none."""
        asked = [f"p{i}" for i in range(SIZES[benchmark])]
        made = [
            Verdict(variant, benchmark, p, 0, 42, "lenient", Status.CORRECT, None, None, None) for p in asked[:judged]
        ]
        made += [Verdict(variant, benchmark, asked[judged], 0, 42, "lenient", Status.UNSCORED, None, None, None)]
        store.write_verdicts("lenient", variant, benchmark, made, store.cell_stamp(variant, benchmark))

    judge("bf16", "MATH-500", 3)
    judge("rtn-w3g128", "AIME-90", 0)
    accuracy, steps = paper_tables(store)
    assert accuracy.unjudged == (("rtn-w3g128", "AIME-90", 9, 9), ("bf16", "MATH-500", 2, 5))
    assert dict(accuracy.mean)["bf16"][1] == 100 and dict(accuracy.mean)["rtn-w3g128"][0] is None
    english = "\n".join(notes(accuracy, Texts.of("en")))
    assert "11 of 14 (rtn-w3g128 · AIME-90: 9/9, bf16 · MATH-500: 2/5)" in english
    assert "Accuracy is missing, because no response was judged: rtn-w3g128 · AIME-90." in english
    assert steps.unjudged == () and steps.judged
    for language in ("ko", "zh"):
        assert "bf16 · MATH-500: 2/5" in "\n".join(notes(accuracy, Texts.of(language)))

    for cell in cells:
        judge(*cell, 0)
    (steps,) = paper_tables(store)
    assert not steps.judged and "qrm-forensics score" in notes(steps, Texts.of("en"))[-1]
    shown = CliRunner().invoke(cli, ["report", str(store.root), "--format", "table", "--lang", "ko"])
    assert "정답률이 없습니다" in shown.output
