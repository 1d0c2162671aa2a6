from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrm_forensics.errors import StoreError
from qrm_forensics.records import Finish, Kind, Problem, Status, Trace, Variant, Verdict
from qrm_forensics.store import Store, hash_of, newest_run, read_parquet, write_parquet

ODD = "qwq/32b: 100%·한글"
RIGHT = (Status.CORRECT, "1", None, None)


def trace(problem: str, variant: str = "bf16", benchmark: str = "B", **more: object) -> Trace:
    fields: dict[str, object] = {"prompt": "p", "text": "t", "finish": Finish.STOP, "sample": 0, "seed": 42, **more}
    return Trace(variant=variant, benchmark=benchmark, problem_id=problem, **fields)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(
        tmp_path / "run",
        request={"a": 1},
        variants=[Variant("bf16", "m", "bf16", 1), Variant(ODD, "m", "rtn-w3g128", 1)],
        baseline="bf16",
    )
    made.write_problems([Problem("B", i, "q", "p", "1", Kind.MATH, None, None) for i in ("z", "a", "m")])
    return made


def test_traces_come_back_as_they_were_in_the_order_of_the_benchmark(store: Store) -> None:
    odd = trace("m", text="\x00 </script>\u202e 한글 \U0001f600", token_ids=[1, 2], logprobs=[-0.5, -1.0], error=None)
    store.append_traces("bf16", "B", [trace("a"), odd])
    store.append_traces("bf16", "B", [trace("z")])
    assert [t.problem_id for t in store.trace_records("bf16", "B")] == ["z", "a", "m"]
    assert store.trace_records("bf16", "B")[2] == odd


def test_lone_surrogates_become_replacement_characters_and_nothing_else_changes(store: Store) -> None:
    store.append_traces("bf16", "B", [trace("z", text="a\ud800b\U0001f600")])
    assert store.trace_records("bf16", "B")[0].text == "a\ufffdb\U0001f600"


def test_names_that_are_no_file_names_survive(store: Store) -> None:
    store.append_traces(ODD, "B", [trace("z", variant=ODD)])
    assert store.cells() == [(ODD, "B")]
    assert store.traces(["variant"], variant=ODD).column("variant").to_pylist() == [ODD]


def test_sealing_refuses_missing_unplanned_and_repeated_keys(store: Store) -> None:
    store.append_traces("bf16", "B", [trace("z"), trace("a")])
    key = [("z", 0, 42), ("a", 0, 42)]
    for planned in (key[:1], [*key, ("m", 0, 42)]):
        with pytest.raises(StoreError, match="planned"):
            store.seal("bf16", "B", planned)
    assert not store.sealed("bf16", "B")
    store.seal("bf16", "B", key)
    assert store.sealed("bf16", "B")
    with pytest.raises(StoreError, match="sealed"):
        store.append_traces("bf16", "B", [trace("m")])


def test_a_file_of_another_version_or_a_damaged_one_is_named(store: Store, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    with pytest.raises(StoreError, match=r"other\.parquet: schema version none"):
        read_parquet(other)
    other.write_bytes(b"PAR1 half a fi")
    with pytest.raises(StoreError, match="not a readable Parquet file"):
        read_parquet(other)


def test_no_half_file_has_a_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "t.parquet"
    write_parquet(pa.table({"a": [1]}), target)
    before = target.read_bytes()

    def full_disk(_handle: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("qrm_forensics.store._flush", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_parquet(pa.table({"a": list(range(1000))}), target)
    assert target.read_bytes() == before


def test_derived_tables_are_stamped_and_belong_to_cells(store: Store) -> None:
    store.append_traces("bf16", "B", [trace("z")])
    table = store.traces(["variant", "benchmark", "problem_id", "sample", "seed"])
    store.write_measure("length.v1", "bf16", "B", table.append_column("n_words", pa.array([3])), "stamp")
    store.write_measure("length.v1", "gone", "B", table.append_column("n_words", pa.array([9])), "stamp")
    assert store.derived_stamp("measures", "length.v1", "bf16", "B") == "stamp"
    assert store.derived_stamp("measures", "length.v2", "bf16", "B") is None
    assert store.measures()["length.v1"].column("n_words").to_pylist() == [3]


def test_two_writers_never_share_a_run(store: Store) -> None:
    with store.writing(), pytest.raises(StoreError, match="another process"), store.writing():
        raise AssertionError("the second writer got in")
    with store.writing():
        pass


def test_fresh_deletes_what_a_run_wrote_and_nothing_else(store: Store) -> None:
    note = store.root / "my-notes.txt"
    note.write_text("keep me", encoding="utf-8")
    store.append_traces("bf16", "B", [trace("z")])
    again = Store.create(store.root, request={"a": 2}, variants=store.variants, baseline="bf16", fresh=True)
    assert again.cells() == [] and note.read_text(encoding="utf-8") == "keep me"


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(StoreError, match="not empty and is not a run folder"):
        Store.create(tmp_path, request={}, variants=[], baseline=None)
    with pytest.raises(StoreError, match=r"no study\.json"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="no runs here"):
        newest_run(tmp_path / "runs")


def test_the_hash_of_a_request_does_not_depend_on_key_order() -> None:
    assert hash_of({"a": 1, "b": [1, 2]}) == hash_of({"b": [1, 2], "a": 1})
    assert hash_of({"a": 1}) != hash_of({"a": 1.5})


def test_the_journal_is_readable_while_it_is_written(store: Store) -> None:
    """Another process may kill this one at any moment: what was added is in the file by then."""
    with store.cell_writer("bf16", "B") as add:
        add(trace("z"))
        (journal,) = (store.root / "traces").rglob("journal.jsonl")
        assert journal.read_text(encoding="utf-8").count("\n") == 1
        add(trace("a"))
    assert sorted(store.trace_keys("bf16", "B")) == [("a", 0, 42), ("z", 0, 42)]
    assert asdict(store.trace_records("bf16", "B")[0]) == asdict(trace("z"))


def test_a_table_of_part_of_a_cell_is_not_given_for_the_whole(store: Store) -> None:
    """The run was stopped after it had generated more and before it scored and measured again."""
    store.append_traces("bf16", "B", [trace("z")])
    keys = store.traces(["variant", "benchmark", "problem_id", "sample", "seed"])
    store.write_measure("length.v1", "bf16", "B", keys.append_column("n_words", pa.array([3])), "s")
    store.write_verdicts("strict", "bf16", "B", [Verdict("bf16", "B", "z", 0, 42, "strict", *RIGHT)], "s")
    assert store.verdicts().num_rows == store.measures()["length.v1"].num_rows == 1
    store.append_traces("bf16", "B", [trace("a")])
    assert store.verdicts().num_rows == 0 and store.measures() == {}


def test_fresh_deletes_nothing_of_a_run_that_is_being_written(store: Store) -> None:
    store.append_traces("bf16", "B", [trace("z")])
    with store.writing(), pytest.raises(StoreError, match="another process"):
        Store.create(store.root, request={"a": 2}, variants=[], baseline=None, fresh=True)
    assert store.trace_count() == 1


def test_a_deletion_that_fails_or_is_cut_short_never_leaves_a_seal(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append_traces("bf16", "B", [trace("z")])
    store.seal("bf16", "B", [("z", 0, 42)])

    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("qrm_forensics.store.shutil.rmtree", refused)
    with pytest.raises(StoreError, match="traces: cannot be deleted"):
        Store.create(store.root, request={"a": 2}, variants=[], baseline=None, fresh=True)
    assert Store(store.root).study["request"] == {"a": 1}
    assert not store.sealed("bf16", "B"), "what is left would be taken for complete"


def test_the_name_of_a_run_is_not_part_of_what_it_is(tmp_path: Path) -> None:
    for name in ("here", "moved"):
        Store.create(tmp_path / "run", request={"a": 1, "name": name}, variants=[], baseline=None)
    with pytest.raises(StoreError, match="different request"):
        Store.create(tmp_path / "run", request={"a": 2, "name": "here"}, variants=[], baseline=None)


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema_version": 1}', "{", '"x"'])
def test_a_foreign_or_damaged_study_file_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match=r"study\.json"):
        _ = Store(tmp_path).variants


def test_a_file_in_place_of_the_run_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x", encoding="utf-8")
    with pytest.raises(StoreError, match="is a file"):
        Store.create(tmp_path / "f", request={}, variants=[], baseline=None)


@pytest.mark.parametrize("line", [b"\0\0\0\0\n", b'{"variant": "bf16"}\n', b'{"\xff": 1}\n', b"[]\n"])
def test_a_damaged_line_of_a_journal_is_named_and_nothing_is_deleted(store: Store, line: bytes) -> None:
    with store.cell_writer("bf16", "B") as add:
        add(trace("z"))
        (journal,) = (store.root / "traces").rglob("journal.jsonl")
        good = journal.read_bytes()
    journal.write_bytes(good + line + good)
    with pytest.raises(StoreError, match=r"journal\.jsonl: line 2 is damaged"):
        store.recover("bf16", "B")
    assert journal.read_bytes() == good + line + good


def test_a_damaged_analysis_is_none_where_it_is_made_again_and_named_where_it_was_measured(store: Store) -> None:
    assert store.analysis("latency", derived=False) is None
    store.write_analysis("latency", {"a": 1}, "stamp")
    assert store.analysis("latency", derived=False) == ("stamp", {"a": 1})
    path = store.root / "analyses" / "latency.json"
    path.write_text(path.read_text("utf-8")[:-5], "utf-8")
    assert store.analysis("latency") is None
    with pytest.raises(StoreError, match=r"latency\.json: is damaged"):
        store.analysis("latency", derived=False)
