"""A benchmark of one's own: any file of rows with a problem and its answer, whatever its columns are called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from qrm_forensics.answers import choice_letter
from qrm_forensics.benchmarks.code_tests import from_record, gold_of
from qrm_forensics.benchmarks.fields import ProblemIds, optional_field, short_answer, text_field
from qrm_forensics.benchmarks.items import Item, Rows
from qrm_forensics.benchmarks.presets import letter_of, with_options
from qrm_forensics.errors import InputError
from qrm_forensics.records import Kind

#: What a column is for -> what it is called where nothing is said.
COLUMNS: Final = MappingProxyType(
    {
        "problem": ("problem", "question"),
        "answer": ("answer",),
        "id": ("unique_id", "id"),
        "subject": ("subject",),
        "level": ("level",),
        "choices": ("choices",),
        "starter_code": ("starter_code",),
    }
)
_MOST_OPTIONS = 10


def read(rows: Rows, kind: Kind, fields: Mapping[str, str] = MappingProxyType({})) -> list[Item]:
    """All problems; ``fields`` says which column is which where its name is not the usual one (``COLUMNS``).

    The answer to a ``choice`` is a letter or the text of the right option; options are asked in the file's order.  The
    answer to a ``code`` problem are its tests: an object with ``inputs``, ``outputs`` and ``fn_name``, or that as JSON.
    Raises InputError for a row that lacks something, naming the columns that it has.
    """
    columns = dict(COLUMNS) | {name: (column,) for name, column in fields.items()}
    ids = ProblemIds()
    items = []
    for where, row in rows:
        for name, column in fields.items():
            if column not in row:
                raise InputError(f"{where}: has no {column!r} (fields: {name}); it has {', '.join(map(repr, row))}")
        question = text_field(row, columns["problem"], where)
        if kind is Kind.CHOICE:
            question, gold = _choice(question, row, columns, where)
        elif kind is Kind.CODE:
            gold = _code(row, columns["answer"], where)
        else:
            gold = short_answer(text_field(row, columns["answer"], where))
        own_id, subject, level = (optional_field(row, columns[n], where) for n in ("id", "subject", "level"))
        starter = (optional_field(row, columns["starter_code"], where) or "") if kind is Kind.CODE else None
        items.append(Item(ids.take(own_id, where), question, gold, subject, level, starter))
    return items


def _choice(question: str, row: dict[str, Any], columns: Mapping[str, tuple[str, ...]], where: str) -> tuple[str, str]:
    answer = text_field(row, columns["answer"], where).strip()
    name = columns["choices"][0]
    options = row.get(name)
    if options is None:  # the problem's text holds them
        letter = choice_letter(answer)
        if letter is None:
            raise InputError(
                f"{where}: the answer {answer[:40]!r} is no letter, and there is no {name!r} to find it in"
            )
        return question, letter
    if not isinstance(options, list) or not all(isinstance(o, str) for o in options):
        raise InputError(f"{where}: {name!r} should be a list of texts")
    if not 2 <= len(options) <= _MOST_OPTIONS or len(set(options)) != len(options):
        raise InputError(f"{where}: {name!r} should be 2 to {_MOST_OPTIONS} different texts")
    # An option's own text first: with the options A, B and C of a question about vitamins both readings agree only there.
    if answer in options:
        letter = letter_of(options.index(answer))
    else:
        letter = choice_letter(answer) or ""
        if not letter or ord(letter) - ord("A") >= len(options):
            raise InputError(f"{where}: the answer {answer[:40]!r} is neither one of its options nor the letter of one")
    return with_options(question, options), letter


def _code(row: dict[str, Any], columns: tuple[str, ...], where: str) -> str:
    tests = next((row[c] for c in columns if row.get(c) is not None), None)
    try:
        if isinstance(tests, str):
            tests = json.loads(tests)
        return gold_of(from_record(tests))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: the answer to a code problem are its tests, but they are not JSON ({error})"
        ) from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
