"""Reading and writing Hugging Face checkpoint folders with safetensors weights.

Headers and hashes are read without torch, so that a checkpoint can be checked and
compared where only the core package is installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MANIFEST = "recipe.json"
#: What a model needs beside its weights to run as it was quantized (:mod:`qrm_forensics.runtime.spec`).
RUNTIME_FILES = ("runtime.json", "runtime.tensors")
INDEX = "model.safetensors.index.json"
#: Everything beside the weights that a loader, a tokenizer or a lawyer reads.
_SIDE_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".tiktoken"}
_SIDE_NAMES = ("LICENSE", "NOTICE")
_WEIGHT_SUFFIXES = {".safetensors", ".bin", ".gguf"}
_CHUNK = 1 << 22
#: Element types as safetensors and torch call them, in the order of safetensors' own writer, which puts the last ones first in a file.
_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies: file, absolute byte range, dtype as safetensors calls it (``BF16``), shape."""

    file: Path
    start: int
    stop: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint folder whose headers were read; no weight is in memory."""

    folder: Path
    config: dict[str, Any]
    entries: dict[str, TensorEntry]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.entries.items()}

    def dtype(self, name: str) -> torch.dtype:
        """How a tensor is stored, as torch calls it."""
        from safetensors import safe_open

        with safe_open(self.entries[name].file, framework="pt") as file:
            found: torch.dtype = file.get_slice(name)[:0].dtype
        return found

    def tensor(self, name: str) -> Tensor:
        """One tensor on the CPU, in its stored dtype."""
        from safetensors import safe_open

        with safe_open(self.entries[name].file, framework="pt") as file:
            return file.get_tensor(name)


def read_json(path: Path) -> Any:
    """The value in a JSON file; InputError that names file and line where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error})") from error


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read ``config.json`` and all tensor headers of ``folder``; raises InputError that names what is missing."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such checkpoint folder")
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'config.json'}: is not a JSON object")
    entries: dict[str, TensorEntry] = {}
    for file in weight_files(folder):
        for name, entry in _header(file):
            if name in entries:
                raise InputError(f"{file}: holds the tensor {name}, which {entries[name].file.name} holds as well")
            entries[name] = entry
    return Checkpoint(folder, config, entries)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint: those its index names, else ``model.safetensors``, else all there are."""
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX)
        files = sorted({folder / Path(name).name for name in index.get("weight_map", {}).values()})
        lost = [file.name for file in files if not file.is_file()]
        if lost:
            raise InputError(f"{folder / INDEX}: names {lost[0]}, which is not there; the download is not complete")
    elif (folder / "model.safetensors").is_file():
        files = [folder / "model.safetensors"]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(
            f"{folder}: has no *.safetensors weights; other formats are not read, convert with "
            "save_pretrained(..., safe_serialization=True)"
        )
    return files


def _header(file: Path) -> Iterator[tuple[str, TensorEntry]]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        first = stream.read(8)
        if first == b"version ":
            raise InputError(f"{file}: is a Git LFS pointer, not the weights; run: git lfs pull")
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > size - 8:
            raise InputError(f"{file}: is not a whole safetensors file ({size} bytes); fetch it again")
        try:
            header = json.loads(stream.read(length))
            entries = [
                (name, TensorEntry(file, 8 + length + start, 8 + length + stop, field["dtype"], tuple(field["shape"])))
                for name, field in header.items()
                if name != "__metadata__"
                for start, stop in [field["data_offsets"]]
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{file}: its safetensors header cannot be read ({error})") from error
    for name, entry in entries:
        if entry.stop > size:
            raise InputError(f"{file}: ends before the tensor {name} does; fetch it again")
        yield name, entry


def disk_bytes(folder: Path) -> int | None:
    """Bytes of the files that hold the weights, in whatever format; None where there are none, or no such folder."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sum(file.stat().st_size for file in files if file.suffix in _WEIGHT_SUFFIXES) or None


def tensor_entries(file: Path) -> dict[str, TensorEntry]:
    """Where the tensors of one safetensors file lie, by name; raises InputError where the file is not whole."""
    return dict(_header(file))


def content_hash(folder: Path) -> str:
    """What a checkpoint computes with: :func:`weights_hash`, and where it has one its runtime description too."""
    weights = weights_hash(folder)
    files = [folder / name for name in RUNTIME_FILES if (folder / name).is_file()]
    if not files:
        return weights
    digest = hashlib.sha256(weights.encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def weights_hash(folder: Path) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all tensors, sorted by name.

    It does not depend on how the tensors are spread over files, nor on any other file.
    """
    entries: dict[str, TensorEntry] = {}
    for file in weight_files(folder):
        entries.update(_header(file))
    digest = hashlib.sha256()
    for name, entry in sorted(entries.items()):
        digest.update(json.dumps([name, entry.dtype, entry.shape], ensure_ascii=True).encode())
        for part in _parts(name, entry):
            digest.update(part)
    return digest.hexdigest()


def _parts(name: str, entry: TensorEntry) -> Iterator[bytes]:
    """The bytes of a tensor, some megabytes at a time."""
    with entry.file.open("rb") as stream:
        stream.seek(entry.start)
        left = entry.stop - entry.start
        while left:
            part = stream.read(min(left, _CHUNK))
            if not part:
                raise InputError(f"{entry.file}: ends before the tensor {name} does; fetch it again")
            yield part
            left -= len(part)


def write_tensors(
    file: Path, tensors: Mapping[str, Tensor | TensorEntry], metadata: Mapping[str, str] | None = None
) -> None:
    """Write the file that ``save_file`` of safetensors writes of these tensors, byte by byte, without having them in memory at once.

    What is given by its place in another file is copied from there in small parts.  Raises OSError that names ``file``, as safetensors
    itself does not, where it cannot be written.
    """

    def code(tensor: Tensor | TensorEntry) -> str:
        return tensor.dtype if isinstance(tensor, TensorEntry) else _CODES[str(tensor.dtype).removeprefix("torch.")]

    rank = {name: -place for place, name in enumerate(_DTYPES)}
    # a type that is not listed (of fewer than eight bits) goes last
    ordered = sorted(tensors.items(), key=lambda item: (rank.get(code(item[1]), 1), item[0]))
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    start = 0
    for name, tensor in ordered:
        bytes_ = tensor.stop - tensor.start if isinstance(tensor, TensorEntry) else tensor.nbytes
        offsets = [start, start + bytes_]
        header[name] = {"dtype": code(tensor), "shape": list(tensor.shape), "data_offsets": offsets}
        start += bytes_
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    try:
        with file.open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            for name, tensor in ordered:
                for part in _parts(name, tensor) if isinstance(tensor, TensorEntry) else [_bytes_of(tensor)]:
                    stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:  # a place in another file may be what is gone, which its own error says
        raise OSError(error.errno, error.strerror, error.filename or str(file)) from error


_CODES = {name: code for code, name in _DTYPES.items()}


def _bytes_of(tensor: Tensor) -> Any:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def side_files(folder: Path) -> list[Path]:
    """Configuration, tokenizer, chat template and licence files of a checkpoint, sorted."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file()
        and path.name not in (MANIFEST, *RUNTIME_FILES)
        and not path.name.endswith(".index.json")
        and (path.suffix in _SIDE_SUFFIXES or path.name.startswith(_SIDE_NAMES))
    )


def side_files_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in side_files(folder):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def write_checkpoint(
    source: Checkpoint,
    changed: Mapping[str, Tensor | TensorEntry],
    out: Path,
    dtype: str | None = None,
    *,
    added: Mapping[str, Tensor] | None = None,
    config: Mapping[str, Any] | None = None,
    instead: Mapping[str, Mapping[str, Tensor | TensorEntry]] | None = None,
) -> None:
    """Write ``source`` with some tensors replaced into the empty folder ``out``, in the same files.

    Everything that is not in ``changed`` is bit-identical.  Tensors may be given by their place in a file.  ``added`` are tensors that the source does not have; they go
    into its first file.  ``instead``: by the name of a tensor of the source, those that take its place.  ``config``: entries of ``config.json`` to set.  ``dtype``: what it shall say
    the weights are; None leaves it alone.
    """
    files = sorted({entry.file for entry in source.entries.values()})
    more = dict(added or {})
    swapped = {} if instead is None else instead
    weight_map: dict[str, str] = {}
    size = 0
    for file in files:
        names = {name for name, entry in source.entries.items() if entry.file == file}
        if names.isdisjoint(changed) and names.isdisjoint(swapped) and not more:
            shutil.copyfile(file, out / file.name)
        else:
            tensors: dict[str, Tensor | TensorEntry] = dict(more)
            for name in names:
                tensors |= swapped.get(name, {name: changed.get(name, source.entries[name])})
            write_tensors(out / file.name, tensors, {"format": "pt"})
        more = {}
        written = dict(_header(out / file.name))
        weight_map |= dict.fromkeys(written, file.name)
        size += sum(entry.stop - entry.start for entry in written.values())
    if (source.folder / INDEX).is_file():
        index = read_json(source.folder / INDEX)
        index.setdefault("metadata", {})["total_size"] = size
        index["weight_map"] = dict(sorted(weight_map.items()))
        (out / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for path in side_files(source.folder):
        shutil.copyfile(path, out / path.name)
    if dtype is not None or config:
        entries = source.config | dict(config or {})
        if dtype is not None:
            # transformers 4 reads only torch_dtype, and 5 still reads it
            entries = {key: value for key, value in entries.items() if key not in ("dtype", "torch_dtype")}
            entries["torch_dtype"] = dtype
        text = json.dumps(entries, indent=2, ensure_ascii=False)
        (out / "config.json").write_text(text + "\n", encoding="utf-8")
    for file in files:
        # safetensors writes files that only their owner can read
        shutil.copymode(out / "config.json", out / file.name)
