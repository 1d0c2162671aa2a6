"""Files that a person writes: YAML, read once and checked whole against a pydantic model.

A message names the file, the key at fault and, for a misspelt key, the key that was probably meant.
"""

from __future__ import annotations

import difflib
import re
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from qrm_forensics.errors import InputError

#: What a study may be called: its run folder is called so.
NAME_PATTERN = r"^[\w][\w.-]*$"
#: Bytes of a file; the largest example has 3 thousand.
_MAX_BYTES = 1 << 20

Settings = TypeVar("Settings", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML as PyYAML reads it, but for ``1e-3``, which to everybody else is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]\d+"), list("-+0123456789")
)


class _DuplicateKey(ValueError):
    """A mapping has a key twice, of which YAML's readers silently keep the last."""


def _read(text: str) -> Any:
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _refuse_duplicates(root)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _refuse_duplicates(root: yaml.Node) -> None:
    """Before anything is constructed, as a merge (``<<``) puts the keys of one mapping into another, where they may be."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                waiting += [key, value]
                if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                    continue
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    where = f"on line {line}" if line == lines[name] else f"on lines {lines[name]} and {line}"
                    raise _DuplicateKey(f"the key {key.value!r} is there twice, {where}; remove one of them")
                lines[name] = line


def load_yaml(path: Path, model: type[Settings], what: str, such_as: str) -> Settings:
    """A YAML file that a person wrote, as ``model``.

    ``what`` it is called and which keys it has (``such_as``) are for messages.  Raises InputError that names the
    file, the key at fault and, for a misspelt key, the one that was probably meant.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise InputError(f"{path}: has more than {_MAX_BYTES >> 20} MiB, so it is no {what} file; check the path")
        raw = _read(data.decode("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what} file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from error
    except _DuplicateKey as error:
        raise InputError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2024-13-45
        raise InputError(f"{path}: not valid YAML: {_problem(error)}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected keys such as {such_as}; found {_found(raw)}")
    try:
        return model.model_validate(raw)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error, model, what)}") from None


def _problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    said = " ".join(str(problem or error).split())[:300]
    return f"line {mark.line + 1}: {said}" if mark is not None else said


#: What a person has to write where pydantic speaks of Python's types.
_SHAPES = {
    "tuple_type": "a list such as [a, b]",
    "list_type": "a list such as [a, b]",
    "dict_type": "keys with values such as {key: value}",
    "model_type": "keys with values such as {key: value}",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
}


def _found(value: Any) -> str:
    if isinstance(value, dict):
        return "keys with values"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    shown = repr(value) if isinstance(value, str | int | float) else str(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}…"


def _quotes(kind: str, value: Any) -> str:
    """The remedy where YAML took a number for a text, or a text for a number."""
    if kind in ("int_type", "float_type") and isinstance(value, str):
        if re.fullmatch(r"[-+]?[\d_]+(\.\d*)?", value):
            return ", a text; write it without quotes"
        return ", a text; write it out, without an exponent" if re.fullmatch(r"[\d.]+[eE]\d+", value) else ", a text"
    return "; write it in quotes" if kind == "string_type" and isinstance(value, bool | int | float | date) else ""


def _explain(error: ValidationError, model: type[BaseModel], what: str) -> str:
    # A list whose items are all wrong is called too short as well, and a union is told once for each of its members.
    wrong = [e for e in error.errors() if e["type"] != "too_short" or not e["input"]]
    told = [e for e in wrong if not _member(e["loc"][-1:])] or wrong
    # A misspelt key also makes a required one missing; the misspelling is the thing to say.
    first = min(told, key=lambda e: e["type"] != "extra_forbidden")
    location = _keys_of(first["loc"])
    where = ".".join(str(part) for part in location) or what
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {where!r}; {hint}"
    if first["type"] in _SHAPES:
        words = [e["ctx"]["expected"] for e in wrong if e["type"] == "literal_error" and e["loc"][:-1] == location]
        expected = " or ".join([_SHAPES[first["type"]], *words])
        message = f"expected {expected}; found {_found(first['input'])}{_quotes(first['type'], first['input'])}"
    elif first["type"] == "literal_error":
        message = f"expected {first['ctx']['expected']}; found {_found(first['input'])}"
    elif first["type"] == "string_pattern_mismatch" and first["ctx"]["pattern"] == NAME_PATTERN:
        message = f"may hold letters, digits, '_', '.' and '-', and begins with none of the last two; found {first['input']!r}"
    more = len({_keys_of(e["loc"]) for e in wrong}) - 1
    return f"{where}: {message}" + (f" (and {more} more)" if more else "")


def _member(part: tuple[int | str, ...]) -> bool:
    """Whether the last part of a location is a member of a union and no key: ``literal['any']``, ``dict[str,constrained-int]``."""
    return any(re.fullmatch(r"(?:literal|dict|tuple)\[.*\]|constrained-(?:int|float)", str(p)) for p in part)


def _keys_of(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(part for part in location if not _member((part,)))


def _keys_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys of the model that is found by following ``location`` down from ``model``."""
    for part in location:
        field = model.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field is not None else None
        model = inner if inner is not None else model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in a type such as ``tuple[BenchmarkSpec, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((part for part in found if part is not None), None)
