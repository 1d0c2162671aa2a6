"""Corpora in the layouts of the paper's repository, and the rules by which windows are cut from them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quantize_helpers import responses, save_tiny, write_lines

from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.quantize import load_calibration
from qrm_forensics.quantize.calibration import calibration_files, calibration_for, paper_rule
from qrm_forensics.quantize.corpora import read_problems
from qrm_forensics.study import CalibrationSpec, load_study

#: Of different lengths, each told by its letter; the tokenizer puts its begin token in front.
DOCUMENTS = [letter * (5 + 7 * i) for i, letter in enumerate("abcdefghij")]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


def decoded(tokenizer: Path, ids: np.ndarray) -> str:
    from transformers import PreTrainedTokenizerFast

    return "".join(PreTrainedTokenizerFast.from_pretrained(tokenizer).convert_ids_to_tokens(ids.ravel().tolist()))


@pytest.fixture
def datasets(tmp_path: Path, tokenizer: Path) -> Path:
    """A small ``datasets/`` folder as the paper's README describes it."""
    folder = tmp_path / "datasets"
    wiki = folder / "wikitext" / "wikitext-2-raw-v1"
    wiki.mkdir(parents=True)
    for split, text in (("train", "Train line"), ("test", "Test line")):
        rows = [f"{text} {i}.\n" for i in range(30)]
        pq.write_table(pa.table({"text": rows}), wiki / f"{split}-00000-of-00001.parquet")
    pile = folder / "pile-val-backup"
    pile.mkdir()
    lines = write_lines(tmp_path / "val.jsonl", [{"text": f" {d}\n", "meta": {}} for d in DOCUMENTS])
    (pile / "val.jsonl.zst").write_bytes(pa.compress(lines.read_bytes(), codec="zstd", asbytes=True))
    own = folder / "gen_data" / tokenizer.name
    own.mkdir(parents=True)
    write_lines(own / "NuminaMath-1.5.jsonl", responses(records=4))
    numina = folder / "NuminaMath-1.5" / "data"
    numina.mkdir(parents=True)
    pq.write_table(
        pa.table({"problem": ["1+1?", "2+2?"], "answer": ["2", None]}), numina / "train-00000-of-00001.parquet"
    )
    return folder


def test_wikitext_is_one_text_with_an_empty_line_between_rows(tokenizer: Path, datasets: Path) -> None:
    train = load_calibration(datasets, tokenizer, corpus="wikitext2", samples=1, length=9999)
    text = decoded(tokenizer, train.token_ids)
    assert text.startswith("<bos>Train line 0.\n\n\nTrain line 1.\n\n\n") and text.count("<bos>") == 1
    assert train.records == 1
    test = load_calibration(datasets / "wikitext", tokenizer, corpus="wikitext2-test", samples=1, length=9999)
    assert "Test line 29." in decoded(tokenizer, test.token_ids)
    raw = datasets / "wikitext" / "wiki.train.raw"
    raw.write_text("".join(f"Train line {i}.\n" for i in range(30)), encoding="utf-8")
    assert load_calibration(raw, tokenizer, corpus="wikitext2", samples=1, length=9999).sha256 == train.sha256


def shuffled(tokens: int | None = None) -> list[str]:
    """The documents in the order in which the package ``datasets`` shuffles with the paper's seed, short ones only."""
    order = np.random.default_rng(42).permutation(len(DOCUMENTS)).tolist()
    return [DOCUMENTS[i] for i in order if tokens is None or len(DOCUMENTS[i]) + 1 <= tokens]


def test_awq_skips_long_documents_and_cuts_the_others_into_blocks(tokenizer: Path, datasets: Path) -> None:
    made = load_calibration(datasets, tokenizer, corpus="pile-val", samples=4, length=30, arrangement="short-documents")
    expected = "".join(f"<bos>{d}" for d in shuffled(30)[:4])
    text = decoded(tokenizer, made.token_ids)
    assert expected.startswith(text)
    assert made.records == 4 and made.arrangement == "blocks" and made.token_ids.shape[1] == 30
    # fewer blocks than documents: that is what the paper's code does
    assert made.token_ids.shape[0] == sum(len(d) + 1 for d in shuffled(30)[:4]) // 30 < 4
    with pytest.raises(InputError, match="no document of at most 3 tokens"):
        load_calibration(datasets, tokenizer, corpus="pile-val", samples=4, length=3, arrangement="short-documents")


def test_kvquant_truncates_documents(tokenizer: Path, datasets: Path) -> None:
    made = load_calibration(
        datasets, tokenizer, corpus="pile-val", samples=6, length=20, arrangement="truncated-documents"
    )
    expected = "".join(f"<bos>{d[:19]}" for d in shuffled()[:6])
    assert expected.startswith(decoded(tokenizer, made.token_ids)) and made.records == 6
    assert made.token_ids.size > len(expected.replace("<bos>", "#")) - 20


def test_blocks_are_as_many_as_asked_for_and_crops_always(tokenizer: Path, datasets: Path) -> None:
    blocks = load_calibration(datasets, tokenizer, corpus="wikitext2", samples=3, length=16, arrangement="blocks")
    assert blocks.token_ids.shape == (3, 16)
    assert decoded(tokenizer, blocks.token_ids).startswith("<bos>Train line 0.")
    crops = load_calibration(datasets, tokenizer, corpus="wikitext2", samples=90, length=16, arrangement="crops")
    assert crops.arrangement == "crops" and crops.token_ids.shape == (90, 16)


def test_summary_says_what_was_read(tokenizer: Path, datasets: Path) -> None:
    made = load_calibration(datasets, tokenizer, corpus="pile-val", samples=4, length=30, arrangement="short-documents")
    told = made.summary()
    assert (told["corpus"], told["requested_arrangement"], told["file"]) == (
        "pile-val",
        "short-documents",
        "val.jsonl.zst",
    )
    raw = (datasets / "pile-val-backup" / "val.jsonl.zst").read_bytes()
    assert told["file_sha256"] == hashlib.sha256(raw).hexdigest()
    ids = made.token_ids
    assert (
        told["token_sha256"] == hashlib.sha256(f"{ids.shape[0]}x{ids.shape[1]}:".encode() + ids.tobytes()).hexdigest()
    )


def test_files_with_a_chosen_field(tokenizer: Path, tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "a.jsonl", [{"body": d} for d in DOCUMENTS])
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": DOCUMENTS}), table)
    both = [
        load_calibration(p, tokenizer, corpus="file", field="body", samples=2, length=16).sha256 for p in (lines, table)
    ]
    assert both[0] == both[1]
    plain = tmp_path / "a.txt"
    plain.write_text("Some text.", encoding="utf-8")
    made = load_calibration(plain, tokenizer, corpus="file", samples=1, length=99)
    assert decoded(tokenizer, made.token_ids) == "<bos>Some text."
    with pytest.raises(InputError, match=r"line 1: text should be a string"):
        load_calibration(lines, tokenizer, corpus="file")
    with pytest.raises(InputError, match=r"no column 'text'; it has body"):
        load_calibration(table, tokenizer, corpus="file")
    with pytest.raises(InputError, match="is a folder"):
        load_calibration(tmp_path, tokenizer, corpus="file")


def test_what_is_not_there_is_named(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no pile-val in it; expected for example .*pile-val-backup/val\.jsonl\.zst"):
        load_calibration(tmp_path, tokenizer, corpus="pile-val")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EnvironmentMissing, match="pip install datasets, or give the path of a local copy"):
        load_calibration(None, tokenizer, corpus="wikitext2")
    with pytest.raises(InputError, match="gen-calib"):
        load_calibration(None, tokenizer)


def test_hub_rows_are_used_as_local_ones(tokenizer: Path, datasets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    asked = []

    def load_dataset(*arguments: object, split: str) -> dict[str, list[str]]:
        asked.append((*arguments, split))
        return {"text": [f"Train line {i}.\n" for i in range(30)]}

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    hub = load_calibration(None, tokenizer, corpus="wikitext2", samples=2, length=32)
    assert asked == [("Salesforce/wikitext", "wikitext-2-raw-v1", "train")] and hub.file_sha256 is None
    assert hub.sha256 == load_calibration(datasets, tokenizer, corpus="wikitext2", samples=2, length=32).sha256


def test_arrangement_paper_follows_the_method(tokenizer: Path, datasets: Path) -> None:
    spec = CalibrationSpec(path=str(datasets), arrangement="paper")
    awq = calibration_for(spec, datasets, tokenizer, "awq")
    assert (awq.corpus, awq.requested_arrangement, awq.requested_length) == ("pile-val", "short-documents", 512)
    gptq = calibration_for(spec, datasets, tokenizer, "gptq", "paper-code")
    assert (gptq.corpus, gptq.requested_samples, gptq.first_characters_only) == ("responses", 128, True)
    assert [f.name for f in calibration_files(spec, tokenizer, "gptq")] == ["NuminaMath-1.5.jsonl"]
    assert [f.name for f in calibration_files(spec, tokenizer, "awq")] == ["val.jsonl.zst"]
    assert paper_rule("flatquant", hidden=1536).length == 4096 and paper_rule("flatquant", hidden=4096).length == 2048
    assert paper_rule("kvquant_star").samples == 512 and paper_rule("kvquant_star", "paper-text").samples == 128
    with pytest.raises(InputError, match="rtn"):
        paper_rule("rtn")


def test_presets_leave_other_corpora_whole(tokenizer: Path, datasets: Path) -> None:
    a, b = (
        load_calibration(datasets, tokenizer, corpus="pile-val", preset=preset, samples=2, length=16)
        for preset in ("fixed", "paper-code")
    )
    assert a.sha256 == b.sha256 and not b.first_characters_only


def test_problems_need_no_answer(datasets: Path, tmp_path: Path) -> None:
    assert read_problems(datasets) == read_problems(datasets / "NuminaMath-1.5") == ["1+1?", "2+2?"]
    assert read_problems(write_lines(tmp_path / "q.jsonl", [{"question": "Why?"}])) == ["Why?"]
    with pytest.raises(InputError, match=r"NuminaMath-1\.5"):
        read_problems(tmp_path / "datasets" / "wikitext")


def test_study_keys_and_old_studies(tmp_path: Path) -> None:
    base = "name: s\nmodels: [builtin]\nrecipes: [bf16]\nbenchmarks: [{name: builtin}]\n"
    file = tmp_path / "s.yaml"
    file.write_text(base + "calibration: {samples: 8, length: 64}\n", encoding="utf-8")
    # as it was before there were corpora: runs that were begun then have this in their request
    assert load_study(file).calibration.model_dump() == {"path": None, "samples": 8, "length": 64}
    file.write_text(base + "calibration: {corpus: pile-val, path: d, arrangement: short-documents}\n", encoding="utf-8")
    assert load_study(file).calibration.model_dump(mode="json")["corpus"] == "pile-val"
    for wrong, message in (
        ("{corpus: file}", "needs a path"),
        ("{arrangement: paper}", "folder"),
        ("{arrangement: paper, corpus: pile-val, path: d}", "leave corpus out"),
        ("{corpus: pile}", "pile-val"),
        ("{corpsu: file}", "did you mean 'calibration.corpus'|did you mean 'corpus'"),
    ):
        file.write_text(f"{base}calibration: {wrong}\n", encoding="utf-8")
        with pytest.raises(InputError, match=message):
            load_study(file)
