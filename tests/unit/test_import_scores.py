"""Tables of scores: what is read, what is refused, and that nothing in the run pretends to have been scored here."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrm_forensics.compare.comparison import compare
from qrm_forensics.compare.sides import load_side, run_side
from qrm_forensics.errors import InputError
from qrm_forensics.export import export_table
from qrm_forensics.importers import detect_format, has_responses, import_run, notices
from qrm_forensics.importers.scores_table import read_table
from qrm_forensics.records import Status
from qrm_forensics.report.context import build_context
from qrm_forensics.store import Store

HEAD = "model,dataset,idx,is_correct"


def table(folder: Path, text: str, name: str = "scores.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def two_models(folder: Path) -> Path:
    rows = [f"{HEAD},subject,level,word_count,has_boxed,note,predicted_answer"]
    for model in ("Tiny-1B", "Tiny-1B-awq-w3g128-tp1"):
        for i in range(6):
            right = i != 2 and not (model.endswith("tp1") and i > 3)
            rows.append(f'{model},SUMS,{i},{right},Algebra,{i % 2},{100 * (i + 1)},{right},{"ab"[i % 2]},"{i}, or so"')
    return table(folder, "\n".join(rows) + "\n")


def test_a_table_becomes_a_run_without_responses(tmp_path: Path) -> None:
    path = two_models(tmp_path)
    assert detect_format([path]) == detect_format([tmp_path]) == "scores"
    store = import_run([path], tmp_path / "run")
    assert not has_responses(store) and store.baseline == "bf16"
    assert [v.id for v in store.variants] == ["bf16", "awq-w3g128"]
    assert set(store.verdicts()["policy"].to_pylist()) == {"imported"}
    traces = store.traces().to_pylist()
    assert {t["text"] for t in traces} == {None} and {t["finish"] for t in traces} == {"unknown"}
    wide = export_table(store).to_pandas()
    assert wide["imported_status"].tolist() == [
        *("correct", "correct", "wrong", "correct", "correct", "correct"),
        *("correct", "correct", "wrong", "correct", "wrong", "wrong"),
    ]
    assert wide["strict_status"].isna().all() and wide["lenient_status"].isna().all()
    assert wide["answer"][1] == "1, or so" and wide["imported_word_count"][5] == 600
    assert notices(store) == [
        "scores.csv: text columns are not kept: note",
        "the files do not hold the text of the response: nothing is scored or measured here, and verdicts and figures are "
        "those of the file",
    ]


def test_the_same_import_again_does_nothing_and_an_interrupted_one_goes_on(tmp_path: Path) -> None:
    path = two_models(tmp_path)
    store = import_run([path], tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in store.root.rglob("*.parquet")}
    import_run([path], tmp_path / "run")
    assert before == {p: p.stat().st_mtime_ns for p in store.root.rglob("*.parquet")}
    lost = store.root / "verdicts" / "imported" / "bf16" / "SUMS.parquet"
    lost.unlink()
    import_run([path], tmp_path / "run")
    assert lost.is_file() and Store(store.root).verdicts().num_rows == 12


def test_its_report_says_who_scored_and_shows_no_case_without_words(tmp_path: Path) -> None:
    context = build_context(import_run([two_models(tmp_path)], tmp_path / "run"))
    (benchmark,) = context.benchmarks
    assert "note.imported" in [note.key for note in benchmark.notes]
    assert benchmark.cases == ()
    assert {p.policy for p in benchmark.pairs} == {"imported"}
    (pair,) = benchmark.pairs
    assert pair.lost.value == 2


def test_a_table_and_its_run_are_the_same_side(tmp_path: Path) -> None:
    path = two_models(tmp_path)
    import_run([path], tmp_path / "run")
    direct, stored = load_side(f"{path}::Tiny-1B-awq-w3g128-tp1"), load_side(f"{tmp_path / 'run'}::awq-w3g128")
    assert direct.facts.content_hash == stored.facts.content_hash
    assert direct.policies == ("imported",) and direct.facts.scorer is None and direct.facts.kind == "scores"
    items = direct.items
    assert items["n_words"].tolist() == [100, 200, 300, 400, 500, 600]
    assert items["missing_answer"].tolist() == [False, False, True, False, True, True]
    assert items["truncated"].isna().all() and items["status_strict"].isna().all()


def test_problem_files_add_gold_answers(tmp_path: Path) -> None:
    path = table(tmp_path, f"{HEAD}\nm,SUMS,1,True\n")
    lines = ['{"problem": "1+1?", "answer": "2", "subject": "Algebra"}', '{"problem": "2+2?", "answer": "4"}']
    problems = table(tmp_path, "\n".join(lines), "SUMS.jsonl")
    store = import_run([path], tmp_path / "run", problems=problems)
    assert [(p.id, p.question, p.gold) for p in store.problems().values()] == [
        ("idx-0", "1+1?", "2"),
        ("idx-1", "2+2?", "4"),
    ]
    assert load_side(tmp_path / "run").items["gold_hash"].notna().all()
    with pytest.raises(InputError, match=r"row 2: .*SUMS.jsonl has no problem 'idx-9'"):
        import_run([table(tmp_path, f"{HEAD}\nm,SUMS,9,True\n", "other.csv")], tmp_path / "x", problems=problems)


@pytest.mark.parametrize(
    ("cell", "status"),
    [
        *[(c, Status.CORRECT) for c in ("True", "true", "1", "1.0", "yes", "correct")],
        *[(c, Status.WRONG) for c in ("False", "0", "0.0", "wrong")],
        ("missing", Status.MISSING),
        *[(c, Status.UNSCORED) for c in ("", "nan", "unscored")],
    ],
)
def test_what_is_correct_may_look_like(cell: str, status: Status, tmp_path: Path) -> None:
    (score,) = read_table(table(tmp_path, f"{HEAD},x\nm,d,0,{cell},1\n")).scores
    assert score.status is status


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model,dataset,index,is_correct\n", r"column idx \(is 'index' meant\?\) is missing"),
        ("model;dataset;idx;is_correct\n", "column model.* is missing.*comma"),
        (f"{HEAD}\n", "no rows"),
        (f"{HEAD},x,x\nm,d,0,1,2,3\n", "'x' is there twice"),
        (f"{HEAD},\nm,d,0,1,2\n", "column 5 has no name"),
        (f"{HEAD}\nm,d,0\n", "row 2 has 3 cells, the header 4"),
        (f"{HEAD}\nm,d,0,perhaps\n", "row 2: is_correct is 'perhaps'"),
        (f"{HEAD}\nm,d,0,0.5\n", "is_correct is '0.5'"),
        (f"{HEAD}\n,d,0,1\n", "row 2: 'model' is empty"),
        (f"{HEAD},x\nm,d,0,1,inf\n", "column 'x': inf is no figure"),
        (f"{HEAD},sample\nm,d,0,1,-1\n", "sample is '-1'"),
        (f"{HEAD},finish\nm,d,0,1,gone\n", "finish is 'gone'; known: stop"),
        (f"{HEAD}\nm,d,0,1\nm,d,idx-0,0\n", r"row 3: 'm' answers problem 'idx-0' of 'd' again.*row 2"),
        (f'{HEAD}\nm,d,0,"1\n', "row 2 is not valid CSV"),
        ("", "column model"),
        ("version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_a_broken_table_is_one_line_with_file_and_row(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_table(table(tmp_path, text))
    assert "scores.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_bytes(f"{HEAD}\n".encode() + b"m,d,0,\xff\n")
    with pytest.raises(InputError, match="line 2 is not UTF-8"):
        read_table(tmp_path / "scores.csv")


def test_names_that_say_nothing_of_the_recipe_compare_but_make_no_run(tmp_path: Path) -> None:
    path = table(tmp_path, f"{HEAD}\nours-int4,d,0,1\nours-fp,d,0,1\n")
    assert load_side(f"{path}::ours-int4").facts.variant == "ours-int4"
    with pytest.raises(InputError, match=r"row 2: model 'ours-int4': .*FILE.csv::MODEL"):
        import_run([path], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_files_and_samples(tmp_path: Path) -> None:
    table(tmp_path, f"{HEAD},sample\nm,d,0,1,0\nm,d,0,0,1\n", "a.csv")
    table(tmp_path, f"{HEAD},level\nm-awq-w4g128,d,0,1,3\n", "b.csv")
    read = read_table(tmp_path)
    assert [(s.model, s.sample, s.file, s.row) for s in read.scores] == [
        ("m", 0, "a.csv", 2),
        ("m", 1, "a.csv", 3),
        ("m-awq-w4g128", 0, "b.csv", 2),
    ]
    store = import_run([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "run")
    assert [p.level for p in store.problems().values()] == ["3"]
    table(tmp_path, f"{HEAD},level\nm-awq-w3g128,d,0,1,4\n", "c.csv")
    with pytest.raises(InputError, match=r"c.csv: row 2: problem 'idx-0' has another level than in b.csv: row 2"):
        import_run([tmp_path / "b.csv", tmp_path / "c.csv"], tmp_path / "other")


def test_problems_that_somebody_chose_are_said_to_be(tmp_path: Path) -> None:
    path = table(tmp_path, "\n".join([HEAD, *(f"{m},SUMS,{i},{m == 'a'}" for m in "ab" for i in (0, 3, 7))]) + "\n")
    sides = [load_side(f"{path}::{model}") for model in "ab"]
    assert [side.facts.coverage for side in sides] == [{"SUMS": "selected"}] * 2
    assert "coverage" in [c.name for c in compare(*sides).comparability.warnings]
    (tmp_path / "whole").mkdir()
    whole = import_run([two_models(tmp_path / "whole")], tmp_path / "run")
    assert run_side(whole, "bf16").facts.coverage == {"SUMS": "unknown"}
