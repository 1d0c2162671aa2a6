"""LiveCodeBench's files: ``test.jsonl``, ``test2.jsonl``, ... of ``code_generation_lite``.

One problem per line.  ``public_test_cases`` is JSON; ``private_test_cases`` is JSON, or
base64 of zlib of a pickle of a JSON string.  A pickle is a program, so it is not
unpickled: its instructions are listed, and anything but one string is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qrm_forensics.benchmarks.code_tests import CodeTests, inflate
from qrm_forensics.benchmarks.json_records import at, refuse_pointer
from qrm_forensics.errors import InputError

#: Releases of the data set: release_v5 is its first five files, v4_v5 the fourth and fifth.
LATEST_RELEASE: Final = 6

_SUBSET = re.compile(r"release_(?:v(?P<upto>\d)|latest)|v(?P<first>\d)(?:_v(?P<last>\d))?")

#: What pickles of one string are made of: its opcodes in the protocols 0 to 5.
_STRING_CODES: Final = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_PLAIN_CODES: Final = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}


@dataclass(frozen=True, slots=True)
class CodeProblem:
    """One problem as LiveCodeBench states it.

    ``starter_code`` is None where a program reads standard input.  ``date`` (of the
    contest, ISO 8601) decides whether a model may have seen the problem.
    """

    id: str
    title: str
    question: str
    starter_code: str | None
    platform: str | None
    difficulty: str | None
    date: str | None
    tests: CodeTests


def files_of(folder: Path, subset: str) -> list[Path]:
    """The files of a subset such as ``v4_v5`` (the paper's), ``v6``, ``release_v5`` or ``release_latest``.

    Raises InputError for an unknown subset and for files that are not there.
    """
    match = _SUBSET.fullmatch(subset)
    if match is None:
        raise InputError(f"subset {subset!r}: expected release_v1 to release_v{LATEST_RELEASE}, v5, or v4_v5")
    if match["first"]:
        first, last = int(match["first"]), int(match["last"] or match["first"])
    else:
        first, last = 1, int(match["upto"] or LATEST_RELEASE)
    if not 1 <= first <= last <= LATEST_RELEASE:
        raise InputError(f"subset {subset!r}: there are the versions 1 to {LATEST_RELEASE}, in ascending order")
    files = [folder / f"test{'' if number == 1 else number}.jsonl" for number in range(first, last + 1)]
    lost = [file.name for file in files if not file.is_file()]
    if lost:
        raise InputError(
            f"{folder}: {', '.join(lost)} of subset {subset} is not there; download LiveCodeBench's "
            "code_generation_lite into this folder"
        )
    return files


def read_problems(path: Path) -> Iterator[CodeProblem]:
    """The problems of one file, one at a time: a file has a gigabyte.  Raises InputError that names file and record."""
    seen: set[str] = set()
    for index, record in enumerate(_records(path)):
        problem = _problem(record, at(path, index))
        if problem.id in seen:
            raise InputError(f"{at(path, index)}: question_id {problem.id!r} is there twice; download the file again")
        seen.add(problem.id)
        yield problem
    if not seen:
        raise InputError(f"{path}: holds no records; download it again")


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as handle:
            for index, line in enumerate(line for line in handle if line.strip()):
                if index == 0:
                    refuse_pointer(path, line)
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InputError(
                        f"{at(path, index)}: is not valid JSON ({error}); download the file again"
                    ) from None
                if not isinstance(record, dict):
                    raise InputError(f"{at(path, index)}: is not an object; each line is one JSON object")
                yield record
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _problem(record: dict[str, Any], where: str) -> CodeProblem:
    cases = _cases(_text(record, "public_test_cases", where), "public_test_cases", where)
    hidden = record.get("private_test_cases")
    if hidden:
        cases += decode_private(_text(record, "private_test_cases", where), where)
    metadata = _json(_text(record, "metadata", where), f"{where}: 'metadata'") if record.get("metadata") else {}
    fn_name = metadata.get("func_name") if isinstance(metadata, dict) else None
    try:
        tests = CodeTests([i for i, _ in cases], [o for _, o in cases], fn_name if fn_name else None)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return CodeProblem(
        id=_text(record, "question_id", where),
        title=_optional(record, "question_title") or "",
        question=_text(record, "question_content", where),
        starter_code=_optional(record, "starter_code"),
        platform=_optional(record, "platform"),
        difficulty=_optional(record, "difficulty"),
        date=_optional(record, "contest_date"),
        tests=tests,
    )


def decode_private(text: str, where: str = "private_test_cases") -> list[tuple[str, str]]:
    """(input, output) of each hidden test.  Raises InputError for anything that is not such a list."""
    if text.lstrip().startswith("["):
        return _cases(text, "private_test_cases", where)
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{where}: 'private_test_cases' is neither JSON nor base64; download the file again") from None
    return _cases(_pickled_string(inflate(packed, where), where), "private_test_cases", where)


def _pickled_string(data: bytes, where: str) -> str:
    found: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(data):
            if code.name in _STRING_CODES:
                found.append(str(argument))
            elif code.name not in _PLAIN_CODES:
                raise InputError(
                    f"{where}: the pickle in 'private_test_cases' holds {code.name}; only one string is accepted, "
                    "because anything else could run code. Do not use this file"
                )
    except (ValueError, OverflowError) as error:
        raise InputError(f"{where}: 'private_test_cases' is not a pickle ({error}); download the file again") from None
    if len(found) != 1:
        raise InputError(f"{where}: the pickle in 'private_test_cases' holds {len(found)} strings; expected one")
    return found[0]


def _cases(text: str, name: str, where: str) -> list[tuple[str, str]]:
    cases = _json(text, f"{where}: {name!r}")
    if not isinstance(cases, list):
        raise InputError(f"{where}: {name!r} is not a list of tests; download the file again")
    found = []
    for case in cases:
        given, wanted = (case.get("input"), case.get("output")) if isinstance(case, dict) else (None, None)
        if not isinstance(given, str) or not isinstance(wanted, str):
            raise InputError(f"{where}: a test in {name!r} has no text 'input' and 'output'; download the file again")
        found.append((given, wanted))
    return found


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON ({error}); download the file again") from None


def _text(record: dict[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: no text {name!r}; a problem of LiveCodeBench has one")
    return value


def _optional(record: dict[str, Any], name: str) -> str | None:
    value = record.get(name)
    return value if isinstance(value, str) and value.strip() else None
