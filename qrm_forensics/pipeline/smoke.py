"""A minute's sanity check of one checkpoint on one backend: does it answer, does it read, is it the model that it should be?

Three looks, each with the numbers that it was judged by:

- a few short questions, greedily: errors, loops, text that is no language, and whether any answer is right;
- perplexity on a page of text (for the built-in model: on worked solutions, which is what it speaks);
- the same tokens read by a twin, with transformers: the mean difference of their log-probabilities.

A backend that cannot do one of them (a server without log-probabilities) has it left out, with the reason.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qrm_forensics import builtin
from qrm_forensics.answers import after_thinking
from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.generate import Session, get_generator, serves
from qrm_forensics.pipeline.plan import model_folder
from qrm_forensics.pipeline.smoke_texts import PAGE, QUESTIONS, as_problem, builtin_pages
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Finish, ModelRef, Problem, Request, Trace

#: Perplexity above which a model does not read: of plain English by a language model (10 to 40 where it works), and of
#: worked solutions by the built-in model (1.003 as it is, 1.02 by GPTQ and 1.2 by plain rounding at 2 bits).
PAGE_LIMIT, BUILTIN_LIMIT = 150.0, 1.5
#: Mean difference of log-probabilities (nats per token) up to which two are the same model.  Other kernels and bfloat16 make
#: 0.01, FP8 and int8 activations 0.05; a wrong order of packed weights makes several nats.
SAME = 0.1
#: Share of the responses from which on loops, or text that is no language, are the model's and not a question's fault.
SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Asked:
    """One question.  ``loop`` and ``gibberish`` are null where there is no text; ``right`` where the response was cut off."""

    question: str
    text: str | None
    finish: str
    tokens: int | None
    loop: bool | None
    gibberish: bool | None
    right: bool | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Read:
    """Perplexity of ``tokens`` tokens; ``limit`` is what it may be."""

    perplexity: float
    tokens: int
    limit: float


@dataclass(frozen=True, slots=True)
class Twin:
    """``mean`` and ``largest`` absolute difference of log-probabilities, in nats, over ``tokens`` tokens.

    ``prefixes``: per question the tokens that both say alike, and how many the checkpoint said.
    """

    against: str
    mean: float
    largest: float
    tokens: int
    prefixes: list[tuple[int, int]]
    same: bool


@dataclass(slots=True)
class Report:
    """``problems``: why it looks broken, one sentence each; ``left_out``: which look was not taken, and why."""

    checkpoint: str
    backend: str
    asked: list[Asked] = field(default_factory=list)
    read: Read | None = None
    twin: Twin | None = None
    problems: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def smoke(
    checkpoint: str,
    backend: str = "embedded",
    options: Mapping[str, Any] | None = None,
    *,
    twin: str | None = None,
    max_new_tokens: int = 384,
) -> Report:
    """Look at ``checkpoint`` (``builtin``, a folder, or for a server any name) with ``backend`` and its ``options``.

    ``twin``: a folder that should hold the same model, for example the dequantized one; left out, another backend than
    ``embedded`` is compared with ``embedded`` on the same folder, if that is here.  Raises InputError or EnvironmentMissing
    where the checkpoint cannot be opened at all.
    """
    started = time.perf_counter()
    options = dict(options or {})
    folder = _folder(checkpoint, backend)
    chat = backend == "server" and options.get("api") == "chat"
    problems = _problems(folder, chat)
    report = Report(checkpoint, backend)
    generator = get_generator(backend, **options)
    with generator.open(ModelRef(str(folder or ""), None, "bf16", None, "original")) as session:
        traces = _answers(session, problems, max_new_tokens)
        report.asked = [_judged(problem, traces[problem.id]) for problem in problems]
        _judge_answers(report)
        scored = _read(session, folder, chat)
        if isinstance(scored, str):
            report.left_out["perplexity"] = scored
        else:
            report.read = _perplexity(scored, builtin_model=_is_builtin(folder))
            if not report.read.perplexity <= report.read.limit:
                report.problems.append(
                    f"its perplexity on a page of plain text is {report.read.perplexity:.3g}, and should be below "
                    f"{report.read.limit:g}"
                )
        report.notes += getattr(session, "notes", [])
    _compare(
        report,
        folder,
        twin,
        [traces[p.id] for p in problems],
        None if isinstance(scored, str) else scored,
        max_new_tokens,
    )
    report.seconds = time.perf_counter() - started
    return report


def _folder(checkpoint: str, backend: str) -> Path | None:
    try:
        return model_folder(checkpoint)
    except InputError:
        if not serves(backend):
            raise
        return None


def _is_builtin(folder: Path | None) -> bool:
    """Whether the checkpoint speaks the built-in model's language: it is that, or was made from it."""
    own = (builtin.weights_dir() / "tokenizer.json").read_bytes()
    file = folder / "tokenizer.json" if folder is not None else None
    return file is not None and file.is_file() and file.read_bytes() == own


def _problems(folder: Path | None, chat: bool) -> list[Problem]:
    if _is_builtin(folder):
        asked = builtin.problems(6)
        return [_asked_by_chat(p) for p in asked] if chat else asked
    texts = [q.text for q in QUESTIONS]
    if chat:
        prompts = texts
    elif folder is None:
        raise InputError(
            "smoke: without the checkpoint's folder no prompt can be made; give it, or add --option api=chat"
        )
    else:
        from qrm_forensics.generate.prompts import chat_prompts
        from qrm_forensics.tokenizer import load_tokenizer

        templated = bool(load_tokenizer(folder).chat_template)
        prompts = chat_prompts([folder], texts) if templated else [f"Question: {t}\nAnswer:" for t in texts]
    return [as_problem(i, q, prompt) for i, (q, prompt) in enumerate(zip(QUESTIONS, prompts, strict=True))]


def _asked_by_chat(problem: Problem) -> Problem:
    from dataclasses import replace

    return replace(problem, prompt=problem.question)


def _answers(session: Session, problems: Sequence[Problem], max_new_tokens: int) -> dict[str, Trace]:
    greedy = Sampling(temperature=0.0, max_new_tokens=max_new_tokens)
    requests = [Request("smoke", problem, 0, 42) for problem in problems]
    return {trace.problem_id: trace for trace in session.sample(requests, greedy)}


def _judged(problem: Problem, trace: Trace) -> Asked:
    if trace.text is None:
        return Asked(problem.question, None, trace.finish, None, None, None, None, trace.error)
    return Asked(
        problem.question,
        trace.text,
        trace.finish,
        trace.completion_tokens,
        _loops(trace.text),
        _no_language(trace.text),
        _right(problem, trace),
        trace.error,
    )


def _loops(text: str) -> bool:
    from qrm_forensics.metrics.loop_detector import find_loops

    return bool(find_loops(text, closed=None).loop)


def _no_language(text: str) -> bool:
    """By scripts, digits and broken characters; words are judged in runs only, by the other responses."""
    import pyarrow as pa

    from qrm_forensics.metrics.gibberish import gibberish

    row = {"text": text, "prompt": None, "question": None, "benchmark": "smoke", "problem_id": "0"}
    batch = pa.table({name: pa.array([value], pa.string()) for name, value in row.items()})
    found = gibberish(batch, None)
    broken = text.count("\N{REPLACEMENT CHARACTER}")
    return bool(next(iter(found["gibberish"]))) or broken > 3 or (bool(text) and broken > len(text) / 10)


def _right(problem: Problem, trace: Trace) -> bool | None:
    text = trace.text or ""
    end = after_thinking(text)
    if end is None and trace.finish is Finish.LENGTH:
        return None
    answer = text[end or 0 :][-4000:]
    if problem.benchmark == "smoke":
        return re.search(problem.gold, answer) is not None
    return f"\\boxed{{{problem.gold}}}" in answer


def _judge_answers(report: Report) -> None:
    asked, n = report.asked, len(report.asked)
    failed = [a for a in asked if a.text is None]
    if failed:
        report.problems.append(f"{len(failed)} of {n} questions could not be answered: {failed[0].error}")
    empty = sum(a.text is not None and not a.text.strip() for a in asked)
    if empty >= n * SHARE:
        report.problems.append(f"{empty} of {n} responses are empty")
    for what, count in (
        ("loop", sum(bool(a.loop) for a in asked)),
        ("are no language", sum(bool(a.gibberish) for a in asked)),
    ):
        if count >= n * SHARE:
            report.problems.append(f"{count} of {n} responses {what}")
    ended = [a for a in asked if a.right is not None]
    if len(ended) >= 3 and not any(a.right for a in ended):
        report.problems.append(f"none of {len(ended)} simple questions was answered correctly")


@dataclass(frozen=True, slots=True)
class _Scored:
    """Log-probabilities of the tokens of pages; ``skip``: how many at the start of each are not counted."""

    prompts: list[str]
    skip: list[int]
    values: list[list[float | None]]


def _read(session: Any, folder: Path | None, chat: bool) -> _Scored | str:
    if not hasattr(session, "prompt_logprobs"):
        return "this backend gives no log-probabilities of a prompt"
    if chat:
        return "the chat API gives no log-probabilities of a prompt"
    if folder is None:
        return "the checkpoint's folder with its tokenizer is not here"
    from qrm_forensics.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    if _is_builtin(folder):
        pages = builtin_pages(6)
    else:
        pages = [(tokenizer.bos_token or "", PAGE)]
    prompts = [before + text for before, text in pages]
    skip = [max(1, len(tokenizer.encode(before, add_special_tokens=False))) for before, _ in pages]
    values = session.prompt_logprobs(prompts)
    if values is None:
        return "the backend gave no log-probabilities of a prompt"
    return _Scored(prompts, skip, values)


def _counted(scored: _Scored) -> list[float]:
    """Log-probabilities that count; NaN for one that is missing or not finite."""
    rows = zip(scored.values, scored.skip, strict=True)
    return [math.nan if x is None else x for values, skip in rows for x in values[skip:]]


def _perplexity(scored: _Scored, *, builtin_model: bool) -> Read:
    values = _counted(scored)
    mean = -sum(values) / len(values) if values else math.nan
    limit = BUILTIN_LIMIT if builtin_model else PAGE_LIMIT
    return Read(math.exp(min(mean, 700.0)) if math.isfinite(mean) else math.inf, len(values), limit)


def _compare(
    report: Report, folder: Path | None, twin: str | None, traces: Sequence[Trace], scored: _Scored | None, limit: int
) -> None:
    """Have the twin read what the checkpoint wrote and what both were given, and continue the same prompts."""
    if twin is None and (report.backend == "embedded" or folder is None):
        report.left_out["twin"] = (
            "this is the transformers path itself; name another checkpoint that should be the same as the twin"
            if report.backend == "embedded"
            else "the checkpoint's folder is not here; name a twin"
        )
        return
    reference = model_folder(twin) if twin is not None else folder
    said = [t for t in traces if t.token_ids and t.logprobs]
    if not said and scored is None:
        report.left_out["twin"] = "the backend gives no log-probabilities to compare"
        return
    from qrm_forensics.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(str(reference))
    model = ModelRef(str(reference), None, "bf16", None, "original")
    try:
        with get_generator("embedded").open(model) as session:
            pages = session.prompt_logprobs(scored.prompts) if scored is not None else []  # type: ignore[attr-defined]
            prompts = [tokenizer.encode(t.prompt, add_special_tokens=False) for t in said]
            written = [[*ids, *(t.token_ids or [])] for ids, t in zip(prompts, said, strict=True)]
            responses = session.prompt_logprobs(written)  # type: ignore[attr-defined]
            continued = _answers(session, [_problem_of(t) for t in said], limit)
    except (EnvironmentMissing, InputError) as error:
        if twin is not None:
            raise
        report.left_out["twin"] = f"transformers cannot open the checkpoint here: {error}"
        return
    pairs: list[tuple[float, float]] = []
    if scored is not None:
        if [len(v) for v in scored.values] != [len(v) for v in pages]:
            report.problems.append(
                "the twin reads the same page as another number of tokens: its tokenizer is another one"
            )
            return
        theirs = _Scored(scored.prompts, scored.skip, pages)
        pairs += zip(_counted(scored), _counted(theirs), strict=True)
    for trace, ids, values in zip(said, prompts, responses, strict=True):
        own = trace.logprobs or []
        pairs += [(x, math.nan if y is None else y) for x, y in zip(own, values[len(ids) :], strict=True)]
    report.twin = _difference(str(reference), pairs, said, continued)
    if not report.twin.same:
        report.problems.append(
            f"it is not the model that {report.twin.against} is with transformers: their log-probabilities differ by "
            f"{report.twin.mean:.3g} on average, and may by {SAME:g}"
        )


def _problem_of(trace: Trace) -> Problem:
    from qrm_forensics.records import Kind

    return Problem(trace.benchmark, trace.problem_id, "", trace.prompt, "", Kind.MATH, None, None)


def _difference(
    against: str, pairs: Sequence[tuple[float, float]], said: Sequence[Trace], continued: Mapping[str, Trace]
) -> Twin:
    differences = [abs(x - y) for x, y in pairs]
    mean = sum(differences) / len(differences)
    prefixes = []
    for trace in said:
        own, other = trace.token_ids or [], continued[trace.problem_id].token_ids or []
        alike = next((i for i, (x, y) in enumerate(zip(own, other, strict=False)) if x != y), min(len(own), len(other)))
        prefixes.append((alike, len(own)))
    largest = max(differences) if math.isfinite(mean) else math.inf
    return Twin(
        against, mean if math.isfinite(mean) else math.inf, largest, len(differences), prefixes, bool(mean <= SAME)
    )
