"""A filter of system calls, as classic BPF: what a program that computes needs, and nothing else.

A list of what is allowed: everything that is not on it, new calls included, fails with
EPERM (or ENOSYS, where the C library then uses an older call).  Not on it: sockets of
every kind, new processes, signals to others, tracing, mounting, namespaces, permissions
and owners of files, files in memory (no limit counts them), keys, BPF, io_uring.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from typing import Final

from qrm_forensics.sandbox.kernel import MACHINE, never_gain_privileges, syscall

#: Call -> its number on x86-64 and on arm64, which lacks some that have a younger form.
_COMPUTE: Final[dict[str, tuple[int | None, int | None]]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None),
    "poll": (7, None), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67),
    "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "access": (21, None), "pipe": (22, None),
    "select": (23, None), "sched_yield": (24, 124), "mremap": (25, 216), "msync": (26, 227), "mincore": (27, 232),
    "madvise": (28, 233), "dup": (32, 23), "dup2": (33, None), "pause": (34, None), "nanosleep": (35, 101),
    "getitimer": (36, 102), "alarm": (37, None), "setitimer": (38, 103), "getpid": (39, 172), "exit": (60, 93),
    "uname": (63, 160), "fsync": (74, 82), "fdatasync": (75, 83), "ftruncate": (77, 46), "getdents": (78, None),
    "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "readlink": (89, None), "umask": (95, 166),
    "gettimeofday": (96, 169), "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153),
    "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173),
    "getpgrp": (111, None), "getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150),
    "getpgid": (121, 155), "getsid": (124, 156), "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132), "statfs": (137, 43), "fstatfs": (138, 44),
    "sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126), "arch_prctl": (158, None),
    "setrlimit": (160, 164), "gettid": (186, 178), "time": (201, None), "futex": (202, 98),
    "sched_getaffinity": (204, 123), "epoll_create": (213, None), "getdents64": (217, 61), "set_tid_address": (218, 96),
    "restart_syscall": (219, 128), "fadvise64": (221, 223), "timer_create": (222, 107), "timer_gettime": (224, 108),
    "timer_settime": (223, 110), "timer_getoverrun": (225, 109), "timer_delete": (226, 111), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94), "epoll_wait": (232, None),
    "epoll_ctl": (233, 21), "wait4": (61, 260), "waitid": (247, 95), "newfstatat": (262, 79), "readlinkat": (267, 78),
    "faccessat": (269, 48), "pselect6": (270, 72), "ppoll": (271, 73), "set_robust_list": (273, 99),
    "get_robust_list": (274, 100), "epoll_pwait": (281, 22), "timerfd_create": (283, 85), "eventfd": (284, None),
    "timerfd_settime": (286, 86), "timerfd_gettime": (287, 87), "eventfd2": (290, 19), "epoll_create1": (291, 20),
    "dup3": (292, 24), "pipe2": (293, 59), "preadv": (295, 69), "pwritev": (296, 70), "getcpu": (309, 168),
    "getrandom": (318, 278), "membarrier": (324, 283), "preadv2": (327, 286),
    "pwritev2": (328, 287), "statx": (332, 291), "rseq": (334, 293), "close_range": (436, 436),
    "faccessat2": (439, 439), "epoll_pwait2": (441, 441),
}  # fmt: skip

#: Where there is a scratch folder of the program's own.
_WRITE_FILES: Final[dict[str, tuple[int | None, int | None]]] = {
    "truncate": (76, 45), "rename": (82, None), "mkdir": (83, None), "rmdir": (84, None), "unlink": (87, None),
    "mkdirat": (258, 34), "unlinkat": (263, 35), "renameat": (264, 38), "renameat2": (316, 276),
    "fallocate": (285, 47),
}  # fmt: skip

_OPEN: Final = (2, None)
_OPENAT: Final = (257, 56)
_CLONE: Final = (56, 220)
_IOCTL: Final = (16, 29)
_FCNTL: Final = (72, 25)
_TGKILL: Final = (234, 131)
_PRLIMIT: Final = (302, 261)
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}

_ARCHITECTURE: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32: Final = 0x40000000

#: Younger calls than this are answered with "there is no such call", so that the C library takes an older one.
_YOUNG: Final = 424

_KILL: Final = 0x80000000
_ALLOW: Final = 0x7FFF0000
_EPERM: Final = 0x00050000 | 1
_ENOSYS: Final = 0x00050000 | 38

# open(2): for writing, O_CREAT, O_TRUNC, O_TMPFILE
_WRITING: Final = 0x3 | 0x40 | 0x200 | 0x400000
# clone(2): a thread, and no new namespace
_THREAD: Final = 0x10000
_NEW_NAMESPACES: Final = 0x7E020000
# ioctl(2): is it a terminal, how wide is it, how much can be read, close on exec, non-blocking
_QUESTIONS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# fcntl(2): duplicates and flags; not F_SETOWN, which sends signals
_DUPLICATES_AND_FLAGS: Final = (0, 1, 2, 3, 4, 1030, 1032)

_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_AT_LEAST: Final = 0x35
_JUMP_ANY_BIT: Final = 0x45
_AND: Final = 0x54
_RETURN: Final = 0x06

_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def supported() -> bool:
    """Whether the numbers of this processor's system calls are known here."""
    return MACHINE in _ARCHITECTURE


def install(*, own_pid: int, write_files: bool) -> None:
    """Filter all further system calls of this process, which must have one thread.  Raises OSError where that is refused.

    ``own_pid``: whom it may send signals to.  ``write_files``: whether files may be opened for writing, made and removed.
    """
    program = assemble(own_pid, write_files, MACHINE)
    never_gain_privileges()

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    body = Program(len(program), packed)
    syscall(_SECCOMP[MACHINE], ctypes.c_uint(1), ctypes.c_uint(0), ctypes.byref(body), what="seccomp")


def assemble(own_pid: int, write_files: bool, machine: str) -> list[_Instruction]:
    """The filter's instructions (see the kernel's seccomp_filter documentation)."""
    column = ("x86_64", "aarch64").index(machine)
    allowed = _COMPUTE | (_WRITE_FILES if write_files else {})
    made: list[_Instruction] = [
        (_LOAD, 0, 0, 4),  # the architecture that the call was made for
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURE[machine]),
        _returned(_KILL),
        (_LOAD, 0, 0, 0),  # the number of the call
    ]
    if machine == "x86_64":
        made += [(_JUMP_AT_LEAST, 0, 1, _X32), _returned(_KILL)]
    for numbers in allowed.values():
        number = numbers[column]
        if number is not None:
            made += [(_JUMP_EQUAL, 0, 1, number), _returned(_ALLOW)]
    for numbers, argument in ((_OPEN, 1), (_OPENAT, 2)):
        number = numbers[column]
        if number is not None:
            refused = [] if write_files else [(_JUMP_ANY_BIT, 0, 1, _WRITING), _returned(_EPERM)]
            made += _when(number, [_argument(argument), *refused, _returned(_ALLOW)])
    threads_only = [(_AND, 0, 0, _THREAD | _NEW_NAMESPACES), (_JUMP_EQUAL, 0, 1, _THREAD), _returned(_ALLOW)]
    made += _when(_CLONE[column], [_argument(0), *threads_only, _returned(_EPERM)])
    made += _when(_IOCTL[column], [_argument(1), *_one_of(_QUESTIONS), _returned(_EPERM)])
    made += _when(_FCNTL[column], [_argument(1), *_one_of(_DUPLICATES_AND_FLAGS), _returned(_EPERM)])
    made += _when(_TGKILL[column], [_argument(0), *_one_of((own_pid,)), _returned(_EPERM)])
    made += _when(_PRLIMIT[column], [_argument(0), *_one_of((0, own_pid)), _returned(_EPERM)])
    return [*made, (_JUMP_AT_LEAST, 0, 1, _YOUNG), _returned(_ENOSYS), _returned(_EPERM)]


def _returned(value: int) -> _Instruction:
    return (_RETURN, 0, 0, value)


def _argument(index: int) -> _Instruction:
    """Load the lower half of an argument (both processors are little-endian)."""
    return (_LOAD, 0, 0, 16 + 8 * index)


def _one_of(values: Iterable[int]) -> list[_Instruction]:
    return [step for value in values for step in ((_JUMP_EQUAL, 0, 1, value), _returned(_ALLOW))]


def _when(number: int, steps: list[_Instruction]) -> list[_Instruction]:
    """Steps, of which the last returns, for one call."""
    return [(_JUMP_EQUAL, 0, len(steps), number), *steps]
