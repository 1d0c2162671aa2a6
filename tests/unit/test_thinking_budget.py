"""Budget forcing: what is asked of the wrapped session, what comes out, and what is kept about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest

from qrm_forensics.errors import InputError, RecipeError
from qrm_forensics.generate.budget import BudgetedSession, Forced, continuation_seed
from qrm_forensics.generate.traces import error_trace, trace_of
from qrm_forensics.recipes import Sampling, Thinking, thinking_of, variant_name
from qrm_forensics.records import Finish, Kind, Problem, Request, Trace

PROMPT = "Q<think>"


class Letters:
    """One token per character, and ``</think>`` is one token (as in the models that think)."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        parts = text.split("</think>")
        ids: list[int] = []
        for i, part in enumerate(parts):
            ids += [1] * (i > 0) + [ord(c) for c in part]
        return ids

    def decode(self, ids: list[int], **_: object) -> str:
        return "".join("" if i == 0 else "</think>" if i == 1 else chr(i) for i in ids)


class Model:
    """Says what it is told to, cut at the limit; 0 is its end token."""

    def __init__(self, say: Callable[[Request], str], tokens: bool = True) -> None:
        self.say, self.tokens = say, tokens
        self.asked: list[tuple[str, int, int]] = []

    def sample(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Trace]:
        for request in requests:
            limit = sampling.max_new_tokens
            self.asked.append((request.problem.prompt, request.seed, limit))
            ids = [*Letters().encode(self.say(request)), 0]
            stopped = len(ids) <= limit
            ids = ids[:limit]
            made = {"token_ids": ids, "logprobs": [-0.5] * len(ids), "entropies": [0.1] * len(ids)}
            yield trace_of(
                request,
                Letters().decode(ids),
                Finish.STOP if stopped else Finish.LENGTH,
                prompt_tokens=len(Letters().encode(request.problem.prompt)),
                completion_tokens=len(ids),
                seconds=1.0,
                **(made if self.tokens else {}),
            )


def ask(
    mode: str, say: Callable[[Request], str], *, limit: int = 100, tokens: bool = True, n: int = 1
) -> tuple[list[Trace], list[Forced], Model]:
    model, kept = Model(say, tokens), list[Forced]()
    problems = [Problem("b", f"p{i}", "Q", PROMPT, "1", Kind.MATH, None, None) for i in range(n)]
    session = BudgetedSession(model, Thinking.parse(mode), Letters() if tokens else None, kept.append)
    traces = list(session.sample([Request("v", p, 0, 42) for p in problems], Sampling(max_new_tokens=limit)))
    return traces, kept, model


def after(request: Request) -> str:
    return request.problem.prompt.removeprefix(PROMPT)


def thinker(request: Request) -> str:
    """Thinks for 20 letters; writes an answer once the thinking is closed."""
    return "=7" if "</think>" in after(request) else "t" * 20 + "</think>=9"


def test_suppressing_closes_the_thinking_at_the_budget_and_counts_every_token() -> None:
    (trace,), (kept,), model = ask("suppress-8", thinker)
    assert trace.text == "t" * 8 + "\n</think>=7"
    assert trace.finish is Finish.STOP and trace.seed == 42 and trace.prompt == PROMPT
    assert trace.token_ids == [ord("t")] * 8 + [ord("\n"), 1, ord("="), ord("7"), 0]
    assert trace.logprobs == [-0.5] * 8 + [None, None] + [-0.5] * 3, "forced tokens have no probability"
    assert (trace.completion_tokens, trace.prompt_tokens, trace.seconds) == (13, 8, 2.0)
    assert (kept.closed_by, kept.spans, kept.token_spans) == ("budget", [(8, 17)], [(8, 10)])
    assert (kept.thinking_tokens, kept.forced_tokens, kept.dropped_tokens, kept.retokenised) == (8, 2, 0, False)
    assert model.asked == [(PROMPT, 42, 8), (f"{PROMPT}tttttttt\n</think>", continuation_seed(42, 1), 90)]


def test_a_thought_within_the_budget_is_left_alone() -> None:
    (trace,), (kept,), model = ask("suppress-50", thinker)
    assert trace.text == "t" * 20 + "</think>=9" and len(model.asked) == 1
    assert (kept.closed_by, kept.spans, kept.thinking_tokens, kept.seeds) == ("model", [], 20, [])


def test_an_answer_that_the_budget_cuts_off_goes_on_without_a_forced_word() -> None:
    whole = "t" * 20 + "</think>answer"
    (trace,), (kept,), _ = ask("suppress-23", lambda r: whole[len(after(r)) :])
    assert trace.text == whole
    assert (kept.closed_by, kept.spans, kept.thinking_tokens, len(kept.seeds)) == ("model", [], 20, 1)
    assert trace.logprobs is not None and None not in trace.logprobs


def test_the_final_answer_can_be_asked_for() -> None:
    (trace,), (kept,), _ = ask("suppress-8+final", thinker)
    assert trace.text == "t" * 8 + "\n</think>\n\nFinal Answer:=7"
    assert kept.spans == [(8, 8 + len("\n</think>\n\nFinal Answer:"))]


def test_extending_writes_wait_instead_of_the_end_as_often_as_asked() -> None:
    (trace,), (kept,), model = ask("extend-2", lambda r: f"{'t' * 4}</think>={len(after(r))}")
    assert trace.text == "ttttWaitttttWaittttt</think>=16"
    assert (kept.spans, kept.token_spans) == ([(4, 8), (12, 16)], [(4, 8), (12, 16)])
    # what the model had written from its </think> on is not there any more: tag, "=", digits, end token
    assert (kept.dropped_tokens, kept.forced_tokens, kept.thinking_tokens, kept.closed_by) == (8, 8, 20, "model")
    assert [seed for _, seed, _ in model.asked] == [42, continuation_seed(42, 1), continuation_seed(42, 2)]
    assert [limit for _, _, limit in model.asked] == [100, 92, 84]
    assert trace.token_ids is not None and trace.completion_tokens == len(trace.token_ids) == 25


def test_extending_to_a_number_stops_once_the_model_has_thought_for_so_long() -> None:
    (trace,), (kept,), _ = ask("extend-to-12", lambda _: "tttt</think>=1")
    assert trace.text == "ttttWaittttt</think>=1"
    assert (kept.thinking_tokens, len(kept.seeds)) == (12, 1)


def test_no_response_is_longer_than_the_limit() -> None:
    traces, kept, _ = ask("extend-9", lambda _: "tttt</think>=1", limit=20)
    assert traces[0].completion_tokens is not None and traces[0].completion_tokens <= 20
    assert traces[0].finish is Finish.LENGTH and kept[0].closed_by == "nobody"


def test_without_a_tokenizer_counts_come_from_the_model_and_ids_are_null() -> None:
    (trace,), (kept,), _ = ask("suppress-8", thinker, tokens=False)
    assert trace.text == "t" * 8 + "\n</think>=7"
    assert trace.token_ids is None and trace.logprobs is None
    assert trace.completion_tokens == 13, "the engine says how many tokens it read and wrote"
    assert (kept.thinking_tokens, kept.forced_tokens, kept.token_spans, kept.retokenised) == (None, None, None, None)
    with pytest.raises(InputError, match="extend-to-12 counts tokens"):
        ask("extend-to-12", thinker, tokens=False)


def test_half_a_character_at_the_budget_is_not_read_again() -> None:
    (trace,), (kept,), _ = ask("suppress-8", lambda r: "=7" if "</think>" in after(r) else "t" * 7 + "\ufffd" * 9)
    assert trace.text == "t" * 7 + "\n</think>=7"
    assert (kept.dropped_tokens, kept.thinking_tokens) == (1, 7)


def test_what_goes_wrong_is_the_trace_of_that_request_alone() -> None:
    class Failing(Model):
        def sample(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Trace]:
            for request in requests:
                if request.problem.id == "p1" and after(request):
                    yield error_trace(request, "the model is gone")
                else:
                    yield from super().sample([request], sampling)

    kept: list[Forced] = []
    problem = Problem("b", "p0", "Q", PROMPT, "1", Kind.MATH, None, None)
    requests = [Request("v", replace(problem, id=f"p{i}"), 0, 42) for i in range(3)]
    session = BudgetedSession(Failing(thinker), Thinking.parse("suppress-8"), Letters(), kept.append)
    traces = {t.problem_id: t for t in session.sample(requests, Sampling(max_new_tokens=100))}
    assert [traces[f"p{i}"].finish for i in range(3)] == [Finish.STOP, Finish.ERROR, Finish.STOP]
    assert traces["p1"].error == "continuation 1: the model is gone" and traces["p1"].seed == 42
    assert len(kept) == 3


def test_every_continuation_has_its_own_seed_and_it_is_always_the_same() -> None:
    seeds = [continuation_seed(seed, k) for seed in (42, 43, 44) for k in (1, 2, 3)]
    assert len(set(seeds)) == 9 and all(0 <= s < 2**31 for s in seeds)
    assert seeds[0] == 2132381064


@pytest.mark.parametrize("mode", ["free", "suppress-64", "suppress-64+final", "extend-1", "extend-to-512"])
def test_a_mode_has_one_name(mode: str) -> None:
    thinking = Thinking.parse(mode)
    assert str(thinking) == mode
    assert thinking_of(variant_name("m--awq-w4g128", thinking)) == ("m--awq-w4g128", thinking)


@pytest.mark.parametrize("mode", ["suppress", "suppress-0", "extend-1+final", "suppress--3", "wait-2", ""])
def test_other_modes_are_refused(mode: str) -> None:
    with pytest.raises(RecipeError, match="expected free, suppress-64"):
        Thinking.parse(mode)


def test_a_name_with_an_at_sign_is_not_always_a_mode() -> None:
    assert thinking_of("model@main") == ("model@main", Thinking())
