"""What the processes that judge hostile text have in common: limits, and one JSON reply per JSON request.

Run by path from ``math_worker`` and ``lighteval_worker``, which are scripts: it needs nothing but the standard library, so that it
works in an environment without this package.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def limit(name: str, value: int) -> None:
    """Lower one soft and hard resource limit, where the platform has it."""
    import resource

    which = getattr(resource, name, None)
    if which is None:
        return
    _, hard = resource.getrlimit(which)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(which, (allowed, allowed))
    except (ValueError, OSError):  # macOS refuses some of them; the parent's SIGKILL remains
        return


def allow_cpu(seconds: int) -> None:
    """Let this process use ``seconds`` more CPU seconds; beyond them the kernel ends it."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + 1 + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def serve(judge: Callable[[Any], dict[str, Any]], library: str, warm_up: Callable[[], object], *, grown: bool) -> None:
    """Reply to every request with what ``judge`` says, until the input ends; ``library`` is who fails, in messages.

    ``warm_up`` imports what is needed, before any time is counted.  ``grown``: whether ``--memory`` counts from what the
    process has taken by then, for a library whose own parts take much address space.
    """
    options = argparse.ArgumentParser()
    options.add_argument("--memory", type=int, required=True)
    options.add_argument("--cpu", type=int, required=True)
    given = options.parse_args()

    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the replies
    if not grown:
        limit("RLIMIT_AS", given.memory)
    limit("RLIMIT_CORE", 0)
    logging.disable(logging.CRITICAL)
    warm_up()
    if grown:
        limit("RLIMIT_AS", given.memory + _address_space())
    limit("RLIMIT_FSIZE", 0)
    limit("RLIMIT_NPROC", 0)

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    reply({"ready": True})
    for line in sys.stdin:
        allow_cpu(given.cpu)
        try:
            reply(judge(json.loads(line)))
        except MemoryError:
            reply({"error": "out of memory"})
            return
        except Exception as error:
            # Library code on hostile text: whatever it raises is an answer that could not be judged.
            reply({"error": f"{library} failed with {type(error).__name__}"})


def _address_space() -> int:
    """Bytes of address space of this process; 0 on macOS, which has no /proc and refuses the limit anyway."""
    taken = Path("/proc/self/statm")  # in pages
    return int(taken.read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE") if taken.exists() else 0
