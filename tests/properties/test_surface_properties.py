"""The metrics of a response's surface against slow oracles, on whatever text hypothesis comes up with."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.answers import after_thinking, last_box
from qrm_forensics.metrics.copy_kernels import GRAM, NARROW, SHORTEST_SENTENCE, WIDE, copies_kernel, copying_kernel
from qrm_forensics.metrics.copying import POINTS, copying
from qrm_forensics.metrics.diversity import diversity
from qrm_forensics.metrics.length import length
from qrm_forensics.metrics.lexemes import MARKERS, NOWAIT, PHRASE_MARKERS, SELF_REFERENCE
from qrm_forensics.metrics.marker_kernels import SPAN
from qrm_forensics.metrics.markers import markers
from qrm_forensics.metrics.phrases import LISTS
from qrm_forensics.metrics.protocol import Metric
from qrm_forensics.metrics.reference import reference
from qrm_forensics.metrics.scan import scan_text
from qrm_forensics.metrics.segments import PHASES, segments
from qrm_forensics.metrics.sentences import sentences
from qrm_forensics.metrics.structure import structure
from qrm_forensics.metrics.surface import layout, phrases

compiled = settings(deadline=None)  # the first example compiles
few = settings(deadline=None, max_examples=25)

WORDS = [
    "wait",
    "Wait",
    "WAIT",
    "hmm",
    "let",
    "me",
    "Let me",
    "hold on",
    "double-check",
    "So,",
    "so",
    "x",
    "check",
    "re",
]
SIGNS = [" ", "\n", "\u00a0", ",", ".", "-", "_", "é", "ı", "İ", "\u212a", "ſ", "²", "한", "“", "7", "\\", "’"]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.lists(st.sampled_from(WORDS + SIGNS), max_size=40).map("".join),
)


def measured(m: Metric, text: str, **more: Any) -> dict[str, Any]:
    row = {"text": [text], "finish": ["stop"], "completion_tokens": [None], "token_ids": [None]} | more
    return m(pa.table({name: row[name] for name in m.reads})).to_pylist()[0]


# ---------------------------------------------------------------- length and markers
@compiled
@given(st.lists(st.sampled_from(["a", " ", "\t", "\n", "\r", "\x0b", "\u00a0"]), max_size=40).map("".join))
def test_steps_equal_splitting_at_blank_lines(text: str) -> None:
    blocks = re.split(r"\n[^\S\n]*(?=\n)", text)
    assert measured(length, text)["n_steps"] == sum(bool(block.strip()) for block in blocks)


@compiled
@given(texts)
def test_marker_counts_equal_regular_expressions(text: str) -> None:
    found = measured(markers, text)
    for word in MARKERS:
        assert found[f"{word}_count"] == len(re.findall(rf"\b{word}\b", text, re.IGNORECASE)), word
    for phrase, between in zip(PHRASE_MARKERS, (r"\s+", r"\s+", r"(?:\s+|-)"), strict=True):
        first, second = phrase.split()
        pattern = rf"\b{first}{between}{second}\b"
        assert found[f"{first}_{second}_count"] == len(re.findall(pattern, text, re.IGNORECASE)), phrase
    assert found["nowait_total"] == sum(len(re.findall(rf"\b{w}\b", text, re.IGNORECASE)) for w in NOWAIT)
    theirs = measured(reference, text)
    assert theirs["ref_wait"] == len(re.findall(r"\bWait,?\b", text, re.IGNORECASE)) == found["wait_count"]
    assert theirs["ref_so"] == len(re.findall(r"\bSo,\b", text))


@compiled
@given(st.lists(st.sampled_from(["wait", "é", "hmm;", "long" * 99, "let me", "\n"]), max_size=40))
def test_distances_are_medians_between_beginnings(parts: list[str]) -> None:
    text = " ".join(parts)
    found = measured(markers, text)
    for name, pattern in (("wait", r"\bwait\b"), ("marker", r"\b(?:wait|hmm|let me)\b")):
        at = [m.start() for m in re.finditer(pattern, text)]
        expected = float(np.median(np.diff(at))) if len(at) > 1 else None
        assert found[f"{name}_distance"] == expected
        classes = {None: None, True: "tight", False: "sparse"}
        spaced = None if expected is None else expected < 100 if not 100 <= expected < 300 else "medium"
        assert found[f"{name}_spacing"] == (spaced if spaced == "medium" else classes[spaced])


@few
@given(st.integers(0, 2**32), st.integers(2 * SPAN - 2, 2 * SPAN + 300))
def test_ends_of_the_response_are_its_first_and_last_thousand_words(seed: int, n: int) -> None:
    words = random.Random(seed).choices(["wait", "x", "but"], k=n)
    found = measured(markers, " ".join(words))
    first, last = Counter(words[:SPAN]), Counter(words[-SPAN:])
    if len(words) < 2 * SPAN:
        assert found["wait_first_1000"] is found["markers_last_minus_first"] is found["wait_last_over_first"] is None
        return
    assert (found["wait_first_1000"], found["wait_last_1000"]) == (first["wait"], last["wait"])
    assert found["markers_last_minus_first"] == last["wait"] + last["but"] - first["wait"] - first["but"]
    assert found["wait_last_over_first"] == last["wait"] / first["wait"]


# ---------------------------------------------------------------- boxes
@compiled
@given(
    st.lists(
        st.sampled_from(
            [
                "\\boxed{",
                "\\boxed {",
                "\\boxed     {",
                "\\boxed",
                "{",
                "}",
                "\\",
                "\\{",
                "\\}",
                "</think>",
                "5",
                " ",
                "é",
                "\\BOXED{",
            ]
        ),
        max_size=30,
    ).map("".join)
)
def test_boxes_agree_with_the_strict_answer(text: str) -> None:
    found = measured(structure, text)
    assert found["closed"] == ("</think>" in text)
    assert found["boxed"] == (last_box(text) is not None)
    start = after_thinking(text)
    if start is not None:
        assert found["boxed_after_think"] == (last_box(text, start) is not None)
    if found["boxed"]:
        first, last = found["first_box_char"], found["last_box_char"]
        assert text.startswith("\\boxed", first)
        assert text.startswith("\\boxed", last)
        assert (first == last) == (found["n_boxed"] == 1)
        assert found["last_box_fraction"] == last / len(text)


# ---------------------------------------------------------------- words
@few
@given(st.integers(0, 2**32), st.integers(0, 700), st.integers(1, 400))
def test_windows_equal_counting(seed: int, n: int, kinds: int) -> None:
    rng = random.Random(seed)
    words = [str(rng.randrange(kinds)) for _ in range(n)]
    found = measured(diversity, " ".join(words))

    def ratios(width: int) -> list[float]:
        return [len(set(words[i : i + width])) / width for i in range(len(words) - width + 1)]

    assert found["ttr"] == (len(set(words)) / len(words) if words else None)
    for width in (NARROW, WIDE):
        each = ratios(width)
        mean = found[f"mattr_{width}"]
        assert mean is None if not each else abs(mean - sum(each) / len(each)) < 1e-12
    if len(words) >= WIDE:
        each = ratios(WIDE)
        assert (found["worst_window_ttr"], found["worst_window_at"]) == (min(each), each.index(min(each)))
        assert found["trajectory"] == [each[k * (len(words) - WIDE) // (POINTS - 1)] for k in range(POINTS)]
    else:
        assert found["trajectory"] is None


def naive_copies(words: list[int]) -> list[int]:
    grams = [tuple(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)]
    return [int(gram in grams[:i]) for i, gram in enumerate(grams)]


@compiled
@given(
    st.lists(st.integers(0, 2), max_size=60),
    st.lists(st.integers(0, 2), min_size=1, max_size=20),
    st.integers(0, 6),
    st.lists(st.integers(0, 9), max_size=60),
)
def test_copies_equal_counting(head: list[int], unit: list[int], times: int, rest: list[int]) -> None:
    words = head + unit * times + rest
    ids = np.array(words, np.int32)
    assert copies_kernel(ids).tolist() == naive_copies(words)
    found = measured(copying, " ".join(map(str, words)))
    copied = naive_copies(words)
    assert found["copy_rate"] == (sum(copied) / len(copied) if copied else None)
    if len(copied) < POINTS:
        assert found["copy_trajectory"] is None
        return
    bounds = [k * len(copied) // POINTS for k in range(POINTS + 1)]
    slices = [copied[a:b] for a, b in itertools.pairwise(bounds)]
    assert found["copy_trajectory"] == [sum(part) / len(part) for part in slices]


@compiled
@given(st.lists(st.integers(0, 1), min_size=1, max_size=80), st.integers(1, 20))
def test_the_collapse_is_the_suffix_in_which_copies_lead_most(copied: list[int], least: int) -> None:
    row, curve = np.full(2, np.nan), np.full(POINTS, np.nan)
    copying_kernel(np.array(copied, np.uint8), least, row, curve)
    leads = [sum(1 if c else -1 for c in copied[i:]) for i in range(len(copied) + 1)]
    best = leads.index(max(leads))
    assert np.isnan(row[1]) if leads[best] < least else row[1] == best / len(copied)


# ---------------------------------------------------------------- sentences and phrases
ENDS = [" ", " ", " ", "\n", ". ", "? ", ".", "! ", ".) ", '." ', "… ", "。", "\n\n", "3.5 ", "e.g. ", "12. ", ".} "]
lines = st.lists(st.tuples(st.sampled_from(["so", "we", "x", "1", "(a)", "y²"]), st.sampled_from(ENDS)), max_size=60)


def split_sentences(text: str) -> list[list[str]]:
    """By the definition, word by word."""
    found: list[list[str]] = [[]]
    before = 0
    for match in re.finditer(r"\S+", text):
        last = found[-1][-1] if found[-1] else ""
        bare = re.sub(r"(?<=.)[\"')*\]}$’”]+$", "", last)
        numbers = len(found[-1]) == 1 and re.fullmatch(r"[0-9]*\.", bare)
        abbreviates = re.search(r"[A-Za-z]\.[A-Za-z]\.$", bare)
        ends = bare.endswith((".", "!", "?", "…", "。", "！", "？")) and not numbers and not abbreviates
        if found[-1] and (ends or "\n" in text[before : match.start()]):
            found.append([])
        found[-1].append(match.group())
        before = match.end()
    return [sentence for sentence in found if sentence]


@compiled
@given(lines)
def test_sentences_are_those_of_a_walk(parts: list[tuple[str, str]]) -> None:
    text = "".join(word + end for word, end in parts)
    walked = split_sentences(text)
    begins = layout(scan_text(text)).sentences
    assert begins.tolist() == np.cumsum([0] + [len(s) for s in walked])[:-1].tolist()
    counted = Counter(tuple(s) for s in walked if len(s) >= SHORTEST_SENTENCE)
    found = measured(sentences, text)
    assert found["n_sentences"] == counted.total()
    assert found["n_distinct_sentences"] == len(counted)
    assert found["sentence_repeats_max"] == max(counted.values(), default=0)
    rate = 1 - len(counted) / counted.total() if counted else None
    assert found["sentence_repeat_rate"] == rate or abs(found["sentence_repeat_rate"] - rate) < 1e-12
    if counted and max(counted.values()) > 1:
        assert found["sentence_repeated"].split() == list(max(counted, key=counted.__getitem__))
    else:
        assert found["sentence_repeated"] is None


PHRASED = sorted({word for _, listed in LISTS for phrase in listed for word in phrase.split()})


@compiled
@given(st.lists(st.sampled_from([*PHRASED, "the", ",", "\n"]), max_size=60))
def test_every_occurrence_of_every_phrase_is_found(words: list[str]) -> None:
    text = " ".join(words)
    scan = scan_text(text)
    got = phrases(scan)
    found = {
        (int(scan.tokens.ends[t]), bit)
        for t, lists in zip(got.at, got.lists, strict=True)
        for bit, _ in LISTS
        if lists & bit
    }
    expected = {
        (m.start() + len(m.group(1)), bit)
        for bit, listed in LISTS
        for phrase in listed
        for m in re.finditer(rf"\b(?=({phrase.replace(' ', chr(92) + 's+')})\b)", text)
    }
    assert found == expected


@compiled
@given(st.lists(st.sampled_from(["earlier", "we found", "x", "y", "the z", "as before"]), max_size=80))
def test_self_reference_outside_repeats_leaves_copied_words_out(parts: list[str]) -> None:
    words = " ".join(parts).split()
    copied = [False] * len(words)
    for i, same in enumerate(naive_copies([sorted(set(words)).index(w) for w in words])):
        if same:
            copied[i : i + GRAM] = [True] * GRAM
    ends = [
        i + len(p.split()) - 1
        for p in SELF_REFERENCE
        for i in range(len(words))
        if words[i : i + len(p.split())] == p.split()
    ]
    found = measured(sentences, " ".join(words))
    assert found["self_reference_count"] == len(ends)
    fresh = copied.count(False)
    expected = 1000 * sum(not copied[i] for i in ends) / fresh if fresh else None
    assert found["self_reference_outside_repeats"] == expected


# ---------------------------------------------------------------- phases
PARTS = [
    "I need to find x.",
    "Wait, no.",
    "So 2.",
    "The problem says é.",
    "\\boxed{2}",
    "</think>",
    "**Final Answer**",
    "",
    " x",
]


@compiled
@given(st.lists(st.sampled_from(PARTS), max_size=14), st.sampled_from(["\n\n", "\n", " \n \n "]))
def test_phases_share_the_response_out(parts: list[str], between: str) -> None:
    text = between.join(parts)
    found = measured(segments, text)
    spans = sorted((s["start"], s["end"], phase) for phase in PHASES for s in found[f"{phase}_spans"])
    if not text.split():
        assert not spans
        assert found["process_share"] is None
        return
    assert [s[0] for s in spans] == [0, *(s[1] for s in spans[:-1])]
    assert spans[-1][1] == len(text)
    assert all(a[2] != b[2] for a, b in itertools.pairwise(spans))
    assert abs(sum(found[f"{phase}_share"] for phase in PHASES) - 1) < 1e-12
    for phase in PHASES:
        covered = sum(end - start for start, end, p in spans if p == phase)
        assert abs(found[f"{phase}_share"] - covered / len(text)) < 1e-12
    start = after_thinking(text)
    if start is not None:
        final = [(a, b) for a, b, p in spans if p == "final"]
        assert all(b == len(text) and a <= start for a, b in final) if text[start:].strip() else len(final) < 2
        assert len(final) == 1 or not text[start:].strip()
