"""The whole path on scripted responses: plan, resume, seal, score, measure, and what a kill leaves behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from qrm_forensics import builtin, pipeline
from qrm_forensics.cli.report import report
from qrm_forensics.errors import InputError, StoreError
from qrm_forensics.generate import get_generator
from qrm_forensics.recipes import Recipe
from qrm_forensics.records import Request
from qrm_forensics.store import Store, hash_of
from qrm_forensics.study import BenchmarkSpec, CalibrationSpec, Study


def study(limit: int = 8, recipes: tuple[str, ...] = ("bf16", "rtn-w3g128")) -> Study:
    return Study(
        name="scripted",
        models=("builtin",),
        recipes=tuple(Recipe.parse(r) for r in recipes),
        benchmarks=(BenchmarkSpec(name="builtin", limit=limit),),
    )


def answer(request: Request) -> str:
    if request.variant == "bf16":
        return f"It is easy.\n</think>\nThe answer is \\boxed{{{request.problem.gold}}}."
    return "Wait, that does not look right. " * 60


def tables(store: Store) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    traces = store.traces().drop_columns(["seconds"]).to_pylist()
    return traces, sorted(store.verdicts().to_pylist(), key=lambda r: [str(v) for v in r.values()])


@pytest.fixture
def plan() -> pipeline.Plan:
    return pipeline.make_plan(study())


def test_a_run_has_exactly_the_planned_traces_and_the_expected_verdicts(plan: pipeline.Plan, tmp_path: Path) -> None:
    store = pipeline.run(plan, tmp_path / "run", generator=get_generator("scripted", function=answer))
    assert store.cells() == [("bf16", builtin.BENCHMARK), ("rtn-w3g128", builtin.BENCHMARK)]
    for variant, benchmark in store.cells():
        assert store.sealed(variant, benchmark)
        assert store.trace_keys(variant, benchmark) == [r.key for r in plan.requests(variant, benchmark)]
    by_variant: dict[str, set[str]] = {}
    for row in store.verdicts().to_pylist():
        by_variant.setdefault(row["variant"], set()).add(row["status"])
    assert by_variant == {"bf16": {"correct"}, "rtn-w3g128": {"missing"}}
    measured = {k: v for table in store.measures().values() for k, v in _row(table, "rtn-w3g128").items()}
    assert measured["loop"] is True and measured["closed"] is False


def test_a_report_is_in_the_languages_of_the_study_unless_others_are_named(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    for languages in (("zh", "en"), ("ko",)):
        plan = pipeline.make_plan(study(limit=3).model_copy(update={"languages": languages}))
        pipeline.run(plan, Path(run), generator=get_generator("scripted", function=answer))
        assert CliRunner().invoke(report, [run, "--format", "md"], catch_exceptions=False).exit_code == 0
        assert {p.name for p in (tmp_path / "run" / "report").glob("report.*.md")} == {
            f"report.{k}.md" for k in languages
        }
        shutil.rmtree(tmp_path / "run" / "report")
    assert CliRunner().invoke(report, [run, "--format", "md", "--lang", "en"], catch_exceptions=False).exit_code == 0
    assert [p.name for p in (tmp_path / "run" / "report").glob("report.*.md")] == ["report.en.md"]


def test_problems_that_are_gone_are_called_so_and_come_again_with_the_run(plan: pipeline.Plan, tmp_path: Path) -> None:
    store = pipeline.run(plan, tmp_path / "run", generator=get_generator("scripted", function=answer))
    file = tmp_path / "run" / "problems.parquet"
    before = file.read_bytes()
    file.unlink()
    with pytest.raises(StoreError, match=r"problems\.parquet: is not there; run or import again"):
        store.problem_table()
    pipeline.run(plan, tmp_path / "run", generator=get_generator("scripted", function=answer))
    assert file.read_bytes() == before


def _row(table: object, variant: str) -> dict[str, object]:
    return next(r for r in table.to_pylist() if r["variant"] == variant)  # type: ignore[attr-defined]


def test_a_second_run_makes_nothing(plan: pipeline.Plan, tmp_path: Path) -> None:
    asked: list[Request] = []

    def counting(request: Request) -> str:
        asked.append(request)
        return answer(request)

    backend = get_generator("scripted", function=counting)
    pipeline.run(plan, tmp_path / "run", generator=backend)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*.parquet") if p.name != "problems.parquet"}
    n = len(asked)
    pipeline.run(plan, tmp_path / "run", generator=backend)
    assert len(asked) == n == 16
    assert before == {p: p.read_bytes() for p in before}


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


def test_an_interrupted_run_goes_on_and_equals_an_uninterrupted_one(plan: pipeline.Plan, tmp_path: Path) -> None:
    whole = pipeline.run(plan, tmp_path / "whole", generator=get_generator("scripted", function=answer))
    asked: list[tuple[str, str]] = []

    def dying(request: Request) -> str:
        if len(asked) in (3, 9, 10):
            asked.append(("", ""))
            raise Killed
        asked.append((request.variant, request.problem.id))
        return answer(request)

    for _ in range(3):
        with pytest.raises(Killed):
            pipeline.run(plan, tmp_path / "cut", generator=get_generator("scripted", function=dying))
    cut = pipeline.run(plan, tmp_path / "cut", generator=get_generator("scripted", function=dying))
    assert tables(cut) == tables(whole)
    assert len(set(asked) - {("", "")}) == len([a for a in asked if a[0]]) == 16, "a finished response was made again"


def test_a_journal_with_a_torn_last_line_loses_only_that_line(plan: pipeline.Plan, tmp_path: Path) -> None:
    out = tmp_path / "run"
    pipeline.run(plan, out, generator=get_generator("scripted", function=answer))
    cell = out / "traces" / "bf16" / builtin.BENCHMARK
    traces = Store(out).trace_records("bf16", builtin.BENCHMARK)
    for path in cell.iterdir():
        path.unlink()
    # What a kill leaves: a journal of five traces and the beginning of a sixth.
    from dataclasses import asdict

    lines = [json.dumps(asdict(t)) for t in traces[:6]]
    (cell / "journal.jsonl").write_text("\n".join(lines[:5]) + "\n" + lines[5][:40], encoding="utf-8")
    asked: list[str] = []

    def counting(request: Request) -> str:
        asked.append(request.problem.id)
        return answer(request)

    store = pipeline.run(plan, out, generator=get_generator("scripted", function=counting))
    assert asked == [t.problem_id for t in traces[5:]]
    assert store.trace_records("bf16", builtin.BENCHMARK)[:5] == traces[:5]
    assert not (cell / "journal.jsonl").exists()


def test_a_journal_that_was_already_stored_adds_nothing(plan: pipeline.Plan, tmp_path: Path) -> None:
    """The process died between writing the part and deleting the journal."""
    out = tmp_path / "run"
    store = pipeline.run(plan, out, generator=get_generator("scripted", function=answer))
    cell = out / "traces" / "bf16" / builtin.BENCHMARK
    from dataclasses import asdict

    traces = store.trace_records("bf16", builtin.BENCHMARK)
    (cell / "journal.jsonl").write_text("".join(json.dumps(asdict(t)) + "\n" for t in traces), encoding="utf-8")
    (cell / "SEALED").unlink()
    again = pipeline.run(plan, out, generator=get_generator("scripted", function=answer))
    assert again.trace_records("bf16", builtin.BENCHMARK) == traces


def test_another_request_in_the_same_folder_is_refused(plan: pipeline.Plan, tmp_path: Path) -> None:
    backend = get_generator("scripted", function=answer)
    pipeline.run(plan, tmp_path / "run", generator=backend)
    other = pipeline.make_plan(study(limit=9))
    with pytest.raises(StoreError, match=r"different request.*--fresh"):
        pipeline.run(other, tmp_path / "run", generator=backend)
    fresh = pipeline.run(other, tmp_path / "run", generator=backend, fresh=True)
    assert fresh.trace_count() == 18


def test_a_limit_keeps_the_first_problems_of_the_whole(tmp_path: Path) -> None:
    assert builtin.problems(5) == builtin.problems(200)[:5]
    assert len({p.subject for p in builtin.problems(20)}) >= 6


def test_the_benchmark_and_the_calibration_share_no_problem() -> None:
    held_out = {w.key for _, _, w in builtin.draw(200, held_out=True, seed=0)}
    training = {w.key for _, _, w in builtin.draw(400, held_out=False, seed=1)}
    assert not held_out & training


def test_a_wrong_model_or_step_is_one_clear_line(plan: pipeline.Plan, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither 'builtin' nor a Hugging Face folder"):
        pipeline.make_plan(study().model_copy(update={"models": ("no/such",)}))
    with pytest.raises(InputError, match="unknown step"):
        pipeline.run(plan, tmp_path / "run", only="cook")


def _request(plan: pipeline.Plan) -> str:
    return hash_of(pipeline.request_of(plan))


def test_the_request_follows_what_the_files_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run must not go on with another calibration text, tokenizer or quantizer than it began with."""
    text = tmp_path / "own.jsonl"
    text.write_text("a", encoding="utf-8")
    with_text = study().model_copy(update={"calibration": CalibrationSpec(path=str(text))})
    hashes = {_request(pipeline.make_plan(with_text))}
    text.write_text("b", encoding="utf-8")
    plan = pipeline.make_plan(with_text)
    hashes.add(_request(plan))
    monkeypatch.setattr("qrm_forensics.quantize.rtn.RTN.version", 999)
    hashes.add(_request(plan))
    folder = tmp_path / "model"
    shutil.copytree(builtin.weights_dir(), folder)
    plan.sources.update(dict.fromkeys(plan.sources, folder))
    assert _request(plan) in hashes, "the same files elsewhere are the same request"
    (folder / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    hashes.add(_request(plan))
    assert len(hashes) == 4
    text.unlink()
    with pytest.raises(InputError, match=r"^calibration: .*own\.jsonl: cannot be read.*check the path"):
        pipeline.request_of(plan)


@pytest.mark.parametrize("limit", [200, 100_000_000])
def test_a_limit_above_the_size_of_the_benchmark_is_all_of_it(limit: int) -> None:
    plan = pipeline.make_plan(study(limit=limit))
    assert len(plan.requests("bf16", builtin.BENCHMARK)) == len(plan.problems) == builtin.BENCHMARK_SIZE


def test_a_recipe_that_cannot_be_made_is_refused_before_anything_is(tmp_path: Path) -> None:
    plan = pipeline.make_plan(study(recipes=("bf16", "awq-w4g128sym")))
    with pytest.raises(InputError, match="asymmetric grids only"):
        pipeline.run(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fresh_with_a_later_step_deletes_nothing(plan: pipeline.Plan, tmp_path: Path) -> None:
    store = pipeline.run(plan, tmp_path / "run", generator=get_generator("scripted", function=answer))
    with pytest.raises(InputError, match="--fresh deletes the responses"):
        pipeline.run(plan, tmp_path / "run", only="score", fresh=True)
    assert store.trace_count() == 16


def test_another_model_is_not_asked_in_the_format_of_the_builtin_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="own chat format"):
        pipeline.make_plan(study().model_copy(update={"models": (str(tmp_path),)}))
