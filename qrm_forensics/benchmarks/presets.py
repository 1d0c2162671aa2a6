r"""What is asked: the text of the user's turn around a problem, as the paper's repository words it.

A preset is a text with ``{problem}`` in it; nothing else in braces is special, so that ``\boxed{}`` may stand there.
Any such text can be given in a study in place of a preset's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from qrm_forensics.errors import InputError

PROBLEM: Final = "{problem}"

#: Of the paper's repository, for every mathematical benchmark.
MATH: Final = PROBLEM + "\n\nPlease reason step by step, and put your final answer within \\boxed{}."
#: Of simple-evals, which lighteval and the paper's repository took it from; options follow the question.
CHOICE: Final = (
    "Answer the following multiple choice question. The last line of your response should be of the following format: "
    "'Answer: $LETTER' (without quotes) where LETTER is one of ABCD. Think step by step before answering.\n\n" + PROBLEM
)
#: lighteval's wording of LiveCodeBench's task; what follows the question depends on whether there is starter code.
CODE: Final = (
    "You will be given a question (problem specification) and will generate a correct Python program that matches the "
    "specification and passes all tests.\n\nQuestion: " + PROBLEM + "\n\n"
)
_STARTER: Final = (
    "You will use the following starter code to write the solution to the problem and enclose your code within "
    "delimiters.\n```python\n{starter_code}\n```\n\n"
)
_STANDARD_INPUT: Final = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on the sample "
    "inputs). Enclose your code within delimiters as follows. Ensure that when the python program runs, it reads the "
    "inputs, runs the algorithm and writes output to STDOUT.\n```python\n# YOUR CODE HERE\n```\n\n"
)

#: How what follows the question begins, for finding the question in a prompt.
CODE_ENDS: Final = tuple("\n\n" + text[:60] for text in (_STARTER, _STANDARD_INPUT))

PRESETS: Final = MappingProxyType({"math": MATH, "choice": CHOICE, "code": CODE, "plain": PROBLEM})


def template(prompt: str) -> str:
    """The text of a preset, or ``prompt`` itself where it is one.  Raises InputError for anything else."""
    if prompt in PRESETS:
        return PRESETS[prompt]
    if prompt.count(PROBLEM) == 1:
        return prompt
    if PROBLEM in prompt:
        raise InputError(f"prompt: {PROBLEM} is there more than once; a problem is asked once")
    near = difflib.get_close_matches(prompt, PRESETS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known presets: {', '.join(PRESETS)}"
    shown = prompt if len(prompt) <= 40 else prompt[:37] + "..."
    raise InputError(f"prompt: {shown!r} is no preset and has no {PROBLEM} in it; {hint}")


def message(prompt: str, problem: str, starter_code: str | None = None) -> str:
    """The user's turn for ``problem`` by a preset's name or a text with ``{problem}``.

    ``starter_code`` (empty: the program reads standard input) is for the preset ``code`` only.
    """
    asked = template(prompt).replace(PROBLEM, problem)
    if prompt == "code":
        asked += _STARTER.replace("{starter_code}", starter_code) if starter_code else _STANDARD_INPUT
    return asked


def with_options(question: str, options: Sequence[str]) -> str:
    """A question and its options, lettered from A, as the preset ``choice`` is asked."""
    lettered = (f"{letter_of(i)}) {option}" for i, option in enumerate(options))
    return question + "\n\n" + "\n".join(lettered)


def letter_of(index: int) -> str:
    return chr(ord("A") + index)
