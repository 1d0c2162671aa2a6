"""Memory that is freed and taken again for every batch stays with the process."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: Bytes at the end of the heap that are kept when freed, and the size from which on an array has pages of its own.
KEPT, OWN_PAGES = 64 << 20, 32 << 20


@cache
def keep_freed_memory() -> bool:
    """Tell the allocator of the C library to keep what is freed; returns whether it could be told.

    By default glibc hands memory back to the system at the end of each batch and gets it anew, page by page, for the
    next, which takes a twentieth of the time of all metrics.  Other allocators are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, OWN_PAGES)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT))
