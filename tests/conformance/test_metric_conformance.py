"""What every registered metric owes, whatever it measures."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from qrm_forensics.metrics import SPAN_TYPE, Metric, Show, all_metrics, catalogue
from qrm_forensics.metrics.protocol import PROBLEM_COLUMNS
from qrm_forensics.records import PROBLEM_SCHEMA, TRACE_SCHEMA, Finish, Trace, to_table

METRICS = [m for m in all_metrics() if m.grain == "trace"]
every_metric = pytest.mark.parametrize("m", METRICS, ids=lambda m: m.id)

LOOP = "Wait, but 12 + 30 is 42. So let me check that again.\n\n"
HEALTHY = "First we note that a^2 = {i}. Then \\(b\\) follows from step {j}; hence the sum is {k}. Hmm, maybe.\n\n"


def _random_text(seed: int, n: int = 4000) -> str:
    rng = random.Random(seed)
    return "".join(
        chr(rng.choice([rng.randrange(32, 127), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))
        for _ in range(n)
    )


def _healthy(n: int) -> str:
    return "".join(HEALTHY.format(i=i * 7919 % 1009, j=i, k=i * i) for i in range(n))


def _varied(seed: int, n: int) -> str:
    """``n`` words of a made-up vocabulary, in sentences."""
    rng = random.Random(seed)
    syllables = ["ba", "den", "fi", "go", "lum", "mer", "no", "pra", "qui", "ras", "sol", "tev", "u", "zin"]
    vocabulary = ["wait", "the", "sum", *(a + b + c for a in syllables for b in syllables for c in syllables[:5])]
    words = [rng.choice(vocabulary) + ("." if rng.random() < 0.1 else "") for _ in range(n)]
    return "Wait. " + " ".join(words)


HOSTILE = {
    "empty": "",
    "one character": "x",
    "one digit": "7",
    "one space": " ",
    "one brace": "}",
    "one megabyte on a line": ("ab1 c," * 200_000)[:1_000_000],
    "lone surrogate": "a\ud800b \udfff" * 40,
    "null and controls": "\x00\x01\x1f\x85 \u2028 \ufeff",
    "right to left": "\u202edesrever\u202c \u200f",
    "random": _random_text(1),
    "random bytes": bytes(np.random.default_rng(2).integers(0, 256, 3000, dtype=np.uint8)).decode("latin-1"),
    "markup": "</script><script>alert(1)</script></think>\\boxed{</think>}",
}


def _trace(i: int, text: str | None, finish: Finish = Finish.STOP, **more: object) -> Trace:
    return Trace("v", "b", f"idx-{i}", 0, 42, "prompt", text, finish, **more)  # type: ignore[arg-type]


def _traces() -> pa.Table:
    """Every kind of row: hostile, looping, healthy, failed, with and without model tokens."""
    texts = [
        *(t[:5000] for t in HOSTILE.values()),
        _healthy(90),
        _healthy(20) + LOOP * 80,
        LOOP * 40 + "</think>\n\n\\boxed{42}",
        None,
    ]
    rows = [_trace(i, text) for i, text in enumerate(texts)]
    rng = random.Random(3)
    ids = [rng.randrange(50_000) for _ in range(300)]
    rows.append(_trace(90, _healthy(3), token_ids=ids, completion_tokens=300))
    rows.append(_trace(91, _healthy(3), Finish.LENGTH, token_ids=ids[:100] + ids[:7] * 30, completion_tokens=310))
    rows.append(_trace(92, LOOP * 9, Finish.UNKNOWN, token_ids=[], completion_tokens=0))
    rows.append(_trace(93, None, Finish.ERROR, token_ids=ids, completion_tokens=300, error="out of memory"))
    # Others to be judged by, one that is not like them, and what the model thought of its own tokens.
    rows += [_trace(100 + i, _varied(i, 1200)) for i in range(30)]
    rows.append(_trace(130, _varied(30, 300) + " Vis," * 200, Finish.LENGTH))
    said = "Then 17 + 48 = 65, 12 + 30 = 41 and 1/3 = 0.333. The answer is 41.\n\nWait, 12 + 30 = 42."
    rows.append(_trace(136, f"{said}\n</think>\n\nThe answer is \\boxed{{42}}."))
    rows.append(_trace(137, f"{said}\n</think>\n\nThe answer is \\boxed{{41}}."))
    rows.append(_trace(135, _varied(31, 2400)))
    sure = [-0.1 - 0.05 * rng.random() for _ in range(300)]
    for at, drop in ((131, -12.0), (132, -0.1)):
        own = [*sure[:200], *[drop] * 4, *sure[204:]]
        rows.append(_trace(at, _healthy(3), token_ids=ids, logprobs=own, entropies=[-x for x in own]))
    rows.append(_trace(133, _healthy(3), token_ids=ids, logprobs=sure))
    rows.append(_trace(134, "", token_ids=[], logprobs=[], entropies=[]))
    return _asked(to_table(rows, TRACE_SCHEMA))


def _asked(traces: pa.Table) -> pa.Table:
    """The traces as answers to one problem; every tenth to a choice problem without subject, every eleventh to one of code."""
    n = traces.num_rows
    asked = [
        {"question": "What is 6 times 7?", "gold": "42", "kind": "math", "subject": "Algebra", "level": "3"}
        if i % 10 and i % 11
        else {"question": "Which is it?", "gold": "B", "kind": "choice", "subject": None, "level": None}
        if i % 10 == 0
        else {"question": "Print it.", "gold": "", "kind": "code", "subject": None, "level": None}
        for i in range(1, n + 1)
    ]
    for name in PROBLEM_COLUMNS:
        field = PROBLEM_SCHEMA.field(name)
        traces = traces.append_column(field, pa.array([a[name] for a in asked], field.type))
    return traces


TRACES = _traces()
CORPORA = {m.name: m.corpus([TRACES]) for m in METRICS if m.corpus is not None}


def run(m: Metric, batch: pa.Table | pd.DataFrame) -> pa.Table:
    """The metric with the corpus of all traces, where it has one."""
    return m(batch, CORPORA.get(m.name))


@every_metric
def test_height_columns_and_types_are_as_declared(m: Metric) -> None:
    measured = run(m, TRACES)
    assert measured.num_rows == TRACES.num_rows
    assert measured.schema == m.schema
    assert run(m, TRACES.slice(0, 0)).num_rows == 0


@every_metric
def test_row_order_does_not_matter(m: Metric) -> None:
    order = list(range(TRACES.num_rows))
    random.Random(4).shuffle(order)
    assert run(m, TRACES.take(order)).equals(run(m, TRACES).take(order))


@every_metric
def test_two_halves_equal_the_whole(m: Metric) -> None:
    middle = TRACES.num_rows // 2
    halves = pa.concat_tables([run(m, TRACES.slice(0, middle)), run(m, TRACES.slice(middle))])
    assert halves.combine_chunks().equals(run(m, TRACES).combine_chunks())
    chunked = pa.concat_tables([TRACES.slice(i, 1) for i in range(TRACES.num_rows)])
    assert run(m, chunked).combine_chunks().equals(run(m, TRACES).combine_chunks())


@every_metric
def test_a_data_frame_measures_like_a_table(m: Metric) -> None:
    frame = TRACES.to_pandas()
    assert run(m, frame).equals(run(m, TRACES))


@every_metric
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_never_raises(m: Metric, text: str) -> None:
    # As Python strings, so that lone surrogates get as far as they can.
    row = {name: [None] for name in TRACE_SCHEMA.names} | {"text": [text], "prompt": [""], "finish": ["unknown"]}
    row |= {name: [None] for name in PROBLEM_COLUMNS} | {"question": [text], "gold": ["42"], "kind": ["math"]}
    measured = run(m, pd.DataFrame({name: pd.Series(row[name], dtype=object) for name in m.reads}))
    assert measured.num_rows == 1


@every_metric
def test_null_only_where_it_may_be(m: Metric) -> None:
    measured, without = run(m, TRACES), m(TRACES)
    failed = np.asarray(TRACES["text"].is_null())
    unmet = np.asarray(TRACES[m.needs].is_null()) if m.needs else np.zeros_like(failed)
    for column in m.columns:
        null = np.asarray(measured[column.name].is_null())
        assert null[failed].all(), f"{column.name} of a failed generation"
        if column.nullable_when is None:
            assert not null[~failed & ~unmet].any(), column.name
        else:
            alone = np.asarray(without[column.name].is_null())
            assert (null | alone)[~failed].any(), f"{column.name} declares nullable_when, which no trace here shows"
            assert not null.all()
        if pa.types.is_floating(column.dtype):
            assert np.isfinite(measured[column.name].drop_null().to_numpy()).all(), column.name


@every_metric
def test_only_the_columns_that_it_reads_are_given(m: Metric) -> None:
    seen: list[list[str]] = []

    def spy(batch: pa.Table, *corpus: object) -> object:
        seen.append(batch.column_names)
        return m.function(batch, *corpus)

    assert run(_with(m, spy), TRACES).equals(run(m, TRACES))
    assert seen == [list(m.reads)]


def _with(m: Metric, function: Callable[..., object]) -> Metric:
    return replace(m, function=function)  # type: ignore[arg-type]


@every_metric
def test_every_column_is_defined_in_both_languages(m: Metric) -> None:
    for column in m.columns:
        assert column.definition["en"].endswith("."), column.name
        assert column.definition["ko"].endswith("."), column.name
        assert any("가" <= c <= "힣" for c in column.definition["ko"]), column.name
        assert (column.dtype == SPAN_TYPE) == (column.show is Show.SPANS)
    for lang in ("en", "ko"):
        keys = {f"metric.{m.name}.title", *(f"metric.{m.name}.{c.name}.label" for c in m.columns)}
        assert keys <= catalogue(lang).keys()


GUARDS = {
    "ten digits apart": ("1" + " " * 5) * 10,
    "equal digits": "4" * 30_000,
    "open boxes": "\\boxed{" * 100_000,
    "boxes without braces": "\\boxed" + " " * 200_000,
    "loop": (LOOP * 8000)[:400_000],
    "words without end": "let " + " " * 200_000,
    "phrases without end": "let me let " * 40_000,
    "digits and spaces": "1 is 1 is " * 40_000,
    "blank lines": "\n \t" * 130_000,
    "nested runs": "".join("a" * 400 + chr(0x4E00 + i) for i in range(1000)),
}


@every_metric
@pytest.mark.parametrize("text", GUARDS.values(), ids=GUARDS.keys())
def test_no_input_hangs_it(m: Metric, text: str) -> None:
    table = _asked(to_table([_trace(0, text)], TRACE_SCHEMA))
    run(
        m, _asked(to_table([_trace(0, "1 + 1 = 2, so it is \\boxed{2}.")], TRACE_SCHEMA))
    )  # compiled before the clock runs
    began = time.process_time()
    run(m, table)
    # Tens of milliseconds each; the bound leaves room for a busy machine, not for a quadratic.
    assert time.process_time() - began < 1.0
