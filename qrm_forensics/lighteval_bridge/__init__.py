"""lighteval, where it is installed: its tasks as benchmarks, its matching as a policy, and our backends as its models.

lighteval pins packages to versions that clash with this project's (latex2sympy2_extended 1.0.6, math-verify 0.5.2, xxhash 3), so
it lives in an environment of its own: ``requirements/lighteval.lock`` and docs/lighteval.md.  Nothing is imported from it
before it is asked for, and nothing else of this project needs it.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from qrm_forensics.errors import EnvironmentMissing

__all__ = ["installed", "require"]


def installed() -> str | None:
    """The version of lighteval here, or None."""
    try:
        return version("lighteval")
    except PackageNotFoundError:
        return None


def require(wanted: str) -> str:
    """The version of lighteval; raises EnvironmentMissing that says what needs it and how it is installed."""
    found = installed()
    if found is None:
        raise EnvironmentMissing(
            f"{wanted} needs lighteval, which is not installed here; its pins clash with this environment's, so make another one: "
            "make lighteval-test, or as docs/lighteval.md says"
        )
    return found
