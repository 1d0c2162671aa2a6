"""GPQA-Diamond: four options, of which the data set names the right one, so that somebody has to order them.

lighteval and the paper's repository put the right option at a place that the global random generator draws when the
task is built: it depends on what was drawn before, and so on the seed, the order of the tasks and the engine.  Here the
place is a hash of the question's own text, the same in every run, on every machine and in any subset.  The wrong
options keep the order of the data set, as there.  The order is frozen into the problem that a run stores.
"""

from __future__ import annotations

import hashlib

from qrm_forensics.benchmarks.fields import ProblemIds, optional_field, text_field
from qrm_forensics.benchmarks.items import Item, Rows
from qrm_forensics.benchmarks.presets import letter_of, with_options

WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def read(rows: Rows) -> list[Item]:
    """All questions; ``gold`` is the letter of the right option, ``subject`` the domain (Physics, Chemistry, Biology).

    The texts go into the prompt as they are, white space at their ends included, as the paper's code has it.
    """
    ids = ProblemIds()
    items = []
    for where, row in rows:
        question = text_field(row, ("Question",), where)
        options = [text_field(row, (name,), where) for name in WRONG]
        place = place_of(question, len(options) + 1)
        options.insert(place, text_field(row, ("Correct Answer",), where))
        own_id = optional_field(row, ("Record ID",), where)
        subject = optional_field(row, ("High-level domain", "Subdomain"), where)
        items.append(Item(ids.take(own_id, where), with_options(question, options), letter_of(place), subject))
    return items


def place_of(question: str, options: int) -> int:
    """Where the right one of ``options`` options stands, from 0: SHA-256 of the question's words, as a number, modulo."""
    words = " ".join(question.split())
    digest = hashlib.sha256(f"option order\n{words}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % options
