"""The error tree.  Every error a user can meet is one clear line with a remedy.

::

    ForensicsError            exit  what it means
    ├── InputError             2    a file, record, option or study key is wrong
    │   ├── RecipeError        2    a recipe cannot be read, or cannot exist
    │   └── StoreError         2    a run folder is of another version, request or shape
    ├── NotComparableError     3    two sets of results do not describe the same thing
    ├── InsufficientDataError  4    the question cannot be answered with so few items
    └── EnvironmentMissing     5    an extra, a device or a program is missing
"""

from __future__ import annotations


class ForensicsError(Exception):
    """Base of all errors that are told to the user as one line; ``exit_code`` ends the process."""

    exit_code = 2


class InputError(ForensicsError):
    """Bad input.  Say which file, which record, and what to do about it."""

    exit_code = 2


class RecipeError(InputError, ValueError):
    """A recipe that cannot be read or that cannot exist."""


class StoreError(InputError):
    """A run folder that cannot be read or continued."""


class NotComparableError(ForensicsError):
    """The two sides of a comparison do not describe the same thing."""

    exit_code = 3


class InsufficientDataError(ForensicsError):
    """Too few items to answer."""

    exit_code = 4


class EnvironmentMissing(ForensicsError):
    """Something that has to be installed or plugged in is not there."""

    exit_code = 5


def missing_extra(wanted: str, extra: str, cause: Exception) -> EnvironmentMissing:
    """The one message for a missing optional dependency: what, which extra, the install line."""
    name = getattr(cause, "name", None) or str(cause)
    return EnvironmentMissing(
        f"{wanted} needs the package {name!r}, which is not installed; install it with: "
        f'pip install "qrm-forensics[{extra}]"'
    )
