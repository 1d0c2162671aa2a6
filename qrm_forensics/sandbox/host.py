"""The outside of a sandbox: start its processes, give inputs, get outputs, and leave nothing behind."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from qrm_forensics.errors import InputError
from qrm_forensics.sandbox import frames

# Exit codes of ``program``, which is not imported here: they tell apart ways to fail and nothing else.
_OUT_OF_MEMORY: Final = 101
_FORBIDDEN: Final = 102
_NOT_JSON: Final = 103

_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0
_REPLY_SECONDS: Final = 60.0
_MAX_HEADER: Final = 1 << 16
_CHUNK: Final = 1 << 18
_FOLDER: Final = str(Path(__file__).resolve().parents[2])
_BOOT: Final = "import sys; sys.path.insert(0, sys.argv[1]); from qrm_forensics.sandbox.inside import main; sys.path.pop(0); main()"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of each run of a program: seconds on the processor and by the clock; bytes of memory, of its folder and stack.

    LiveCodeBench allows 6 seconds by the clock.  Here they are seconds of the processor, so that a busy machine does
    not change a verdict; the clock only ends programs that wait: in ``wall_seconds`` they used less than ``waiting``
    of the processor.
    """

    cpu_seconds: int = 6
    wall_seconds: float = 30.0
    waiting: float = 0.02
    memory: int = 2 << 30
    scratch: int = 64 << 20
    stack: int = 64 << 20


DEFAULT_LIMITS: Final = Limits()


class Ended(StrEnum):
    """How a run of a program ended.  ``lost``: its sandbox ended before it, which says nothing for sure."""

    FINISHED = "finished"
    ERROR = "runtime error"
    TIME = "time out"
    MEMORY = "memory"
    OUTPUT = "too much output"
    FORBIDDEN = "forbidden"
    NOT_JSON = "not JSON"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a program did with one input: its output (or value, in JSON), and a line of explanation where it failed."""

    ended: Ended
    output: bytes
    message: str
    cpu_seconds: float
    seconds: float


class SandboxError(RuntimeError):
    """A sandbox could not be started; the text says why."""


class Session:
    """One program in one sandbox, run on one input after the other.  Close it; ``kill`` may be called from any thread.

    Raises SandboxError where the sandbox does not start.
    """

    def __init__(self, config: Mapping[str, Any], code: str, fn_name: str | None, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        # Written as text that JSON can hold: half a surrogate pair in a program is its own error.
        asked = {**config, "code": code, "fn_name": fn_name, "limits": asdict(limits)}
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-s", "-P", "-c", _BOOT, _FOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            start_new_session=True,
            env=_environment(),
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        answer = self._exchange(frames.packed(asked), _START_SECONDS, _MAX_HEADER)
        if answer is None or "ready" not in answer[0]:
            self.close()
            reason = "its process ended" if answer is None else str(answer[0].get("refused", "unknown answer"))
            raise SandboxError(reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, given: bytes, most: int) -> Reply:
        """Run the program on one input; its output may have ``most`` bytes.

        Raises InputError where the input is not what the program is to be called with.
        """
        limits = self._limits
        # A program that uses just more than a waiting one is ended by its time on the processor.
        seconds = limits.wall_seconds + (limits.cpu_seconds + 1) / limits.waiting + _REPLY_SECONDS
        answer = self._exchange(frames.packed({"output": most}, given), seconds, most + (1 << 16))
        if answer is None:
            return Reply(Ended.LOST, b"", "the sandbox ended", 0.0, 0.0)
        header, output = answer
        if "refused" in header:
            raise InputError(str(header["refused"]))
        ended, message = _ending(header, self._limits)
        return Reply(ended, output, message, float(header["cpu_seconds"]), float(header["seconds"]))

    def close(self) -> None:
        """End the sandbox and wait until none of its processes is left."""
        with suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        with suppress(OSError):
            while self._stdout.read(_CHUNK):
                pass
            self._stdout.close()

    def kill(self) -> None:
        """End all processes at once; a ``run`` in another thread returns."""
        with self._lock, suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _exchange(self, message: bytes, seconds: float, most: int) -> tuple[dict[str, Any], bytes] | None:
        """Send one message and get one; None, with everything killed, where there is none in time or it is malformed."""
        try:
            return _converse(self._stdin.fileno(), self._stdout.fileno(), message, time.monotonic() + seconds, most)
        except (OSError, ValueError, EOFError):
            self.kill()
            return None


def _environment() -> dict[str, str]:
    """Nothing of the user's, but where the loader finds Python's own library."""
    kept = {name: value for name in ("LD_LIBRARY_PATH",) if (value := os.environ.get(name))}
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return kept | one | {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}


def _ending(header: Mapping[str, Any], limits: Limits) -> tuple[Ended, str]:
    message = str(header["message"]).strip().rpartition("\n")[2]
    code, number = header["exit"], header["signal"]
    if header["over"] == "output":
        return Ended.OUTPUT, "printed without end"
    if header["over"] == "time":
        return Ended.TIME, f"waited for {limits.wall_seconds:g} s"
    if number == signal.SIGXCPU or float(header["cpu_seconds"]) >= limits.cpu_seconds:
        return Ended.TIME, f"more than {limits.cpu_seconds} s of processor time"
    if code == 0:
        return Ended.FINISHED, ""
    if code is not None:
        kinds = {_OUT_OF_MEMORY: Ended.MEMORY, _FORBIDDEN: Ended.FORBIDDEN, _NOT_JSON: Ended.NOT_JSON}
        kind = kinds.get(code, Ended.ERROR)
        return kind, f"more than {limits.memory >> 20} MiB" if kind is Ended.MEMORY else message or f"exit code {code}"
    if number == signal.SIGKILL:
        return Ended.MEMORY, "killed where memory was short"
    kind = Ended.FORBIDDEN if number in (signal.SIGSYS, signal.SIGXFSZ) else Ended.ERROR
    return kind, f"ended by {signal.Signals(number).name}"


def _converse(
    stdin: int, stdout: int, message: bytes, deadline: float, most: int
) -> tuple[dict[str, Any], bytes] | None:
    poll = select.poll()
    poll.register(stdout, select.POLLIN)
    poll.register(stdin, select.POLLOUT)
    unsent = memoryview(message)
    made = bytearray()
    wanted = frames.LENGTHS.size
    lengths: tuple[int, int] | None = None
    while True:
        left = deadline - time.monotonic()
        events = dict(poll.poll(left * 1000)) if left > 0 else {}
        if not events:
            raise TimeoutError
        if stdin in events:
            try:
                unsent = unsent[os.write(stdin, unsent[:_CHUNK]) :]
            except BlockingIOError:
                continue
            if not unsent:
                poll.unregister(stdin)
        if stdout not in events:
            continue
        piece = os.read(stdout, min(_CHUNK, wanted - len(made)))
        if not piece:
            raise EOFError
        made += piece
        if lengths is None and len(made) == wanted:
            lengths = frames.LENGTHS.unpack(made)
            if lengths[0] > _MAX_HEADER or lengths[1] > most:
                raise ValueError("a message longer than any that is due")
            wanted += sum(lengths)
        if lengths is not None and len(made) == wanted:
            head = frames.LENGTHS.size
            return json.loads(made[head : head + lengths[0]]), bytes(made[head + lengths[0] :])
