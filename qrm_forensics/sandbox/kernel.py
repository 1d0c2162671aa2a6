"""The system calls that Python has no function for (Linux, x86-64 and arm64).  Raises OSError as Python's own do."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any, Final

# unshare(2)
NEWNS: Final = 0x00020000
NEWUTS: Final = 0x04000000
NEWIPC: Final = 0x08000000
NEWUSER: Final = 0x10000000
NEWPID: Final = 0x20000000
NEWNET: Final = 0x40000000

# mount(2)
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
_DETACH: Final = 2

# prctl(2)
_SET_PDEATHSIG: Final = 1
_SET_DUMPABLE: Final = 4
_SET_KEEPCAPS: Final = 8
_CAPBSET_DROP: Final = 24
_SET_NO_NEW_PRIVS: Final = 38
_CAP_AMBIENT: Final = 47
_CAP_AMBIENT_CLEAR_ALL: Final = 4

_CAPABILITIES_V3: Final = 0x20080522
_DAC_READ_SEARCH: Final = 1 << 2
_EINVAL: Final = 22

MACHINE: Final = platform.machine()
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def checked(result: int, what: str) -> int:
    """The result of a C function; OSError where it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, *arguments: Any, what: str) -> int:
    return checked(int(_libc.syscall(ctypes.c_long(number), *arguments)), what)


def prctl(option: int, *values: int) -> int:
    padded = [*values, *[0] * (4 - len(values))]
    return checked(int(_libc.prctl(option, *(ctypes.c_ulong(value) for value in padded))), f"prctl {option}")


def unshare(flags: int) -> None:
    checked(_libc.unshare(flags), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    checked(
        _libc.mount(_bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), _bytes(data)),
        f"mount {target}",
    )


def unmount(target: str) -> None:
    """Take a mount out of sight, with all that is below it."""
    checked(_libc.umount2(_bytes(target), _DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    syscall(_PIVOT_ROOT[MACHINE], ctypes.c_char_p(_bytes(new)), ctypes.c_char_p(_bytes(old)), what="pivot_root")


def set_host_name(name: str) -> None:
    checked(_libc.sethostname(_bytes(name), ctypes.c_size_t(len(name))), "sethostname")


def die_with_parent(signal: int) -> None:
    prctl(_SET_PDEATHSIG, signal)


def hide_memory() -> None:
    """No other process of the same user may look into this one."""
    prctl(_SET_DUMPABLE, 0)


def never_gain_privileges() -> None:
    prctl(_SET_NO_NEW_PRIVS, 1)


def drop_bounding_capabilities() -> None:
    """Whatever is executed later has no capability.  Needs CAP_SETPCAP."""
    for capability in range(64):
        try:
            prctl(_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == _EINVAL:  # beyond the last one that this kernel has
                return
            raise


def keep_capabilities() -> None:
    """Changing the user takes no capabilities away; ``drop_capabilities`` has to follow."""
    prctl(_SET_KEEPCAPS, 1)


def drop_capabilities(*, keep_reading: bool = False) -> None:
    """Give up every capability of this process; ``keep_reading`` leaves the one to read files of other users."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
    kept = _DAC_READ_SEARCH if keep_reading else 0
    sets = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)  # effective, permitted, inheritable; lower, then upper half
    checked(_libc.capset(ctypes.byref(Header(_CAPABILITIES_V3, 0)), sets), "capset")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)
