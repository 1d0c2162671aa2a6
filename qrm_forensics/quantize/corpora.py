"""Texts to calibrate on: files, the folders that the paper's repository keeps its data sets in, and the hub.

A corpus is a list of documents.  What they are called, and where they lie under ``datasets/``:

============= ==================================================== =======================================
corpus        folder layout                                        documents
============= ==================================================== =======================================
responses     ``gen_data/<model>/NuminaMath-1.5.jsonl``            one per response of the model itself
wikitext2     ``wikitext/wikitext-2-raw-v1/train-*.parquet``       one: all lines, an empty line between
wikitext2-test the same, ``test-*.parquet``                        one
pile-val      ``pile-val-backup/val.jsonl.zst``                    one per line
file          any ``.jsonl``, ``.json``, ``.parquet``, ``.txt``    one per record (field), or per text file
============= ==================================================== =======================================
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrm_forensics.benchmarks.rows import sha256_of
from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.study import Corpus

#: Put between the lines of WikiText-2, and behind every response.
SEPARATOR = "\n\n"
#: (folder, patterns inside of it, first that matches counts).
_PLACES: dict[str, tuple[str, tuple[str, ...]]] = {
    "wikitext2": ("wikitext", ("wikitext-2-raw-v1/train-*.parquet", "wiki.train.raw", "train.txt")),
    "wikitext2-test": ("wikitext", ("wikitext-2-raw-v1/test-*.parquet", "wiki.test.raw", "test.txt")),
    "pile-val": ("pile-val-backup", ("val.jsonl.zst", "val.jsonl", "*.parquet", "data/*.parquet")),
}
#: (data set, configuration, split) on the hub.
_HUB: dict[str, tuple[str, str | None, str]] = {
    "wikitext2": ("Salesforce/wikitext", "wikitext-2-raw-v1", "train"),
    "wikitext2-test": ("Salesforce/wikitext", "wikitext-2-raw-v1", "test"),
    "pile-val": ("mit-han-lab/pile-val-backup", None, "validation"),
}
#: The data set whose problems the paper has every model answer for its own calibration text.
PROBLEMS_FOLDER = "NuminaMath-1.5"


@dataclass(frozen=True, slots=True)
class Documents:
    """``texts`` in the order of the corpus.  ``templated``: they hold the model's special tokens already.

    ``shuffled``: which ones are taken is drawn, as there are many that have nothing to do with each other.  ``file`` is what is said of where
    they are from, ``sha256`` of the bytes that were read (None: from the hub).
    """

    texts: list[str]
    templated: bool
    shuffled: bool
    file: str
    sha256: str | None


def locate(corpus: Corpus, path: Path, model: str) -> list[Path]:
    """The files of a corpus: ``path`` itself, or what lies under it in the layout of the paper's repository.

    ``path`` may be the ``datasets`` folder or the data set's own folder; ``model`` is the folder name of the model (for
    responses).  Raises InputError that says where it looked.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    if corpus == "file":
        raise InputError(f"{path}: is a folder; the corpus 'file' is one .jsonl, .json, .parquet or .txt file")
    if corpus == "responses":
        name = f"{PROBLEMS_FOLDER}.jsonl"
        tried = [path / "gen_data" / model / name, path / model / name, path / name]
    else:
        folder, patterns = _PLACES[corpus]
        tried = [base / pattern for pattern in patterns for base in (path / folder, path)]
    for place in tried:
        base = path
        found = sorted(base.glob(str(place.relative_to(path))))
        if found:
            return found
    raise InputError(f"{path}: no {corpus} in it; expected for example {tried[0]}")


def read_documents(corpus: Corpus, path: Path | None, *, field: str | None = None, model: str = "") -> Documents:
    """The documents of ``corpus`` (not of ``responses``, which have two fields, see calibration).

    ``path`` None: from the hub, by the ``datasets`` package.  ``field``: the column that holds the text (default
    ``text``).  Raises InputError for files that cannot be read and records without that field.
    """
    column = field or "text"
    if path is None:
        rows, name, digest = _from_hub(corpus, column), _HUB[corpus][0] if corpus in _HUB else "", None
    else:
        files = locate(corpus, path, model)
        rows = [text for file in files for text in _texts(file, column)]
        name, digest = ", ".join(file.name for file in files), sha256_of(files)
    if not rows:
        raise InputError(f"{path or name}: holds no records")
    joined = corpus in ("wikitext2", "wikitext2-test")
    texts = [SEPARATOR.join(rows)] if joined else rows
    return Documents(texts, templated=False, shuffled=not joined, file=name, sha256=digest)


def read_problems(path: Path) -> list[str]:
    """The questions of a problem file (``problem`` or ``question``), or of NuminaMath-1.5 in a folder of data sets.

    Answers are not needed.  Raises InputError for what cannot be read, and where there are none.
    """
    files = [path]
    if path.is_dir():
        folder = PROBLEMS_FOLDER
        tried = [f"{folder}/data/train-*.parquet", f"{folder}/*.jsonl", "data/train-*.parquet", "train-*.parquet"]
        files = next((found for pattern in tried if (found := sorted(path.glob(pattern)))), [])
        if not files:
            raise InputError(f"{path}: no {folder} in it; expected for example {path / tried[0]}")
    elif not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    texts: list[str] = []
    for file in files:
        try:
            texts += _texts(file, "problem")
        except InputError:
            texts += _texts(file, "question")
    if not texts:
        raise InputError(f"{path}: holds no problems")
    return texts


def _from_hub(corpus: str, column: str) -> list[str]:
    if corpus not in _HUB:
        raise InputError(f"calibration: the corpus {corpus!r} needs a path")
    name, configuration, split = _HUB[corpus]
    try:
        load_dataset = importlib.import_module("datasets").load_dataset
    except ImportError as error:
        raise EnvironmentMissing(
            f"{name}: reading a data set from the hub needs the package 'datasets', which is not installed; install it with "
            f"pip install datasets, or give the path of a local copy"
        ) from error
    try:
        rows = load_dataset(name, configuration, split=split)
        return [str(row) for row in rows[column]]
    except Exception as error:  # the package raises errors of half a dozen libraries
        first = str(error).strip().partition("\n")[0]
        raise InputError(f"{name}: cannot be read from the hub ({first}); give the path of a local copy") from error


def _texts(file: Path, column: str) -> Iterator[str]:
    """The documents of one file, by what its name ends in."""
    suffixes = [s for s in file.suffixes if s not in (".zst", ".gz")]
    kind = suffixes[-1] if suffixes else ""
    if kind == ".parquet":
        yield from _parquet(file, column)
        return
    text = read_text(file)
    if kind not in (".jsonl", ".json"):
        if file.name.startswith("wiki."):  # as the hub's rows: lines with their ends, empty ones without
            yield from (row if row.strip() else "" for row in io.StringIO(text))
        elif text.strip():
            yield text
        return
    for where, record in json_records(text, file):
        yield text_of(record, column, file, where)


def _parquet(file: Path, column: str) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file}: cannot be read as parquet ({str(error).splitlines()[0]})") from error
    if column not in table.column_names:
        raise InputError(f"{file}: has no column {column!r}; it has {', '.join(table.column_names)}")
    values: list[Any] = table.column(column).to_pylist()
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(f"{file}: row {index}: {column} should be a string, got {type(value).__name__}")
    return values


def read_text(file: Path) -> str:
    """A UTF-8 text file, unpacked where its name ends in ``.zst`` or ``.gz``."""
    try:
        if file.suffix in (".zst", ".gz"):
            import pyarrow as pa

            with pa.input_stream(str(file), compression="zstd" if file.suffix == ".zst" else "gzip") as stream:
                data = bytes(stream.read())
        else:
            data = file.read_bytes()
        text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read()
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    if text.startswith("version https://git-lfs"):
        raise InputError(f"{file}: is a Git LFS pointer, not the text; run: git lfs pull")
    return text


def json_records(text: str, file: Path) -> list[tuple[str, Any]]:
    """(where, record) of a JSON array or JSON Lines, whatever the file is called."""
    if text.lstrip().startswith("["):
        return [(f"record {i}", record) for i, record in enumerate(_parse(text, file, "the array"))]
    # Only "\n" ends a line of JSON Lines: the text may hold U+2028 and the like unescaped.
    lines = enumerate(text.split("\n"), 1)
    return [(f"line {n}", _parse(line, file, f"line {n}")) for n, line in lines if line.strip()]


def text_of(record: Any, key: str, file: Path, where: str) -> str:
    """A string field of a record; raises InputError that names file, record and field."""
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise InputError(f"{file}: {where}: {key} should be a string, got {type(value).__name__}")
    return value


def _parse(text: str, file: Path, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: {where} is not JSON, the file may be cut off ({error})") from error
