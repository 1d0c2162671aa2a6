"""A response file that a model writes for its own calibration, one response at a time.

The file is JSON Lines with ``full_prompt`` and ``generated_text``, as the paper's repository keeps it.  While it grows it is called
``<name>.partial``: its first line says what it was asked for, and whatever line is there in full is kept when the process is killed.
Beside the finished file lies ``<name>.request.json``, by which a repeated call knows that there is nothing to do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrm_forensics.errors import InputError
from qrm_forensics.observing import Observer
from qrm_forensics.records import Request, Trace
from qrm_forensics.store import write_text


@dataclass(frozen=True, slots=True)
class Written:
    """How many responses the file holds, how many of them reached the token limit, and how many requests failed.

    ``made``: those of this call.
    """

    responses: int
    truncated: int
    failed: int
    made: int


def write_responses(
    target: Path,
    identity: Mapping[str, Any],
    requests: Sequence[Request],
    sample: Callable[[list[Request]], Iterable[Trace]],
    observer: Observer,
    *,
    fresh: bool = False,
) -> Written:
    """Write ``target``, going on where an earlier call with the same ``identity`` (JSON-able) stopped, however it stopped.

    ``sample`` is called with the requests that have no response yet; a problem has one request.  Requests that fail are
    left out of the file, and tried again by the next call while it is not finished.  ``fresh`` throws away what is there.  Raises InputError
    where ``target`` is somebody else's, and where every request failed.
    """
    partial, marker = _beside(target, ".partial"), _beside(target, ".request.json")
    if fresh:
        for file in (target, partial, marker):
            file.unlink(missing_ok=True)
    done = _finished(target, marker, identity)
    if done is not None and not partial.exists():
        return done
    if target.exists() and done is None and not partial.exists():
        raise InputError(f"{target}: is there and was not made by this request; choose another file, or add --fresh")
    wanted = {request.problem.id: request for request in requests}
    rows = _recover(partial, identity)
    rows = {key: row for key, row in rows.items() if key in wanted}
    observer.begin("calibrate", "the model writes its own calibration text", len(wanted), len(rows))
    missing = [request for key, request in wanted.items() if key not in rows]
    made, errors = 0, []
    target.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("a", encoding="utf-8") as journal:
        if journal.tell() == 0:
            journal.write(_line({"request": dict(identity)}))
            journal.flush()
        for trace in sample(missing) if missing else ():
            observer.advance()
            if trace.text is None:
                errors.append(f"{trace.problem_id}: {trace.error}")
                continue
            row = {
                "problem_id": trace.problem_id,
                "full_prompt": trace.prompt,
                "generated_text": trace.text,
                "finish": str(trace.finish),
            }
            rows[trace.problem_id] = row
            journal.write(_line(row))
            journal.flush()
            made += 1
    observer.end(f"({len(errors)} failed)" if errors else "")
    if not rows:
        raise InputError(
            f"{target}: no response could be made; the first error: {errors[0] if errors else 'none was asked for'}"
        )
    text = "".join(_line(rows[key]) for key in wanted if key in rows)
    truncated = sum(row["finish"] == "length" for row in rows.values())
    written = Written(len(rows), truncated, len(errors), made)
    write_text(target, text)
    facts = {"responses": written.responses, "truncated": truncated, "failed": written.failed}
    said = {"request": dict(identity), "sha256": hashlib.sha256(text.encode()).hexdigest(), **facts}
    write_text(marker, json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    partial.unlink()
    return written


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _line(value: Mapping[str, Any]) -> str:
    # lone surrogates stay escaped: they cannot be written as UTF-8
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value)
    return text + "\n"


def _finished(target: Path, marker: Path, identity: Mapping[str, Any]) -> Written | None:
    """What an earlier call with this identity finished, if the file is as it left it."""
    try:
        said = json.loads(marker.read_text(encoding="utf-8"))
        whole = said["request"] == json.loads(json.dumps(identity))
        with target.open("rb") as handle:
            whole = whole and hashlib.file_digest(handle, "sha256").hexdigest() == said["sha256"]
        return Written(said["responses"], said["truncated"], said["failed"], 0) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _recover(partial: Path, identity: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The responses of an unfinished file by problem; a line that was cut off is taken off the file."""
    if not partial.exists():
        return {}
    data = partial.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        with partial.open("r+b") as handle:
            handle.truncate(len(whole))
    rows: dict[str, dict[str, Any]] = {}
    for number, record in _records(whole, partial):
        if number == 1:
            if record.get("request") != json.loads(json.dumps(identity)):
                raise InputError(
                    f"{partial}: was begun with another model, problems or sampling; add --fresh, or choose another file"
                )
        else:
            rows[str(record["problem_id"])] = record
    return rows


def _records(data: bytes, partial: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{partial}: line {number} is not JSON; add --fresh to begin again") from error
        if not isinstance(record, dict) or (number > 1 and not {"problem_id", "finish"} <= set(record)):
            raise InputError(f"{partial}: line {number} is no response; add --fresh to begin again")
        yield number, record
