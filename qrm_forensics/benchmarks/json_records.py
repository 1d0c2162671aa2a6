"""Files of JSON records: one JSON array or JSON Lines, whatever the suffix says.

Every way in which such a file can be broken is one InputError that names the file,
the record (counted from 0, as ``source_index`` is) and the remedy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from qrm_forensics.errors import InputError

LFS_MARK = b"version https://git-lfs.github.com/spec/v1"
_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class RecordFile:
    """The JSON objects of one file, in order, and the SHA-256 (hex) of its bytes."""

    path: Path
    records: list[dict[str, Any]]
    sha256: str


def stream_records(path: Path) -> Iterator[dict[str, Any]] | None:
    """The objects of a JSON Lines file, one in memory at a time; None for anything else, which ``read_records`` reads.

    Raises InputError as that does, while it is iterated.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(1 << 12).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return _stream(path) if head.startswith(b"{") else None


def _stream(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as handle:
        index = 0
        for number, data in enumerate(handle):
            try:
                line = data.decode("utf-8-sig" if number == 0 else "utf-8").strip(_SPACE)
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}: line {number + 1} is not UTF-8 (byte {error.start} of it); "
                    "download it again, or convert it to UTF-8"
                ) from None
            if not line:
                continue
            # A line without its end is the last one: it may be cut off.
            record, end = _value(path, line, 0, index, last=None if data.endswith(b"\n") else "}")
            if _skip(line, end) != len(line):
                raise InputError(f"{at(path, index)}: more than one value on its line; write one object per line")
            yield _checked(path, record, index)
            index += 1


def at(path: Path, index: int) -> str:
    """How every message names a record."""
    return f"{path}: record {index} (counted from 0)"


def read_records(path: Path) -> RecordFile:
    """Read a JSON array of objects, or one object per line.

    Raises InputError for a file that is missing, empty, a Git LFS pointer, not UTF-8,
    cut off, not JSON, a mixture of the two forms, or holds something else than objects.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    refuse_pointer(path, data)
    text = _decode(path, data).strip(_SPACE)
    if not text:
        raise InputError(f"{path}: is empty; make or download it again")
    if text[0] == "[":
        records = _array(path, text)
    elif text[0] == "{":
        records = _lines(path, text)
    else:
        raise InputError(
            f"{path}: is neither a JSON array nor JSON Lines (it begins with {text[:20]!r}); give a file of JSON records"
        )
    if not records:
        raise InputError(f"{path}: holds no records; make or download it again")
    return RecordFile(path, records, hashlib.sha256(data).hexdigest())


def refuse_pointer(path: Path, data: bytes) -> None:
    """Raise InputError if these first bytes are those of a Git LFS pointer."""
    if data.startswith(LFS_MARK):
        raise InputError(f"{path}: is a Git LFS pointer, not the data; fetch the data with 'git lfs pull'")


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line} is not UTF-8 (byte {error.start} of the file); "
            "download it again, or convert it to UTF-8"
        ) from None


class _DuplicateKey(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise _DuplicateKey(twice)
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _array(path: Path, text: str) -> list[dict[str, Any]]:
    """Record by record, so that a broken one can be named."""
    records: list[dict[str, Any]] = []
    position = _skip(text, 1)
    if text[position : position + 1] == "]":
        return _ended(path, text, position, records)
    while True:
        if position >= len(text):
            raise _cut(path, len(records))
        record, position = _value(path, text, position, len(records), last="]")
        records.append(_checked(path, record, len(records)))
        position = _skip(text, position)
        if text[position : position + 1] == "]":
            return _ended(path, text, position, records)
        if position >= len(text):
            raise _cut(path, len(records))
        if text[position] != ",":
            raise InputError(
                f"{at(path, len(records))}: a comma is missing before it; "
                "a file is either one JSON array or has one object per line, not both"
            )
        position = _skip(text, position + 1)


def _ended(path: Path, text: str, position: int, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if position + 1 != len(text):
        raise InputError(
            f"{at(path, len(records))}: something follows the end of the JSON array; "
            "a file is either one array or has one object per line, so put the records into one of the two"
        )
    return records


def _lines(path: Path, text: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    # Not splitlines(): U+2028 and the like may stand unescaped inside a JSON string.
    lines = [line for line in (line.strip(_SPACE) for line in text.split("\n")) if line]
    for index, line in enumerate(lines):
        record, end = _value(path, line, 0, index, last="}" if index == len(lines) - 1 else None)
        if _skip(line, end) != len(line):
            raise InputError(f"{at(path, index)}: more than one value on its line; write one object per line")
        records.append(_checked(path, record, index))
    return records


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def _value(path: Path, text: str, position: int, index: int, *, last: str | None) -> tuple[Any, int]:
    """One value and where it ends.  ``last`` is what a whole text ends with, null where the file goes on after it."""
    try:
        return _DECODER.raw_decode(text, position)
    except _DuplicateKey as error:
        raise InputError(f"{at(path, index)}: key {str(error)!r} is there twice; remove one") from None
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text) or error.msg.startswith("Unterminated string")
        if last is not None and (at_end or not text.endswith(last)):
            raise _cut(path, index) from None
        _broken(path, index, f"{error.msg} at character {error.pos - position} of it")
    except RecursionError:
        _broken(path, index, "nested too deeply")
    except ValueError as error:  # an integer of thousands of digits
        _broken(path, index, str(error))


def _broken(path: Path, index: int, why: str) -> NoReturn:
    raise InputError(f"{at(path, index)}: is not valid JSON ({why}); repair or download the file again") from None


def _cut(path: Path, index: int) -> InputError:
    return InputError(
        f"{at(path, index)}: the file is cut off here, in or before this record; download or copy it again"
    )


def _checked(path: Path, record: Any, index: int) -> dict[str, Any]:
    if isinstance(record, dict):
        return record
    what = {list: "an array", str: "a string", type(None): "null"}.get(type(record), "a number or truth value")
    raise InputError(f"{at(path, index)}: is {what}, not an object; each record is one JSON object")
