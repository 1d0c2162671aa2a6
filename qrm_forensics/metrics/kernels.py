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
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

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
