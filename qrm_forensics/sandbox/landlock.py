"""Landlock: a process gives up the files that it does not need (Linux 5.13 and later, no privilege needed)."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from typing import Final

from qrm_forensics.sandbox.kernel import never_gain_privileges, syscall

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1

_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3

#: Interface version -> rights on files that it knows, all of which are given up.
_FILE_RIGHTS: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_NEWEST_FILE_RIGHTS: Final = (1 << 16) - 1
_TCP: Final = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """Version of the kernel's interface, from 1.  Raises OSError where there is none."""
    return syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION), what="landlock")


def read_only(paths: Iterable[str]) -> None:
    """From now on this process can only read, and only what is at or below ``paths``.  Raises OSError where that is refused."""
    known = version()
    rules = _Ruleset(_FILE_RIGHTS.get(known, _NEWEST_FILE_RIGHTS))
    size = 8
    if known >= 4:
        rules.network, size = _TCP, 16
    if known >= 6:
        rules.scoped, size = _ABSTRACT_SOCKETS_AND_SIGNALS, 24
    made = syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0), what="landlock")
    try:
        for path in paths:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
            beneath = _Beneath(_READ_FILE | (_READ_DIR if stat.S_ISDIR(os.fstat(parent).st_mode) else 0), parent)
            where = ctypes.byref(beneath)
            syscall(
                _ADD_RULE, ctypes.c_int(made), ctypes.c_int(_PATH_BENEATH), where, ctypes.c_uint32(0), what="landlock"
            )
            os.close(parent)
        never_gain_privileges()
        syscall(_RESTRICT_SELF, ctypes.c_int(made), ctypes.c_uint32(0), what="landlock")
    finally:
        os.close(made)
