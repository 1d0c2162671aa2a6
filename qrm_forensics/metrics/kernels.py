"""What compiled kernels of several modules need: inlining, live arrays, and caches that go out of date when they should.

Numba keeps a compiled kernel as long as the file that it stands in is unchanged, whatever
became of the kernels and constants that it took from elsewhere (and wheels are built with
one date for all files and versions).  So only entry points are cached, helpers are compiled
into them, and an entry point that uses other modules has their ``sources`` in its closure,
which is part of the key of the cache::

    def _compile(parts: str) -> Any:
        @njit(cache=True, nogil=True, error_model="numpy")
        def read(data):
            _ = parts
            ...
        return read

    read = _compile(sources(other_module))

``cached(other_module)`` does that to a function that needs no other names in its closure.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from types import CellType, FunctionType, ModuleType
from typing import Any

from numba import njit

#: A helper that is compiled into its callers.  Division of floats by zero gives infinity instead of an exception.
inlined = njit(nogil=True, forceinline=True, error_model="numpy")


@inlined
def hold(*arrays):  # type: ignore[no-untyped-def]
    """Keep arrays alive to here, the end of a helper.

    Numba drops an argument behind its last use.  Only where all arrays of a helper are
    dropped at the same place does it see that the reference counts of the call cancel out,
    and counting takes two thirds of the time otherwise.
    """


def sources(*modules: ModuleType) -> str:
    """A digest of the source files of modules, this one included."""
    digest = hashlib.sha256()
    for file in sorted([__file__, *(str(module.__file__) for module in modules)]):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def cached(*modules: ModuleType) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function and keep the machine code until its own file or one of the modules changes.

    ``modules`` are all whose constants or kernels it uses, also by way of others.
    """
    digest = sources(*modules)

    def compiled(function: Callable[..., Any]) -> Any:
        # A variable of the closure that nothing reads, as only those are part of the key of the cache.
        code = function.__code__.replace(co_freevars=("_sources",))
        keyed = FunctionType(code, function.__globals__, function.__name__, None, (CellType(digest),))
        return _with_own_files(njit(cache=True, nogil=True)(update_wrapper(keyed, function)))

    return compiled


_OWN = uuid.uuid4().hex[:8]


def _with_own_files(kernel: Any) -> Any:
    """Let no two processes write machine code to one file.

    Numba numbers the versions of a kernel, one per types of its arguments, by what its index lists.  Two processes that
    add different ones at the same time take the same number, and whoever comes after them may then be given the machine
    code for other types, whose results are nonsense.  With names of their own one of the two is only compiled again.
    """
    files = getattr(getattr(kernel, "_cache", None), "_cache_file", None)
    if files is not None:  # no machine code is kept where Numba is switched off
        named = files._data_name
        files._data_name = lambda number: named(number).replace(".nbc", f"-{os.getpid()}-{_OWN}.nbc")
    return kernel
