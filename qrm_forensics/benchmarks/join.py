"""Which problem a foreign response answers: joined to a dataset, or read from its prompt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qrm_forensics.benchmarks.datasets import Dataset, DatasetProblem
from qrm_forensics.benchmarks.prompts import normalized, question_of
from qrm_forensics.errors import InputError
from qrm_forensics.records import Kind, Problem


@dataclass(frozen=True, slots=True)
class Asked:
    """What a foreign record says about its problem.

    ``index`` is the record's own index into the benchmark (null where it has none),
    ``position`` its place in its file, ``where`` how messages name it.  ``own_id`` is what the tool
    calls the problem, ``question`` its text, where the tool says them apart from the prompt.
    """

    prompt: str
    gold: str
    kind: Kind
    index: int | None
    position: int
    where: str
    own_id: str | None = None
    question: str | None = None
    subject: str | None = None
    level: str | None = None


class ProblemBook:
    """Collects the problems of one benchmark from the records that ask them.

    ``place`` gives the problem id of a record; ``problems`` is afterwards the whole
    benchmark (joined) or what was asked (not joined), in benchmark order; ``notices``
    are sentences about what a reader of the results should know.
    """

    def __init__(self, benchmark: str, dataset: Dataset | None) -> None:
        self.benchmark = benchmark
        self._dataset = dataset
        self._matcher = _Matcher(dataset.problems) if dataset is not None else None
        self._numbers: dict[str, int] = {p.id: i for i, p in enumerate(dataset.problems)} if dataset is not None else {}
        self._problems: dict[int, Problem] = {}  # by position in the benchmark
        self._first: dict[int, Asked] = {}
        self._other_prompts: list[str] = []
        self._other_golds: list[str] = []

    def place(self, asked: Asked) -> str:
        """The id of the problem that this record asks.

        Raises InputError if it matches no problem of the dataset, contradicts its own
        index, or asks something else than an earlier record with the same id.
        """
        number, made = self._joined(asked) if self._dataset is not None else self._read(asked)
        known = self._problems.get(number)
        if known is None:
            self._problems[number], self._first[number] = made, asked
            return made.id
        first = self._first[number]
        if known.prompt != asked.prompt:
            self._other_prompts.append(asked.where)
        if known.kind != made.kind or known.gold != made.gold:
            raise InputError(
                f"{asked.where}: the right answer to problem {made.id} is {_short(made.gold)} here and "
                f"{_short(known.gold)} in {first.where}; the two were asked differently (shuffled options?), "
                "so import them into separate runs"
            )
        return made.id

    def _joined(self, asked: Asked) -> tuple[int, Problem]:
        assert self._dataset is not None and self._matcher is not None
        number = self._by_id(asked)
        if number is None:
            number = self._matcher.find(asked.prompt, asked.index, asked.position)
        if number is None:
            raise InputError(
                f"{asked.where}: its prompt holds no problem of {self._dataset.path}; "
                f"give the problem file that {self.benchmark} was run with, or leave --problems out"
            )
        problem = self._dataset.problems[number]
        if asked.index is not None and asked.index != number:
            raise InputError(
                f"{asked.where}: says idx {asked.index} but asks problem {number} ({problem.id}) of {self._dataset.path}; "
                "the problem file has another order or version, so give the one that was used"
            )
        # The options of a choice are shuffled into the prompt, so only the file knows the right letter.
        gold = asked.gold if asked.kind is Kind.CHOICE else problem.answer
        if asked.kind is Kind.MATH and _spaceless(problem.answer) not in _spaceless(asked.gold):
            self._other_golds.append(asked.where)
        return number, _problem(self.benchmark, problem, asked.prompt, gold, asked.kind)

    def _by_id(self, asked: Asked) -> int | None:
        """By the name that the tool gives the problem; by its number only where there is no prompt to look into."""
        assert self._dataset is not None
        if asked.own_id is None:
            return None
        number = self._numbers.get(asked.own_id)
        if number is None and not asked.prompt and (digits := _NUMBERED.fullmatch(asked.own_id)):
            number = int(digits[1]) if int(digits[1]) < len(self._dataset.problems) else None
        if number is not None and asked.prompt:
            question = normalized(self._dataset.problems[number].question)
            return number if question in normalized(asked.prompt) else None
        return number

    def _read(self, asked: Asked) -> tuple[int, Problem]:
        if asked.own_id is not None:
            number = self._numbers.setdefault(asked.own_id, len(self._numbers))
        else:
            number = asked.index if asked.index is not None else asked.position
        question = asked.question if asked.question is not None else question_of(asked.prompt)
        known = self._problems.get(number)
        # A file of answers alone has no question to compare.
        if known is not None and known.question and question and normalized(known.question) != normalized(question):
            raise InputError(
                f"{asked.where}: asks something else than {self._first[number].where}, though both are number {number} "
                f"of {self.benchmark}; give the problem file with --problems, so that they are told apart by their text"
            )
        name = asked.own_id if asked.own_id is not None else f"idx-{number}"
        return number, Problem(
            self.benchmark, name, question, asked.prompt, asked.gold, asked.kind, asked.subject, asked.level
        )

    def problems(self) -> list[Problem]:
        """In benchmark order; all of them where there is a dataset."""
        if self._dataset is None:
            return [self._problems[number] for number in sorted(self._problems)]
        frame = self._frame()
        kind = Counter(p.kind for p in self._problems.values()).most_common(1)[0][0]
        whole = []
        for number, problem in enumerate(self._dataset.problems):
            if number in self._problems:
                whole.append(self._problems[number])
            else:
                prompt = frame[0] + problem.question + frame[1] if frame else problem.question
                whole.append(_problem(self.benchmark, problem, prompt, problem.answer, kind))
        return whole

    def _frame(self) -> tuple[str, str] | None:
        """What stands before and after the question in every prompt, if it is the same in all of them."""
        frames = set()
        for problem in self._problems.values():
            before, found, after = problem.prompt.partition(problem.question)
            frames.add((before, after) if found else None)
        return frames.pop() if len(frames) == 1 else None

    @property
    def notices(self) -> list[str]:
        told = []
        if self._other_prompts:
            told.append(
                f"{self.benchmark}: {len(self._other_prompts)} responses got another prompt text than the first one to the "
                f"same problem (first: {self._other_prompts[0]}); each trace keeps its own prompt"
            )
        if self._other_golds:
            told.append(
                f"{self.benchmark}: in {len(self._other_golds)} records the stored gold does not hold the dataset's answer "
                f"(first: {self._other_golds[0]}); the dataset's answer is used"
            )
        if self._dataset is not None and len(self._problems) < len(self._dataset.problems) and self._frame() is None:
            told.append(
                f"{self.benchmark}: the prompts differ in more than the question, so the problems that nobody answered "
                "are stored with their question in place of a prompt"
            )
        return told


_NUMBERED = re.compile(r"(?:idx-)?(\d{1,9})")


class _Matcher:
    """Finds a problem by its text: exactly, else as the longest question inside the prompt."""

    def __init__(self, problems: Sequence[DatasetProblem]) -> None:
        self._questions = [normalized(p.question) for p in problems]
        self._by_text: dict[str, list[int]] = {}
        for number, question in enumerate(self._questions):
            self._by_text.setdefault(question, []).append(number)
        self._longest_first = sorted(self._by_text, key=len, reverse=True)

    def find(self, prompt: str, index: int | None, position: int) -> int | None:
        """Number of the problem; among problems of the same text, the one that index or position names."""
        numbers = self._by_text.get(normalized(question_of(prompt)))
        if numbers is None:
            whole = normalized(prompt)
            inside = next((q for q in self._longest_first if q in whole), None)
            if inside is None:
                return None
            numbers = self._by_text[inside]
        wanted = index if index is not None else position
        return wanted if wanted in numbers else numbers[0]


def kind_of(prompt: str, gold: str, metric_names: Sequence[str]) -> Kind:
    """What sort of answer a foreign record asks for, by the metric and prompt that lighteval's tasks use."""
    if any(name.startswith("codegen") for name in metric_names):
        return Kind.CODE
    choice = re.fullmatch(r"\(?[A-J]\)?", gold.strip()) and ("multiple choice" in prompt or "$LETTER" in prompt)
    return Kind.CHOICE if choice else Kind.MATH


def _problem(benchmark: str, problem: DatasetProblem, prompt: str, gold: str, kind: Kind) -> Problem:
    made = Problem(benchmark, problem.id, problem.question, prompt, gold, kind, problem.subject, problem.level)
    return replace(made, gold=gold.strip()) if kind is Kind.CHOICE else made


def _spaceless(text: str) -> str:
    return "".join(text.split())


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
