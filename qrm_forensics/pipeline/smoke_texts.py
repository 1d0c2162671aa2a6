"""What a sanity check asks and reads: a few questions with answers that can be looked for, and pages of text."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from qrm_forensics import builtin
from qrm_forensics.records import Kind, Problem


@dataclass(frozen=True, slots=True)
class Question:
    """``answer`` is a regular expression that is looked for behind the thinking, or in all of a response without any."""

    text: str
    answer: str


QUESTIONS = (
    Question("What is 17 + 25? Answer with the number.", r"\b42\b"),
    Question("What is the capital of France? Answer with one word.", r"(?i)\bparis\b"),
    Question("How many days are there in a week? Answer with a number.", r"(?i)\b(7|seven)\b"),
    Question(
        "Write the whole numbers from 1 to 8, separated by commas.",
        r"1\s*,\s*2\s*,\s*3\s*,\s*4\s*,\s*5\s*,\s*6\s*,\s*7\s*,",
    ),
    Question("Which is larger, 9.9 or 9.11? Answer with the number.", r"9\.9\b"),
)

#: Plain English of our own; a language model that works reads it with a perplexity of 10 to 40.
PAGE = """The ferry to the island left twice a day, once in the early morning and once after lunch, and most of the people who took it knew each other by name. They carried bread, newspapers and boxes of vegetables, and on Fridays somebody usually had a dog that did not like the water. The crossing took forty minutes when the sea was calm. In winter it could take much longer, and on bad days the captain looked at the sky, shook his head and sent everybody home.

On the island there was a school with eleven children and one teacher. She taught reading in the morning, when they were awake, and arithmetic before lunch, when they were hungry and wanted to be done. "If you divide twelve apples among four people," she would ask, "how many does each of them get?" There was always one child who wanted to know what kind of apples they were, and another who said that three was enough for anybody.

The lighthouse stood at the northern end, where the rocks were sharp and the grass was short. Nobody lived in it any more, because the lamp had been switched on and off by a computer for many years. Still, an old man walked there every evening to make sure that it worked. He had kept the light himself when he was young, and he did not trust a machine that he could not hear. When the beam swept over the sea for the first time after sunset, he nodded, turned around and walked back to the village.

One spring a storm broke the cable, and the island had no power for three days. The children came to school with candles, the baker used his wood stove, and the old man climbed the stairs of the tower with a can of oil. For three nights the ships that passed saw a smaller and yellower light than the one on their charts, but they saw it. When the power returned, the mayor thanked him in front of everybody. He said that it had been no trouble at all, and that the stairs had become steeper than he remembered.
"""


def builtin_problems(count: int) -> list[Problem]:
    """Problems of the built-in benchmark, one of each family and the easiest first."""
    return builtin.problems(count)


def builtin_pages(count: int) -> list[tuple[str, str]]:
    """Prompts of the built-in model and the worked solutions that follow them, from the side that it was not trained on."""
    drawn = islice(builtin.draw(count, held_out=True, seed=0), count)
    return [
        (builtin.prompt_text(worked.question), f"{worked.chain}\n</think>\nThe answer is \\boxed{{{worked.answer}}}.")
        for _, _, worked in drawn
    ]


def as_problem(index: int, question: Question, prompt: str) -> Problem:
    return Problem("smoke", f"{index}", question.text, prompt, question.answer, Kind.MATH, None, None)
