"""Run one program on one input, as the last thing that a process does.

What LiveCodeBench gives its programs is there: the names of a list of standard modules,
and a recursion limit of 50,000.  A program is ``__main__`` with the input as its standard
input; or its ``Solution().fn_name`` (or function ``fn_name``) is called with one argument
per line of the input, and what it returns is written as JSON.

Nothing here is a boundary: a program can replace all of it, and gains nothing, because
only the output counts, and the right one is not in this process.
"""

from __future__ import annotations

import atexit
import builtins
import errno
import io
import json
import os
import random
import sys
import threading
import traceback
from contextlib import suppress
from types import ModuleType
from typing import Any, Final, NoReturn

#: How the process ends: exit codes that only tell apart ways to fail.
FAILED: Final = 1
NOT_STARTED: Final = 100
OUT_OF_MEMORY: Final = 101
FORBIDDEN: Final = 102
NOT_JSON: Final = 103

#: Standard modules of which LiveCodeBench imports every name, later ones over earlier ones, and those it also imports.
_ALL_NAMES: Final = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json", "builtins", "typing"),
)
_MODULES: Final = tuple(name for name in _ALL_NAMES if name not in ("builtins", "typing"))
_DEPTH: Final = 50_000
_DIGITS: Final = 50_000
_VALUE: Final = 3  # the descriptor for what a function returns
_REFUSED: Final = (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSYS)

#: Libraries of the published evaluations' environments that programs use; seen inside where they are installed.
PACKAGES: Final = ("numpy", "sortedcontainers")


class Prepared:
    """A program and the names that it finds."""

    def __init__(self, code: str, fn_name: str | None, names: dict[str, Any]) -> None:
        self.code, self.fn_name, self.names = code, fn_name, names


def prepare(code: str, fn_name: str | None) -> Prepared:
    """Import what programs use, once for all inputs."""
    names: dict[str, Any] = {}
    for module in _ALL_NAMES:
        exec(f"from {module} import *", names)  # noqa: S102 - a constant
    for module in _MODULES:
        exec(f"import {module}", names)  # noqa: S102
    import _sitebuiltins

    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    for package in PACKAGES:
        if package in code:
            try:
                __import__(package)
            except ImportError:
                continue
    for name in ("__builtins__", "__name__"):
        names.pop(name, None)
    sys.setrecursionlimit(_DEPTH)
    sys.set_int_max_str_digits(_DIGITS)
    return Prepared(code, fn_name, names)


def arguments(given: bytes) -> list[Any]:
    """The arguments of a call: one JSON value per line.  Raises ValueError where a line is none."""
    return [json.loads(line) for line in given.decode("utf-8").split("\n")]


def run(prepared: Prepared, given: list[Any] | None) -> NoReturn:
    """Run the program and end the process."""
    random.seed(0)
    sys.argv = ["program.py"]
    given_bytes = io.BufferedReader(io.FileIO(0, closefd=False))
    for name, stream in (
        ("stdin", io.TextIOWrapper(given_bytes, "utf-8", "surrogateescape")),
        ("stdout", _writer(1)),
        ("stderr", _writer(2)),
    ):
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    stdout = sys.stdout
    code = 0
    try:
        try:
            _execute(prepared, given)
        except SystemExit:
            code = 0  # as in LiveCodeBench, whatever its argument
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        # As at the end of any program: whatever took the place of standard output, and then what it stood on.
        with suppress(AttributeError):
            sys.stdout.flush()
        with suppress(ValueError):  # closed
            stdout.flush()
    except MemoryError:
        code = OUT_OF_MEMORY
    except _NotJSON as error:
        code = NOT_JSON
        os.write(2, f"\n{error}".encode("utf-8", "replace"))
    except BaseException as error:
        code = FORBIDDEN if isinstance(error, OSError) and error.errno in _REFUSED else FAILED
        _explain(error)
    os._exit(code)


def _execute(prepared: Prepared, given: list[Any] | None) -> None:
    main = ModuleType("__main__")
    main.__dict__.update(prepared.names)
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    if given is not None:
        main.__name__ = "program"  # a part for trying it out is not run
        sys.modules["program"] = main
    exec(compile(prepared.code, "<program>", "exec", dont_inherit=True), main.__dict__)  # noqa: S102 - what a sandbox is for
    if given is None:
        return
    owner = main.__dict__["Solution"]() if "class Solution" in prepared.code else main
    value = getattr(owner, prepared.fn_name or "")(*given)
    if isinstance(value, tuple):
        value = list(value)
    data = json.dumps(_plain(value)).encode("ascii")
    while data:
        data = data[os.write(_VALUE, data) :]


class _NotJSON(Exception):
    pass


def _plain(value: Any) -> Any:
    """The value as JSON has it, or _NotJSON: a tuple within a list is none, as LiveCodeBench compares."""
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if value is None or isinstance(value, bool | str | float | int):
        return value
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(one) for key, one in value.items()}
    raise _NotJSON(f"returned {type(value).__name__}, which no expected value is")


def _writer(descriptor: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, "utf-8", "surrogateescape", newline="\n")


def _explain(error: BaseException) -> None:
    """The last line of a traceback on standard error, after what the program wrote there."""
    try:
        text = "".join(traceback.format_exception_only(error)).strip().rpartition("\n")[2]
        os.write(2, f"\n{text[:500]}".encode("utf-8", "replace"))
    except BaseException:  # an exception whose text raises
        return
