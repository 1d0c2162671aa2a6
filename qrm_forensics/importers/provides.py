"""What the files of a format say about a response, and what a report cannot say without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from qrm_forensics.importers.imported import Imported
from qrm_forensics.records import Finish, Trace


class Said(StrEnum):
    """Whether a format's files hold a fact: always, only where the tool or its user asked for it, or never."""

    YES = "yes"
    SOMETIMES = "sometimes"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Provides:
    """The facts about a response that a format can bring along, in the order of the table in the documentation."""

    text: Said
    finish: Said
    token_counts: Said
    token_ids: Said
    logprobs: Said
    prompt: Said
    gold: Said
    seeds: Said
    samples: Said

    def items(self) -> list[tuple[str, Said]]:
        return [(f.name, getattr(self, f.name)) for f in fields(self)]


#: Fact -> what it is called.
FACTS: Mapping[str, str] = {
    "text": "text of the response",
    "finish": "reason why it ended",
    "token_counts": "number of tokens",
    "token_ids": "token ids",
    "logprobs": "log-probabilities",
    "prompt": "exact prompt",
    "gold": "right answer",
    "seeds": "seeds",
    "samples": "several samples per problem",
}

#: Fact -> what a report cannot say where it is absent.
WITHOUT: Mapping[str, str] = {
    "text": "nothing is scored or measured here, and verdicts and figures are those of the file",
    "finish": "whether a limit ended a response is judged by its text (thinking never closed, or a loop at the end)",
    "token_counts": "lengths are in words and characters, not in tokens of the model",
    "token_ids": "where a loop begins is counted in words of the text, not in tokens of the model",
    "logprobs": "nothing is said about how sure the model was (surprisal)",
    "prompt": "it is not known whether all variants were asked in the same way",
    "gold": "these responses cannot be right or wrong without a problem file (--problems)",
    "seeds": "the seed is 0 for all of them unless a folder name says it",
    "samples": "there is one response per problem and seed",
}


def missing(imported: Imported) -> list[str]:
    """One sentence per fact that some of these responses are without: how many, and what cannot be said about them."""
    golds = {(p.benchmark, p.id): p.gold for p in imported.problems}
    traces = [trace for cell in imported.cells for trace in cell.traces if trace.finish is not Finish.ERROR]
    told = []
    for fact, lacks in _LACKS.items():
        count = sum(lacks(trace, golds) for trace in traces)
        if count:
            of = "the files do not hold" if count == len(traces) else f"{count} of {len(traces)} responses lack"
            told.append(f"{of} the {FACTS[fact]}: {WITHOUT[fact]}")
        if count and fact == "text":
            break  # a table of scores; of what else it lacks nothing follows
    return told


_Golds = Mapping[tuple[str, str], str]
_LACKS: Mapping[str, Callable[[Trace, _Golds], bool]] = {
    "text": lambda trace, golds: trace.text is None,
    "finish": lambda trace, golds: trace.finish is Finish.UNKNOWN,
    "token_counts": lambda trace, golds: trace.completion_tokens is None and trace.token_ids is None,
    "token_ids": lambda trace, golds: trace.token_ids is None,
    "logprobs": lambda trace, golds: trace.logprobs is None,
    "prompt": lambda trace, golds: not trace.prompt,
    "gold": lambda trace, golds: not golds.get((trace.benchmark, trace.problem_id), "").strip(),
}
