r"""What a problem is about, by the words of its question: a second look beside the dataset's own subject.

A dataset that says the subject and level of its problems is right about them by definition, and a report
groups by those first.  Where it says neither (AIME), or where benchmarks are to be compared by one scale,
these categories stand in.  They are keywords and no more:

* Only the question is read, never the prompt with its instruction; nor, within the question, the code of a
  drawing (``[asy]``) and the sentences that say how to write the answer ("Express your answer as …").
* Only whole words count: a run of letters as it stands.  "tan" is not in "distance", "sin" not in "since",
  "mod" not in "model".  Upper and lower case are alike.
* LaTeX commands are words of their own: ``\sin`` is the sine, ``\int`` an integral, ``\binom`` a choice.
* A phrase is words that follow each other, whatever punctuation is between; ``#`` in it is any whole number.
  The keyword ``#+#`` is a calculation that is written out: two numbers with ``+ - * /`` or its like between.
* A problem has every label of which it has a keyword; one that has none is ``other``.

How far that goes: the 250 problems of MATH-500 at odd positions (idx-1, idx-3, …), which were not read when the
keywords were written, against their own subjects.  ``precision`` is low for geometry because much of Prealgebra and
Precalculus is geometry by its words; the second precision leaves Prealgebra, which is no topic, out.  30 of the
250 are ``other``::

    labels                           subject  label  both  precision   ... topics  recall
    algebra                              107     94    65       0.69         0.72    0.61
    geometry                              19     45    18       0.40         0.47    0.95
    number_theory                         34     44    29       0.66         0.74    0.85
    counting_probability                  19     25    16       0.64         0.76    0.84
    trigonometry + vectors_complex        32     33    25       0.76         0.76    0.78

So a label says that such words are there, and a table by labels is no replacement for one by subjects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

OTHER = "other"

_DRAWING = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)", re.DOTALL)
#: "Express your answer as a common fraction." speaks of the form of the answer, not of fractions.
_ANSWER_FORM = re.compile(
    r"\b(?:Express|Enter|Give|Write|Leave|Round|State) (?:your (?:final )?answers?|all (?:the |of the )?(?:answers|solutions|values)"
    r"|each answer|the letters?)\b[^.]*"
)
#: A command, a run of letters, or a whole number.
_WORD = re.compile(r"\\[A-Za-z]+|\\[$%]|[A-Za-z]+|[0-9]+")
#: The keyword ``#+#``: two numbers with an operator between them, neither of them part of a term or an exponent.
_CALCULATION = re.compile(r"(?<![\w^.,(){}+*/-])[0-9]+ ?(?:[-+*/×÷]|\\times|\\cdot|\\div) ?[0-9]+(?! ?[\w^(){}\\])")


@dataclass(frozen=True, slots=True)
class ProblemCategory:
    """One label and its keywords.

    ``words``: lower-case words and LaTeX commands (with the backslash, as written).  ``phrases``: words with one
    space between.  ``unless``: phrases whose words do not count here ("square root" is no square).
    """

    name: str
    label: Mapping[str, str]
    words: frozenset[str]
    phrases: tuple[str, ...]
    unless: tuple[str, ...]


def _category(
    name: str, en: str, ko: str, words: str, phrases: Sequence[str] = (), unless: Sequence[str] = ()
) -> ProblemCategory:
    label = MappingProxyType({"en": en, "ko": ko})
    return ProblemCategory(name, label, frozenset(words.split()), tuple(phrases), tuple(unless))


CATEGORIES: tuple[ProblemCategory, ...] = (
    _category(
        "arithmetic",
        "Arithmetic and data",
        "산술·자료",
        r"""add adding addition subtract subtracting subtraction multiply multiplying multiplication divide dividing
        division percent percents percentage \% fraction fractions decimal decimals average averages median mode rounded
        rounding estimate ratio ratios reciprocal halve \div #+#""",
        ("the mean", "mean of", "round to", "mixed number"),
    ),
    _category(
        "algebra",
        "Algebra",
        "대수",
        r"""x y equation equations inequality inequalities polynomial polynomials quadratic cubic quartic linear root roots
        factored factoring expand coefficient coefficients variable variables function functions solve solution solutions
        domain inverse graph graphs parabola hyperbola ellipse asymptote asymptotes slope intercept logarithm logarithms
        exponent exponents exponential \log \ln \lfloor \lceil expression real maximum minimum monic discriminant
        proportional inversely""",
        ("absolute value", "completing the square", "rationalize the denominator", "range of"),
        ("square root", "cube root"),
    ),
    _category(
        "geometry",
        "Geometry",
        "기하",
        r"""triangle triangles triangular circle circles circular semicircle semicircles circumference radius radii diameter
        angle angles area areas perimeter perimeters square squares rectangle rectangles rectangular rhombus parallelogram
        trapezoid quadrilateral polygon polygons pentagon hexagon hexagonal octagon nonagon decagon heptagon cube cubes
        sphere spheres cone cones cylinder cylinders cylindrical prism pyramid tetrahedron octahedron volume altitude
        bisector bisects midpoint midpoints hypotenuse isosceles equilateral inscribed circumscribed circumcircle incircle
        circumcenter incenter centroid orthocenter chord chords tangent arc perpendicular parallel collinear equidistant
        diagonal diagonals vertex vertices \triangle \angle \perp""",
        ("surface area", "line segment", "side length"),
        ("square root", "square roots", "cube root", "cube roots", "perfect square", "perfect squares", "perfect cube",
         "perfect cubes", "magic square", "rectangular coordinates", "cylindrical coordinates", "completing the square",
         "square table", "circular table"),
    ),
    _category(
        "number_theory",
        "Number theory",
        "정수론",
        r"""divisor divisors divisible divides divisibility multiple multiples prime primes composite factorization gcd lcm
        gcf remainder remainders mod modulo modulus congruence residue residues digit digits binary octal hexadecimal
        palindrome palindromes coprime totient diophantine \gcd \lcm \mod \bmod \pmod \equiv \mid \nmid""",
        ("base #", "in base", "perfect square", "perfect squares", "perfect cube", "common divisor", "common multiple",
         "common factor", "factors of #", "factor of #", "consecutive integers", "terminating decimal", "repeating decimal"),
    ),
    _category(
        "counting_probability",
        "Counting and probability",
        "경우의 수·확률",
        r"""probability probabilities random randomly permutation permutations combinations arrange arranged arrangement
        arrangements dice die rolled rolling tossed flipped marble marbles deck ways binomial \binom \dbinom \tbinom
        \choose choose committee committees indistinguishable distinguishable outcomes seated outfits""",
        ("fair coin", "expected value", "expected number", "likely to", "chance of", "how many different"),
    ),
    _category(
        "trigonometry",
        "Trigonometry",
        "삼각법",
        r"""sin cos tan sec csc cot sine cosine secant cosecant cotangent arcsin arccos arctan trigonometric trigonometry
        radian radians \sin \cos \tan \sec \csc \cot \arcsin \arccos \arctan""",
    ),
    _category(
        "vectors_complex",
        "Vectors, matrices and complex numbers",
        "벡터·행렬·복소수",
        r"""vector vectors matrix matrices determinant pmatrix bmatrix vmatrix projection orthogonal polar parameterized
        parametric parameterization imaginary complex conjugate unity cis \mathbf \det \overrightarrow \omega""",
        ("cross product", "dot product", "spherical coordinates", "cylindrical coordinates"),
    ),
    _category(
        "sequences",
        "Sequences and series",
        "수열·급수",
        r"""sequence sequences series progression progressions recursive recursively recurrence fibonacci telescoping \sum
        \prod""",
        ("first term", "second term", "third term", "nth term"),
    ),
    _category(
        "calculus",
        "Calculus",
        "미적분",
        r"""derivative derivatives differentiate differentiable integral integrals integrate antiderivative limit
        converge converges diverge diverges \int \iint \oint \lim \partial \nabla""",
    ),
    _category(
        "word_problem",
        "Word problem",
        "문장제",
        r"""dollar dollars \$ cent cents dime dimes nickel nickels penny pennies cost costs price prices pay pays paid buy
        buys bought sell sells sold earn earns earned money mile miles hour hours minute minutes mph speed gallon gallons
        pound pounds ounce ounces student students school teacher people boys girls friend friends week weeks month months
        weigh weighs calories""",
        ("years old", "years ago"),
    ),
    _category(
        "logic",
        "Logic",
        "논리",
        "knight knights knave knaves liar liars lying truthful truthfully",
        ("tells the truth", "tell the truth", "statements are true", "statements are false", "statements is true"),
    ),
)  # fmt: skip

#: Every label, in this order; ``other`` last.
LABELS: tuple[str, ...] = (*(c.name for c in CATEGORIES), OTHER)


def problem_categories(question: str) -> tuple[str, ...]:
    """The labels of a question in the order of ``LABELS``, ``("other",)`` where no keyword is in it.

    Give the bare question: a prompt's instruction would be read as part of the problem.
    """
    return tuple(found_keywords(question)) or (OTHER,)


def found_keywords(question: str) -> dict[str, list[str]]:
    """Label -> the keywords of it that the question holds, sorted; no entry for a label without any."""
    question = _ANSWER_FORM.sub(" ", _DRAWING.sub(" ", question))
    words = [_plain(w) for w in _WORD.findall(question)]
    if _CALCULATION.search(question):
        words.append("#+#")
    text = f" {' '.join(words)} "
    found = {}
    for category in CATEGORIES:
        left = text
        for phrase in category.unless:
            left = left.replace(f" {phrase} ", " | ")
        here = [*category.words.intersection(left.split()), *(p for p in category.phrases if f" {p} " in left)]
        if here:
            found[category.name] = sorted(here)
    return found


def _plain(word: str) -> str:
    if word.startswith("\\"):
        return word
    return "#" if word.isdigit() else word.lower()


#: Labels -> the subjects of MATH (Hendrycks et al. 2021) that speak of the same.  Prealgebra is a grade, not a topic,
#: and arithmetic, sequences, calculus, word problems and logic have no subject of their own there.
MATH_SUBJECTS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("algebra",), ("Algebra", "Intermediate Algebra")),
    (("geometry",), ("Geometry",)),
    (("number_theory",), ("Number Theory",)),
    (("counting_probability",), ("Counting & Probability",)),
    (("trigonometry", "vectors_complex"), ("Precalculus",)),
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far labels say what subjects say.

    ``of_subject``: problems of the subjects.  ``labelled``: problems with one of the labels.  ``both``: with both.
    ``elsewhere``: labelled ones whose subject has no label of its own here (Prealgebra).
    """

    labels: tuple[str, ...]
    subjects: tuple[str, ...]
    of_subject: int
    labelled: int
    both: int
    elsewhere: int

    @property
    def recall(self) -> float:
        return self.both / self.of_subject

    @property
    def precision(self) -> float:
        """Share of the labelled problems that are of the subjects."""
        return self.both / self.labelled

    @property
    def precision_of_topics(self) -> float:
        """The same without the problems whose subject is no topic."""
        return self.both / (self.labelled - self.elsewhere)


def agreement(problems: Iterable[tuple[str, str]]) -> list[Agreement]:
    """Labels against subjects for (question, subject) pairs of MATH, one row per entry of ``MATH_SUBJECTS``."""
    judged = [(set(problem_categories(question)), subject) for question, subject in problems]
    topics = {s for _, subjects in MATH_SUBJECTS for s in subjects}
    rows = []
    for labels, subjects in MATH_SUBJECTS:
        labelled = [subject for found, subject in judged if found.intersection(labels)]
        rows.append(
            Agreement(
                labels,
                subjects,
                of_subject=sum(subject in subjects for _, subject in judged),
                labelled=len(labelled),
                both=sum(subject in subjects for subject in labelled),
                elsewhere=sum(subject not in topics for subject in labelled),
            )
        )
    return rows


def describe() -> list[dict[str, Any]]:
    """Every category as plain data for documentation: ``name``, ``label``, ``words``, ``phrases``, ``unless``."""
    return [
        {
            "name": c.name,
            "label": dict(c.label),
            "words": sorted(c.words),
            "phrases": list(c.phrases),
            "unless": list(c.unless),
        }
        for c in CATEGORIES
    ]
