"""The tests of a problem of kind ``code``, as they stand in ``Problem.gold``.

A small set stands there itself: ``{"inputs": [...], "outputs": [...], "fn_name": null}``.  A
large one (LiveCodeBench has problems with tens of megabytes) stands in a folder of its
own, under the SHA-256 of its canonical JSON, and the gold only names it:
``{"tests": 43, "fn_name": null, "sha256": "..."}``.  So a run folder stays small, and the
same tests give the same gold on every machine.

``fn_name`` null: a program reads each input from standard input and writes to standard
output.  Otherwise that method of its class ``Solution`` (or that function) is called; an
input then has one argument per line, in JSON, and an output is the value in JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard

from qrm_forensics.errors import InputError
from qrm_forensics.records import Kind, Problem

#: Environment variable: the folder of large sets of tests.
FOLDER: Final = "QRM_CODE_TESTS"

#: Sets of tests with longer JSON than this are stored in that folder.
MAX_INLINE: Final = 1 << 16

#: No set of tests is larger than this; compressed data that grows beyond it is refused.
MAX_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class CodeTests:
    """Inputs and the outputs that they must give, in the order in which they are tried."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    fn_name: str | None

    def __post_init__(self) -> None:
        if not self.inputs or len(self.inputs) != len(self.outputs):
            raise InputError(
                f"code tests: {len(self.inputs)} inputs and {len(self.outputs)} outputs; there must be as many of both, "
                "and at least one"
            )


@dataclass(frozen=True, slots=True)
class About:
    """What a gold says of its tests without reading them."""

    count: int
    fn_name: str | None


def folder() -> Path:
    """Where large sets of tests are kept: ``$QRM_CODE_TESTS``, else below the user's cache folder."""
    named = os.environ.get(FOLDER)
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "qrm-forensics" / "code-tests"


def gold_of(tests: CodeTests) -> str:
    """The gold of a problem with these tests; a large set is written to ``folder()`` first."""
    text = json.dumps(
        {"inputs": list(tests.inputs), "outputs": list(tests.outputs), "fn_name": tests.fn_name},
        ensure_ascii=True,
        separators=(",", ":"),
    )
    if len(text) <= MAX_INLINE:
        return text
    data = text.encode("ascii")
    digest = hashlib.sha256(data).hexdigest()
    _keep(digest, data)
    return json.dumps({"tests": len(tests.inputs), "fn_name": tests.fn_name, "sha256": digest}, separators=(",", ":"))


def from_gold(gold: str) -> CodeTests:
    """The tests of a gold.  Raises InputError where it is not one, or its tests are not on this machine."""
    value = _parsed(gold)
    digest = value.get("sha256")
    if digest is not None:
        value = _parsed(_kept(str(digest)).decode("ascii"))
    return from_record(value)


def from_record(value: Any) -> CodeTests:
    """The tests of an object with ``inputs``, ``outputs`` and ``fn_name``.  Raises InputError where it is not one."""
    if not isinstance(value, dict):
        raise InputError("code tests: expected an object with 'inputs', 'outputs' and 'fn_name'")
    inputs, outputs, fn_name = value.get("inputs"), value.get("outputs"), value.get("fn_name")
    if not (_texts(inputs) and _texts(outputs) and (fn_name is None or isinstance(fn_name, str))):
        raise InputError("code tests: 'inputs' and 'outputs' must be lists of texts, 'fn_name' a name or null")
    return CodeTests(inputs, outputs, fn_name or None)


def about(gold: str) -> About:
    """How many tests a gold has, and what they call.  Raises InputError where it is not a gold of kind ``code``."""
    value = _parsed(gold)
    count = value.get("tests") if "sha256" in value else len(value.get("inputs") or ())
    fn_name = value.get("fn_name")
    if not isinstance(count, int) or count < 1:
        raise InputError("code tests: a gold without tests")
    return About(count, fn_name if isinstance(fn_name, str) else None)


def shown_gold(problem: Problem) -> str:
    """The right answer as pages show it: for code the number of tests, which alone may have megabytes of text."""
    if problem.kind is not Kind.CODE:
        return problem.gold
    try:
        known = about(problem.gold)
    except InputError:
        return "?"
    return f"{known.count} × {known.fn_name or 'stdin → stdout'}"


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError("code tests: the gold is not a JSON object with 'inputs' and 'outputs'")
    return value


def _texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


# --------------------------------------------------------------------------- large sets


def _place(digest: str) -> Path:
    return folder() / f"{digest}.json.zlib"


def _keep(digest: str, data: bytes) -> None:
    place = _place(digest)
    if place.is_file():
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".", delete=False) as handle:
            handle.write(zlib.compress(data, 1))
        Path(handle.name).replace(place)
    except OSError as error:
        raise InputError(
            f"{place.parent}: the tests of a code problem cannot be kept there ({error.strerror}); "
            f"name another folder in the environment variable {FOLDER}"
        ) from error


def _kept(digest: str) -> bytes:
    place = _place(digest)
    try:
        packed = place.read_bytes()
    except OSError:
        raise InputError(
            f"the tests of this problem are not on this machine ({place}); read the benchmark's files here once, "
            f"or name the folder that has them in the environment variable {FOLDER}"
        ) from None
    data = inflate(packed, str(place))
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(f"{place}: is damaged; delete it and read the benchmark's files again")
    return data


def inflate(packed: bytes, where: str) -> bytes:
    """zlib's data, of at most ``MAX_BYTES``; raises InputError that names ``where``."""
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(packed, MAX_BYTES)
    except zlib.error as error:
        raise InputError(f"{where}: tests cannot be decompressed ({error}); download the file again") from None
    if not decompressor.eof:
        raise InputError(f"{where}: tests are cut off, or larger than {MAX_BYTES >> 20} MiB; download the file again")
    return data
