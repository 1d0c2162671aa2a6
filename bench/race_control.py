"""How often is a correct answer "stated" by chance?  A permutation control for the race.

Every response is paired with the golds of *other* problems of the same kind and size: the share
of those pairs in which the foreign gold counts as stated is the rate at which ``had_correct`` is
true by chance.  Beside it stands the recall: the share of responses graded correct in which the
own gold is found.  Run::

    python bench/race_control.py FOLDER

FOLDER holds response files: JSON arrays of {"generated_text", "gold", "metrics": {"extractive_match"}}.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qrm_forensics import answers
from qrm_forensics.metrics.race import RULES
from qrm_forensics.metrics.scan import scan_text
from qrm_forensics.metrics.statements import ANSWERED, BOXED, CONCLUDED, Canonical, canonical, same, statements

RULE_SETS: tuple[tuple[int, ...], ...] = (
    (BOXED,),
    (ANSWERED,),
    (CONCLUDED,),
    (BOXED, ANSWERED),
    (BOXED, ANSWERED, CONCLUDED),
)


@dataclass(frozen=True)
class Response:
    """One response: its gold, whether it was graded correct, and what it states, by rule."""

    gold: Canonical
    correct: bool
    stated: dict[int, frozenset[Canonical]]

    def states(self, gold: Canonical, rules: Iterable[int]) -> bool:
        return any(same(gold, form) is True for rule in rules for form in self.stated[rule])


def response(text: str, gold: str, correct: bool) -> Response:
    found = statements(scan_text(text))
    stated: dict[int, set[Canonical]] = {rule: set() for rule in RULES}
    for rule, which in zip(found.rules.tolist(), found.which.tolist(), strict=True):
        stated[rule].add(canonical(found.texts[which]))
    return Response(
        canonical(answers.gold_answer(gold)), correct, {rule: frozenset(forms) for rule, forms in stated.items()}
    )


def size(gold: Canonical) -> str:
    """Golds are exchanged within these classes."""
    if gold.number is None:
        return "no number"
    value = abs(gold.number.value)
    if value.denominator != 1:
        return "fraction"
    return "0-9" if value < 10 else "10-99" if value < 100 else "100-999" if value < 1000 else "1000+"


def control(responses: Sequence[Response], rules: Iterable[int]) -> dict[str, tuple[int, int]]:
    """Size of gold -> (foreign golds that are stated, pairs)."""
    rules = tuple(rules)
    golds: dict[str, set[Canonical]] = defaultdict(set)
    for r in responses:
        golds[size(r.gold)].add(r.gold)
    counts: dict[str, tuple[int, int]] = {}
    for r in responses:
        hits, pairs = counts.get(size(r.gold), (0, 0))
        for foreign in golds[size(r.gold)]:
            if same(foreign, r.gold) is not True:
                hits, pairs = hits + r.states(foreign, rules), pairs + 1
        counts[size(r.gold)] = hits, pairs
    return counts


def table(responses: Sequence[Response]) -> str:
    """The table as text: recall, hits among wrong responses beside those expected by chance, and the rates."""
    sizes = ["0-9", "10-99", "100-999", "1000+", "fraction", "no number"]
    head = f"{'rules':28}{'of correct':>12}{'of wrong':>12}{'by chance':>10}{'all':>16}"
    lines = [head + "".join(f"{s:>16}" for s in sizes)]
    right = [r for r in responses if r.correct]
    wrong = [r for r in responses if not r.correct]
    for rules in RULE_SETS:
        counts = control(responses, rules)
        rate = {s: hits / pairs if pairs else 0.0 for s, (hits, pairs) in counts.items()}
        own = [sum(r.states(r.gold, rules) for r in group) for group in (right, wrong)]
        expected = sum(rate[size(r.gold)] for r in wrong)
        hits, pairs = (sum(c[i] for c in counts.values()) for i in range(2))
        cells = [(hits, pairs), *(counts.get(s, (0, 0)) for s in sizes)]
        name = " + ".join(RULES[rule] for rule in rules)
        lines.append(
            f"{name:28}{f'{own[0]}/{len(right)}':>12}{f'{own[1]}/{len(wrong)}':>12}{expected:10.1f}"
            + "".join(f"{f'{h / n:.2%} of {n}' if n else '-':>16}" for h, n in cells)
        )
    return "\n".join(lines)


def read(folder: Path) -> list[Response]:
    found = []
    for file in sorted(folder.rglob("*.jsonl")):
        for row in json.loads(file.read_text(encoding="utf-8")):
            gold = row["gold"][0] if isinstance(row["gold"], list) else row["gold"]
            found.append(response(row["generated_text"], str(gold), row["metrics"]["extractive_match"] == 1.0))
    return found


if __name__ == "__main__":
    print(table(read(Path(sys.argv[1]))))
