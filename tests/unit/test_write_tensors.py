"""Weights are written in small parts, and are the file that safetensors itself writes."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import torch
from quantize_helpers import save_tiny
from safetensors.torch import save_file

from qrm_forensics.quantize import quantize
from qrm_forensics.recipes import Recipe
from qrm_forensics.weights import content_hash, tensor_entries, write_tensors

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def tensors() -> dict[str, torch.Tensor]:
    """Of every type, of odd sizes, a scalar and an empty one among them, under names that JSON escapes or does not."""
    made = {f"w.{i}": torch.randn(3, 2 * i + 1).to(dtype) for i, dtype in enumerate(FLOATS)}
    made |= {f"a.{i}": torch.arange(2 * i + 5).to(dtype) for i, dtype in enumerate(WHOLE)}
    return made | {
        "a scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        'a "name"\n': torch.ones(1),
        "이름": torch.ones(2),
    }


def test_same_bytes_as_safetensors(tmp_path: Path) -> None:
    given = tensors()
    save_file(given, tmp_path / "theirs", metadata={"format": "pt"})
    write_tensors(tmp_path / "ours", dict(reversed(given.items())), {"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    write_tensors(tmp_path / "copied", tensor_entries(tmp_path / "theirs"), {"format": "pt"})
    assert (tmp_path / "copied").read_bytes() == (tmp_path / "theirs").read_bytes()
    told = {"told": '{"가": "a \\"b\\"\\n"}'}
    for name, metadata in (("none", None), ("told", told)):
        save_file(given, tmp_path / "theirs", metadata=metadata)
        write_tensors(tmp_path / name, given, metadata)
        assert (tmp_path / name).read_bytes() == (tmp_path / "theirs").read_bytes()


def test_rows_of_another_tensor(tmp_path: Path) -> None:
    turned = torch.arange(12.0).reshape(3, 4).T
    write_tensors(tmp_path / "ours", {"w": turned})
    save_file({"w": turned.contiguous()}, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_an_ordinary_error_that_names_the_file() -> None:
    with pytest.raises(OSError, match="No space left") as error:
        write_tensors(Path("/dev/full"), tensors())
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, "/dev/full")


@pytest.mark.parametrize("whole", [True, False])
def test_finished_layers_that_another_process_throws_away(tmp_path: Path, whole: bool) -> None:
    source, out, recipe = save_tiny(tmp_path / "model"), tmp_path / "out", Recipe.parse("rtn-w4g64")
    quantize(source, recipe, tmp_path / "other")

    def end(done: int, total: int) -> None:
        if done == total:  # the other one has ended by now
            shutil.rmtree(tmp_path / "out.partial")
            if whole:
                shutil.copytree(tmp_path / "other", out)

    if whole:
        made = quantize(source, recipe, out, progress=end)
        assert made.content_hash == content_hash(out)
    else:
        with pytest.raises(FileNotFoundError):
            quantize(source, recipe, out, progress=end)
        assert not out.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({"model", "other"} | ({"out"} if whole else set()))
