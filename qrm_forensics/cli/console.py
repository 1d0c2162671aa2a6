"""Rich's console as our commands use it."""

from __future__ import annotations

import errno
import os

from rich.console import Console


class PipedConsole(Console):
    """Leaves a reader who went away (``| head``) to the command line, which ends with the shell's 141 for it.

    Rich itself would end the program with 1, which is what a failed check ends with.
    """

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
