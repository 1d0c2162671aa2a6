"""lighteval's task definitions as benchmarks of a study."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lighteval", reason="needs lighteval; run make lighteval-test")

from qrm_forensics import builtin
from qrm_forensics.errors import InputError
from qrm_forensics.lighteval_bridge import tasks
from qrm_forensics.lighteval_bridge.registry import TaskName
from qrm_forensics.pipeline.problems import problems_of
from qrm_forensics.records import Kind
from qrm_forensics.study import BenchmarkSpec

VECTORS = Path(__file__).parents[1] / "vectors" / "importers"
MATH = [
    {
        "problem": "What is 1 + 1?",
        "solution": "It is $\\boxed{2}$.",
        "answer": "2",
        "unique_id": "a",
        "subject": "Algebra",
        "level": 1,
    },
    {
        "problem": "What is 2 + 2?",
        "solution": "It is $\\boxed{4}$.",
        "answer": "4",
        "unique_id": "b",
        "subject": "Algebra",
        "level": 2,
    },
]
WORDING = (
    "Solve the following problem. The final line of your response MUST be of the following format:\n"
    '"ANSWER: $ANSWER" (without quotes) where $ANSWER is the final answer. Think step by step before answering.\n\n'
)


def put(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def spec(task: str, path: Path | None = None, **more: Any) -> BenchmarkSpec:
    return BenchmarkSpec(name="MINE", lighteval=task, path=None if path is None else str(path), **more)


def test_a_registered_task_keeps_its_wording_and_answers(tmp_path: Path) -> None:
    loaded = tasks.load(spec("math_500|0", put(tmp_path / "test.jsonl", MATH)))
    assert (loaded.name, loaded.kind, loaded.prompt) == ("MINE", Kind.MATH, WORDING + "{problem}")
    first, second = loaded.items
    assert (first.id, first.question, first.subject, first.level) == ("a", "What is 1 + 1?", "Algebra", "1")
    assert first.gold == "ANSWER: It is $\\boxed{2}$." and second.id == "b"
    # what is asked is what lighteval's own prompt function writes, letter by letter
    from lighteval.tasks.tasks.math_500 import math_500_prompt

    assert loaded.messages == [math_500_prompt(row, "math_500").query for row in MATH]


def test_a_study_asks_it_in_the_models_chat_format(tmp_path: Path) -> None:
    path = put(tmp_path / "test.jsonl", MATH)
    problems, size = problems_of(spec("math_500|0", path), {"builtin": builtin.weights_dir()})
    assert size is None and problems[0].prompt.startswith("<|begin|><|user|>Solve the following problem.")
    assert problems[0].question == "What is 1 + 1?" and problems[0].benchmark == "MINE"


def test_gsm8k_takes_the_number_after_its_marks(tmp_path: Path) -> None:
    rows = [{"question": f"{n} and {n}?", "answer": f"Add them: {n}+{n}.\n#### {2 * n}"} for n in (3, 4)]
    loaded = tasks.load(spec("gsm8k", put(tmp_path / "gsm8k" / "test.jsonl", rows).parent))
    assert [(i.id, i.question, i.gold) for i in loaded.items] == [
        ("idx-0", "Question: 3 and 3?", "6"),
        ("idx-1", "Question: 4 and 4?", "8"),
    ]
    assert loaded.prompt == "{problem}\nAnswer:"


def test_options_are_shuffled_by_the_question_alone(tmp_path: Path) -> None:
    names = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
    rows = [
        {"Question": f"Which? {n}", "id": f"q{n}"} | {k: f"{k[:1]}{i}" for i, k in enumerate(names)} for n in range(12)
    ]
    whole = tasks.load(spec("gpqa:diamond|0", put(tmp_path / "all.jsonl", rows)))
    random.seed(7)
    before = random.getstate()
    later = tasks.load(spec("gpqa:diamond|0", put(tmp_path / "end.jsonl", rows[6:])))
    assert random.getstate() == before  # nobody else's random numbers are taken
    assert whole.kind is Kind.CHOICE and len({i.gold for i in whole.items}) > 1
    assert [(i.id, i.gold) for i in whole.items[6:]] == [(i.id, i.gold) for i in later.items]
    for item, message in zip(whole.items, whole.messages, strict=True):
        assert f"{item.gold}) C0" in message  # the letter is that of the right option


def test_a_file_of_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK_FOLDER", str(tmp_path))
    put(tmp_path / "test.jsonl", MATH)
    named = f"{VECTORS / 'lighteval_task.py'}::tiny_math|0"
    loaded = tasks.load(spec(named))  # its own data set: a local folder, read by lighteval's library
    assert [(i.question, i.gold) for i in loaded.items] == [("What is 1 + 1?", "2"), ("What is 2 + 2?", "4")]
    assert loaded.prompt.startswith("{problem}\n\nPlease reason step by step")
    assert loaded.messages == tasks.load(spec(named, tmp_path / "test.jsonl")).messages


@pytest.mark.parametrize(
    ("task", "rows", "said"),
    [
        ("math_5000|0", MATH, "there is no task 'math_5000'; did you mean 'math_500'"),
        ("math_500|5", MATH, "asks for few-shot examples"),
        ("nowhere.py::x|0", MATH, r"nowhere\.py: no such file of tasks"),
        ("math_500|0", [{"question": "?", "answer": "1"}], r"record 0 .*math_500 makes no question of it \(KeyError"),
        ("winogrande|0", MATH, "compares log-likelihoods"),
    ],
)
def test_what_cannot_be_asked_says_why(tmp_path: Path, task: str, rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        tasks.load(spec(task, put(tmp_path / "test.jsonl", rows)))


def test_keys_that_contradict_the_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is asked as its lighteval task says; leave out prompt"):
        tasks.load(spec("math_500|0", put(tmp_path / "t.jsonl", MATH), prompt="math"))


def test_names_of_tasks() -> None:
    assert TaskName.parse("gpqa:diamond|0") == TaskName("gpqa:diamond", None)
    assert TaskName.parse("a/b.py::x") == TaskName("x", Path("a/b.py"))
    with pytest.raises(InputError, match="is no task"):
        TaskName.parse("")
