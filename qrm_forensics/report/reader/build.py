"""The reader of a run: its index and its packs, from the tables, with a bounded part of the texts in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from qrm_forensics.benchmarks.code_tests import shown_gold
from qrm_forensics.metrics.lexemes import MARKERS, PHRASE_MARKERS
from qrm_forensics.records import TRACE_KEY
from qrm_forensics.report.data import SAMPLE_KEY, BenchmarkData, RunData
from qrm_forensics.report.keys import MARKS
from qrm_forensics.report.reader.entries import binned, response_entry
from qrm_forensics.report.reader.model import Reader, ReaderCell, ReaderRow
from qrm_forensics.report.reader.packing import Packer
from qrm_forensics.report.thinking import forced_texts
from qrm_forensics.report.visible import clip
from qrm_forensics.store import RowGroup, read_row_group

#: Bytes of text that are in memory at a time, beside one row group.
WINDOW_BYTES = 48 << 20
#: Characters of a question and of an answer that the index has.
QUESTION, ANSWER = 600, 120

#: Measured columns that the panel beside a response shows, where they were measured, in this order.
FACTS: tuple[str, ...] = (
    *("n_words", "n_tokens", "n_chars", "closed", "boxed", "boxed_after_think", "n_boxed", "truncated"),
    *("loop", "loop_class", "loop_unit", "loop_period", "loop_repeats", "loop_coverage", "loop_onset_char"),
    *("loop_onset_token", "loop_onset_fraction", "loop_terminal", "loop_recovered", "loop_episode_count"),
    *("loop_enumeration", "sentence_repeats_max", "sentence_repeated", "copy_rate", "collapse_at"),
    *("had_correct", "had_correct_but_lost", "first_correct_char", "last_correct_char", "final_answer_first_char"),
    *("n_answers_stated", "answer_changes", "answer_last_change_fraction", "underthinking"),
    *("equations", "false_equations", "false_equation_first", "false_equation_first_char"),
    *("gibberish", "gibberish_count", "gibberish_first_char", "gibberish_words", "foreign_letters"),
    *("markers_total", "markers_per_1000_words", "wait_count", "n_checks"),
    *("ttr", "mattr_500", "worst_window_ttr", "mean_surprisal", "surprisal_spikes", "mean_entropy"),
)
#: A text value of a fact is cut here.
_FACT = 400

Key = tuple[str, str, str, int, int]


@dataclass(frozen=True, slots=True)
class _Text:
    text: str | None
    error: str | None
    surprisal: list[int] | None


def build_reader(
    run: RunData, compared: Mapping[str, Mapping[str, str]], *, window_bytes: int = WINDOW_BYTES
) -> Reader:
    """Pack every response of the run, in the order of the problems.

    ``compared``: benchmark -> variant -> its reference.  Of the texts about ``window_bytes`` are in memory at a
    time, however many there are.
    """
    sizes = _sizes(run)
    variants = tuple(run.variants)
    columns = {c for data in run.benchmarks.values() for c in data.frame.columns}
    facts = tuple(c for c in FACTS if c in columns)
    packer = Packer()
    rows: list[ReaderRow] = []
    marks = _Marks(run)
    judged = _Rules(run)
    for data in run.benchmarks.values():
        responses = _by_row(data)
        symptoms = [c for c in data.frame.columns if c.startswith("symptom_")]
        forced = {v: forced_texts(run.store, v, data.name) for v in data.variants}
        for window in _windows(run, data, responses, sizes, window_bytes):
            texts = _texts(run, data, {key for row in window for key in _keys(data, row, responses[row])})
            for row in window:
                problem_id, sample, seed = data.keys[row]
                problem = run.problems[data.name, problem_id]
                cells, entries = [], []
                for variant, values in responses[row].items():
                    key = (variant, data.name, problem_id, sample, seed)
                    read = texts.get(key, _Text(None, None, None))
                    found = _facts(values, facts, run.flags)
                    own = (problem_id, sample, seed)
                    written = forced[variant].spans(own, read.text or "")
                    known = {
                        "finish": str(values["finish"]),
                        "error": read.error,
                        "source": _source(values),
                        "answers": [[_said(values.get(f"answer:{p}")), *judged.of(key, p)] for p in run.policies],
                        "symptoms": [c.removeprefix("symptom_") for c in symptoms if values[c] == 1],
                        "surprisal": read.surprisal,
                        "forced_lost": forced[variant].place(own)
                        if written is None and read.text is not None
                        else None,
                    }
                    spans = marks.of(key) | ({"forced": list(written)} if written else {})
                    entries.append(response_entry(read.text, marks=spans, facts=found, known=known))
                    cells.append(_cell(run, variants.index(variant), values, read))
                pack, place = packer.add(
                    {"question": problem.question, "gold": shown_gold(problem), "responses": entries}
                )
                rows.append(
                    ReaderRow(
                        benchmark=data.name,
                        problem_id=problem_id,
                        sample=sample,
                        seed=seed,
                        question=clip(problem.question, QUESTION),
                        gold=clip(shown_gold(problem), ANSWER),
                        subject=problem.subject,
                        level=problem.level,
                        pack=pack,
                        place=place,
                        cells=tuple(cells),
                    )
                )
    return Reader(
        variants=variants,
        policies=run.policies,
        references=tuple(
            (benchmark, variant, reference)
            for benchmark, pairs in compared.items()
            for variant, reference in pairs.items()
        ),
        facts=facts,
        flags=tuple(c for c in facts if c in run.flags),
        markers=(*MARKERS, *PHRASE_MARKERS),
        rows=tuple(rows),
        packs=packer.finish(),
    )


def _by_row(data: BenchmarkData) -> list[dict[str, dict[str, Any]]]:
    """Per row: variant -> the columns of its response, variants in the order of the study."""
    found: list[dict[str, dict[str, Any]]] = [{} for _ in data.keys]
    wanted = [
        c
        for c in data.frame.columns
        if c in FACTS
        or c in ("row", "finish", "source_file", "source_index", "outcome")
        or c.startswith(("status:", "answer:", "symptom_"))
    ]
    for variant in data.variants:
        for values in data.of(variant)[wanted].to_dict("records"):
            found[int(values["row"])][variant] = {str(k): v for k, v in values.items()}
    return found


def _keys(data: BenchmarkData, row: int, responses: Iterable[str]) -> Iterator[Key]:
    problem_id, sample, seed = data.keys[row]
    yield from ((variant, data.name, problem_id, sample, seed) for variant in responses)


def _sizes(run: RunData) -> dict[Key, int]:
    """Bytes of the text of every response."""
    sizes: dict[Key, int] = {}
    for variant, benchmark in run.store.cells():
        for group in run.store.row_groups(variant, benchmark):
            table = read_row_group(group, [*SAMPLE_KEY, "text"])
            lengths = pc.fill_null(pc.binary_length(table["text"]), 0).to_pylist()
            keys = zip(*(table[c].to_pylist() for c in SAMPLE_KEY), strict=True)
            sizes |= {(variant, benchmark, *key): n for key, n in zip(keys, lengths, strict=True)}
    return sizes


def _windows(
    run: RunData,
    data: BenchmarkData,
    responses: list[dict[str, dict[str, Any]]],
    sizes: Mapping[Key, int],
    window_bytes: int,
) -> Iterator[range]:
    """Consecutive rows whose texts come to about ``window_bytes``."""
    start, total = 0, 0
    for row in range(len(data.keys)):
        size = sum(sizes.get(key, 0) for key in _keys(data, row, responses[row]))
        if row > start and total + size > window_bytes:
            yield range(start, row)
            start, total = row, 0
        total += size
    if start < len(data.keys):
        yield range(start, len(data.keys))


def _texts(run: RunData, data: BenchmarkData, wanted: set[Key]) -> dict[Key, _Text]:
    """The wanted texts, and the surprisal of their tokens where it was recorded; row groups without one are not decoded."""
    found: dict[Key, _Text] = {}
    for variant in data.variants:
        for group in run.store.row_groups(variant, data.name):
            keys = _group_keys(group, variant, data.name)
            here = [i for i, key in enumerate(keys) if key in wanted]
            if not here:
                continue
            table = read_row_group(group, ["text", "error", "logprobs"]).take(pa.array(here))
            for i, index in enumerate(here):
                logprobs = table["logprobs"][i]
                surprisal = None
                if logprobs.is_valid:
                    surprisal = binned(-logprobs.values.to_numpy(zero_copy_only=False))
                found[keys[index]] = _Text(table["text"][i].as_py(), table["error"][i].as_py(), surprisal)
    return found


def _group_keys(group: RowGroup, variant: str, benchmark: str) -> list[Key]:
    table = read_row_group(group, SAMPLE_KEY)
    return [(variant, benchmark, *key) for key in zip(*(table[c].to_pylist() for c in SAMPLE_KEY), strict=True)]


class _Marks:
    """Spans of each response, by kind; looked up by key without a table in Python objects."""

    def __init__(self, run: RunData) -> None:
        self._columns: dict[str, tuple[dict[Key, int], Any, Any, Any]] = {}
        places: dict[int, dict[Key, int]] = {}
        for column, kind in MARKS.items():
            if column not in run.spans:
                continue
            table = run.spans[column].combine_chunks()
            spans = table[column].combine_chunks()
            if isinstance(spans, pa.ChunkedArray):
                spans = pa.concat_arrays(spans.chunks) if spans.num_chunks else pa.array([], spans.type)
            index = {key: i for i, key in enumerate(zip(*(table[c].to_pylist() for c in TRACE_KEY), strict=True))}
            index = places.setdefault(hash(tuple(index)), index)  # metrics of one run have the same keys
            values = spans.flatten()
            self._columns[kind] = (
                index,
                np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(spans), 0).to_numpy())]),
                values.field("start").to_numpy(),
                values.field("end").to_numpy(),
            )

    def of(self, key: Key) -> dict[str, list[tuple[int, int]]]:
        found = {}
        for kind, (index, offsets, starts, ends) in self._columns.items():
            i = index.get(key)
            if i is not None and offsets[i + 1] > offsets[i]:
                low, high = offsets[i], offsets[i + 1]
                found[kind] = list(zip(starts[low:high].tolist(), ends[low:high].tolist(), strict=True))
        return found


class _Rules:
    """Which rule found the answer of a response, and what its judge noted, by policy."""

    def __init__(self, run: RunData) -> None:
        verdicts = run.store.verdicts()
        columns = [verdicts[c].to_pylist() for c in (*TRACE_KEY, "policy", "rule", "note")]
        self._found = {
            (*row[:5], row[5]): (row[6], row[7]) for row in zip(*columns, strict=True) if row[6] is not None or row[7]
        }

    def of(self, key: Key, policy: str) -> tuple[str | None, str | None]:
        rule, note = self._found.get((*key, policy), (None, None))
        return rule, None if note is None else clip(note, _FACT)


def _facts(values: Mapping[str, Any], columns: Iterable[str], flags: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column in columns:
        value = values.get(column)
        if isinstance(value, str):
            found[column] = clip(value, _FACT)
        elif isinstance(value, int | float) and math.isfinite(value):
            if column in flags:
                found[column] = bool(value)
            else:
                found[column] = int(value) if float(value).is_integer() else round(float(value), 6)
    return found


def _cell(run: RunData, variant: int, values: Mapping[str, Any], read: _Text) -> ReaderCell:
    words, loop = values.get("n_words"), values.get("loop")
    answer = _said(values.get(f"answer:{run.policy}"))
    return ReaderCell(
        variant=variant,
        status=tuple(_said(values.get(f"status:{p}")) for p in run.policies),
        outcome=_said(values.get("outcome")),
        words=None if words is None or not math.isfinite(words) else int(words),
        chars=None if read.text is None else len(read.text),
        loop=None if loop is None or not math.isfinite(loop) else bool(loop),
        answer=None if answer is None else clip(answer, ANSWER),
    )


def _said(value: object) -> str | None:
    return str(value) if isinstance(value, str) else None


def _source(values: Mapping[str, Any]) -> str | None:
    file, index = _said(values.get("source_file")), values.get("source_index")
    if file is None:
        return None
    return file if index is None or pd.isna(index) else f"{file}#{int(index)}"
