"""A reader made by hand: a few problems with the responses of three variants, hostile ones among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from report_sample import BASE, HOSTILE, W3, W4

from qrm_forensics.metrics.lexemes import MARKERS, PHRASE_MARKERS
from qrm_forensics.report.folding import loop_spans
from qrm_forensics.report.reader.entries import response_entry
from qrm_forensics.report.reader.model import Reader, ReaderCell, ReaderRow
from qrm_forensics.report.reader.packing import Packer

VARIANTS = (BASE, W4, W3)
BENCHMARK = "MATH-20"
START = (
    "<think>\nLet me compute \\(3 + 4\\) with care. First we restate the problem in our own words: somebody wants the sum "
    "of two small numbers, and both are given in decimal notation. A sum may be found by counting on from the larger one, "
    "which takes only a handful of steps here. Nothing else is asked, no rounding, no unit, no trick that I can see. "
)
UNIT = "Wait, let me check that once more. "
SIXES = "6" * 1_000_000


@dataclass(frozen=True)
class Said:
    """One response: its text, verdict, and what was measured."""

    text: str | None
    status: str = "correct"
    outcome: str | None = "correct"
    answer: str | None = "7"
    marks: Mapping[str, list[tuple[int, int]]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    surprisal: list[int] | None = None
    #: Where the record of what was written for the model is damaged.
    lost: str | None = None


@dataclass(frozen=True)
class Asked:
    """One problem and what each variant said."""

    id: str
    said: Mapping[str, Said]
    question: str = "What is \\(3 + 4\\)?"
    gold: str = "7"
    subject: str | None = "Algebra"
    level: str | None = "1"


def looping(copies: int = 176) -> Said:
    text = START + UNIT * copies
    spans = [(loop.start, loop.end) for loop in loop_spans(text)]
    return Said(
        text, "missing", "looped_to_limit", None, {"loop": spans}, {"loop": True, "loop_onset_char": spans[0][0]}
    )


def plain(n: int) -> str:
    return f"{START}So 3 + 4 = {n}.\n</think>\nThe answer is \\(\\boxed{{{n}}}\\)."


#: "Wait" and the end of the thinking were written for the model.
FORCED = Said(
    plain(7).replace("So 3", "Wait, so 3"),
    marks={"forced": [(len(START), len(START) + 4), (len(START) + 19, len(START) + 28)]},
)


def asked() -> list[Asked]:
    emoji = "<think>\n😀 한국어 𝔸 " + plain(7)[8:]
    at = emoji.index("So 3")
    return [
        Asked("idx-0", {BASE: Said(plain(7)), W4: Said(plain(7)), W3: looping()}),
        Asked(
            "idx-1",
            {
                BASE: Said(emoji, marks={"correct": [(at, at + 12)]}, facts={"first_correct_char": at, "n_tokens": 90}),
                W3: Said(plain(8), "wrong", "wrong_false_equation", "8"),
            },
            level="2",
        ),
        Asked("idx-2", {BASE: Said(f"before {HOSTILE} <!-- after"), W3: Said(SIXES, "wrong", "wrong_false_equation", "6")}),
        Asked(
            "idx-3",
            {BASE: Said("\\boxed{" * 100_000, "missing", None, None), W3: Said("x " * 500_000, "missing", None, None)},
            subject="Geometry",
        ),
        Asked(
            "idx-4",
            {
                BASE: Said("It costs $5 and $6. \\(\\frac{1}{2}\\) \\(\\nosuch{\\) \\(\\href{javascript:alert(1)}{x}\\) \\[\\sum_i i\\]"),
                W3: Said("a" * 40 + "!", "wrong", None, "9"),
            },
            subject="Geometry",
        ),
        Asked("idx-5", {BASE: Said(None, "unscored", None, None), W4: Said(plain(7), lost="x/forced.jsonl:3"), W3: FORCED}, subject=None, level=None),
        *(Asked(f"idx-{i}", {v: Said(plain(7)) for v in VARIANTS}, level="3") for i in range(6, 40)),
    ]  # fmt: skip


def reader_of(problems: list[Asked], *, pack_bytes: int = 64 << 10) -> Reader:
    packer, rows = Packer(pack_bytes), []
    for problem in problems:
        cells, entries = [], []
        for variant, said in problem.said.items():
            known = {
                "finish": "stop",
                "answers": [[said.answer, "boxed", None]] * 2,
                "surprisal": said.surprisal,
                "forced_lost": said.lost,
            }
            entries.append(response_entry(said.text, marks=said.marks, facts=said.facts, known=known))
            cells.append(
                ReaderCell(
                    variant=VARIANTS.index(variant),
                    status=(said.status, said.status),
                    outcome=said.outcome,
                    words=None if said.text is None else len(said.text.split()),
                    chars=None if said.text is None else len(said.text),
                    loop=bool(said.facts.get("loop")),
                    answer=said.answer,
                )
            )
        pack, place = packer.add({"question": problem.question, "gold": problem.gold, "responses": entries})
        rows.append(
            ReaderRow(
                *(BENCHMARK, problem.id, 0, 42, problem.question, problem.gold, problem.subject, problem.level),
                *(pack, place, tuple(cells)),
            )
        )
    return Reader(
        variants=VARIANTS,
        policies=("strict", "lenient"),
        references=tuple((BENCHMARK, v, BASE) for v in VARIANTS),
        facts=("loop", "loop_onset_char", "first_correct_char", "n_tokens"),
        flags=("loop",),
        markers=(*MARKERS, *PHRASE_MARKERS),
        rows=tuple(rows),
        packs=packer.finish(),
    )
