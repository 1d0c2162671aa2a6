"""lighteval, where it is installed: its tasks as benchmarks, its matching as a policy, and our backends as its models.

lighteval pins packages to versions that clash with this project's (latex2sympy2_extended 1.0.6, math-verify 0.5.2, xxhash 3), so
it lives in an environment of its own: ``requirements/lighteval.lock`` and docs/lighteval.md.  From this one it is asked in a process
of that environment, whose Python the variable ``QRM_FORENSICS_LIGHTEVAL`` names.  Nothing is imported from it before it is
asked for, and nothing else of this project needs it.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from qrm_forensics.errors import EnvironmentMissing

__all__ = ["PYTHON", "installed", "interpreter", "require"]

#: The environment variable that names the Python of lighteval's environment.
PYTHON = "QRM_FORENSICS_LIGHTEVAL"


def installed() -> str | None:
    """The version of lighteval in this environment, or None."""
    try:
        return version("lighteval")
    except PackageNotFoundError:
        return None


def require(wanted: str) -> str:
    """The version of lighteval; raises EnvironmentMissing that says what needs it and how it is installed."""
    found = installed()
    if found is None:
        raise _missing(wanted)
    return found


def interpreter(wanted: str) -> str:
    """The Python that has lighteval: the one that is named, else this one.  Raises EnvironmentMissing where there is none."""
    named = os.environ.get(PYTHON, "").strip()
    if named:
        found = shutil.which(str(Path(named).expanduser()))
        if found is None:
            raise EnvironmentMissing(
                f"{PYTHON}={named}: there is no such program; name the Python of lighteval's environment"
            )
        return found
    if installed() is None:
        raise _missing(wanted)
    return sys.executable


def _missing(wanted: str) -> EnvironmentMissing:
    return EnvironmentMissing(
        f"{wanted} needs lighteval, whose pins clash with this environment's; make one for it (make lighteval-test, or as "
        f"docs/lighteval.md says) and set {PYTHON}=.venv-lighteval/bin/python"
    )
