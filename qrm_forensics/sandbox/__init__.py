"""Run Python programs that nobody trusts: no network, no files of yours, bounded time, memory and output.

``isolation()`` finds out once what this machine can enforce, tries it on a program that
tries to get out, and says which of these it is, or why code is not run here:

``namespaces``
    Linux mount, process, network, IPC and host name namespaces of its own (made by root,
    which is dropped afterwards, or inside a user namespace), and a filter of system calls.
``landlock``
    Where namespaces are not allowed (most containers): Landlock rules on files, and a
    stricter filter of system calls.  Nothing can be written.
``open-files``
    The filter alone.  A program could read the user's files, so it has to be asked for:
    ``QRM_SANDBOX=open-files``.

A sandbox never learns the right outputs of a test.  It says what the program printed or
returned; the comparison is made outside, so that a program has no verdict to forge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qrm_forensics.sandbox.host import Limits, Reply, SandboxError, Session
    from qrm_forensics.sandbox.levels import VARIABLE, Isolation, Refusal, described, isolation

__all__ = ["VARIABLE", "Isolation", "Limits", "Refusal", "Reply", "SandboxError", "Session", "described", "isolation"]

_OF_HOST = ("Limits", "Reply", "SandboxError", "Session")


def __getattr__(name: str) -> object:
    # The processes inside import this package too, once for every program, and need nothing of the outside.
    if name in __all__:
        from qrm_forensics.sandbox import host, levels

        return getattr(host if name in _OF_HOST else levels, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
