"""Golden values: what each column says of texts that can be counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from qrm_forensics.measure import run_metrics
from qrm_forensics.metrics.copying import copying
from qrm_forensics.metrics.diversity import diversity
from qrm_forensics.metrics.length import length
from qrm_forensics.metrics.markers import markers
from qrm_forensics.metrics.reference import reference
from qrm_forensics.metrics.segments import PHASES, segments
from qrm_forensics.metrics.sentences import sentences
from qrm_forensics.metrics.structure import structure
from qrm_forensics.records import TRACE_SCHEMA, Finish, Trace, to_table

METRICS = (length, structure, copying, diversity, markers, sentences, segments, reference)


def measured(text: str | None, finish: Finish = Finish.STOP, **more: Any) -> dict[str, Any]:
    """Every column of these metrics for one response."""
    table = to_table([Trace("v", "b", "1", 0, 42, "p", text, finish, **more)], TRACE_SCHEMA)
    return {name: value for t in run_metrics(table, METRICS).values() for name, value in t.to_pylist()[0].items()}


def check(values: dict[str, Any], **expected: Any) -> None:
    assert {k: values[k] for k in expected} == expected


# ---------------------------------------------------------------- length
def test_length() -> None:
    text = "Let x = 1.\nSo x\u00a0+ 1 = 2.\n \t\n\nDone 🙂.\n"
    check(measured(text, completion_tokens=20), n_words=12, n_chars=37, n_tokens=20, n_steps=2)
    check(measured("\n\n  \n"), n_words=0, n_chars=5, n_tokens=None, n_steps=0)
    check(measured("a b", token_ids=[5, 6, 7]), n_tokens=3)
    check(measured("a b", token_ids=[5, 6, 7], completion_tokens=4), n_tokens=4)


def test_a_failed_generation_has_no_figure_at_all() -> None:
    failed = measured(None, Finish.ERROR, completion_tokens=3, token_ids=[1, 2, 3])
    assert all(failed[c.name] is None for m in METRICS for c in m.columns)


# ---------------------------------------------------------------- structure
@pytest.mark.parametrize(
    ("text", "closed", "boxed", "after", "n"),
    [
        ("thinking", False, False, False, 0),
        ("so \\boxed{4}", False, True, False, 1),
        ("so \\boxed{4}</think>4", True, True, False, 1),
        ("ok</think>\\boxed{\\frac{1}{2}}", True, True, True, 1),
        ("\\boxed{1}</think>\\boxed{2</think>", True, True, False, 1),
        ("</think>\\boxed{2</think>} \\boxed{3}", True, True, True, 2),
        ("</think>\\boxed{a \\boxed{b}}", True, True, True, 2),
        ("</think>\\boxed{a \\boxed{b}", True, True, True, 1),
        ("</think>\\boxed{\\}", True, False, False, 0),
        ("</think>\\boxed{\\{1\\}}", True, True, True, 1),
        ("</think>} } \\boxed{}", True, True, True, 1),
        ("</think>\\boxed 5 \\fbox{5} boxed{5}", True, False, False, 0),
        ("</think>\\\\boxed{5}", True, True, True, 1),
        ("<think>", False, False, False, 0),
    ],
)
def test_structure(text: str, closed: bool, boxed: bool, after: bool, n: int) -> None:
    check(measured(text), closed=closed, boxed=boxed, boxed_after_think=after, n_boxed=n)


def test_where_the_boxes_are() -> None:
    text = "é so \\boxed{1}, no: \\\\boxed {2}</think> \\boxed{\\boxed{3}"
    first, last = text.index("\\boxed"), text.rindex("\\boxed")
    check(measured(text), n_boxed=3, first_box_char=first, last_box_char=last, last_box_fraction=last / len(text))
    check(measured("\\boxed{open"), first_box_char=None, last_box_fraction=None)


@pytest.mark.parametrize(
    ("finish", "truncated"),
    [
        (Finish.LENGTH, True),
        (Finish.STOP, False),
        (Finish.LOOP_STOPPED, False),
        (Finish.UNKNOWN, None),
        (Finish.ERROR, None),
    ],
)
def test_truncated(finish: Finish, truncated: bool | None) -> None:
    check(measured("text", finish), truncated=truncated)


# ---------------------------------------------------------------- markers
def test_markers_are_whole_words_in_any_case() -> None:
    text = (
        "Wait, wait. WAIT! awaits waiting wait_ wait2 2wait _wait “Wait” éwait wait-wait So,so Sort hmm… Hmmm but/But"
    )
    check(measured(text), wait_count=6, so_count=2, hmm_count=1, but_count=2, markers_total=11, let_me_count=0)
    check(measured("actually perhaps maybe alternatively however again therefore thus hence"), markers_total=9)


def test_markers_of_two_words() -> None:
    text = "Let me see. let\n\n me; outlet me let mean let. me let let me. Hold on, hold  on hold-on. Double-check double check double.check"
    check(measured(text), let_me_count=3, hold_on_count=2, double_check_count=2, markers_total=7)


def test_marker_rates() -> None:
    values = measured("wait but no wait")
    check(
        values, wait_count=2, markers_total=3, markers_per_1000_words=750.0, wait_per_1000_words=500.0, nowait_total=3
    )
    check(measured(" \n"), wait_count=0, markers_total=0, markers_per_1000_words=None, wait_per_1000_words=None)


def test_thought_switches_and_nowait() -> None:
    values = measured("Alternatively, x. Oh, double-check any other alternative now, ah verify. alternatively2")
    check(values, switches_total=1, switches_per_1000_words=1000 / 11, alternatively_count=1, nowait_total=9)


def test_markers_at_both_ends() -> None:
    words = ["wait"] * 10 + ["x"] * 1980 + ["wait"] * 2 + ["hmm"] * 8
    values = measured(" ".join(words))
    check(values, wait_first_1000=10, wait_last_1000=2, wait_last_minus_first=-8, wait_last_over_first=0.2)
    check(values, markers_first_1000=10, markers_last_1000=10, markers_last_minus_first=0)
    check(measured(" ".join(words[1:])), wait_first_1000=None, markers_last_1000=None, wait_last_over_first=None)
    check(measured(" ".join(reversed(words[10:])) + " y" * 10), wait_first_1000=2, wait_last_over_first=0.0)
    check(measured("x " * 2000), wait_first_1000=0, wait_last_minus_first=0, wait_last_over_first=None)


def test_distances_between_markers() -> None:
    check(measured("wait"), wait_distance=None, wait_spacing=None, marker_distance=None, marker_spacing=None)
    # beginnings at 0, 10, 110 and 410 characters (199 bytes more for the last)
    text = "wait so x ".ljust(10) + "wait".ljust(100) + "wait " + "é" * 199 + " " * 96 + "wait"
    values = measured(text)
    check(values, wait_distance=100.0, wait_spacing="medium", marker_distance=52.5, marker_spacing="tight")
    check(measured("wait" + " " * 96 + "wait" + " " * 396 + "wait"), wait_distance=250.0, wait_spacing="medium")
    check(measured("wait" + " " * 296 + "wait"), wait_distance=300.0, wait_spacing="sparse")


def test_reference_counts_keep_the_reference_fault() -> None:
    check(measured("So, x. So,y. so,y. AlsoSo,y. Wait, wait,x Hmm But"), ref_so=1, ref_wait=2, ref_hmm=1, ref_but=1)


# ---------------------------------------------------------------- diversity
def test_type_token_ratios() -> None:
    check(measured("a b a B"), ttr=0.75, ttr_last_2k=0.75, mattr_100=None, mattr_500=None, worst_window_at=None)
    check(measured(""), ttr=None, ttr_last_2k=None)
    words = [f"w{i}" for i in range(600)] + ["x"] * 2400
    values = measured(" ".join(words))
    check(values, ttr=601 / 3000, ttr_last_2k=1 / 2000, worst_window_ttr=1 / 500, worst_window_at=600)
    assert values["worst_window_at_share"] == 0.2
    # windows i = 0..100 are all different, then one word less each up to i = 600, then one word
    expected = [500] * 101 + [600 - i + 1 for i in range(101, 601)] + [1] * 1900
    assert values["mattr_500"] == pytest.approx(sum(expected) / len(expected) / 500, abs=1e-15)


def test_the_course_of_the_diversity() -> None:
    values = measured(" ".join([f"w{i}" for i in range(600)] + ["x"] * 2400))
    course = values["trajectory"]
    begins = [k * 2500 // 49 for k in range(50)]
    assert course == [1.0 if i <= 100 else (601 - i) / 500 if i <= 600 else 1 / 500 for i in begins]
    check(measured("x " * 499), trajectory=None)


@pytest.mark.parametrize("n", [99, 100, 499, 500])
def test_windows_need_their_width(n: int) -> None:
    values = measured(" ".join(str(i) for i in range(n)))
    assert values["mattr_100"] == (1.0 if n >= 100 else None)
    assert values["mattr_500"] == values["worst_window_ttr"] == (1.0 if n >= 500 else None)


# ---------------------------------------------------------------- copying
def test_copy_rate() -> None:
    check(measured("a b c d e f g"), copy_rate=None)
    check(measured("a b c d e f g h"), copy_rate=0.0)
    check(measured("a b c d e f g h " * 2), copy_rate=1 / 9)
    check(measured("x " * 108), copy_rate=100 / 101)


def test_where_copying_sets_in_for_good() -> None:
    fresh, copied = [f"w{i}" for i in range(500)], ["x"] * 508
    # 500 sequences that begin with a fresh word, the first one of x alone, and 500 copies of it
    values = measured(" ".join(fresh + copied))
    check(values, collapse_at=501 / 1001, copy_rate=500 / 1001)
    assert values["copy_trajectory"] == [0.0] * 25 + [0.95] + [1.0] * 24
    # what recovers for longer than it looped has not collapsed
    check(measured(" ".join(["x"] * 408 + [f"w{i}" for i in range(300)])), collapse_at=None)
    check(measured(" ".join(["x"] * 157)), collapse_at=None, copy_rate=149 / 150)
    check(measured(" ".join(["x"] * 158)), collapse_at=1 / 151)
    check(measured("a " * 56), copy_trajectory=None)


# ---------------------------------------------------------------- sentences
def test_sentences() -> None:
    text = 'So x is 3.5 here. So  x is 3.5\nhere. No! "Is it so?" He asks. 1. Take the first. 2. Take the first.'
    # counted, of three words or more: "So x is 3.5 here." "So  x is 3.5" '"Is it so?"' "1. Take the first." "2. Take ..."
    values = measured(text)
    check(values, n_sentences=5, n_distinct_sentences=5, sentence_repeats_max=1, sentence_repeat_rate=0.0)
    check(values, sentence_repeated=None)
    text = "é  We try again. One two three, e.g. four. We try  again. We try\tagain. One two three, e.g. four."
    values = measured("Hm. " + text)
    check(values, n_sentences=5, n_distinct_sentences=3, sentence_repeats_max=2, sentence_repeat_rate=2 / 5)
    check(values, sentence_repeated="One two three, e.g. four.")
    check(measured("Yes. No."), n_sentences=0, sentence_repeats_max=0, sentence_repeat_rate=None)
    long = measured(("no end " * 100 + "\n") * 2)["sentence_repeated"]
    assert (len(long), long[-1]) == (400, "…")


def test_self_reference() -> None:
    text = "As I said, we found 4. Let me double-check: I made a MISTAKE earlier; unmistakeable. we \n got x_earlier"
    values = measured(text)
    assert len(text.split()) == 18
    check(values, self_reference_count=6, self_reference_per_1000_words=6000 / 18)
    # the second and third round of eleven words are copies, and so outside of the rate
    values = measured("we found that x is two and so on it goes " * 3)
    check(values, self_reference_count=3, self_reference_per_1000_words=3000 / 33)
    check(values, self_reference_outside_repeats=1000 / 11)
    check(measured(""), self_reference_count=0, self_reference_per_1000_words=None)


# ---------------------------------------------------------------- phases
def spans_of(text: str) -> dict[str, list[str]]:
    values = measured(text)
    return {p: [text[s["start"] : s["end"]] for s in values[f"{p}_spans"]] for p in PHASES}


def test_phases() -> None:
    text = (
        "Okay, so Zoë has pens. I need to find how many.\n\nThe question: 3 or 4?\n\nSo 3.\n\nHence 4.\n\n"
        "Wait, no.\nRight?\n\nLet me verify it.\n\nNow the problem says 3.\n\nSo it is 3.\n\nThe answer is \\boxed{3}.\n</think>\n\n"
        "Wait: \\boxed{3}"
    )
    parts = spans_of(text)
    assert parts == {
        "understand": [text[: text.index("So 3")], "Now the problem says 3.\n\n"],
        "process": ["So 3.\n\nHence 4.\n\n", "So it is 3.\n\n"],
        "check": ["Wait, no.\nRight?\n\nLet me verify it.\n\n"],
        "final": [text[text.index("The answer is") :]],
    }
    values = measured(text)
    check(values, n_checks=1, check_share=len(parts["check"][0]) / len(text))


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("So 2.\n\n\\boxed{2}", ["\\boxed{2}"]),
        ("\\boxed{2}\n\nSo 2.", []),
        ("So 2.\n\n**Final Answer**\n\n\\boxed{2}", ["**Final Answer**\n\n\\boxed{2}"]),
        ("So 2.\n\n\\boxed{2", []),
        ("So 2.</think>", []),
        ("So 2.</think>2", ["2"]),
        ("a</think>b</think> ", []),
        ("So \\boxed{2}.</think>\n\n", ["So \\boxed{2}.</think>\n\n"]),
        ("So 2.</think>\\boxed{2}", ["\\boxed{2}"]),
    ],
)
def test_the_final_answer(text: str, final: list[str]) -> None:
    assert spans_of(text)["final"] == final


def test_a_cue_counts_near_the_beginning_of_its_paragraph() -> None:
    first = "a b c d e f g h i j"
    assert spans_of(f"x\n\n{first} k wait and so on")["check"]
    assert not spans_of(f"x\n\n{first} k l wait and so on")["check"]
    assert not spans_of("x\n\n\\wait waiting y")["check"]
    assert measured(" \n")["understand_share"] is None
