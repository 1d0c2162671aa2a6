"""Fields of a row that states a problem, and the ids of the problems of one benchmark."""

from __future__ import annotations

from typing import Any

from qrm_forensics.errors import InputError


def short_answer(answer: str) -> str:
    """The answer behind a worked solution, as GSM8K writes it (``… #### 72``); any other answer as it is."""
    return answer.rpartition("####")[2].strip() if "####" in answer else answer


class ProblemIds:
    """Gives each row of a benchmark its id, and refuses one that is there twice."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def take(self, own_id: str | None, where: str) -> str:
        """The row's own id, or ``idx-N`` by its position.  Raises InputError for one that was taken before."""
        problem_id = own_id if own_id is not None else f"idx-{len(self._seen)}"
        if problem_id in self._seen:
            raise InputError(
                f"{where}: id {problem_id!r} is already that of {self._seen[problem_id]}; give each problem its own id"
            )
        self._seen[problem_id] = "record " + where.rpartition(": record ")[2].removesuffix(" (counted from 0)")
        return problem_id


def text_field(record: dict[str, Any], names: tuple[str, ...], where: str) -> str:
    """The first of the fields ``names`` that is there, as text.  Raises InputError where there is none, or an empty one."""
    value = optional_field(record, names, where)
    if value is None or not value.strip():
        shown = [name for name in names if name.islower()] or names
        raise InputError(f"{where}: no {' or '.join(map(repr, shown))}; a problem has a question and an answer")
    return value


def optional_field(record: dict[str, Any], names: tuple[str, ...], where: str) -> str | None:
    """The first of the fields ``names`` that is not null, as text; None where there is none.  Raises InputError for no text or number."""
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise InputError(
                    f"{where}: {name!r} holds half a surrogate pair, which is not text; repair the escape"
                ) from None
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise InputError(f"{where}: {name!r} is {type(value).__name__}; expected text or a number")
    return None
