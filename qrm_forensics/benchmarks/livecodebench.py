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
from types import MappingProxyType
from typing import Any, Final

from qrm_forensics.benchmarks.code_tests import CodeTests, from_record, gold_of, inflate
from qrm_forensics.benchmarks.fields import ProblemIds, optional_field, text_field
from qrm_forensics.benchmarks.items import Item, Rows
from qrm_forensics.errors import InputError

#: Problems of each version; release_v5 is the first five of them, v4_v5 the fourth and fifth.
VERSIONS: Final = (400, 111, 101, 101, 167, 175)

_N: Final = range(1, len(VERSIONS) + 1)

#: Name of a subset, as in the data set -> its first and last version.
SUBSETS: Final = MappingProxyType(
    {f"release_v{last}": (1, last) for last in _N}
    | {"release_latest": (1, len(VERSIONS))}
    | {f"v{first}": (first, first) for first in _N}
    | {f"v{first}_v{last}": (first, last) for first in _N for last in _N if first < last}
)

#: The subset that the published evaluations of quantized reasoning models use.
DEFAULT: Final = "v4_v5"

#: What pickles of one string are made of: its opcodes in the protocols 0 to 5.
_STRING_CODES: Final = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_PLAIN_CODES: Final = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}


def files_of(subset: str) -> tuple[str, ...]:
    """Names of the files of one of ``SUBSETS``."""
    first, last = SUBSETS[subset]
    return tuple(f"test{'' if version == 1 else version}.jsonl" for version in range(first, last + 1))


def size_of(subset: str) -> int:
    """How many problems one of ``SUBSETS`` has."""
    first, last = SUBSETS[subset]
    return sum(VERSIONS[first - 1 : last])


def read(rows: Rows) -> list[Item]:
    """All problems; ``subject`` is the platform of the contest, ``level`` the difficulty.  Raises InputError that names the row."""
    ids = ProblemIds()
    return [_item(row, where, ids) for where, row in rows]


def _item(row: dict[str, Any], where: str, ids: ProblemIds) -> Item:
    return Item(
        id=ids.take(text_field(row, ("question_id",), where), where),
        question=text_field(row, ("question_content",), where),
        gold=gold_of(_tests(row, where)),
        subject=optional_field(row, ("platform",), where),
        level=optional_field(row, ("difficulty",), where),
        starter_code=optional_field(row, ("starter_code",), where) or "",
    )


def _tests(row: dict[str, Any], where: str) -> CodeTests:
    cases = _cases(text_field(row, ("public_test_cases",), where), "public_test_cases", where)
    if row.get("private_test_cases"):
        cases += decode_private(text_field(row, ("private_test_cases",), where), where)
    metadata = _json(text_field(row, ("metadata",), where), f"{where}: 'metadata'") if row.get("metadata") else {}
    fn_name = metadata.get("func_name") if isinstance(metadata, dict) else None
    try:
        return from_record({"inputs": [i for i, _ in cases], "outputs": [o for _, o in cases], "fn_name": fn_name})
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


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
