"""Dataclasses to JSON values and back, by their annotations.

Made for trees of frozen dataclasses of plain values, as a report's context is.  Read back, a value has the type that
its annotation names, or a :class:`Mismatch` says where it has not; nothing is converted silently, so that writing what
was read gives the same bytes.  A field that has its default value is left out.  Where an annotation is a union of
several dataclasses, the object names its class under ``$``.  Instances of one chosen class are written once, in a
list of their own, and everywhere else as ``{"$ref": id}``.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from numbers import Integral, Real
from typing import Any, TypeGuard, Union, cast, get_args, get_origin, get_type_hints

TAG, REF = "$", "$ref"

Read = Callable[[Any], Any]


class Mismatch(ValueError):
    """A value that is not what its annotation says; ``path`` is where in the JSON (``$.benchmarks[0].name``)."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self._steps: list[str] = []

    def under(self, step: str) -> Mismatch:
        self._steps.append(step)
        return self

    @property
    def path(self) -> str:
        return "$" + "".join(reversed(self._steps))


class Codec:
    """Writes and reads instances of ``root`` and all that they hold.

    ``shared``: the class whose instances stand in a list of their own; it must have a field ``id``.
    """

    def __init__(self, root: type, shared: type) -> None:
        self._root, self._shared = root, shared
        self._known: Mapping[str, Any] = {}
        self._readers: dict[Any, Read] = {}
        self._tagged = _in_unions(root) - {shared}

    def encode(self, value: Any) -> Any:
        """A JSON value; raises TypeError for what JSON cannot hold."""
        if isinstance(value, self._shared):
            return {REF: cast(Any, value).id}
        return self.encode_whole(value)

    def encode_whole(self, value: Any) -> Any:
        """The same, and an instance of the shared class with all of its fields."""
        match value:
            case Enum():
                return value.value
            case None | str() | bool():
                return value
            case Integral():
                return int(value)
            case Real():
                return float(value)
            case tuple() | list():
                return [self.encode(item) for item in value]
            case dict():
                return {str(key): self.encode(item) for key, item in value.items()}
        if not is_dataclass(value) or isinstance(value, type):
            raise TypeError(f"{type(value).__name__} has no place in JSON")
        kind = type(value)
        found: dict[str, Any] = {TAG: kind.__name__} if kind in self._tagged else {}
        for one in fields(value):
            item = getattr(value, one.name)
            if not _is_default(one, item):
                found[one.name] = self.encode(item)
        return found

    def decode(self, value: Any, known: Mapping[str, Any]) -> Any:
        """An instance of the root; ``known`` are the shared ones by id.  Raises Mismatch."""
        self._known = known
        return self._reader(self._root)(value)

    def decode_shared(self, value: Any) -> Any:
        """An instance of the shared class that was written whole.  Raises Mismatch."""
        return self._dataclass(self._shared)(value)

    def _reader(self, kind: Any) -> Read:
        if kind not in self._readers:
            # types may refer to themselves: whoever asks in between gets a look-up
            self._readers[kind] = lambda value: self._readers[kind](value)
            self._readers[kind] = self._made(kind)
        return self._readers[kind]

    def _made(self, kind: Any) -> Read:
        origin, inner = get_origin(kind), get_args(kind)
        if kind is self._shared:
            return self._reference
        if origin in (Union, types.UnionType):
            return self._union(inner)
        if origin is tuple:
            return self._tuple(inner)
        if origin is dict:
            return self._dict(inner[1])
        if isinstance(kind, type) and issubclass(kind, Enum):
            return _enum(kind)
        if _is_class(kind):
            return self._dataclass(kind)
        if kind in _PLAIN:
            return _plain(*_PLAIN[kind])
        raise TypeError(f"{kind} has no place in a file")

    def _reference(self, value: Any) -> Any:
        if not isinstance(value, dict) or set(value) != {REF}:
            raise Mismatch(f"expected a reference to a {self._shared.__name__.lower()}, found {_shown(value)}")
        try:
            return self._known[value[REF]]
        except (KeyError, TypeError):
            raise Mismatch(f"there is no {self._shared.__name__.lower()} {_shown(value[REF])}") from None

    def _tuple(self, inner: tuple[Any, ...]) -> Read:
        several = len(inner) == 2 and inner[1] is Ellipsis
        readers = [self._reader(k) for k in (inner[:1] if several else inner)]

        def read(value: Any) -> tuple[Any, ...]:
            if not isinstance(value, list):
                raise Mismatch(f"expected a list, found {_shown(value)}")
            if not several and len(value) != len(readers):
                raise Mismatch(f"expected {len(readers)} entries, found {len(value)}")
            found = []
            for i, item in enumerate(value):
                try:
                    found.append(readers[0 if several else i](item))
                except Mismatch as error:
                    raise error.under(f"[{i}]") from None
            return tuple(found)

        return read

    def _dict(self, inner: Any) -> Read:
        reader = self._reader(inner)

        def read(value: Any) -> dict[str, Any]:
            if not isinstance(value, dict):
                raise Mismatch(f"expected an object, found {_shown(value)}")
            found = {}
            for key, item in value.items():
                try:
                    found[key] = reader(item)
                except Mismatch as error:
                    raise error.under(f".{key}") from None
            return found

        return read

    def _union(self, inner: tuple[Any, ...]) -> Read:
        """JSON has few types, and the members of a union differ in them or in their tag."""
        classes = {k.__name__: self._reader(k) for k in inner if _is_class(k)}
        others = [k for k in inner if not _is_class(k) and k is not type(None)]
        by_json: dict[type, Read] = {json: self._reader(k) for k in others for json in _json_types(k)}
        lists = [self._reader(k) for k in others if get_origin(k) is tuple]
        dicts = [self._reader(k) for k in others if get_origin(k) is dict]
        if len(lists) + len(dicts) > 1:
            raise TypeError(f"{inner} cannot be told apart in a file")
        names = [getattr(k, "__name__", str(k)) for k in inner]
        empty = type(None) in inner

        def read(value: Any) -> Any:
            if value is None and empty:
                return None
            if isinstance(value, dict) and REF in value and self._shared.__name__ in classes:
                return classes[self._shared.__name__](value)
            if isinstance(value, dict) and classes:
                tag = value.get(TAG)
                name = tag if tag is not None or len(classes) > 1 else next(iter(classes))
                if isinstance(name, str) and name in classes:
                    return classes[name](value)
            if reader := by_json.get(type(value)):
                return reader(value)
            if isinstance(value, list) and lists:
                return lists[0](value)
            if isinstance(value, dict) and dicts:
                return dicts[0](value)
            raise Mismatch(f"expected {' or '.join(names)}, found {_shown(value)}")

        return read

    def _dataclass(self, kind: type) -> Read:
        hints = get_type_hints(kind)
        parts = {one.name: self._reader(hints[one.name]) for one in fields(kind)}
        needed = [o.name for o in fields(kind) if o.default is MISSING and o.default_factory is MISSING]

        def read(value: Any) -> Any:
            if not isinstance(value, dict):
                raise Mismatch(f"expected an object ({kind.__name__}), found {_shown(value)}")
            found = {}
            for key, item in value.items():
                if key == TAG:
                    if item != kind.__name__:
                        raise Mismatch(f"expected {kind.__name__}, found {_shown(item)}")
                    continue
                if key not in parts:
                    near = difflib.get_close_matches(key, parts, 1)
                    hint = f"; did you mean {near[0]!r}?" if near else ""
                    raise Mismatch(f"{kind.__name__} has no field {key!r}{hint}")
                try:
                    found[key] = parts[key](item)
                except Mismatch as error:
                    raise error.under(f".{key}") from None
            for name in needed:
                if name not in found:
                    raise Mismatch(f"the field {name!r} of {kind.__name__} is missing")
            try:
                return kind(**found)
            except ValueError as error:
                raise Mismatch(str(error)) from None

        return read


#: Annotation -> (JSON types that it may hold, what it is called).  A whole number stays one under ``float``.
_PLAIN: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a text"),
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((float, int), "a number"),
}


def _plain(allowed: tuple[type, ...], name: str) -> Read:
    def read(value: Any) -> Any:
        if type(value) not in allowed:
            raise Mismatch(f"expected {name}, found {_shown(value)}")
        return value

    return read


def _enum(kind: type[Enum]) -> Read:
    def read(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError:
            choices = ", ".join(str(member.value) for member in kind)
            raise Mismatch(f"{_shown(value)} is none of {choices}") from None

    return read


def _is_class(kind: Any) -> TypeGuard[type]:
    return isinstance(kind, type) and is_dataclass(kind)


def _json_types(kind: Any) -> tuple[type, ...]:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return (str,)
    return _PLAIN[kind][0] if kind in _PLAIN else ()


def _is_default(one: Field[Any], value: Any) -> bool:
    if one.default is not MISSING:
        return type(value) is type(one.default) and bool(value == one.default)
    return one.default_factory is not MISSING and value == one.default_factory()


@cache
def _in_unions(root: type) -> frozenset[type]:
    """Dataclasses that an annotation below ``root`` offers beside another one, so that an object has to name its class."""
    seen: set[Any] = set()
    tagged: set[type] = set()
    waiting: list[Any] = [root]
    while waiting:
        kind = waiting.pop()
        if kind in seen:
            continue
        seen.add(kind)
        inner = get_args(kind)
        waiting += [k for k in inner if k is not Ellipsis]
        classes = {k for k in inner if _is_class(k)}
        if get_origin(kind) in (Union, types.UnionType) and len(classes) > 1:
            tagged |= classes
        if _is_class(kind):
            waiting += get_type_hints(kind).values()
    return frozenset(tagged)


def _shown(value: Any) -> str:
    """A value for a message, short."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
