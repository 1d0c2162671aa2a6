"""The reader's index and packs: nothing lost, places right, bounded memory, the same bytes again."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from factories import AWQ3, BF16, HOSTILE, MATH, VARIANTS, small_run
from hypothesis import given
from hypothesis import strategies as st

from qrm_forensics.report.context import build_context
from qrm_forensics.report.data import load
from qrm_forensics.report.folding import loop_spans
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.reader import build
from qrm_forensics.report.reader.build import build_reader
from qrm_forensics.report.reader.entries import binned, response_entry
from qrm_forensics.report.reader.model import Pack, Reader
from qrm_forensics.report.reader.packing import Packer
from qrm_forensics.report.reader.page import reader_page
from qrm_forensics.store import Store

COMPARED = {MATH: dict.fromkeys(VARIANTS, BF16)}


def opened(pack: Pack) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(pack.data)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_run(tmp_path_factory.mktemp("small") / "run")


@pytest.fixture(scope="module")
def reader(store: Store) -> Reader:
    return build_reader(load(store), COMPARED)


def test_every_response_is_in_the_packs_as_it_was_generated(store: Store, reader: Reader) -> None:
    traces = store.traces(["variant", "benchmark", "problem_id", "sample", "text", "finish"]).to_pylist()
    packs = [opened(p) for p in reader.packs]
    found = {
        (reader.variants[cell.variant], row.benchmark, row.problem_id, row.sample): packs[row.pack][row.place]["responses"][i]
        for row in reader.rows
        for i, cell in enumerate(row.cells)
    }  # fmt: skip
    assert len(found) == len(traces) > 100
    for t in traces:
        entry = found[t["variant"], t["benchmark"], t["problem_id"], t["sample"]]
        assert entry.get("text") == t["text"]
        assert entry["finish"] == t["finish"]
    assert sum(HOSTILE in (e.get("text") or "") for e in found.values()) + sum(
        HOSTILE in r.question for r in reader.rows
    )


def test_verdicts_are_those_of_the_run(store: Store, reader: Reader) -> None:
    verdicts = {
        (v["variant"], v["benchmark"], v["problem_id"], v["policy"]): (v["status"], v["answer"])
        for v in store.verdicts().to_pylist()
    }
    seen = 0
    for row in reader.rows:
        for cell in row.cells:
            for policy, status in zip(reader.policies, cell.status, strict=True):
                known, answer = verdicts[reader.variants[cell.variant], row.benchmark, row.problem_id, policy]
                assert status == known
                assert policy != "strict" or cell.answer == answer
                seen += 1
    assert seen == len(verdicts)


def test_a_problem_needs_one_pack(reader: Reader) -> None:
    for row in reader.rows:
        entry = opened(reader.packs[row.pack])[row.place]
        assert len(entry["responses"]) == len(row.cells)
        assert entry["gold"] == row.gold


def test_a_small_window_gives_the_same_bytes(store: Store, reader: Reader) -> None:
    assert build_reader(load(store), COMPARED, window_bytes=500) == reader


def test_few_texts_are_in_memory_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    real = build._texts

    def watched(*arguments: Any) -> Any:
        found = real(*arguments)
        held.append(sum(len((t.text or "").encode()) for t in found.values()))
        return found

    monkeypatch.setattr(build, "_texts", watched)
    build_reader(load(store), COMPARED, window_bytes=20_000)
    assert len(held) > 3
    assert max(held) <= 20_000


def test_positions_are_code_points() -> None:
    text = "😀 한국어 " + "Wait, let me see. " * 60 + "</think> 𝔸"
    (span, *_) = loop_spans(text)
    entry = response_entry(
        text,
        marks={"loop": [(span.start, span.end)], "correct": [(text.index("한"), text.index("한") + 3)]},
        facts={},
        known={},
    )
    low, high = entry["marks"]["correct"]
    assert text[low:high] == "한국어"
    assert text[: entry["think_end"]].endswith("</think>")
    ((start, end, copies),) = entry["loops"]
    assert (start, end) == (span.start, span.end)
    assert copies == span.repeats > 50
    ((low, high, loop),) = entry["folds"]
    assert start < low < high == end
    assert loop == 0
    assert set(text[low:high]) == set("Wait, let me see.")


def test_stored_places_win_over_those_found_again() -> None:
    text = "So it is. " * 80
    entry = response_entry(text, marks={"loop": [(100, 300), (400, 500)]}, facts={}, known={})
    assert entry["loops"] == [[100, 300, None], [400, 500, None]]


@given(st.lists(st.floats(-50, 50), max_size=400), st.integers(1, 64))
def test_bins_keep_the_mean(values: list[float], bins: int) -> None:
    found = binned(values, bins)
    if not values:
        assert found is None
        return
    assert found is not None
    assert len(found) == min(bins, len(values))
    assert min(values) * 100 - 1 <= min(found) <= max(found) <= max(values) * 100 + 1
    if len(values) % len(found) == 0:
        assert sum(found) / len(found) == pytest.approx(100 * sum(values) / len(values), abs=0.51)


@given(st.lists(st.text(max_size=60), min_size=1, max_size=30), st.integers(1, 300))
def test_packs_give_back_what_they_took(texts: list[str], limit: int) -> None:
    packer = Packer(limit)
    places = [packer.add({"text": t}) for t in texts]
    packs = packer.finish()
    assert [opened(packs[p])[i]["text"] for p, i in places] == [t.encode("utf-8", "replace").decode() for t in texts]
    assert all(p.raw_bytes <= limit or len(opened(p)) == 1 for p in packs)  # a row is never divided


def test_the_reader_is_plain_json(reader: Reader) -> None:
    again = json.loads(json.dumps(asdict(reader)))
    assert again["rows"][0]["problem_id"] == reader.rows[0].problem_id
    assert json.dumps(asdict(reader), allow_nan=False)


def test_packs_are_inside_up_to_the_budget(reader: Reader) -> None:
    texts = {"en": Texts.of("en")}
    inside = reader_page(reader, texts, reader.packed_bytes)
    assert inside.files == {}
    assert all(p.data in inside.packs for p in reader.packs)
    beside = reader_page(reader, texts, reader.packed_bytes - 1)
    assert beside.packs == ""
    assert len(beside.files) == len(reader.packs)
    for pack, (name, content) in zip(reader.packs, beside.files.items(), strict=True):
        assert name.startswith("traces/")
        assert pack.data in content
        assert pack.id in content
        assert "default-src 'none'" in content
    assert reader_page(reader, texts, None) == inside == reader_page(reader, texts, None)


def test_lost_and_gained_need_a_reference(store: Store, tmp_path: Path) -> None:
    context = build_context(store)
    assert context.reader is not None
    assert (MATH, AWQ3, BF16) in context.reader.references
    assert build_context(store, responses=False).reader is None
