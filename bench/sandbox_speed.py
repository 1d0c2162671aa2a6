"""What the sandbox costs: milliseconds per program and per test, beside a plain subprocess of Python.

    python bench/sandbox_speed.py [--programs 30] [--tests 20]

A program reads two numbers and prints their sum.  ``plain`` starts Python anew for every
test, as a harness without a sandbox does; a sandbox is made once per program and runs
each test in a process of its own.  By the clock the least of several times counts, of the
processor their mean.
"""

from __future__ import annotations

import argparse
import functools
import resource
import subprocess
import sys
import time
from collections.abc import Callable

from qrm_forensics.sandbox.host import SandboxError
from qrm_forensics.sandbox.levels import Isolation, attempt

PROGRAM = "a, b = map(int, input().split())\nprint(a + b)\n"
GIVEN, WANTED = b"1 2\n", b"3\n"


def plain(tests: int) -> None:
    for _ in range(tests):
        done = subprocess.run([sys.executable, "-S", "-s", "-P", "-c", PROGRAM], input=GIVEN, capture_output=True)
        assert done.stdout == WANTED, done.stderr


def boxed(isolation: Isolation, tests: int) -> None:
    with isolation.start(PROGRAM) as session:
        for _ in range(tests):
            assert session.run(GIVEN, 1000).output == WANTED


def milliseconds(run: Callable[[int], None], programs: int, tests: int) -> list[float]:
    """Of a program with one test, and of each further test: by the clock (the least), and of the processor (the mean)."""

    def taken(count: int) -> tuple[float, float]:
        clock, used = [], _used()
        for _ in range(programs):
            begun = time.perf_counter()
            run(count)
            clock.append(1000 * (time.perf_counter() - begun))
        return min(clock), (_used() - used) / programs

    (clock, used), (clock_more, used_more) = taken(1), taken(1 + tests)
    return [clock, (clock_more - clock) / tests, used, (used_more - used) / tests]


def _used() -> float:
    """Milliseconds of the processor that processes which have ended took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (usage.ru_utime + usage.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=30)
    parser.add_argument("--tests", type=int, default=20, help="further tests of each program")
    asked = parser.parse_args()
    found = {"plain subprocess": milliseconds(plain, asked.programs, asked.tests)}
    for level in ("namespaces", "landlock", "open-files"):
        try:
            isolation = attempt(level)
        except SandboxError as error:
            print(f"{level}: {error}")
            continue
        run = functools.partial(boxed, isolation)
        found[level] = milliseconds(run, asked.programs, asked.tests)
    print(f"{'milliseconds':<20}{'by the clock':>24}{'of the processor':>24}")
    print(f"{'':<20}" + 2 * f"{'one test':>12}{'further':>12}")
    for name, numbers in found.items():
        print(f"{name:<20}" + "".join(f"{number:>12.1f}" for number in numbers))


if __name__ == "__main__":
    main()
