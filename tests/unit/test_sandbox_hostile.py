"""Programs that try to get out, to stay, to take everything, or to be called right.  None may.

Every level that this machine has is tried, and namespaces also without the filter of
system calls, so that each layer is seen to hold by itself.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics.benchmarks.code_tests import CodeTests, gold_of
from qrm_forensics.records import Status
from qrm_forensics.sandbox import Isolation, Limits, Reply, host
from qrm_forensics.sandbox import isolation as strongest
from qrm_forensics.sandbox.host import Ended, SandboxError
from qrm_forensics.sandbox.levels import attempt
from qrm_forensics.score.code_judge import CodeJudge

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are only run on Linux")

#: By the clock there is time enough on a busy machine; what is to end sooner says so.
LIMITS = Limits(cpu_seconds=2, wall_seconds=60.0, memory=512 << 20, scratch=1 << 20)
BARE = "namespaces without a filter"


@functools.cache
def level_of(name: str) -> Isolation | str:
    """The level, or why this machine does not have it."""
    try:
        return attempt("namespaces", filtered=False) if name == BARE else attempt(name)
    except SandboxError as error:
        return str(error)


def test_this_machine_has_a_level_that_is_not_asked_for() -> None:
    levels = {name: level_of(name) for name in ("namespaces", "landlock")}
    assert any(isinstance(level, Isolation) for level in levels.values()), levels


@pytest.fixture(params=["namespaces", "landlock", BARE])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    level = level_of(request.param)
    if isinstance(level, str):
        pytest.skip(f"{request.param}: {level}")
    return level


@pytest.fixture
def filtered(isolation: Isolation) -> bool:
    return bool(isolation.config["filter"])


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[int]]]:
    """Which processes of the sandboxes of this test there are; none may be left at its end."""
    link = tmp_path / "marked"
    link.symlink_to(host._FOLDER)
    monkeypatch.setattr(host, "_FOLDER", str(link))

    def alive() -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.fsencode(link) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    yield alive
    assert gone(alive)


def gone(alive: Callable[[], list[int]]) -> bool:
    """Whether none is left, a moment from now (the kernel takes its time to end what was killed)."""
    deadline = time.monotonic() + 60
    while alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive() == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may change, so that only a sandbox is in the way."""
    with tempfile.TemporaryDirectory(prefix="qrm-open-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


Run = Callable[..., Reply]


@pytest.fixture
def run(isolation: Isolation, left: Callable[[], list[int]]) -> Run:
    def one(code: str, given: object = None, most: int = 1 << 16, limits: Limits = LIMITS) -> Reply:
        with isolation.start(textwrap.dedent(code), None, limits) as session:
            return session.run(json.dumps(given).encode("ascii"), most)

    return one


#: What programs below begin with: ``attempt`` notes what did not fail.
ATTEMPT = """
import ctypes, json, os, socket, sys
asked = json.loads(input())
done = []
def attempt(name, action):
    try:
        if action() is not False:
            done.append(name)
    except BaseException:
        pass
"""


def attempts(run: Run, code: str, given: object) -> list[str]:
    reply = run(ATTEMPT + textwrap.dedent(code) + "\nprint(json.dumps(done))", given)
    assert reply.ended is Ended.FINISHED, reply
    found: list[str] = json.loads(reply.output)
    return found


# --------------------------------------------------------------------------- taking everything


def test_a_fork_bomb_goes_off_inside(run: Run, filtered: bool) -> None:
    reply = run("import os\nwhile True:\n    os.fork()")
    assert reply.ended is Ended.FORBIDDEN if filtered else reply.ended in (Ended.ERROR, Ended.TIME)
    stubborn = """
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
    """
    assert run(stubborn, limits=Limits(cpu_seconds=1, wall_seconds=3.0)).ended is Ended.TIME


def test_threads_are_bounded_too(run: Run) -> None:
    reply = run(
        """
        import threading, time
        for n in range(100_000):
            threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
        """
    )
    assert reply.ended in (Ended.ERROR, Ended.MEMORY)


def test_memory_is_bounded(run: Run) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert run("kept = []\nwhile True:\n    kept.append(bytearray(1 << 24))").ended is Ended.MEMORY
    assert run("x = [0] * 10**11").ended is Ended.MEMORY
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(before, LIMITS.memory >> 10)


def test_memory_that_no_limit_counts_is_out_of_reach(run: Run, filtered: bool) -> None:
    if not filtered:
        pytest.skip("what the filter is for; without it, descriptors and the bytes of each file are limited")
    code = "import os\nfor n in range(50):\n    os.write(os.memfd_create('x'), bytes(1 << 19))"
    assert run(code).ended is Ended.FORBIDDEN


def test_the_disk_is_out_of_reach(run: Run, isolation: Isolation) -> None:
    big = run("with open('big', 'wb') as f:\n    while True:\n        f.write(bytes(1 << 16))")
    many = run("for n in range(10**6):\n    open(f'{n}', 'w').close()")
    if isolation.level == "namespaces":  # a folder of its own, of a bounded size, which nobody else sees
        assert big.ended in (Ended.ERROR, Ended.FORBIDDEN) and many.ended is Ended.ERROR
        assert "No space left" in many.message
    else:
        assert big.ended is many.ended is Ended.FORBIDDEN


def test_output_is_bounded(run: Run) -> None:
    reply = run("while True:\n    print('x' * 1000)", most=100_000)
    assert reply.ended is Ended.OUTPUT and len(reply.output) <= 200_000
    loud = run("import sys\nfor _ in range(2000):\n    print('x' * 1000, file=sys.stderr)\nprint('done')")
    assert (loud.ended, loud.output) == (Ended.FINISHED, b"done\n")


@pytest.mark.parametrize(
    "code",
    [
        "import signal\nfor n in (24, 15, 2):\n    signal.signal(n, signal.SIG_IGN)\nwhile True:\n    pass",
        "10**10**9",  # in C, where no signal handler of Python runs
    ],
)
def test_a_program_that_computes_for_ever_is_ended(left: object, code: str) -> None:
    level = strongest()
    assert isinstance(level, Isolation)
    with level.start(code, None, Limits(cpu_seconds=1)) as session:
        assert session.run(b"", 10).ended is Ended.TIME


@pytest.mark.parametrize("code", ["import time\ntime.sleep(1000)", "import threading\nthreading.Event().wait()"])
def test_a_program_that_waits_for_ever_is_ended(run: Run, code: str) -> None:
    reply = run(code, limits=Limits(wall_seconds=0.5))
    assert reply.ended is Ended.TIME and 0.5 <= reply.seconds < 60


def test_a_program_that_computes_is_not_ended_by_the_clock(run: Run) -> None:
    reply = run(
        "import time\nwhile time.process_time() < 1.5: pass\nprint(1)",
        limits=Limits(cpu_seconds=6, wall_seconds=1.0, waiting=0.001),
    )
    assert (reply.ended, reply.output) == (Ended.FINISHED, b"1\n") and reply.seconds > 1.4


# --------------------------------------------------------------------------- getting out


def test_no_file_of_anybody_can_be_read(
    run: Run, isolation: Isolation, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "sk-12345")
    ours = open_folder / "verdicts.parquet"
    ours.write_text("correct", encoding="utf-8")
    ours.chmod(0o666)
    code = """
        for path in asked["files"]:
            attempt(path, lambda: open(path, "rb").read(1))
        for path in asked["folders"]:
            attempt(path, lambda: set(os.listdir(path)) - set(asked["scaffold"]) != set())
        for name in ("SECRET_KEY", "HOME", "PATH"):
            attempt(name, lambda: os.environ[name])
            libc = ctypes.CDLL(None)
            libc.getenv.restype = ctypes.c_char_p
            attempt("C " + name, lambda: libc.getenv(name.encode()) is not None)
        attempt("/proc", lambda: "SECRET" in open(f"/proc/{os.getppid()}/environ").read())
    """
    files = [
        "/etc/passwd",
        "/etc/shadow",
        "/etc/hostname",
        str(ours),
        __file__,
        "/proc/self/environ",
        "/proc/1/environ",
    ]
    folders = ["/etc", "/home", "/root", str(Path.home()), str(open_folder), "/proc", "/work", "/sys", "/var", "/tmp"]
    # Python's libraries are where they are outside, so the folders above them are there, empty but for them.
    scaffold = sorted({part for root, _ in isolation.config["roots"] for part in Path(root).parts})
    assert attempts(run, code, {"files": files, "folders": folders, "scaffold": scaffold}) == []


def test_nothing_outside_can_be_written_or_changed(run: Run, open_folder: Path) -> None:
    kept = open_folder / "kept"
    kept.write_text("as it was", encoding="utf-8")
    kept.chmod(0o666)
    code = """
        kept, folder = asked
        attempt("write", lambda: open(kept, "w").write("changed"))
        attempt("append", lambda: open(kept, "a").write("changed"))
        attempt("truncate", lambda: os.truncate(kept, 0))
        attempt("remove", lambda: os.unlink(kept))
        attempt("rename", lambda: os.rename(kept, kept + "2"))
        attempt("chmod", lambda: os.chmod(kept, 0))
        attempt("touch", lambda: os.utime(kept, (0, 0)))
        attempt("link", lambda: os.symlink("/etc/passwd", folder + "/link"))
        attempt("make", lambda: os.mkdir(folder + "/made"))
        for place in ("/", "/tmp", "/dev/shm", "/var/tmp", "/usr/lib", "/packages", os.path.dirname(os.__file__)):
            attempt("in " + place, lambda: open(place + "/qrm-made", "w").close())
    """
    before = kept.stat()
    assert attempts(run, code, [str(kept), str(open_folder)]) == []
    after = kept.stat()
    assert kept.read_text("utf-8") == "as it was"
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)
    assert [p.name for p in open_folder.iterdir()] == ["kept"]


def test_no_socket_reaches_anything(run: Run, open_folder: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract,
    ):
        path = str(open_folder / "s")
        unix.bind(path)
        unix.listen()
        Path(path).chmod(0o777)
        name = f"\0qrm-{os.getpid()}"
        abstract.bind(name)
        code = """
            port, path, name = asked
            def connect(family, kind, address):
                s = socket.socket(family, kind)
                s.settimeout(1)
                s.connect(address)
                s.send(b"out")
            attempt("loopback", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)))
            attempt("internet", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("1.1.1.1", 53)))
            attempt("datagram", lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("8.8.8.8", 53)))
            attempt("six", lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, ("::1", port)))
            attempt("unix", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, path))
            attempt("abstract", lambda: connect(socket.AF_UNIX, socket.SOCK_DGRAM, name))
            attempt("pair", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"out", name))
            attempt("resolve", lambda: socket.getaddrinfo("example.org", 80))
        """
        found = attempts(run, code, [tcp.getsockname()[1], path, name])
        assert found == []
        for listener in (tcp, unix, abstract):
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.recv(1) if listener is abstract else listener.accept()


def test_no_other_process_can_be_touched(run: Run, isolation: Isolation) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"]) as bystander:
        if os.geteuid() != 0:
            assert bystander.pid  # of the same user: only the sandbox is in the way
        code = """
            import fcntl, resource, signal
            libc = ctypes.CDLL(None, use_errno=True)
            for pid in asked["pids"]:
                attempt(f"kill {pid}", lambda: os.kill(pid, signal.SIGKILL))
                attempt(f"trace {pid}", lambda: libc.ptrace(16, pid, 0, 0) == 0)
                attempt(f"limit {pid}", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, 0)))
                attempt(f"priority {pid}", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
                attempt(f"group {pid}", lambda: os.killpg(pid, signal.SIGKILL))
                attempt(f"pidfd {pid}", lambda: os.pidfd_open(pid))
            attempt("own", lambda: fcntl.fcntl(1, fcntl.F_SETOWN, asked["pids"][0]) if asked["filtered"] else False)
        """
        pids = [os.getpid(), bystander.pid]
        try:
            assert attempts(run, code, {"pids": pids, "filtered": isolation.config["filter"]}) == []
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_killing_everything_in_sight_kills_only_itself(isolation: Isolation, left: object) -> None:
    code = "import os, signal\nif input() == 'kill':\n    os.kill(-1, 9)\n    os.kill(os.getppid(), 9)\nprint('still here')"
    with isolation.start(code, None, LIMITS) as session:
        assert session.run(b"", 1000).ended is Ended.ERROR  # no input: EOFError
        session.run(b"kill\n", 1000)
        reply = session.run(b"stay\n", 1000)
    assert (reply.ended, reply.output) == (Ended.FINISHED, b"still here\n")


def test_calls_to_the_kernel_itself_gain_nothing(run: Run, filtered: bool) -> None:
    code = """
        libc = ctypes.CDLL(None, use_errno=True)
        call = lambda *a: libc.syscall(*(ctypes.c_long(x) if isinstance(x, int) else x for x in a)) >= 0
        attempt("mount", lambda: libc.mount(b"tmpfs", b"/", b"tmpfs", 0, None) == 0)
        attempt("chroot", lambda: os.chroot("/"))
        attempt("become root", lambda: os.setuid(0) or os.getuid() == 0)
        attempt("raise a limit", lambda: __import__("resource").setrlimit(9, (-1, -1)))
        attempt("trace me", lambda: libc.ptrace(0, 0, 0, 0) == 0) if asked["filtered"] else None
        attempt("memory of the keeper", lambda: open(f"/proc/{os.getppid()}/mem", "r+b"))
        attempt("modules", lambda: call(175, 0, 0, 0) if asked["x86"] else False)
        attempt("reboot", lambda: call(169, 0, 0, 0) if asked["x86"] else False)
        if asked["filtered"]:
            attempt("user namespace", lambda: libc.unshare(0x10000000) == 0)
            attempt("run", lambda: os.execv("/usr/bin/true", ["true"]))
            attempt("io_uring", lambda: call(425, 1, ctypes.create_string_buffer(120)))
            attempt("clone3", lambda: call(435, ctypes.create_string_buffer(88), 88))
            attempt("openat2", lambda: call(437, -100, ctypes.c_char_p(b"."), ctypes.create_string_buffer(24), 24))
            attempt("bpf", lambda: call(321, 0, 0, 0) if asked["x86"] else False)
            attempt("keys", lambda: call(250, 0, -3, 1) if asked["x86"] else False)
    """
    given = {"filtered": filtered, "x86": os.uname().machine == "x86_64"}
    assert attempts(run, code, given) == []


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only x86-64 has a second table of system calls")
def test_the_other_table_of_system_calls_is_shut(run: Run, filtered: bool) -> None:
    if not filtered:
        pytest.skip("what the filter is for")
    reply = run("import ctypes\nctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 + 41), 2, 1, 0)\nprint('here')")
    assert reply.ended is Ended.FORBIDDEN and reply.output == b""


def test_root_and_every_privilege_are_gone_as_seen_from_outside(
    isolation: Isolation, left: Callable[[], list[int]], filtered: bool
) -> None:
    seen: list[dict[str, str]] = []
    # the first process, in namespaces the keeper as another one, and the program
    processes = 3 if isolation.level == "namespaces" else 2
    # A second thread shows that the program runs: before that its process still gives things up.
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\ntime.sleep(1000)"
    with isolation.start(code, None, Limits(wall_seconds=300.0)) as session:
        running = threading.Thread(target=session.run, args=(b"", 10))
        running.start()
        deadline = time.monotonic() + 120
        while "2" not in {status["Threads"] for status in seen} and time.monotonic() < deadline:
            seen = [_status(pid) for pid in left()]
        session.kill()
        running.join()
    assert len(seen) == processes and sorted(status["Threads"] for status in seen)[-1] == "2"
    for status in seen:
        if os.geteuid() == 0:
            assert "0" not in status["Uid"].split() + status["Gid"].split() and status["Groups"] == ""
        allowed = {0, 1 << 2} if isolation.level == "landlock" else {0}  # to read root's Python, confined by Landlock
        assert int(status["CapEff"], 16) in allowed and int(status["CapPrm"], 16) in allowed
        assert status["NoNewPrivs"] == "1"
    if filtered:
        assert "2" in {status["Seccomp"] for status in seen}


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


# --------------------------------------------------------------------------- staying


def test_nothing_outlives_its_sandbox(run: Run, filtered: bool) -> None:
    code = """
        import os, signal, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for n in range(1, 32):
                    try:
                        signal.signal(n, signal.SIG_IGN)
                    except OSError:
                        pass
                time.sleep(1000)
            os._exit(0)
        time.sleep(0.2)
        print("left behind")
    """
    reply = run(code)
    if filtered:
        assert reply.ended is Ended.FORBIDDEN
    else:
        assert reply.output == b"left behind\n"  # the fixture sees that it is not there any more


def test_nothing_outlives_one_run_either(isolation: Isolation, left: Callable[[], list[int]]) -> None:
    code = "import os, time\nif input() == 'fork' and os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\nprint(1)"
    with isolation.start(code, None, LIMITS) as session:
        session.run(b"stay\n", 100)
        before = len(left())
        session.run(b"fork\n", 100)
        assert len(left()) == before


def test_nothing_outlives_us(isolation: Isolation, left: Callable[[], list[int]], tmp_path: Path) -> None:
    starter = f"""
        import sys
        from qrm_forensics.sandbox import Limits, host
        from qrm_forensics.sandbox.levels import attempt
        level = attempt({isolation.level!r}, filtered={isolation.config["filter"]!r})
        host._FOLDER = {host._FOLDER!r}
        session = level.start("import time\\nwhile True: time.sleep(1)", None, Limits(wall_seconds=60))
        print("started", flush=True)
        session.run(b"", 10)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(starter)],
        stdout=subprocess.PIPE,
        cwd=Path(host.__file__).parents[2],
        env=os.environ | {"TMPDIR": str(tmp_path)},  # killed, it clears nothing away
    ) as ours:
        assert ours.stdout is not None and ours.stdout.readline() == b"started\n"
        time.sleep(0.2)
        assert left()
        ours.send_signal(signal.SIGKILL)
    assert gone(left)


def test_a_run_can_be_ended_from_another_thread(isolation: Isolation, left: object) -> None:
    with isolation.start("while True: pass", None, Limits(cpu_seconds=60, wall_seconds=60)) as session:
        threading.Timer(0.3, session.kill).start()
        assert session.run(b"", 10).ended is Ended.LOST


# --------------------------------------------------------------------------- being called right

SECRET = 918_273_645

#: Everything that a program can get hold of: what the collector knows, what that refers to, and all frames.
SEARCH = """
def found(secret):
    import gc, sys
    values, frame = gc.get_objects(), sys._getframe(1)
    while frame:
        values += frame.f_locals.values()
        frame = frame.f_back
    values += gc.get_referents(*values)
    values += gc.get_referents(*(v for v in values if isinstance(v, (dict, list, tuple))))
    wanted = (secret, secret.encode(), int(secret), "[" + secret + "]")
    return [v for v in values if type(v) in (str, bytes, int) and v in wanted and v is not secret]
"""

FORGERIES = {
    "exit early": "import os; os._exit(0)",
    "exit": "raise SystemExit(0)",
    "say so": "print('pass'); print('correct'); print(True)",
    "every descriptor": """
        import json, os, struct
        header = json.dumps({"exit": 0, "signal": None, "over": None, "cpu_seconds": 0, "seconds": 0, "message": ""}).encode()
        for value in (b"true", b"null", b'{"ended": "finished"}', struct.pack(">II", len(header), 0) + header):
            for descriptor in range(64):
                try:
                    os.write(descriptor, value)
                except OSError:
                    pass
        """,
    "the harness": """
        import sys, json, builtins, os
        harness = sys.modules.get("qrm_forensics.sandbox.program")
        keeper = sys.modules.get("qrm_forensics.sandbox.inside")
        for module in (harness, keeper, json, builtins):
            for name in dir(module):
                if not name.startswith("__") and callable(getattr(module, name)) and name not in ("setattr", "callable", "getattr", "dir"):
                    try:
                        setattr(module, name, lambda *a, **k: True)
                    except Exception:
                        pass
        """,
    "equal to everything": """
        class Any(int):
            def __eq__(self, other): return True
            def __hash__(self): return 0
        class Solution:
            def f(self, x): return Any(0)
        """,
    "a text that is everything": """
        class All(str):
            def __eq__(self, other): return True
            def strip(self): return self
        print(All(''))
        class Solution:
            def f(self, x): return All('')
        """,
    "look for it": f"""
        SEARCH
        secret = str(int('{SECRET - 1}') + 1)
        seen = found(secret)
        if seen:
            print(secret)
        class Solution:
            def f(self, x): return int(secret) if seen else 0
        """,
    "an error that lies": """
        class Lie(BaseException):
            def __str__(self): raise SystemExit(0)
        raise Lie
        """,
}


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("fn_name", [None, "f"])
def test_no_program_is_right_that_does_not_give_the_answer(left: object, forgery: str, fn_name: str | None) -> None:
    gold = gold_of(CodeTests(["1"], [str(SECRET)], fn_name))
    code = textwrap.dedent(FORGERIES[forgery]).replace("SEARCH", SEARCH)
    outcome = CodeJudge(LIMITS).judge(code, gold)
    assert outcome.status is Status.WRONG, outcome.note


def test_the_search_of_one_of_them_would_have_found_it() -> None:
    names: dict[str, Any] = {}
    exec(SEARCH, names)  # noqa: S102
    tests = CodeTests(["1"], [str(int(f"{SECRET}") + 1)], None)  # as they stand in the process that judges
    assert names["found"](str(int(f"{SECRET}") + 1)) and tests.inputs


def test_a_program_cannot_reach_from_one_test_into_the_next(isolation: Isolation, left: object) -> None:
    code = """
        import builtins, os, sys, json
        n = input()
        print(n, getattr(builtins, "left", "clean"), os.path.exists("left") and open("left").read())
        builtins.left = builtins.print = sys.stdout = "dirty"
        json.loads = None
    """
    with isolation.start(textwrap.dedent(code), None, LIMITS) as session:
        assert session.run(b"1\n", 1000).output == b"1 clean False\n"
        assert session.run(b"2\n", 1000).output == b"2 clean False\n"


# --------------------------------------------------------------------------- as another user


def test_a_user_without_privileges_has_the_same_levels(open_folder: Path) -> None:
    """Where the tests run as root; elsewhere all of the above is that test."""
    if os.geteuid() != 0:
        pytest.skip("every test here runs without privileges already")
    user = 54321
    interpreter = next((p for p in (sys.executable, "/usr/bin/python3") if _usable_by(user, p)), None)
    if interpreter is None:
        pytest.skip("no Python of version 3.11 or later is in a folder that other users can read")
    folder = open_folder / "package"
    _copy_for_others(Path(host.__file__).parents[2], folder)
    script = """
        import json, os, sys
        sys.path.insert(0, sys.argv[1])
        from qrm_forensics.sandbox.host import SandboxError
        from qrm_forensics.sandbox.levels import attempt, isolation
        found = {"uid": os.getuid(), "auto": getattr(isolation(), "level", None)}
        for level in ("namespaces", "landlock", "open-files"):
            try:
                with attempt(level).start("print(sum(map(int, input().split())))") as session:
                    found[level] = session.run(b"1 2 3", 100).output.decode().strip()
            except SandboxError as error:
                found[level] = str(error)
        print(json.dumps(found))
    """
    done = subprocess.run(
        [interpreter, "-c", textwrap.dedent(script), str(folder)],
        user=user, group=user, extra_groups=[], cwd="/", env={"TMPDIR": "/tmp"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["uid"] == user and found["auto"] in ("namespaces", "landlock")
    as_root = {name: isinstance(level_of(name), Isolation) for name in ("namespaces", "landlock")}
    if as_root["landlock"]:
        assert found["landlock"] == "6" and found["open-files"] == "6"
    if _user_namespaces():
        assert found["namespaces"] == "6"


def _usable_by(user: int, interpreter: str) -> bool:
    try:
        done = subprocess.run(
            [interpreter, "-c", "import sys, ctypes; sys.exit(sys.version_info < (3, 11))"],
            user=user, group=user, extra_groups=[], cwd="/", env={}, capture_output=True,
        )  # fmt: skip
    except OSError:
        return False
    return done.returncode == 0


def _user_namespaces() -> bool:
    done = subprocess.run(["unshare", "-Urmn", "true"], user=54321, group=54321, extra_groups=[], capture_output=True)
    return done.returncode == 0


def _copy_for_others(source: Path, folder: Path) -> None:
    """What the sandbox is made of, where every user can read it."""
    for file in ("__init__.py", "errors.py", *(f"sandbox/{p.name}" for p in Path(host.__file__).parent.glob("*.py"))):
        copy = folder / "qrm_forensics" / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((source / "qrm_forensics" / file).read_bytes())
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
