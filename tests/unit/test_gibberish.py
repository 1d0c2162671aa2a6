"""The gibberish metric: each sign found where it is and nowhere else, in a run of made-up prose."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from qrm_forensics.metrics.gibberish import gibberish, unknown_types
from qrm_forensics.metrics.lexicon import build_lexicon
from qrm_forensics.metrics.scripts import _scripts

SYLLABLES = ("ba", "co", "di", "fe", "gu", "la", "me", "no", "pi", "ru", "sa", "te")
WORDS = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES][:1500]
WEIGHTS = [1 / (k + 10) for k in range(len(WORDS))]


@dataclass
class Answer:
    text: str | None
    problem: str = "0"
    prompt: str = "What is it?"
    question: str = "What is it?"


def prose(seed: int, n: int = 700) -> str:
    words = random.Random(seed).choices(WORDS, WEIGHTS, k=n)
    return " ".join(w + ("." if i % 9 == 8 else "") for i, w in enumerate(words))


RUN = [Answer(prose(i), str(i)) for i in range(150)]


def table(answers: Sequence[Answer]) -> pa.Table:
    columns = [pa.array([a.text for a in answers], pa.large_string())]
    columns += [pa.array([getattr(a, n) for a in answers]) for n in ("prompt", "question")]
    columns += [pa.array(["b"] * len(answers)), pa.array([a.problem for a in answers])]
    return pa.table(columns, names=list(gibberish.reads))


def measured(answer: Answer | str, others: Sequence[Answer] = RUN) -> dict[str, Any]:
    """The columns of one answer in a run with others."""
    answer = Answer(answer, "new") if isinstance(answer, str) else answer
    found: dict[str, Any] = gibberish(table([answer]), build_lexicon([table([*others, answer])])).to_pylist()[0]
    return found


def within(what: str, before: int = 400) -> str:
    """``what`` in healthy prose."""
    words = prose(99).split(" ")
    return " ".join([*words[:before], what, *words[before:]])


def test_healthy_prose_has_no_sign() -> None:
    found = gibberish(table(RUN), build_lexicon([table(RUN)])).to_pylist()
    for row in found:
        assert row["gibberish"] is False
        assert row["gibberish_count"] == row["overrepresented_words"] == row["unknown_words"] == 0
        assert row["gibberish_first_char"] is row["gibberish_words"] is None
        assert row["gibberish_spans"] == []
        assert row["gibberish_reference_words"] > 60_000


# ------------------------------------------------------------------------------------- over-represented words
def test_a_word_out_of_nowhere_is_found_where_it_is_dense() -> None:
    text = within("Vis, " * 25)
    row = measured(text)
    assert row["gibberish"] is True
    assert (row["overrepresented_words"], row["gibberish_count"], row["gibberish_words"]) == (25, 25, "vis (25)")
    assert row["gibberish_first_char"] == text.index("Vis")
    assert row["gibberish_spans"] == [{"start": text.index("Vis"), "end": text.rindex("Vis") + 3}]


@pytest.mark.parametrize("loop", ["Vis, no.  ", "So the Vis is it. ", "vis VIS Vis "])
def test_other_words_may_stand_between(loop: str) -> None:
    assert measured(within(loop * 30))["overrepresented_words"] >= 30


def test_nineteen_times_or_wide_apart_is_not_dense() -> None:
    assert measured(within("Vis, " * 19))["gibberish"] is False
    words = prose(98).split(" ")
    apart = " ".join(f"{w} Vis" if i % 6 == 0 else w for i, w in enumerate(words))
    assert measured(apart)["overrepresented_words"] == 0


def test_only_the_dense_part_of_a_word_is_counted() -> None:
    words = prose(97, 900).split(" ")
    text = " ".join([*words[:10], "Vis", *words[10:400], "Vis, " * 20, *words[400:]])
    row = measured(text)
    assert row["overrepresented_words"] == 20
    assert row["gibberish_first_char"] == text.index("Vis, ")


def test_words_of_the_problem_or_the_prompt_are_excused() -> None:
    text = within("Vis, " * 25)
    assert measured(Answer(text, "new", prompt="Find the vis of 7."))["gibberish"] is False
    assert measured(Answer(text, "new", question="Find the VIS of 7."))["gibberish"] is False


def test_a_word_that_another_response_to_the_problem_uses_is_excused() -> None:
    text = within("circumcircle " * 25)
    assert measured(text)["gibberish"] is True
    beside = Answer(prose(50) + " circumcircle", "new")
    assert measured(text, [*RUN, beside])["gibberish"] is False
    # the same word in an answer to another problem does not make it common
    assert measured(text, [*RUN, Answer(beside.text, "other")])["gibberish"] is True


def test_a_word_that_other_problems_use_as_well_is_not_strange() -> None:
    common = [Answer(f"{a.text} Hmm. Hmm. \\binom{{a}}{{b}} binom. pmatrix", a.problem) for a in RUN]
    for word in ("Hmm", "pmatrix", "binom"):
        assert measured(within(f"{word}, " * 25), common)["overrepresented_words"] == 0
        assert measured(within(f"{word}, " * 25))["overrepresented_words"] == 25


def test_names_of_environments_are_no_words() -> None:
    assert measured(within("\\begin{pmatrix} 1 \\end{pmatrix} " * 30))["gibberish"] is False


def test_a_word_in_which_many_responses_get_stuck_stays_strange() -> None:
    stuck = [Answer(f"{prose(200 + i)} {'Vis, ' * 60}", f"stuck {i}") for i in range(10)]
    assert measured(within("Vis, " * 25), [*RUN, *stuck])["overrepresented_words"] == 25


def test_short_and_all_capital_words_count_where_they_make_up_a_fifth() -> None:
    assert measured(within("IV, " * 400))["overrepresented_words"] == 400
    assert measured(within("VIS " * 400))["overrepresented_words"] == 400
    assert measured(within("IV, " * 100))["gibberish"] is False


# --------------------------------------------------------------------------------------------- unknown words
def corrupted(share: float, seed: int = 7) -> str:
    rng = random.Random(seed)
    words = prose(96).split(" ")
    for i in range(300, 500):
        if rng.random() < share:
            words[i] = "q" + words[i][::-1]
    return " ".join(words)


def test_windows_of_corrupted_words_are_found() -> None:
    least = unknown_types(build_lexicon([table(RUN)]))
    assert 5 <= least <= 7
    text = corrupted(0.1)
    wrong = [w for w in text.split(" ") if w.startswith("q")]
    row = measured(text)
    assert row["gibberish"] is True
    assert row["unknown_words"] == row["gibberish_count"] == len(wrong) > least
    assert row["gibberish_first_char"] == text.index(wrong[0])
    spans = [text[span["start"] : span["end"]] for span in row["gibberish_spans"]]
    assert [w for span in spans for w in span.split() if w.startswith("q")] == wrong
    assert row["gibberish_words"].endswith(f", +{len(set(wrong)) - 5}")
    assert measured(corrupted(0.01))["unknown_words"] == 0


def test_one_unknown_word_again_and_again_is_a_name_not_a_collapse() -> None:
    words = prose(96).split(" ")
    text = " ".join(f"{w} Ptolemy" if i % 8 == 0 else w for i, w in enumerate(words))
    assert measured(text)["unknown_words"] == 0


# --------------------------------------------------------------------------------------------------- scripts
def test_a_foreign_word_in_english_is_a_burst() -> None:
    text = within("so 首先 we поэтому go ดังนั้น on")
    row = measured(text)
    assert (row["script_mixing"], row["foreign_letters"], row["language_switches"]) == (
        3,
        2 + 7 + 4,
        0,
    )  # vowel signs are no letters
    assert row["foreign_scripts"] == "Cyrillic, Thai, Han"
    assert row["foreign_first_char"] == row["gibberish_first_char"] == text.index("首")
    assert row["gibberish_spans"][0]["start"] == text.index("首")
    assert (row["gibberish"], row["gibberish_count"]) == (True, 3)


def test_a_single_stray_character_is_counted_but_no_gibberish() -> None:
    row = measured(within("so 的 we"))
    assert (row["gibberish"], row["script_mixing"], row["gibberish_count"]) == (False, 1, 1)


def test_a_passage_is_another_language_not_gibberish() -> None:
    row = measured(within("首先我们需要计算这个三角形的面积, 然后再求出边的长度。"))
    assert (row["gibberish"], row["script_mixing"], row["language_switches"]) == (False, 0, 1)
    assert row["foreign_letters"] == 25
    mixed = measured(within("首先我们需要пожалуйста计算这个三角形的面积"))
    assert (mixed["gibberish"], mixed["script_mixing"], mixed["language_switches"]) == (True, 1, 0)


def test_reasoning_in_another_script_is_at_home() -> None:
    chinese = "首先, 我们计算 x = 3 的值。" * 40
    for text in (chinese, chinese + prose(5, 60), prose(5, 100) + chinese):
        assert measured(text)["foreign_letters"] == 0
    korean = "먼저 x의 값을 구하자. " * 40
    assert measured(korean)["foreign_letters"] == 0
    assert measured(korean + "首先, " + korean)["foreign_scripts"] == "Han"
    assert measured("まず、計算する。" * 40)["foreign_letters"] == 0


def test_scripts_of_the_problem_and_the_prompt_are_at_home() -> None:
    text = within("the word 수학 means maths")
    assert measured(text)["foreign_letters"] == 2
    assert measured(Answer(text, "new", prompt="'수학'은 무슨 뜻인가?"))["foreign_letters"] == 0
    assert measured(Answer(text, "new", question="'수학'은 무슨 뜻인가?"))["foreign_letters"] == 0


def test_mathematical_letters_are_symbols() -> None:
    row = measured(within("𝑥 ∈ ℝ, ℓ ⊂ ℵ₀, θ π Δ µ x² ʰ ª ａｂｃ 𝒜 naïve Erdős Việt ﬁ"))
    assert row["foreign_letters"] == 0
    table, names = _scripts()
    for letter, script in {
        "ж": "Cyrillic",
        "ア": "Kana",
        "ﾊ": "Kana",
        "ﾡ": "Hangul",
        "㐀": "Han",
        "α": "Greek",
    }.items():
        assert names[table[ord(letter)]] == script


def test_replacement_characters_are_counted_and_no_sign() -> None:
    row = measured(within("ok \ufffd\ufffd fine"))
    assert (row["replacement_characters"], row["gibberish"]) == (2, False)


# ---------------------------------------------------------------------------------------------------- digits
def test_a_run_of_a_hundred_digits_is_a_sign() -> None:
    text = within("é " + "7" * 100)
    row = measured(text)
    assert (row["longest_digit_run"], row["longest_digit_run_char"]) == (100, text.index("777"))
    assert row["gibberish"] is True
    assert row["gibberish_spans"] == [{"start": text.index("777"), "end": text.index("777") + 100}]
    assert row["gibberish_count"] == row["random_digit_windows"] == 0
    assert measured(within("7" * 99))["gibberish"] is False
    assert measured(within("1 23 456 7.8"))["longest_digit_run"] == 3


def test_windows_of_random_digits_are_found() -> None:
    rng = random.Random(8)
    groups = " ".join("".join(rng.choices("0123456789", k=rng.randint(2, 5))) for _ in range(400))
    text = within(groups)
    row = measured(text)
    assert row["random_digit_windows"] == len(groups) // 500
    assert text.index(groups) - 200 <= row["gibberish_first_char"] <= text.index(groups)


@pytest.mark.parametrize(
    "digits",
    [
        "0.142857142857" * 60,
        "0 0 0 1 0 0 0 0 " * 60,
        ", ".join(str(7 * i) for i in range(100, 400)),
        ", ".join(str(9999 - 23 * i) for i in range(300)),
        " ".join(f"{i}*{i + 3}={i * (i + 3)}" for i in range(20, 200)),
        ("1234 5678 " * 3 + "4711 " * 2 + "99 3 ") * 30,
    ],
    ids=["decimal", "matrix", "rising", "falling", "equations", "long period"],
)
def test_digits_in_order_are_not_random(digits: str) -> None:
    assert measured(within(digits))["random_digit_windows"] == 0


# ----------------------------------------------------------------------------------------- without reference
def test_without_a_reference_there_is_no_verdict_on_words() -> None:
    needs_reference = ("gibberish", "gibberish_count", "overrepresented_words", "unknown_words")
    few = [Answer(" ".join(a.text or "" for a in RUN[i::19]), str(i)) for i in range(19)]
    for corpus in (None, build_lexicon([table([Answer("a b c")])]), build_lexicon([table(few)])):
        healthy, ill, failed = gibberish(
            table([Answer("Vis, " * 300), Answer("7" * 200), Answer(None)]), corpus
        ).to_pylist()
        assert all(healthy[name] is None for name in needs_reference)
        assert healthy["longest_digit_run"] == 0
        assert ill["gibberish"] is True  # what can be seen is said
        assert ill["gibberish_count"] is ill["unknown_words"] is None
        assert set(failed.values()) == {None}


def test_a_response_is_not_judged_by_others_to_its_own_problem_alone() -> None:
    same = [Answer(prose(300 + i), "same") for i in range(60)]
    assert measured(Answer(prose(1), "same"), same)["gibberish_count"] is None


# ------------------------------------------------------------------------------------------------------ time
def test_hostile_texts_take_milliseconds() -> None:
    rng = random.Random(3)
    texts = {
        "digit": "7" * 1_000_000,
        "letter": "a" * 1_000_000,
        "boxes": "\\boxed{" * 100_000,
        "digits": "".join(rng.choices("0123456789", k=1_000_000)),
        "vis": "Vis, " * 200_000,
        "words": " ".join(
            f"q{a}{b}{c}{d}" for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES for d in WORDS[:60]
        ),
        "scripts": "a首b " * 200_000,
        "letters apart": "Vis" + " x" * 500_000,
    }
    corpus = build_lexicon([table(RUN)])
    gibberish(table([Answer(within("Vis, " * 25 + "首先ж " + "123 " * 200))]), corpus)  # compiled
    for name, text in texts.items():
        batch = table([Answer(text, "new")])
        began = time.process_time()
        gibberish(batch, corpus)
        # The scan included; about 30 ms for 1 MB.  The bound leaves room for a busy machine, not for a quadratic.
        assert time.process_time() - began < 2.0, name
