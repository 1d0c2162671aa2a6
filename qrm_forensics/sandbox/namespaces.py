"""Namespaces of its own: a process that sees Python, its libraries and an empty scratch folder, and nobody else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from qrm_forensics.sandbox import kernel

SCRATCH: Final = "/scratch"
PACKAGES: Final = "/packages"
_OLD: Final = "/old"
_DEVICES: Final = ("null", "zero", "random", "urandom")
_INSIDE: Final = 65534  # the user within a user namespace: nobody


def enter(roots: Sequence[tuple[str, str]], masked: Sequence[str], packages: Mapping[str, str], scratch: int) -> None:
    """Leave everything behind; the next child is the first process of a namespace of its own.

    ``roots``: (where it is to be seen, where it really is) of folders to read.  ``masked``: folders within them that
    are to be empty.  ``packages``: name in ``PACKAGES`` -> folder.  ``scratch``: bytes of the scratch folder, which
    becomes the current one.  Raises OSError where the kernel, or who runs this container, does not allow it.
    """
    flags = kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS
    if os.geteuid() == 0 and _knows_other_users():
        kernel.unshare(flags)
    else:
        uid, gid = os.geteuid(), os.getegid()
        kernel.unshare(flags | kernel.NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{_INSIDE} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{_INSIDE} {gid} 1")
    kernel.set_host_name("sandbox")
    _build(roots, masked, packages, scratch)


def _knows_other_users() -> bool:
    """Whether root can become somebody else: not where it is a user's own root, in a namespace of that one user."""
    return sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines()) > 1


def _build(roots: Sequence[tuple[str, str]], masked: Sequence[str], packages: Mapping[str, str], scratch: int) -> None:
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    base = next(folder for folder in ("/tmp", "/mnt", "/run", "/var") if Path(folder).is_dir())
    kernel.mount("tmpfs", base, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,nr_inodes=512,mode=755")
    Path(base + _OLD).mkdir()
    os.chdir(base)
    kernel.pivot_root(".", _OLD[1:])
    os.chdir("/")
    for seen, real in roots:
        _bind(_OLD + real, seen)
    for folder in masked:
        if Path(folder).is_dir():
            kernel.mount("tmpfs", folder, "tmpfs", _LOCKED | kernel.MS_RDONLY, "size=4k,nr_inodes=4,mode=755")
    for name, real in packages.items():
        _bind(_OLD + real, f"{PACKAGES}/{name}")
    for device in _DEVICES:
        if Path(f"{_OLD}/dev/{device}").exists():
            _bind(f"{_OLD}/dev/{device}", f"/dev/{device}", devices=True)
    Path(SCRATCH).mkdir()
    kernel.mount("tmpfs", SCRATCH, "tmpfs", _LOCKED, f"size={scratch},nr_inodes=1024,mode=1777")
    kernel.unmount(_OLD)
    Path(_OLD).rmdir()
    kernel.mount(None, "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _SAFE)
    os.chdir(SCRATCH)


_SAFE: Final = kernel.MS_NOSUID | kernel.MS_NODEV
_LOCKED: Final = _SAFE | kernel.MS_NOEXEC


def _bind(source: str, target: str, *, devices: bool = False) -> None:
    """Show a file or folder at another place, to be read only."""
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)
    if devices:
        return
    # What the original mount forbids must be forbidden again: inside a user namespace nothing can be allowed anew.
    flags = os.statvfs(target).f_flag & (kernel.MS_NOEXEC | kernel.MS_NODEV | kernel.MS_NOSUID)
    kernel.mount(None, target, None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _SAFE | flags)
