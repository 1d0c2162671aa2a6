"""The nouns of the suite, as written by machines: frozen, slotted, one Arrow schema each.

Absence is a status and a null, never 0, NaN or a magic string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, TypeVar

import pyarrow as pa

SCHEMA_VERSION = 1


class Kind(StrEnum):
    """What sort of answer a problem asks for."""

    MATH = "math"
    CHOICE = "choice"
    CODE = "code"


class Finish(StrEnum):
    """Why a response ended.  ``unknown`` where an imported file does not say."""

    STOP = "stop"
    LENGTH = "length"
    LOOP_STOPPED = "loop-stopped"
    ERROR = "error"
    UNKNOWN = "unknown"


class Status(StrEnum):
    """A verdict.  ``missing``: no answer was found.  ``unscored``: could not be judged, which is not wrong."""

    CORRECT = "correct"
    WRONG = "wrong"
    MISSING = "missing"
    UNSCORED = "unscored"


class Coverage(StrEnum):
    """Which part of its benchmark a variant answered.

    ``full``: every problem.  ``prefix``: the first n.  ``selected``: a subset picked by
    somebody, so that a share computed on it estimates nothing about the benchmark.
    ``unknown``: the size of the benchmark is not known.
    """

    FULL = "full"
    PREFIX = "prefix"
    SELECTED = "selected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, with the exact prompt text that every variant gets."""

    benchmark: str
    id: str
    question: str
    prompt: str
    gold: str
    kind: Kind
    subject: str | None
    level: str | None


@dataclass(frozen=True, slots=True)
class Variant:
    """One checkpoint of a study.  ``id`` is what tables, folders and claims call it."""

    id: str
    model: str
    recipe: str
    tensor_parallel: int


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A checkpoint that can be opened: path or hub id, recipe, and the hash of its weights."""

    path: str
    revision: str | None
    recipe: str
    content_hash: str | None
    realization: str  # "original" | "simulated" | "packed"


@dataclass(frozen=True, slots=True)
class Request:
    """One planned sample: the key of a trace, and what is needed to make it."""

    variant: str
    problem: Problem
    sample: int
    seed: int

    @property
    def key(self) -> Key:
        return (self.problem.id, self.sample, self.seed)


#: Key of a trace within one (variant, benchmark) cell: problem id, sample, seed.
Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Trace:
    """One response.  There is one per planned sample, even where generation failed.

    ``text`` is everything after the prompt, the thinking included, lossless.
    ``token_ids``, ``logprobs`` (natural log, of the sampled token under the sampling
    temperature 1 distribution) and ``entropies`` (nats, same distribution) have one
    entry per generated token, the end token included; null where unknown.
    ``source_file`` and ``source_index`` (0-based) say where an imported trace came from.
    """

    variant: str
    benchmark: str
    problem_id: str
    sample: int
    seed: int
    prompt: str
    text: str | None
    finish: Finish
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    entropies: list[float] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    error: str | None = None
    source_file: str | None = None
    source_index: int | None = None

    @property
    def key(self) -> Key:
        return (self.problem_id, self.sample, self.seed)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one trace under one policy."""

    variant: str
    benchmark: str
    problem_id: str
    sample: int
    seed: int
    policy: str
    status: Status
    answer: str | None
    rule: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What happened in one call of ``run`` or ``import``: appended to study.json, never used as input."""

    command: str
    started: str
    ended: str
    seconds: dict[str, float]
    traces_made: int
    versions: dict[str, str]
    host: dict[str, str]
    git_state: str | None


TRACE_KEY = ["variant", "benchmark", "problem_id", "sample", "seed"]

_TEXT, _INT, _REAL = pa.string(), pa.int64(), pa.float64()

PROBLEM_SCHEMA = pa.schema(
    [
        pa.field("benchmark", _TEXT, False),
        pa.field("id", _TEXT, False),
        pa.field("question", _TEXT, False),
        pa.field("prompt", _TEXT, False),
        pa.field("gold", _TEXT, False),
        pa.field("kind", _TEXT, False),
        pa.field("subject", _TEXT),
        pa.field("level", _TEXT),
    ]
)

KEY_FIELDS = [
    pa.field("variant", _TEXT, False),
    pa.field("benchmark", _TEXT, False),
    pa.field("problem_id", _TEXT, False),
    pa.field("sample", _INT, False),
    pa.field("seed", _INT, False),
]

TRACE_SCHEMA = pa.schema(
    [
        *KEY_FIELDS,
        pa.field("prompt", _TEXT, False),
        pa.field("text", pa.large_string()),
        pa.field("finish", _TEXT, False),
        pa.field("token_ids", pa.list_(pa.int32())),
        pa.field("logprobs", pa.list_(pa.float32())),
        pa.field("entropies", pa.list_(pa.float32())),
        pa.field("prompt_tokens", _INT),
        pa.field("completion_tokens", _INT),
        pa.field("seconds", _REAL),
        pa.field("error", _TEXT),
        pa.field("source_file", _TEXT),
        pa.field("source_index", _INT),
    ]
)

VERDICT_SCHEMA = pa.schema(
    [
        *KEY_FIELDS,
        pa.field("policy", _TEXT, False),
        pa.field("status", _TEXT, False),
        pa.field("answer", _TEXT),
        pa.field("rule", _TEXT),
        pa.field("note", _TEXT),
    ]
)

Record = TypeVar("Record", Problem, Trace, Verdict)


def to_table(records: Iterable[Record], schema: pa.Schema) -> pa.Table:
    """Records as an Arrow table; lone surrogates in text become U+FFFD, as Parquet holds UTF-8 only."""
    rows = list(records)
    columns = {name: [_plain(getattr(r, name)) for r in rows] for name in schema.names}
    return pa.table(columns, schema=schema)


_SURROGATE = re.compile("[\ud800-\udfff]")


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    return value


def from_row(kind: type[Record], row: Mapping[str, Any]) -> Record:
    """The record of one table row (columns that the record does not have are ignored)."""
    values = {f.name: row[f.name] for f in fields(kind)}
    enums: dict[str, type[StrEnum]] = {"kind": Kind, "finish": Finish, "status": Status}
    for name, enum in enums.items():
        if name in values:
            values[name] = enum(values[name])
    return kind(**values)
