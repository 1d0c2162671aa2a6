"""Calibration text: both file forms, the two presets, crops and blocks, and bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from quantize_helpers import responses, save_tiny, write_array, write_lines

from qrm_forensics.errors import InputError
from qrm_forensics.quantize import load_calibration


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tokenizer"))


def decoded(tokenizer: Path, ids: np.ndarray) -> str:
    from transformers import PreTrainedTokenizerFast

    return "".join(PreTrainedTokenizerFast.from_pretrained(tokenizer).convert_ids_to_tokens(ids.tolist()))


def test_array_and_lines_give_the_same_tokens(tokenizer: Path, tmp_path: Path) -> None:
    array = write_array(tmp_path / "array.jsonl", responses())
    lines = write_lines(tmp_path / "lines.jsonl", responses())
    a, b = (load_calibration(p, tokenizer, samples=5, length=32) for p in (array, lines))
    assert a.sha256 == b.sha256 and np.array_equal(a.token_ids, b.token_ids)
    assert a.records == 24 and a.arrangement == "crops" and a.token_ids.shape == (5, 32)
    assert load_calibration(array, tokenizer, samples=5, length=32, seed=1).sha256 != a.sha256


def test_fixed_takes_the_whole_response_and_paper_code_one_character(tokenizer: Path, tmp_path: Path) -> None:
    records = [
        {"full_prompt": "<bos>Ask.\n", "generated_text": "Think. Done."},
        {"full_prompt": "<bos>B?\n", "generated_text": "Yes."},
    ]
    file = write_array(tmp_path / "r.jsonl", records)
    fixed = load_calibration(file, tokenizer, samples=4, length=999)
    assert decoded(tokenizer, fixed.token_ids[0]) == "<bos>Ask.\nThink. Done.\n\n<bos>B?\nYes.\n\n"
    bug = load_calibration(file, tokenizer, preset="paper-code", samples=4, length=999)
    assert decoded(tokenizer, bug.token_ids[0]) == "<bos>Ask.\nT\n\n<bos>B?\nY\n\n"


def test_begin_token_does_not_come_twice(tokenizer: Path, tmp_path: Path) -> None:
    file = write_array(tmp_path / "r.jsonl", responses(records=3))
    ids = load_calibration(file, tokenizer, samples=1, length=9999).token_ids[0]
    assert (ids == 0).sum() == 3 and not ((ids[:-1] == 0) & (ids[1:] == 0)).any()


def test_short_text_is_cut_into_blocks_and_says_so(tokenizer: Path, tmp_path: Path) -> None:
    file = write_array(tmp_path / "r.jsonl", responses(records=2))
    whole = load_calibration(file, tokenizer, samples=1, length=9999)
    made = load_calibration(file, tokenizer, samples=1000, length=100)
    assert made.arrangement == "blocks"
    assert np.array_equal(made.token_ids.ravel(), whole.token_ids[0][: made.token_ids.size])
    told = made.summary()
    assert told["samples"] == whole.text_tokens // 100 < told["requested_samples"] == 1000
    assert whole.summary()["length"] == whole.text_tokens < whole.requested_length
    crops = load_calibration(file, tokenizer, preset="paper-code", samples=50, length=20)
    assert crops.arrangement == "crops" and crops.token_ids.shape == (50, 20)


def test_unescaped_line_separator_does_not_end_a_record(tokenizer: Path, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "r.jsonl", [{"full_prompt": "a", "generated_text": "b\u2028c"}])
    assert load_calibration(file, tokenizer).records == 1


def test_lone_surrogate_is_survived(tokenizer: Path, tmp_path: Path) -> None:
    file = write_array(tmp_path / "r.jsonl", [{"full_prompt": "a", "generated_text": "b\ud800c"}])
    assert load_calibration(file, tokenizer).text_tokens == 6  # a b ? c and two line ends


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"full_prompt": "a", "generated_text": "b"}', "cut off"),
        ('{"full_prompt": "a", "generated_text": "b"}\n{"full_', "line 2"),
        ('[{"full_prompt": "a", "generated_text": "b"}, {"full_prompt": "a"}]', "record 1: generated_text"),
        ('{"full_prompt": "a", "generated_text": ["b"]}', "line 1: generated_text should be a string, got list"),
        ("[]", "no records"),
        ("", "no records"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_bad_files_are_named(tokenizer: Path, tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_calibration(file, tokenizer)
    assert "bad.jsonl" in str(caught.value) and "\n" not in str(caught.value)


def test_other_bad_input(tokenizer: Path, tmp_path: Path) -> None:
    file = write_array(tmp_path / "r.jsonl", [{"full_prompt": "a", "generated_text": ""}])
    with pytest.raises(InputError, match="no first character"):
        load_calibration(file, tokenizer, preset="paper-code")
    with pytest.raises(InputError, match="paper-text"):
        load_calibration(file, tokenizer, preset="paper-text")
    with pytest.raises(InputError, match="no tokenizer"):
        load_calibration(file, tmp_path)
    with pytest.raises(InputError, match=r"nothere\.jsonl"):
        load_calibration(tmp_path / "nothere.jsonl", tokenizer)
    with pytest.raises(InputError, match="samples"):
        load_calibration(file, tokenizer, samples=0)
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        load_calibration(tmp_path / "latin", tokenizer)
