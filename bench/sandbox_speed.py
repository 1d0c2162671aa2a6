"""What the sandbox costs: milliseconds per program and per test, beside a plain subprocess of Python.

    python bench/sandbox_speed.py [--programs 30] [--tests 20]

A program reads two numbers and prints their sum.  ``plain`` starts Python anew for every
test, as a harness without a sandbox does; a sandbox is made once per program and runs
each test in a process of its own.  The least of several times.
"""

from __future__ import annotations

import argparse
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


def milliseconds(run: Callable[[int], None], programs: int, tests: int) -> tuple[float, float]:
    """Least time of a program with one test, and of each further test: what else the machine does only adds to it."""

    def least(count: int) -> float:
        taken = []
        for _ in range(programs):
            begun = time.perf_counter()
            run(count)
            taken.append(1000 * (time.perf_counter() - begun))
        return min(taken)

    one = least(1)
    return one, (least(1 + tests) - one) / tests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=30)
    parser.add_argument("--tests", type=int, default=20, help="further tests of each program")
    asked = parser.parse_args()
    print(f"{'':<28}{'one test, ms':>14}{'each further, ms':>18}")
    found = {"plain subprocess": milliseconds(plain, asked.programs, asked.tests)}
    for level in ("namespaces", "landlock", "open-files"):
        try:
            isolation = attempt(level)
        except SandboxError as error:
            print(f"{level}: {error}")
            continue
        found[level] = milliseconds(
            lambda tests, isolation=isolation: boxed(isolation, tests), asked.programs, asked.tests
        )  # type: ignore[misc]
    for name, (one, further) in found.items():
        print(f"{name:<28}{one:>14.1f}{further:>18.1f}")


if __name__ == "__main__":
    main()
