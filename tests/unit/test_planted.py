"""The truth that loop detectors are judged against: planted loops, hard negatives, the peers' rules, the scoring."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from planted_truth import HALVES, cases, clean, tokens
from planted_truth.bases import half_of, responses
from planted_truth.negatives import MAKERS, PERIODIC, hard_negatives
from planted_truth.peers import PEERS, UNPLACED, Found, loop_type, tail_repetition
from planted_truth.plant import MIN_TOKENS, Case, Truth
from planted_truth.scoring import Share, matched, score
from planted_truth.units import copy_of, cut, with_connectives, with_counter


@pytest.fixture(scope="module")
def plants() -> list[Case]:
    return cases("tuning", 150, 5, "builtin")


def test_the_same_arguments_give_the_same_texts_and_others_give_others(plants: list[Case]) -> None:
    again = cases("tuning", 150, 5, "builtin")
    assert plants == again
    assert cases("tuning", 20, 5, "builtin") == plants[:20], "a case does not depend on how many are asked for"
    assert {c.text for c in cases("tuning", 50, 6, "builtin")}.isdisjoint(c.text for c in plants)


def test_noiseless_plants_repeat_from_body_start_to_end(plants: list[Case]) -> None:
    exact = [c for c in plants if c.truth.kind == "exact"]
    assert len(exact) > 10
    for case in exact:
        t = case.truth
        unit = t.onset_char - t.body_start_char
        looped = case.text[t.body_start_char : t.end_char]
        assert looped[unit:] == looped[:-unit], case.name


def test_an_exact_rule_finds_the_planted_onsets(plants: list[Case]) -> None:
    """Another route to the truth: comparing every lag.  Four equal tokens at a seam may shift it by a word."""
    rule = tail_repetition(1, 600, 4)
    errors = [matched(c, rule(c.text, c.closed)).onset_error for c in plants if c.truth.kind == "exact"]
    known = [e for e in errors if e is not None]
    assert len(known) == len(errors) and max(known) <= 8 and sum(e > 0 for e in known) <= 0.15 * len(known)


def test_the_loop_does_not_begin_earlier_than_said(plants: list[Case]) -> None:
    for case in plants:
        t = case.truth
        before = case.text[: t.body_start_char]
        spans = tokens(before[-80:])
        if not spans:
            continue
        tail = before[-80:][spans[-1][0] :]
        assert case.text[: t.onset_char].endswith(tail) is False, case.name


def test_truth_is_inside_the_text_and_terminal_plants_end_it(plants: list[Case]) -> None:
    for case in plants:
        t = case.truth
        assert 0 <= t.body_start_char < t.onset_char < t.end_char <= len(case.text)
        assert t.tokens == len(tokens(case.text[t.body_start_char : t.end_char])) >= 0.8 * MIN_TOKENS
        starts = {s for s, _ in tokens(case.text)}
        assert t.body_start_char in starts and t.onset_char in starts, case.name
        assert case.closed == ("</think>" in case.text)
        if t.terminal:
            assert t.end_char == len(case.text) and not case.closed
        else:
            assert t.end_char < len(case.text)
    assert any(not c.truth.terminal and not c.closed for c in plants), "unclosed is not the same as terminal"
    assert {c.truth.kind for c in plants} == {"exact", "noisy", "connective", "drift", "growing"}


def test_the_mix_of_plants_is_the_stated_one() -> None:
    plants = cases("holdout", 300, 2, "builtin")
    assert 0.54 < sum(c.truth.terminal for c in plants) / 300 < 0.66
    for noise in (0.0, 0.02, 0.05, 0.10):
        assert 0.18 < sum(c.truth.noise == noise for c in plants) / 300 < 0.32
    assert sum(c.truth.loop_class == "copied" for c in plants) > 120
    assert max(c.truth.period for c in plants) > 350 and min(c.truth.period for c in plants) < 1.5
    assert max(c.truth.tokens for c in plants) > 8000


@pytest.mark.parametrize("source", ["builtin", "auto"])
def test_the_halves_share_no_problem_and_no_base(source: str) -> None:
    tuning, holdout = (clean(h, source) for h in HALVES)  # type: ignore[arg-type]
    assert {b.problem for b in tuning}.isdisjoint(b.problem for b in holdout)
    assert {b.text for b in tuning}.isdisjoint(b.text for b in holdout)
    assert all(half_of(b.problem) == h for h, bs in zip(HALVES, (tuning, holdout), strict=True) for b in bs)


def test_real_bases_are_correct_closed_and_loopless() -> None:
    if not responses():
        pytest.skip("no real response files beside this checkout")
    for half in HALVES:
        chosen = clean(half, "real")
        assert len(chosen) > 40
        assert all(b.closed and b.correct for b in chosen)


def test_asking_for_real_bases_that_are_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert clean("tuning", "real", tmp_path) == []
    assert clean("tuning", "auto", tmp_path) == clean("tuning", "builtin")
    monkeypatch.setattr("planted_truth.plant.bases", lambda half, source: [])
    with pytest.raises(LookupError, match="builtin"):
        cases("tuning", 1, 1, "real")


def test_connectives_change_and_counters_go_up() -> None:
    from planted_truth.units import Unit

    rng = Random(1)
    marked = with_connectives(cut("So, x is 12.34 and 7. Thus, y is so. "))
    assert marked is not None and [p.text for p in marked if p.role == "connective"] == ["So", "Thus"]
    assert with_connectives(cut("x is y, so z is w. ")) is None
    counted = with_counter(cut("case 319: 12.34 is not 1,000. "), rng)
    assert counted is not None
    assert "".join(map(str, copy_of(Unit(tuple(counted), "copied"), 2, rng))) == "case 321: 12.34 is not 1,000. "
    assert with_counter(cut("12.34 and 1,000"), rng) is None


def test_hard_negatives_come_alone_and_embedded() -> None:
    negatives = hard_negatives("tuning", "builtin")
    assert len(negatives) == 2 * len(MAKERS) == len(dict(negatives))
    by_name = dict(negatives)
    for name in MAKERS:
        alone, embedded = by_name[f"{name}/alone"], by_name[f"{name}/embedded"]
        assert alone in embedded and "</think>" in embedded and len(tokens(alone)) >= 100
    assert set(MAKERS) >= PERIODIC
    assert by_name["long division/alone"].count("remainder") == 96
    assert "149 is prime." in by_name["primality list/alone"]


# -- the peers' rules ---------------------------------------------------------------------------------------

SENTENCE = "We note that the second root must be rejected here.\n\n"
LOOP = "First we write down the equation and look at it for a while. " + SENTENCE * 60


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_fires_on_a_plain_loop_and_is_silent_on_nothing_and_on_prose(name: str) -> None:
    found = PEERS[name](LOOP, False)
    assert found
    if name not in UNPLACED:
        onset, end = found[0].onset_char, found[0].end_char
        assert onset is not None and end is not None and found[0].terminal
        second = LOOP.index(SENTENCE) + len(SENTENCE)
        assert abs(onset - second) <= (2048 if name.startswith("zlib") else 60) and end > len(LOOP) - 600
        assert not PEERS[name](LOOP, True)[0].terminal
    for quiet in ("", " \n", " ".join(f"word{i}" for i in range(90))):
        assert PEERS[name](quiet, False) == []


def test_tail_repetition_asks_for_exactly_its_count() -> None:
    rule = tail_repetition(2, 8, 4)
    assert rule("q w " + "a b " * 4 + "z", True) == [Found(8, 19, False)]
    assert rule("q w " + "a b " * 3 + "a z", True) == []
    assert rule("a " * 7 + "z", True) == [], "the pattern of one token is below the smallest size"
    assert rule("k " + "a " * 8, False) == [Found(6, 17, True)]


def test_the_linear_loop_types_agree_with_the_published_patterns() -> None:
    number = re.compile(r"(\d)\s*[.,]?\s*(\1\s*[.,]?\s*){10,}")
    phrase = re.compile(r"([^.]{30,80}\.)\s*(\1\s*){3,}")
    word = re.compile(r"\b(\w{4,})\s+\1\s+\1\s+\1")
    rng = Random(4)
    seen = set()
    for _ in range(1000):
        shape = rng.randrange(3)
        if shape == 0:
            text = "".join(rng.choice(("7", "7", "7", "7", " ", ".", ",", "7" * 6, "1")) for _ in range(14))
        elif shape == 1:
            core = "s" * rng.randint(26, 33) + "." if rng.random() < 0.5 else "t" * rng.randint(77, 82) + "."
            text = rng.choice(("", "abc ", "s")) + "".join(
                rng.choice(("", " ", "\n\n")) + core for _ in range(rng.randint(2, 6))
            )
        else:
            text = " ".join(rng.choice(("wait", "this", "this", "this", "(this", "this.", "thisx")) for _ in range(9))
        wanted = "no_loop"
        if number.search(text):
            wanted = "number_loop"
        elif phrase.search(text):
            wanted = "phrase_repeat"
        elif word.search(text):
            wanted = "word_repeat"
        assert loop_type(text) == wanted, repr(text)
        seen.add(wanted)
    assert seen == {"no_loop", "number_loop", "phrase_repeat", "word_repeat"}
    assert loop_type("wait " * 101) == "moderate_wait_loop" and loop_type("Let me. " * 51) == "let_me_loop"
    assert loop_type("7" + "     7" * 9 + "     " * 2000) == "no_loop"


# -- the scoring --------------------------------------------------------------------------------------------


def _case(terminal: bool = True) -> Case:
    truth = Truth(100, 110, 900, terminal, "exact", "copied", None, 3.0, 80.0, 0.0, 500)
    return Case("c", "p", "x" * 1000, not terminal, truth)


def test_a_loop_elsewhere_is_no_hit() -> None:
    hit = matched(_case(), [Found(920, 1000, True), Found(0, 100, False)])
    assert not hit.found and len(hit.others) == 2 and hit.onset_error is None
    hit = matched(_case(), [Found(400, 950, True), Found(105, 300, False), Found(910, 1000, True)])
    assert (hit.onset_error, hit.end_error, hit.terminal, len(hit.others)) == (5, 50, True, 1)
    assert matched(_case(), [Found(None, None, False)]).found


def test_a_score_counts_what_it_says() -> None:
    def perfect(text: str, closed: bool) -> list[Found]:
        return [Found(110, 900, not closed)] if text.startswith("x") else []

    plants = [_case(True), _case(False)]
    quiet = clean("tuning", "builtin")
    s = score("perfect", perfect, plants, quiet, [], [], hard_negatives("tuning", "builtin"))
    assert s.recall["all"] == s.recall[">=400"] == s.recall["exact"] == Share(2, 2)
    assert s.recall["drift"] == s.recall["p>100"] == Share(0, 0) and s.recall["drift"].interval is None
    assert s.false_alarms == Share(0, len(quiet)) and s.terminal == Share(2, 2)
    assert s.onset(50) == s.onset(90) == 0 and s.negatives_flagged == ["60-deep continued fraction/alone"]
    low, high = Share(45, 50).interval or (0, 0)
    assert abs(low - 0.7864) < 1e-3 and abs(high - 0.9565) < 1e-3, "Wilson (1927)"
