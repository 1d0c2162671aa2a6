"""The lexicon of a run, on responses small enough to count by hand."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pyarrow as pa
import pytest

from qrm_forensics.errors import InputError
from qrm_forensics.metrics import lexicon
from qrm_forensics.metrics.lexicon import Lexicon, build_lexicon, problem_hash, types_of
from qrm_forensics.metrics.lexicon_kernels import OVER, RARE, UNKNOWN
from qrm_forensics.metrics.scan import scan_text


def run(*responses: tuple[str, str | None]) -> pa.Table:
    """(problem, text) of each response."""
    return pa.table(
        {
            "text": pa.array([text for _, text in responses], pa.large_string()),
            "benchmark": ["b"] * len(responses),
            "problem_id": [problem for problem, _ in responses],
        }
    )


def flagged(corpus: Lexicon, problem: str, text: str, flag: int) -> set[str]:
    """The words of the text that have the flag."""
    scan = scan_text(text)
    types = types_of(scan)
    flags, _ = corpus.judge(types, problem_hash("b", problem))
    t = scan.tokens
    return {
        scan.slice(a, b).lower()
        for a, b, name in zip(t.starts, t.ends, t.ids, strict=True)
        if types.type_of[name] >= 0 and flags[types.type_of[name]] & flag
    }


def test_a_word_is_a_run_of_latin_letters_outside_commands_and_environments() -> None:
    text = r"Café CAFé caFé, \frac \begin{pmatrix} a \end{pmatrix} {pmatrix} x_abc IV USA Usa 수학 αβγ xα né"
    scan = scan_text(text)
    types = types_of(scan)
    t = scan.tokens
    spelled = {int(types.type_of[n]): scan.slice(a, b).lower() for n, a, b in zip(t.ids, t.starts, t.ends, strict=True)}
    words = {spelled[k]: (int(types.words[k]), int(types.runs[k])) for k in range(len(types.hashes))}
    assert words == {
        "café": (3, 3),
        "pmatrix": (1, 3),  # two are environments
        "a": (0, 1),
        "x": (0, 1),
        "abc": (1, 1),
        "iv": (0, 1),
        "usa": (1, 2),  # not where it is all capitals
        "né": (0, 1),
    }
    assert (types.n_words, types.n_runs) == (6, 13)


def test_a_word_is_known_where_any_other_response_has_it() -> None:
    first = "alpha beta gamma own"
    corpus = build_lexicon([run(("1", first), ("1", "beta twin"), ("2", "gamma other"), ("3", None))])
    assert flagged(corpus, "1", first, UNKNOWN) == {"alpha", "own"}
    # a response that the lexicon was not made of is judged by all of them
    assert flagged(corpus, "1", "alpha twin gamma new", UNKNOWN) == {"new"}
    assert flagged(corpus, "9", "alpha twin gamma new", UNKNOWN) == {"new"}


def test_the_same_response_twice_does_not_vouch_for_itself() -> None:
    text = "some words only here"
    corpus = build_lexicon([run(("1", text), ("1", text), ("2", "other text"))])
    assert flagged(corpus, "1", text, UNKNOWN) == {"some", "words", "only", "here"}
    assert corpus.n_responses == 2
    # to another problem it is another response
    corpus = build_lexicon([run(("1", text), ("2", text))])
    assert flagged(corpus, "1", text, UNKNOWN) == set()


def test_a_response_counts_for_five_of_a_word_and_none_where_it_is_dense() -> None:
    dense = "often " * 20
    assert build_lexicon([run(("1", "one two three four five six " * 30))]).n_words == 6 * 5  # 20 within 115 words
    assert build_lexicon([run(("1", "one two three four five " * 30))]).n_words == 0  # 20 within 96
    corpus = build_lexicon([run(("1", "other words " + dense))])
    assert corpus.n_words == 2
    corpus = build_lexicon([run(("1", "often " * 19))])
    assert corpus.n_words == 5


def test_a_word_that_makes_up_a_response_vouches_for_nothing() -> None:
    loop = "Vis, " * 40
    corpus = build_lexicon([run(("1", "so it goes " + loop), ("1", "and then " + loop), ("2", "a third " + loop))])
    assert "vis" in flagged(corpus, "1", "so it goes " + loop, UNKNOWN)
    # where it is a small part of another response to the problem, it is a word of the problem
    beside = "one two three four five six seven eight nine ten " * 10 + "vis"
    corpus = build_lexicon([run(("1", "so it goes " + loop), ("1", beside))])
    assert "vis" not in flagged(corpus, "1", "so it goes " + loop, UNKNOWN | RARE | OVER)


def test_the_reference_leaves_out_the_own_problem() -> None:
    corpus = build_lexicon([run(("1", "alpha beta"), ("1", "alpha gamma delta"), ("2", "alpha"))])
    assert corpus.reference(problem_hash("b", "1")) == (1, 1)
    assert corpus.reference(problem_hash("b", "2")) == (2, 5)
    assert corpus.reference(problem_hash("other", "1")) == (3, 6)
    assert not corpus.suffices(problem_hash("b", "1"))


def test_novelty_is_the_share_of_words_that_one_response_has() -> None:
    # problem 1: 2 of 4 words are its own; problem 2: 1 of 3; problem 3: 0 of 2
    corpus = build_lexicon([run(("1", "the sum new one"), ("2", "the sum odd"), ("3", "the sum"))])
    assert corpus.novelty == pytest.approx(1 / 3)
    assert build_lexicon([]).novelty == 0.0


def test_batches_rows_and_their_order_do_not_matter() -> None:
    rng = random.Random(1)
    vocabulary = [f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600)]
    rows = [(str(i % 20), " ".join(rng.choices(vocabulary, k=150))) for i in range(60)]
    whole = build_lexicon([run(*rows)])
    shuffled = rng.sample(rows, len(rows))
    parts = build_lexicon(iter([run(*shuffled[:7]), run(*shuffled[7:7]), run(*shuffled[7:])]))
    assert (parts.n_words, parts.n_responses, parts.novelty) == (whole.n_words, whole.n_responses, whole.novelty)
    for problem, text in rows:
        types = types_of(scan_text(text))
        for a, b in zip(
            whole.judge(types, problem_hash("b", problem)), parts.judge(types, problem_hash("b", problem)), strict=True
        ):
            assert np.array_equal(a, b)


def test_it_survives_pickling() -> None:
    rows = [(str(i), f"word{chr(97 + i)} shared text of all") for i in range(20)]
    corpus = build_lexicon([run(*rows)])
    again = pickle.loads(pickle.dumps(corpus))
    assert flagged(again, "3", rows[3][1], UNKNOWN) == flagged(corpus, "3", rows[3][1], UNKNOWN) == {"wordd"}


def test_at_its_bound_it_forgets_words_of_one_response_and_keeps_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexicon, "WORD_SLOTS", 1 << 12)
    monkeypatch.setattr(lexicon, "PAIR_SLOTS", 1 << 12)
    rng = random.Random(2)

    def made(i: int) -> str:
        strange = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(400)]
        return " ".join(["let", "us", "see", "what", "follows", *strange, f"common{chr(97 + i % 3)}"])

    rows = [(str(i), made(i)) for i in range(60)]
    corpus = build_lexicon([run(*rows)])
    assert len(corpus.keys) == len(corpus.pairs) == 1 << 12
    assert flagged(corpus, "new", "let us see what follows commona commonb commonc unheard", UNKNOWN) == {"unheard"}


def test_lacking_columns_are_named() -> None:
    with pytest.raises(InputError, match="problem_id"):
        build_lexicon([pa.table({"text": ["a"], "benchmark": ["b"]})])
