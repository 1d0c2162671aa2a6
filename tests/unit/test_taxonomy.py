"""Problem categories: whole words of the bare question only, and their agreement with MATH-500's subjects."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from qrm_forensics.benchmarks import taxonomy
from qrm_forensics.benchmarks.taxonomy import (
    CATEGORIES,
    LABELS,
    OTHER,
    agreement,
    describe,
    found_keywords,
    problem_categories,
)
from qrm_forensics.builtin import problems

MATH_500 = Path(__file__).parents[2].parent / "shared/datasets/MATH-500/test.jsonl"
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


@pytest.mark.parametrize(
    ("question", "labels"),
    [
        (r"Simplify $\tan 100^\circ + 4 \sin 100^\circ.$", ("trigonometry",)),
        ("Compute sin(30).", ("trigonometry",)),
        (r"Find $\int_0^1 t\,dt$.", ("calculus",)),
        (r"Compute $\dbinom{31}{28}$.", ("counting_probability",)),
        (r"Find $n$ with $n\equiv 3\pmod{18}$.", ("number_theory",)),
        ("What is 60 in base 5?", ("number_theory",)),
        (r"Write $77$ in base $8$ and find its digits.", ("number_theory",)),
        (r"If \$4 buys a pen, what do ten pens cost?", ("word_problem",)),
        (r"$\begin{pmatrix} 1 \\ 2 \end{pmatrix}$ is a VECTOR", ("vectors_complex",)),
        ("What is the probability that a random triangle is acute?", ("geometry", "counting_probability")),
        ("A knight tells the truth, a knave lies.", ("logic",)),
        ("Find 63 * 5.", ("arithmetic",)),
        ("What is 36 + 41?", ("arithmetic",)),
    ],
)
def test_labels(question: str, labels: tuple[str, ...]) -> None:
    assert problem_categories(question) == labels


@pytest.mark.parametrize(
    "question",
    [
        # parts of words are no words
        "The distance since the model was made of a substance in a basin",
        "Coset, arcade, primer, vectorial, summit, baseline, integralist, squarely",
        r"\sinful \tangle \integer \bmodel \sums \mathbfit",
        # words that are no sign of the topic where they stand
        "The square root of the number; a circular table; the magic square",
        # numbers that are no calculation
        "A 6-sided tile at (2,-6), 5^2 - 3, 4k+3 and 2-3k, in 1999-word texts",
        # not the problem
        "Find it. Express your answer as a common fraction in base 10 with $x$",
        "Find it. [asy] draw(circle(sin(3), cos(4))); label('triangle'); [/asy] Enter all solutions, separated by commas",
        "Find it. [asy] triangle",
        INSTRUCTION,
        "",
        "찾아라",
    ],
)
def test_nothing_is_found_in_parts_of_words_instructions_and_drawings(question: str) -> None:
    assert found_keywords(question) == {}


def test_other_is_said() -> None:
    assert problem_categories("Which way does she face?") == (OTHER,)
    assert LABELS[-1] == OTHER and len(set(LABELS)) == len(CATEGORIES) + 1


def test_keywords_are_the_evidence() -> None:
    assert found_keywords(r"The circle of radius 2 and the vector $\mathbf{v}$; a triangle") == {
        "geometry": ["circle", "radius", "triangle"],
        "vectors_complex": ["\\mathbf", "vector"],
    }


def test_every_keyword_can_be_found_and_is_in_one_form() -> None:
    for category in CATEGORIES:
        for keyword in (*category.words, *category.phrases):
            spelled = "3 + 4" if keyword == "#+#" else keyword.replace("#", "12")
            assert keyword in found_keywords(f"So {spelled} .").get(category.name, []), keyword
        for phrase in category.unless:
            spelled = phrase.replace("#", "12")
            assert category.name not in found_keywords(f"the {spelled} of it"), phrase
        assert {"en", "ko"} == set(category.label)


def test_described_as_plain_data() -> None:
    told = json.loads(json.dumps(describe()))
    assert [c["name"] for c in told] == list(LABELS[:-1])


def test_labels_of_the_builtin_problems() -> None:
    found: dict[str, set[str]] = {}
    for problem in problems(200):
        found.setdefault(str(problem.subject), set()).update(problem_categories(problem.question))
    assert found == {
        "addition": {"arithmetic"},
        "multiplication": {"arithmetic"},
        "remainder": {"arithmetic", "number_theory"},
        "equation": {"algebra"},
        "base": {"number_theory"},
        # "Order 80, 83, 22. Which is in the middle?" has no keyword
        "ordering": {"arithmetic", "other"},
        "iteration": {"arithmetic"},
        "gcd": {"number_theory"},
    }


@pytest.mark.parametrize("piece", ["[asy]", "Express your answer ", "1+", "\\", "a ", "1", "square root "])
def test_time_is_linear_in_hostile_questions(piece: str) -> None:
    start = time.process_time()
    found_keywords(piece * (400_000 // len(piece)))
    assert time.process_time() - start < 5  # mostly 0.5; what is quadratic takes minutes


@pytest.mark.skipif(not MATH_500.is_file(), reason="the problems of MATH-500 are not here")
def test_agreement_with_the_subjects_of_math_500_is_as_documented(capsys: pytest.CaptureFixture[str]) -> None:
    lines = MATH_500.read_text(encoding="utf-8").splitlines()
    pairs = [(row["problem"], row["subject"]) for row in map(json.loads, lines)]
    held_out = pairs[1::2]
    table = [
        f"{' + '.join(a.labels):31} {a.of_subject:8} {a.labelled:6} {a.both:5} {a.precision:10.2f} "
        f"{a.precision_of_topics:12.2f} {a.recall:7.2f}"
        for a in agreement(held_out)
    ]
    with capsys.disabled():
        print("", *table, sep="\n")
    documented = re.sub(r"^ {4}", "", str(taxonomy.__doc__), flags=re.MULTILINE)
    for line in table:
        assert line in documented
    others = sum(problem_categories(question) == (OTHER,) for question, _ in held_out)
    assert re.search(rf"\b{others} of the\s+250 are ``other``", documented)
    # what was read while the keywords were written must not be far better than what was not
    for seen, unseen in zip(agreement(pairs[::2]), agreement(held_out), strict=True):
        assert seen.recall - unseen.recall < 0.15 and seen.precision - unseen.precision < 0.15
