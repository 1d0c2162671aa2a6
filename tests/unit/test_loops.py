"""Loops planted by hand: where they begin to the character, what they are called, and how they end."""

from __future__ import annotations

import numpy as np
import pytest

from qrm_forensics.metrics.loop_classes import CLASSES
from qrm_forensics.metrics.loop_detector import find_episodes_of_ids, find_loops
from qrm_forensics.metrics.loops import loops
from qrm_forensics.records import Finish

THINKING = (
    "Okay, so a triangle has sides of nine, forty and some unknown length. I want its greatest area when the "
    "angle between the known sides is free. Half the product times the sine of that angle is largest at a "
    "right angle.\n\nThat gives one hundred eighty square units, which seems plausible, since neither leg is "
    "longer than the diagonal would be. Now let me look at the perimeter of this shape"
)
REST = (
    "\n\nHmm, that went nowhere; the third side follows from Pythagoras instead, and it comes out at forty-one. Adding "
    "the three of them gives ninety, so nothing else has to be found here.\n</think>\n\nThe perimeter is "
    "\\(\\boxed{90}\\), because the hypotenuse measures forty-one units and both legs were given."
)


def planted(unit: str, copies: int, before: str = THINKING + " ", after: str = "") -> tuple[str, int, int]:
    """(text, where the first copy begins, where the second does)."""
    return before + unit * copies + after, len(before), len(before) + len(unit)


EXACT = [
    # loop class, reference type, unit
    ("wait-loop", "A", "Wait, wait, wait, perhaps I can think of tan tan tan tan tan.\n"),
    ("wait-loop", "A", "Wait, 28*20=560. "),
    ("connective+statement", "other", "Therefore, the sum of both angles is straight. "),
    (
        "long-paragraph",
        "other",
        "The minimal number of tokens needed covers every case up to one thousand. It follows that the problem asks for "
        "all of them at once. Each part can be taken by itself, which leaves only a few of them open. Still, the "
        "total has to be even.\n\n",
    ),
    ("phrase chain", "other", "which is 576, "),
    ("single token/character", "C", "Vis, no.  "),
    ("single token/character", "D", "V.  "),
    ("single token/character", "D", ") "),
    ("number/operator", "B", "0.  0,0.  "),
    ("number/operator", "B", "20*48=960, "),
    ("stuck digits", "E", "4"),
    ("stuck digits", "E", "18"),
    ("answer-format loop", "other", "**Final Answer**\n"),
    ("answer-format loop", "other", "So the answer is \\boxed{12}.\n"),
    ("tautology", "other", "The value 0.03962 is 0.03962. "),
    ("other", "other", "Both of the legs are shorter. "),
]


@pytest.mark.parametrize(("loop_class", "reference", "unit"), EXACT, ids=lambda v: str(v)[:24])
def test_exact_loop_is_found_to_the_character_and_named(loop_class: str, reference: str, unit: str) -> None:
    text, body, onset = planted(unit, 200 if len(unit) < 5 else 40)
    report = find_loops(text)
    assert report.loop and report.terminal
    assert len(report.loops) == 1
    (found,) = report.loops
    assert (found.body_start_char, found.onset_char, found.end_char) == (body, onset, len(text.rstrip()))
    assert found.tier == 1
    assert (found.loop_class, found.reference) == (loop_class, reference)
    assert found.loop_class in CLASSES


def test_unit_and_its_figures() -> None:
    text, _, onset = planted("so, the area is twelve. ", 40)
    found = find_loops(text).first
    assert found is not None
    # so | , | the | area | is | twelve | .
    assert found.period == 7
    assert found.unit == "so, the area is twelve."
    assert found.repeats == pytest.approx(40, abs=0.01)
    assert found.tokens == 280
    assert found.onset_char == onset
    assert found.onset_token == len(THINKING.split()) + sum(THINKING.count(c) for c in ",.;") + 7


def test_onset_reaches_left_over_what_the_text_before_shares_with_the_unit() -> None:
    unit = "but that cannot be, since it is even. "
    text = THINKING + " where it is even. " + unit * 30
    found = find_loops(text).first
    assert found is not None
    # "it is even." before the first copy ends as the unit does, so that the repetition begins that much earlier.
    shared = len("it is even. ")
    body = text.index(unit) - shared
    assert (found.body_start_char, found.onset_char) == (body, body + len(unit))


def test_connectives_may_change() -> None:
    words = ["So", "Thus", "Therefore", "Hence", "And", "Then", "Again", "Now"]
    text = THINKING + ".\n\n" + "".join(f"{words[i * i % 7]}, the sum is even.\n\n" for i in range(60))
    report = find_loops(text)
    assert report.loop and report.main is not None
    assert report.main.tier == 2
    assert report.main.loop_class == "connective+statement"
    assert report.main.period == 7
    second = text.index("the sum is even", text.index("the sum is even") + 1)
    assert abs(report.main.onset_char - second) <= len("Therefore, ")


def test_one_counter_may_go_up_amid_words() -> None:
    lines = "".join(f"Then step {n} gives the same result as the one before it.\n" for n in range(95, 160))
    report = find_loops(THINKING + ".\n" + lines)
    assert report.loop and report.main is not None
    assert report.main.loop_class == "counter drift"
    assert report.main.repeats == pytest.approx(65, abs=2)
    assert report.terminal


def test_growing_term() -> None:
    lines = "".join("This equals the sum of " + "half of " * n + "the side. " for n in range(1, 40))
    report = find_loops(THINKING + ". " + lines)
    assert report.main is not None
    assert report.main.loop_class == "growing term"


def test_noise_is_bridged_and_the_onset_kept() -> None:
    rng = np.random.default_rng(3)
    unit = "Therefore, the second root must be larger than the first one, which contradicts the claim that both are equal. "
    words = THINKING.split()
    noisy = []
    for word in (unit * 25).split():
        noisy.append(words[rng.integers(len(words))] if rng.random() < 0.08 else word)
    text = f"{THINKING}. {unit}" + " ".join(noisy)
    report = find_loops(text)
    assert report.first is not None and len(report.loops) == 1
    onset = len(THINKING) + 2 + len(unit)
    assert abs(report.first.onset_char - onset) <= 60
    assert report.first.end_char >= len(text) - 60
    assert report.first.period == 22


def test_recovered_loop() -> None:
    text, _, onset = planted("Wait, no, that is seven. ", 40, after=REST)
    report = find_loops(text)
    assert report.onset_char == onset
    assert not report.terminal
    assert report.coverage == pytest.approx(40 * 8 / report.n_tokens, abs=0.02)


def test_closed_decides_terminal_only_where_the_loop_is_at_the_end() -> None:
    unit = "and so on and on, "
    at_end, _, _ = planted(unit, 60)
    assert find_loops(at_end).terminal
    assert find_loops(at_end, closed=False).terminal
    assert not find_loops(at_end, closed=True).terminal
    # cut off long after the loop, and never closed
    later = planted(unit, 60, after=REST[: REST.index("</think>")] + THINKING)[0]
    assert find_loops(later).loop and not find_loops(later).terminal
    # the thinking was closed before the loop began, which therefore was not ended by it
    answer = f"{THINKING}\n</think>\n\n" + "**Final Answer** " * 60
    assert find_loops(answer).terminal


def test_response_level_onset_is_that_of_the_degenerate_suffix() -> None:
    first = "Thus the ratio is one half. "
    second = "But then the ratio is two thirds of it. "
    text = THINKING + " " + first * 40 + "Let me look at that from another side; " + second * 60
    report = find_loops(text)
    assert len(report.loops) == 2
    assert report.onset_char == text.index(first) + len(first)
    assert report.main is not None and report.main.onset_char > text.index(second)


def test_suffix_is_not_begun_by_a_loop_that_was_left() -> None:
    first = "Thus the ratio is one half. "
    second = "But then the ratio is two thirds of it. "
    between = REST + "\n".join(THINKING[i:] for i in (60, 150, 200)) + " "
    text = THINKING + " " + first * 30 + between + second * 30
    report = find_loops(text, closed=False)
    assert len(report.loops) == 2
    assert report.onset_char == text.index(second) + len(second)


def test_enumeration_alone_is_no_loop() -> None:
    lines = "\n".join(f"k={k}: 2^{k} mod 97 is {pow(2, k, 97)}, and {pow(2, k, 97)} is not 1." for k in range(1, 60))
    report = find_loops(THINKING + "\n" + lines)
    assert not report.loop and not report.terminal and report.onset_char is None
    assert report.coverage == 0
    assert [e.tier for e in report.episodes] == [3]
    assert report.main is not None and report.main.loop_class == "enumeration"


def test_short_repetition_is_no_loop() -> None:
    assert not find_loops(THINKING + " no, no, no, no, no, no. " + REST).loop
    assert not find_loops((THINKING + "\n") * 2 + REST).loop


@pytest.mark.parametrize("text", ["", " ", "a", "\n" * 50, "\ud800", "💥" * 3])
def test_next_to_nothing(text: str) -> None:
    report = find_loops(text)
    assert not report.loop and report.episodes == () and report.main is None and report.coverage == 0


def test_offsets_are_code_points() -> None:
    before = "각도를 구하면 🙂 서른 도가 된다. 그 다음에는 넓이를 생각해 보자! "
    text, body, onset = planted("따라서 값은 둘이다. ", 60, before=before)
    found = find_loops(text).first
    assert found is not None
    assert (found.body_start_char, found.onset_char) == (body, onset)
    assert text[found.onset_char :].startswith("따라서")


def test_ids_of_a_loop() -> None:
    before = list(range(1000, 1200))
    unit = [7, 50, 51, 9, 7, 12]
    (found,) = find_episodes_of_ids(np.array(before + unit * 50))
    assert (found.tier, found.body_start, found.onset, found.period) == (1, 200, 206, 6)
    assert find_episodes_of_ids(np.array(before)) == []
    assert find_episodes_of_ids(np.array([], dtype=np.int64)) == []


def test_metric_columns() -> None:
    looping, body, onset = planted("So, x is two. ", 80)
    recovered, _, _ = planted("So, x is two. ", 80, after=REST)
    batch = {
        "text": [looping, recovered, THINKING + REST, None, ""],
        "finish": [Finish.LENGTH, Finish.STOP, Finish.STOP, Finish.ERROR, Finish.UNKNOWN],
        "completion_tokens": [1000, None, 120, None, 0],
        "token_ids": [None] * 5,
    }
    import pandas as pd

    out = loops(pd.DataFrame(batch)).to_pylist()
    assert [row["loop"] for row in out] == [True, True, False, None, False]
    assert out[0]["loop_terminal"] and not out[0]["loop_recovered"]
    assert not out[1]["loop_terminal"] and out[1]["loop_recovered"]
    assert (out[0]["loop_tier"], out[0]["loop_class"], out[0]["loop_type_reference"]) == (
        1,
        "connective+statement",
        "other",
    )
    assert (out[0]["loop_body_start_char"], out[0]["loop_onset_char"]) == (body, onset)
    assert out[0]["loop_spans"] == [{"start": body, "end": len(looping.rstrip())}]
    assert out[0]["loop_unit"] == "So, x is two."
    assert out[0]["loop_onset_source"] == "scaled"
    assert out[0]["loop_onset_token"] == round(out[0]["loop_onset_fraction"] * 1000)
    assert out[1]["loop_onset_source"] == "pseudo"
    assert out[2]["loop_longest"] == 0 and out[2]["loop_coverage"] == 0 and out[2]["loop_spans"] == []
    assert all(value is None for value in out[3].values())
    for row in (out[2], out[4]):
        assert row["loop_tier"] is None and row["loop_onset_token"] is None and row["loop_onset_source"] is None


def test_a_limit_makes_a_closed_response_that_ends_in_a_loop_terminal() -> None:
    import pandas as pd

    text = f"{THINKING} done </think> and " + "so on, " * 150
    early = THINKING + " " + "so on, " * 150 + "</think>"
    batch = pd.DataFrame(
        {
            "text": [text, early, early],
            "finish": ["stop", "stop", "length"],
            "completion_tokens": None,
            "token_ids": None,
        }
    )
    assert loops(batch)["loop_terminal"].to_pylist() == [True, False, True]


def test_onset_in_ids_is_where_the_ids_repeat() -> None:
    import pandas as pd

    # A tokenizer that cuts every word in two: the onset in ids is not the onset in pseudo-tokens.
    text, _, onset = planted("so the area is twelve and ", 40)
    pieces = [half for word in text.split() for half in (word[: len(word) // 2], word[len(word) // 2 :])]
    number: dict[str, int] = {}
    ids = [number.setdefault(piece, len(number)) for piece in pieces]
    batch = pd.DataFrame({"text": [text], "finish": ["length"], "completion_tokens": [len(ids)], "token_ids": [ids]})
    (row,) = loops(batch).to_pylist()
    assert row["loop_onset_source"] == "ids"
    assert row["loop_onset_token"] == 2 * len(text[:onset].split())
    assert row["loop_onset_char"] == onset
    # Ids that show no loop, as of another text, are not believed: the place in the text is scaled.
    batch["token_ids"] = [list(range(len(ids)))]
    (row,) = loops(batch).to_pylist()
    assert row["loop_onset_source"] == "scaled"
