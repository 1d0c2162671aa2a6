"""Finding a task's definition without importing all of lighteval's tasks.

Its registry imports every module of tasks at once; some of them ask the hub for data while they are imported, so that without
a network nothing works.  Here only the module that defines the wanted task is imported.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrm_forensics.errors import InputError
from qrm_forensics.lighteval_bridge import require

_SPEC = re.compile(r"(?:(?P<file>.+\.py)::)?(?P<name>[^|]+?)(?:\|(?P<shots>\d+))?", re.DOTALL)
_NAME = re.compile(r"""\bname\s*=\s*["']([^"'{}]+)["']""")


@dataclass(frozen=True, slots=True)
class TaskName:
    """``[FILE.py::]NAME[|SHOTS]``: a task of lighteval, or of a file with a ``TASKS_TABLE``."""

    name: str
    file: Path | None

    @classmethod
    def parse(cls, text: str) -> TaskName:
        """Raises InputError for anything else, and for few-shot examples: what is asked here is the problem alone."""
        match = _SPEC.fullmatch(text.strip())
        if match is None:
            raise InputError(f"lighteval: {text!r} is no task; write its name, such as math_500|0, or FILE.py::NAME|0")
        if match["shots"] and int(match["shots"]):
            raise InputError(
                f"lighteval: {text!r} asks for few-shot examples, which are not made here; write {match['name']}|0"
            )
        return cls(match["name"].strip(), Path(match["file"]).expanduser() if match["file"] else None)


def find_task(task: TaskName) -> Any:
    """The ``LightevalTaskConfig`` of a task.  Raises InputError with the name that was probably meant.

    A file of tasks is Python that is executed: give only one that you trust.
    """
    require("a task of lighteval")
    known = _tables([_module_of_file(task.file)] if task.file else _modules_with(task.name))
    if task.name in known:
        return known[task.name]
    names = known if task.file else sorted(_written_names())
    near = difflib.get_close_matches(task.name, names, 3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "lighteval tasks list shows all names"
    raise InputError(f"lighteval: there is no task {task.name!r}{f' in {task.file}' if task.file else ''}; {hint}")


def load_only(names: Iterable[str], custom: Path | None = None) -> None:
    """Let lighteval's registry know these tasks alone (and those of ``custom``), so that its Pipeline starts without a network."""
    require("a task of lighteval")
    from lighteval.tasks.registry import Registry

    modules = [module for name in names for module in _modules_with(name)]
    if custom is not None:
        modules.append(_module_of_file(custom))
    tables = _tables(modules)

    def load(custom_tasks: Any = None, load_multilingual: bool = False) -> dict[str, Any]:
        more = Registry.create_custom_tasks_module(custom_tasks) if custom_tasks is not None else None
        return {**tables, **(_tables([more]) if more is not None else {})}

    Registry.load_all_task_configs = staticmethod(load)


def _tables(modules: Iterable[Any]) -> dict[str, Any]:
    return {config.name: config for module in modules for config in getattr(module, "TASKS_TABLE", ())}


def _module_of_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"lighteval_tasks_{path.stem}", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise InputError(f"lighteval: {path}: no such file of tasks")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # somebody's own code
        raise InputError(
            f"lighteval: {path} cannot be imported ({type(error).__name__}: {error}); repair it"
        ) from error
    if not getattr(module, "TASKS_TABLE", None):
        raise InputError(f"lighteval: {path} has no TASKS_TABLE; list its task configurations there")
    return module


def _modules_with(name: str) -> list[Any]:
    """The modules of lighteval whose source writes this task's name."""
    return [importlib.import_module(module) for module, names in _sources().items() if name in names]


def _written_names() -> set[str]:
    return {name for names in _sources().values() for name in names}


def _sources() -> dict[str, set[str]]:
    spec = importlib.util.find_spec("lighteval.tasks.tasks")
    roots = [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
    found: dict[str, set[str]] = {}
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            module = ".".join(("lighteval.tasks.tasks", *(p for p in parts if p != "__init__")))
            found[module] = set(_NAME.findall(path.read_text("utf-8", "replace")))
    return found
