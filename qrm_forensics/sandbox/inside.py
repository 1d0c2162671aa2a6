"""The processes of a sandbox.  Started by ``host``, never imported by anything else.

1. The first process gives up what it can see and do (see ``levels``), and starts
2. the keeper, which in namespaces is their first process, so that nothing outlives it.
   It gets one input after the other and for each starts
3. a process that runs the program: its own session, its own limits, no way to the keeper
   but the pipes of its output.

The keeper tells ``host`` what was printed or returned and how the process ended.  It knows
no right outputs.  It ends, and with it everything, when the pipe from ``host`` closes.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any, Final

from qrm_forensics.sandbox import frames, kernel, landlock, namespaces, program, seccomp

_CHUNK: Final = 1 << 16
_MESSAGE_TAIL: Final = 2000
_THREADS: Final = 64
_DESCRIPTORS: Final = 64
_FIRST_UID: Final = 1_610_612_736  # nobody has accounts here
_NOBODY: Final = 65534


def main() -> None:
    """Read what to run from standard input, isolate, run.  Ends the process."""
    asked = frames.read(0)
    if asked is None:
        os._exit(1)
    config = asked[0]
    os.environ.clear()
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as handle:  # noqa: PTH123
        handle.write("1000")  # where memory is short, the program is to end, not who started it
    try:
        _isolate(config)
    except OSError as error:
        frames.write(1, {"refused": str(error)})
        os._exit(1)
    if config["level"] == "namespaces":
        first = os.fork()  # of the new process namespace
        if first:
            os.close(0)
            os.close(1)
            os.waitpid(first, 0)
            os._exit(0)
        kernel.die_with_parent(signal.SIGKILL)
    try:
        keeper = _Keeper(config)
    except Exception as error:  # Python's own modules cannot be read, or memory is too small for them
        frames.write(1, {"refused": f"Python does not work in it ({error})"})
        os._exit(1)
    keeper.serve()
    os._exit(0)


def _isolate(config: dict[str, Any]) -> None:
    os.closerange(3, 1 << 16)
    level, packages = config["level"], config["packages"]
    path = [seen for seen in sys.path if seen]
    if level == "namespaces":
        namespaces.enter(config["roots"], config["masked"], packages, config["limits"]["scratch"])
        sys.path[:] = [*path, namespaces.PACKAGES]
    else:
        os.chdir(config["empty"])
        sys.path[:] = [*path, config["links"]]
    readable = [real for _, real in config["roots"]] + [*packages.values(), config["links"], config["empty"]]
    _drop_user(level, readable, filtered=config["filter"])
    if level == "landlock":
        landlock.read_only(readable)
    kernel.never_gain_privileges()


def _drop_user(level: str, readable: list[str], *, filtered: bool) -> None:
    """Become nobody in particular, for good; a user without privileges stays who they are.

    Root becomes a user that has no other process, so that the number of its processes can be limited; elsewhere the
    filter is what keeps a program from starting any.  Where root's Python is in a folder that only root can read, the
    capability to read is kept under Landlock, which confines it to ``readable``.
    """
    keep_reading = False
    if os.geteuid() == 0:
        kernel.drop_bounding_capabilities()
        kernel.keep_capabilities()
        os.setgroups([])
        uid = _FIRST_UID + os.getpid() if _become(_FIRST_UID + os.getpid()) else _NOBODY
        if uid == _NOBODY and not _become(uid):
            raise PermissionError(f"cannot become user {uid}")
        limited = uid != _NOBODY or not filtered
        keep_reading = level == "landlock" and not all(_readable(path) for path in readable)
    else:
        limited = level == "namespaces" and not filtered
        if level == "namespaces":
            kernel.drop_bounding_capabilities()
    kernel.drop_capabilities(keep_reading=keep_reading)
    kernel.hide_memory()
    if limited:
        resource.setrlimit(resource.RLIMIT_NPROC, (_THREADS, _THREADS))


def _readable(path: str) -> bool:
    """Whether the user that this process has become may read it, without any capability."""
    child = os.fork()
    if child == 0:
        try:
            kernel.drop_capabilities()
            os.close(os.open(path, os.O_RDONLY))
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _become(uid: int) -> bool:
    """Change the user; False where this container has no such user."""
    try:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError:
        return False
    return True


class _Keeper:
    """Runs the program on one input after the other."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._limits: dict[str, Any] = config["limits"]
        self._alone = config["level"] == "namespaces" and os.getpid() == 1
        self._wake, ring = os.pipe()
        for end in (self._wake, ring):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        self._prepared = program.prepare(config["code"], config["fn_name"])
        for name in ("CORE", "MEMLOCK", "MSGQUEUE"):
            _limit(getattr(resource, f"RLIMIT_{name}"), 0)
        frames.write(1, {"ready": True})

    def serve(self) -> None:
        while (asked := frames.read(0)) is not None:
            header, given = asked
            try:
                arguments = program.arguments(given) if self._config["fn_name"] else None
            except (ValueError, RecursionError, MemoryError) as error:
                frames.write(1, {"refused": f"the input of the test cannot be read: {error}"})
                continue
            stdin = _file(given)
            del asked, given  # what is in memory here is in the program's memory too
            answer, output = self._run(stdin, arguments, int(header["output"]))
            frames.write(1, answer, output)

    def _run(self, stdin: int, arguments: list[Any] | None, most: int) -> tuple[dict[str, Any], bytes]:
        pipes = {name: os.pipe() for name in ("output", "message", "value")}
        begun = time.monotonic()
        child = os.fork()
        if child == 0:
            ends = [stdin, *(pipes[name][1] for name in ("output", "message", "value"))]
            self._become_program(ends, arguments)
        os.close(stdin)
        readers = {}
        for name, (reader, writer) in pipes.items():
            os.close(writer)
            os.set_blocking(reader, False)
            readers[reader] = name
        kept, over = self._watch(child, readers, most)
        if over is not None:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
        if self._alone:
            self._end_all_others()
        if over is None:
            over = self._drain(readers, kept, most)
        for reader in readers:
            os.close(reader)
        answer = {
            "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "over": over,
            "cpu_seconds": used.ru_utime + used.ru_stime,
            "seconds": time.monotonic() - begun,
            "message": bytes(kept["message"]).decode("utf-8", "replace"),
        }
        return answer, bytes(kept["output" if arguments is None else "value"])

    def _watch(self, child: int, readers: dict[int, str], most: int) -> tuple[dict[str, bytearray], str | None]:
        """Collect what the program writes until it ends; which limit it went over, if any."""
        wall, used = self._limits["wall_seconds"], 0.0
        deadline = time.monotonic() + wall
        kept = {name: bytearray() for name in readers.values()}
        poll = select.poll()
        for descriptor in (*readers, self._wake):
            poll.register(descriptor, select.POLLIN)
        poll.register(0, 0)  # tells only that the other end was closed
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                # On a busy machine a program that computes gets little of the processor; it is not one that waits.
                before, used = used, _processor_seconds(child)
                if used - before < self._limits["waiting"] * wall:
                    return kept, "time"
                deadline += wall
                continue
            for descriptor, event in poll.poll(left * 1000):
                if descriptor == 0:
                    os._exit(0)
                if descriptor == self._wake:
                    with suppress(BlockingIOError):
                        os.read(self._wake, _CHUNK)
                    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                    if ended is not None:
                        return kept, None
                elif not self._take(descriptor, readers[descriptor], kept, most):
                    return kept, "output"
                elif event & select.POLLHUP and not event & select.POLLIN:
                    poll.unregister(descriptor)

    def _take(self, descriptor: int, name: str, kept: dict[str, bytearray], most: int) -> bool:
        """Read one piece; False where that is more than may be written."""
        with suppress(BlockingIOError):
            piece = os.read(descriptor, _CHUNK)
            if name == "output" and self._config["fn_name"]:
                return True  # what a called function prints is not its answer
            kept[name] += piece
            if name == "message":
                del kept[name][:-_MESSAGE_TAIL]
            elif len(kept[name]) > most:
                return False
        return True

    def _drain(self, readers: dict[int, str], kept: dict[str, bytearray], most: int) -> str | None:
        """What is left in the pipes of a program that has ended: a pipe holds 64 kB."""
        for descriptor, name in readers.items():
            for _ in range(_CHUNK // 1024):
                before = len(kept[name])
                if not self._take(descriptor, name, kept, most):
                    return "output"
                if len(kept[name]) == before:
                    break
        return None

    def _end_all_others(self) -> None:
        """As the first process of its namespace, end every other one in it; elsewhere that would be everything."""
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

    def _become_program(self, ends: list[int], arguments: list[Any] | None) -> None:
        try:
            kernel.die_with_parent(signal.SIGKILL)
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for wanted, descriptor in enumerate(ends):
                os.dup2(descriptor, wanted)
            os.closerange(len(ends), 1 << 16)
            seconds = int(self._limits["cpu_seconds"])
            for what, soft, hard in (
                (resource.RLIMIT_AS, self._limits["memory"], self._limits["memory"]),
                (resource.RLIMIT_CPU, seconds, seconds + 1),
                (resource.RLIMIT_FSIZE, self._limits["scratch"], self._limits["scratch"]),
                (resource.RLIMIT_NOFILE, _DESCRIPTORS, _DESCRIPTORS),
                (resource.RLIMIT_STACK, self._limits["stack"], self._limits["stack"]),
            ):
                _limit(what, soft, hard)
            if self._config["filter"]:
                seccomp.install(own_pid=os.getpid(), write_files=self._config["level"] == "namespaces")
        except BaseException:
            os._exit(program.NOT_STARTED)
        program.run(self._prepared, arguments)


def _file(content: bytes) -> int:
    """A file in memory, at its beginning."""
    made = os.memfd_create("stdin")
    unwritten = memoryview(content)
    while unwritten:
        unwritten = unwritten[os.write(made, unwritten) :]
    os.lseek(made, 0, os.SEEK_SET)
    return made


def _processor_seconds(pid: int) -> float:
    """What a process has used of the processor so far, by its clock (see clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


def _limit(what: int, soft: int, hard: int | None = None) -> None:
    """Lower a limit; one that is lower already stays."""
    _, known = resource.getrlimit(what)
    highest = soft if hard is None else hard
    if known != resource.RLIM_INFINITY:
        highest = min(highest, known)
    resource.setrlimit(what, (min(soft, highest), highest))
