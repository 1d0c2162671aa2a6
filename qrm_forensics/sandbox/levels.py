"""What this machine can enforce, found out by trying it."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import json
import os
import platform
import shutil
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qrm_forensics.errors import InputError
from qrm_forensics.sandbox.host import DEFAULT_LIMITS, Ended, Limits, SandboxError, Session

#: Environment variable: ``auto``, one level by its name, or ``off``.
VARIABLE: Final = "QRM_SANDBOX"

LEVELS: Final = ("namespaces", "landlock", "open-files")
_PACKAGES: Final = ("numpy", "sortedcontainers")  # as in ``program``, which is not imported here

_ESCAPE: Final = """
import ctypes, json, os, socket
asked = json.loads(input())
done = []
def attempt(name, action):
    try:
        if action() is not False:
            done.append(name)
    except BaseException:
        pass
def child():
    if os.fork() == 0:
        os._exit(0)
attempt("read a file", lambda: open(asked["file"]).read())
attempt("list a folder", lambda: os.listdir(asked["folder"]))
attempt("write a file", lambda: open(asked["folder"] + "/made", "w").close())
attempt("open a socket", lambda: socket.create_connection(("127.0.0.1", asked["port"]), 1))
attempt("start a process", child)
attempt("signal a process", lambda: os.kill(asked["pid"], 0))
attempt("be root", lambda: os.getuid() == 0)
attempt("read the environment", lambda: bool(os.environ))
import decimal
print(json.dumps(done))
"""


@dataclass(frozen=True, slots=True)
class Isolation:
    """What keeps a program in: one of ``LEVELS``, with what that means in a sentence."""

    level: str
    about: str
    config: Mapping[str, Any]

    def start(self, code: str, fn_name: str | None = None, limits: Limits = DEFAULT_LIMITS) -> Session:
        """A program in a sandbox of its own; ``fn_name`` None: it reads standard input.  Raises SandboxError."""
        return Session(self.config, code, fn_name, limits)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why programs are not run here, and what to do about it."""

    reason: str


def isolation() -> Isolation | Refusal:
    """The strongest level that holds here, or why there is none; tried once per process and setting.

    Raises InputError where ``QRM_SANDBOX`` is none of its values.
    """
    return _found(os.environ.get(VARIABLE, "").strip() or "auto")


def described() -> str:
    """What keeps programs in here, or why they are not run, in a sentence."""
    found = isolation()
    return found.reason if isinstance(found, Refusal) else found.about


@functools.cache
def _found(asked: str) -> Isolation | Refusal:
    if asked not in ("auto", "off", *LEVELS):
        raise InputError(f"{VARIABLE}={asked!r}: expected auto, off, or one of {', '.join(LEVELS)}")
    if asked == "off":
        return Refusal(f"programs are not run, because {VARIABLE} is 'off'")
    if sys.platform != "linux":
        return Refusal(
            f"programs of models are only run on Linux, not on {platform.system()}: nothing here would keep them from "
            "your files; score this run on Linux (a container or WSL 2 will do)"
        )
    tried = []
    # Who allows open files allows what is stronger as well.
    levels = LEVELS if asked == "open-files" else ("namespaces", "landlock") if asked == "auto" else (asked,)
    for level in levels:
        try:
            return attempt(level)
        except SandboxError as error:
            tried.append(f"{level}: {error}")
    return Refusal(
        f"programs are not run, because this machine cannot keep them in ({'; '.join(tried)}); allow user namespaces "
        "(or run the container with them), or use a kernel with Landlock (5.13 or later). "
        f"{VARIABLE}=open-files runs them all the same where at least the network can be shut off: "
        "they could then read your files"
    )


def attempt(level: str, *, filtered: bool | None = None) -> Isolation:
    """One level, tried on a program that does what none may.  Raises SandboxError where it does not hold.

    ``filtered`` False leaves out the filter of system calls, which only ``namespaces`` can do without.
    """
    from qrm_forensics.sandbox import seccomp

    if filtered is None:
        filtered = seccomp.supported()
    if not filtered and level != "namespaces":
        raise SandboxError(f"the system calls of {platform.machine()} are not known")
    isolation = Isolation(level, _about(level, filtered), _config(level, filtered))
    allowed = {"open-files": {"read a file", "list a folder"}}.get(level, set())
    if not filtered:
        allowed = {"start a process"}
    escaped = [what for what in _escapes(isolation) if what not in allowed]
    if escaped:
        raise SandboxError(f"a program could {', '.join(escaped)}")
    return isolation


def _escapes(isolation: Isolation) -> list[str]:
    """What a program can do that it should not."""
    with (
        tempfile.TemporaryDirectory(prefix="qrm-canary-") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        file = Path(folder, "file")
        file.write_text("secret", encoding="utf-8")
        Path(folder).chmod(0o777)  # so that only the sandbox is in the way
        file.chmod(0o666)
        asked = {"file": str(file), "folder": folder, "port": server.getsockname()[1], "pid": os.getpid()}
        with isolation.start(_ESCAPE, None, Limits(cpu_seconds=20, wall_seconds=30)) as session:
            reply = session.run(json.dumps(asked).encode("ascii"), 10_000)
    if reply.ended is not Ended.FINISHED:
        raise SandboxError(f"Python does not work in it ({reply.ended}: {reply.message})")
    try:
        escaped: list[str] = json.loads(reply.output)
    except ValueError:
        raise SandboxError("Python does not work in it (no output)") from None
    return escaped


def _about(level: str, filtered: bool) -> str:
    who = "root is dropped" if os.geteuid() == 0 else "no privileges"
    calls = "filtered system calls" if filtered else "no filter of system calls"
    what = {
        "namespaces": "own mount, process, network and IPC namespaces",
        "landlock": "Landlock rules on files, nothing can be written",
        "open-files": "files of this user can be read, nothing can be written",
    }
    return f"{level}: {what[level]}; {calls}; {who}; Python {platform.python_version()}"


# --------------------------------------------------------------------------- what is there inside


def _config(level: str, filtered: bool) -> dict[str, Any]:
    packages = _packages()
    empty, links = _folders(tuple(packages.items()))
    stdlib = sysconfig.get_path("stdlib")
    return {
        "level": level,
        "filter": filtered,
        "roots": _roots(),
        "masked": [f"{stdlib}/{name}" for name in ("site-packages", "dist-packages")],
        "packages": packages,
        "empty": empty,
        "links": links,
    }


def _roots() -> list[tuple[str, str]]:
    """(path, where it really is) of Python's and the system's libraries; none within another."""
    prefixes = ("", "/usr", sys.base_prefix, sys.base_exec_prefix)  # of Python itself, not of a virtual environment
    wanted = [f"{prefix}/{name}" for prefix in prefixes for name in ("lib", "lib64")]
    wanted += [sysconfig.get_path("stdlib"), "/etc/ld.so.cache"]
    there = sorted({str(Path(path)) for path in wanted if Path(path).exists()})
    outer = [p for p in there if not any(p != q and Path(p).is_relative_to(q) for q in there)]
    return [(path, str(Path(path).resolve())) for path in outer]


def _packages() -> dict[str, str]:
    """Name -> folder (or file) of the libraries that programs may use, and of what those bring along."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        folder = Path(spec.origin).parent
        for one in (folder, folder.with_name(f"{name}.libs")):
            if one.is_dir():
                found[one.name] = str(one.resolve())
    return found


@functools.cache
def _folders(packages: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """An empty folder, and one of links to the packages; both go when this process ends."""
    base = Path(tempfile.mkdtemp(prefix="qrm-sandbox-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    base.chmod(0o755)
    empty, links = base / "empty", base / "packages"
    empty.mkdir()
    links.mkdir()
    for name, real in packages:
        (links / name).symlink_to(real)
    return str(empty), str(links)
