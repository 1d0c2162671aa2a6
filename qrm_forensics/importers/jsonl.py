"""JSON Lines of anybody's making: an OpenAI batch, saved chat completions, or simple rows.

Three shapes, told apart line by line:

- a line of a batch's output (``custom_id``, ``response.body``); the questions are in the batch's *input* file (``custom_id``,
  ``body.messages``), which is joined where it is given too;
- a chat completion, a text completion (``choices``, ``usage``) or a response of OpenAI's Responses (``output``), with any of the
  keys below beside it;
- a row with a response under one of ``_RESPONSE``, or as the last of its ``messages``.

The names that are understood are in the tables below; all but the response may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qrm_forensics.benchmarks.json_records import at, read_records
from qrm_forensics.errors import InputError
from qrm_forensics.importers import chat, files
from qrm_forensics.importers.files import Source, at_path
from qrm_forensics.importers.folders import is_variant_folder
from qrm_forensics.importers.foreign import Answer, assemble, checkpoint_of, figures_of, text_of, whole
from qrm_forensics.importers.imported import Imported
from qrm_forensics.importers.provides import Provides, Said
from qrm_forensics.records import Finish

TITLE: Final = (
    "JSON Lines: output of an OpenAI batch, saved chat completions, or rows of `{model, problem, response, …}`"
)
PROVIDES: Final = Provides(
    text=Said.YES,
    finish=Said.SOMETIMES,
    token_counts=Said.SOMETIMES,
    token_ids=Said.SOMETIMES,
    logprobs=Said.SOMETIMES,
    prompt=Said.SOMETIMES,
    gold=Said.SOMETIMES,
    seeds=Said.SOMETIMES,
    samples=Said.SOMETIMES,
)

_RESPONSE: Final = ("response", "output", "completion", "generated_text", "generation", "text")
_PROMPT: Final = ("prompt", "messages", "input")
_QUESTION: Final = ("problem", "question")
_GOLD: Final = ("gold", "answer", "target", "reference")
_ID: Final = ("problem_id", "id", "unique_id", "idx", "custom_id")
_BENCHMARK: Final = ("benchmark", "dataset", "task")
_MODEL: Final = ("model", "model_name")
_SAMPLE: Final = ("sample", "sample_id", "sample_index")
_FINISH_KEY: Final = ("finish_reason", "stop_reason", "finish")
_TOKENS: Final = ("completion_tokens", "output_tokens", "num_tokens")

#: What servers say, and this suite's own words.
_FINISH: Final = {
    "stop": Finish.STOP,
    "end_turn": Finish.STOP,
    "eos": Finish.STOP,
    "eos_token": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "length": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
    "repetition": Finish.LOOP_STOPPED,
    "loop-stopped": Finish.LOOP_STOPPED,
    "error": Finish.ERROR,
}


def detect(path: Path) -> bool:
    """Whether the first record of every file is of one of the three shapes."""
    found = [p for p in files.below(path) if p.suffix in (".jsonl", ".json")]
    return bool(found) and all(_shape_of_head(p) for p in found)


def _shape_of_head(path: Path) -> bool:
    head = files.head_of(path).lstrip(b"\xef\xbb\xbf \t\r\n[")
    line = head.partition(b"\n")[0].rstrip(b" \t\r,]")
    try:
        record = files.json_object(line, "")
    except InputError:
        # An array over several lines, or a first line of more than was looked at.
        return b'"choices"' in head or (b'"model"' in head and any(f'"{k}"'.encode() in head for k in _RESPONSE))
    return _is_ours(record)


def _is_ours(record: Mapping[str, Any]) -> bool:
    if "full_prompt" in record and "generated_text" in record:
        return False  # the layout of the paper's repository
    if isinstance(record.get("choices"), list) and "question" not in record:
        return True
    if "custom_id" in record and ("response" in record or "body" in record):
        return True
    if any(k in record for k in _MODEL):
        return _first(record, _RESPONSE) is not None or _last_turn(record) is not None
    # Without a model the folder has to name it; a text with an id alone may be anything.
    return _first(record, _RESPONSE[:-1]) is not None and any(k in record for k in (*_PROMPT, *_QUESTION))


def read(paths: Path | Sequence[Path], problems: Path | None = None) -> Imported:
    """Read files, or folders of them; ``problems`` is a problem file or a folder of them.  Raises InputError."""
    sources = files.find(paths, lambda p: p.suffix in (".jsonl", ".json"), "JSON Lines file")
    hashes: dict[str, str] = {}
    asked: dict[str, dict[str, Any]] = {}
    lines: list[tuple[Source, int, dict[str, Any]]] = []
    for source in sources:
        content = read_records(source.path)
        hashes[source.name] = content.sha256
        for index, record in enumerate(content.records):
            if "custom_id" in record and "body" in record and "response" not in record:
                asked[str(record["custom_id"])] = record["body"] if isinstance(record["body"], dict) else {}
            else:
                lines.append((source, index, record))
    if not lines:
        raise InputError(
            f"{', '.join(s.name for s in sources)}: only requests, no responses; give the output file of the batch too"
        )
    answers: list[Answer] = []
    apart = strange = 0
    for source, index, record in lines:
        for one in _answers(source, index, record, asked):
            answers.append(one.answer)
            apart += one.apart
            strange += one.unknown_finish
    notices: list[str] = []
    if apart:
        notices.append(
            f"the reasoning was stored apart from the text of {apart} responses; it is put before it as <think>…</think>, so white "
            "space around it may differ from what the model wrote"
        )
    if strange:
        notices.append(
            f"{strange} responses ended for a reason that is not known here (such as a tool call); it counts as unknown"
        )
    return assemble(answers, hashes, problems=problems, notices=notices)


@dataclass(frozen=True, slots=True)
class _One:
    answer: Answer
    apart: bool
    unknown_finish: bool


@dataclass(frozen=True, slots=True)
class _Response:
    """One text with what stands beside it in its choice."""

    text: str | None
    apart: bool
    reason: Any
    logprobs: list[float] | None
    token_ids: list[int] | None
    sample: int | None


def _answers(source: Source, index: int, record: dict[str, Any], asked: Mapping[str, dict[str, Any]]) -> Iterator[_One]:
    where = at(source.path, index)
    about, body, failed = _opened(record, asked, where)
    responses = (
        _responses(body, record, where) if failed is None else [_Response(None, False, "error", None, None, None)]
    )
    model = _first(about, _MODEL) or _first(body, _MODEL) or _folder(source.path)
    if not isinstance(model, str) or not model:
        raise InputError(
            f"{where}: has no 'model'; add it, or put the file into a folder <model>-<recipe>-tp<n>-seed<seed>"
        )
    checkpoint, seed = checkpoint_of(model, source.path, where)
    prompt, question = chat.prompt(_first(about, _PROMPT))
    question = text_of(_first(about, _QUESTION)) or question
    gold = _first(about, _GOLD)
    gold = gold[0] if isinstance(gold, list) and gold else gold
    own_seed = next((s for s in (whole(about.get("seed")), whole(body.get("seed")), seed) if s is not None), 0)
    sample = whole(_first(about, _SAMPLE))
    name = text_of(_first({k: v for k, v in about.items() if k != "id" or body is not record or not _is_call(v)}, _ID))
    usage = body.get("usage")
    for response in responses:
        reason = response.reason if isinstance(response.reason, str) else None
        finish = _FINISH.get(reason.lower(), Finish.UNKNOWN) if reason is not None else Finish.UNKNOWN
        lone = len(responses) == 1
        counted = whole(_first(usage, _TOKENS)) if lone and isinstance(usage, dict) else None
        answer = Answer(
            checkpoint=checkpoint,
            benchmark=text_of(_first(about, _BENCHMARK)) or source.path.stem,
            where=where,
            source_file=source.name,
            source_index=index,
            problem_id=name,
            prompt=prompt or question,
            gold=text_of(gold) or "",
            text=response.text,
            finish=Finish.ERROR if response.text is None else finish,
            seed=own_seed,
            sample=sample if sample is not None and lone else response.sample,
            question=question or None,
            subject=text_of(about.get("subject")),
            level=text_of(about.get("level")),
            token_ids=response.token_ids,
            logprobs=response.logprobs,
            prompt_tokens=whole(_first(usage, ("prompt_tokens", "input_tokens"))) if isinstance(usage, dict) else None,
            completion_tokens=counted if counted is not None else whole(_first(about, _TOKENS)) if lone else None,
            seconds=_seconds(about.get("seconds")),
            error=(failed or "no text in the response") if response.text is None else None,
            figures=figures_of(about.get("metrics")),
        )
        yield _One(
            answer, response.apart, reason is not None and response.text is not None and finish is Finish.UNKNOWN
        )


def _opened(
    record: dict[str, Any], asked: Mapping[str, dict[str, Any]], where: str
) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """(what the line and its request say about the problem, the object that holds the response, error of a failed request)."""
    if "custom_id" not in record or not ("error" in record or isinstance(record.get("response"), dict)):
        return record, record, text_of(record.get("error"))
    request = asked.get(str(record["custom_id"]), {})
    about = {k: v for k, v in request.items() if k in (*_PROMPT, *_MODEL, "seed")} | {
        k: v for k, v in record.items() if k not in ("id", "response", "error")
    }
    response = record.get("response")
    body = at_path(response, "body")
    status = at_path(response, "status_code")
    error = record.get("error") or (at_path(body, "error") if status != 200 else None)
    if error is None and status in (200, None) and isinstance(body, dict):
        return about, body, None
    if error is None and body is None:
        raise InputError(f"{where}: has neither a response nor an error; download the batch's output again")
    message = text_of(error) or text_of(at_path(error, "message")) or f"status {status}"
    return about, body if isinstance(body, dict) else {}, message


def _responses(body: dict[str, Any], record: dict[str, Any], where: str) -> list[_Response]:
    choices = body.get("choices")
    if isinstance(choices, list) and choices and all(isinstance(c, dict) for c in choices):
        return [_of_choice(choice, len(choices)) for choice in choices]
    if isinstance(body.get("output"), list) and all(isinstance(item, dict) for item in body["output"]):
        return [_of_items(body)]
    value = _first(body, _RESPONSE)
    if value is None:
        value = _last_turn(body)
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        keys = ", ".join(sorted(map(str, record))[:8]) or "none"
        raise InputError(
            f"{where}: no response (it has {keys}); call it 'response', and 'model', 'problem', 'answer', 'id', 'seed', 'sample', "
            "'finish_reason' what belongs to it"
        )
    lone = len(texts) == 1
    reason = _first(body, _FINISH_KEY)
    logs, ids = body.get("logprobs"), body.get("token_ids")
    thought = body.get("reasoning_content") or body.get("reasoning")
    made = []
    for i, text in enumerate(texts):
        whole_text, apart = chat.message_text({"content": text, "reasoning": thought if lone else None})
        made.append(
            _Response(
                text=whole_text,
                apart=apart,
                reason=reason
                if lone
                else reason[i]
                if isinstance(reason, list) and len(reason) == len(texts)
                else None,
                logprobs=_numbers(logs) if lone else None,
                token_ids=_ids(ids) if lone else None,
                sample=None if lone else i,
            )
        )
    return made


def _of_choice(choice: dict[str, Any], count: int) -> _Response:
    if isinstance(choice.get("text"), str):  # the older completions
        text, apart = choice["text"], False
        listed = at_path(choice, "logprobs", "token_logprobs")
        logs = _numbers(listed)
    else:
        text, apart = chat.message_text(choice.get("message"))
        logs = chat.logprobs(choice.get("logprobs"))
    return _Response(
        text=text,
        apart=apart,
        reason=choice.get("finish_reason"),
        logprobs=logs,
        token_ids=_ids(choice.get("token_ids")),  # vLLM, where it is asked for them
        sample=whole(choice.get("index")) if count > 1 else None,
    )


def _of_items(body: dict[str, Any]) -> _Response:
    """A response of OpenAI's Responses: items of messages and reasoning."""
    items = [item for item in body["output"] if item.get("type") in ("message", "reasoning")]
    parts: list[Any] = []
    for item in items:
        content = item.get("content")
        texts = (
            [text for part in content if isinstance(text := at_path(part, "text"), str)]
            if isinstance(content, list)
            else []
        )
        parts += [{"reasoning": text} if item["type"] == "reasoning" else {"text": text} for text in texts]
    text, apart = chat.message_text({"content": parts})
    reason = at_path(body, "incomplete_details", "reason") if body.get("status") == "incomplete" else None
    done = "stop" if body.get("status") == "completed" else None
    return _Response(text, apart, "length" if reason == "max_output_tokens" else reason or done, None, None, None)


def _last_turn(record: Mapping[str, Any]) -> str | None:
    """What the assistant says at the end of a row's messages."""
    messages = record.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    return chat.message_text(last)[0] if at_path(last, "role") == "assistant" else None


def _first(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _is_call(value: Any) -> bool:
    """Whether an id is that of a call (``chatcmpl-…``, ``cmpl-…``) and not of a problem."""
    return isinstance(value, str) and value.startswith(("chatcmpl", "cmpl-", "batch_req", "resp_"))


def _folder(path: Path) -> str | None:
    return next((folder.name for folder in path.absolute().parents if is_variant_folder(folder.name)), None)


def _numbers(value: Any) -> list[float] | None:
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    ):
        return None
    return [float(v) for v in value]


def _ids(value: Any) -> list[int] | None:
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    ):
        return None
    return list(value)


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9 else None
