"""The task that every tool is given, and what the scripted model answers: no model, no network, the same files again."""

from __future__ import annotations

#: (id, question, right answer)
PROBLEMS = [
    ("sum", "What is 12 + 30?", "42"),
    ("half", "What is one half of one third, as a fraction?", r"\frac{1}{6}"),
    ("square", "What is 7 squared?", "49"),
]
INSTRUCTION = "\n\nPlease reason step by step, and put your final answer within \\boxed{}."

_LOOP = "Wait, let me check that again. "


def reply(question: str, sample: int) -> str:
    """What is answered: right, right after a correction, and never ended (the first sample) or wrong (the second)."""
    if "12 + 30" in question:
        return "<think>\nTen and thirty are forty, and two more.\n</think>\n\nThe sum is $\\boxed{42}$."
    if "one half" in question:
        return "<think>\n1/2 · 1/3 = 1/5? Wait, 2 · 3 = 6.\n</think>\n\n$\\boxed{\\dfrac{1}{6}}$"
    if sample == 0:
        return "<think>\n7 · 7 is 49. " + _LOOP * 6
    return "<think>\n7 + 7\n</think>\n\nIt is \\boxed{14} </script>\u2028"


def is_cut(question: str, sample: int) -> bool:
    """Whether the reply was stopped by a limit."""
    return "squared" in question and sample == 0


def tokens(text: str) -> list[int]:
    """One number per word, so that counts can be checked by hand."""
    return [1000 + len(word) for word in text.split()]
