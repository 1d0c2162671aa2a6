"""Templates: where they are, and how a folder of a user's own changes them.

A file of the user's folder replaces the built-in one of the same name.  To change a part only, it extends the
built-in one, which is always there as ``builtin/<name>``, and fills some of its blocks.  ``theme.css`` in the folder
is a style sheet behind the page's own; it sets the variables of the page (``--accent``, ``--ink``, …) or any rule.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    meta,
)

from qrm_forensics.errors import InputError
from qrm_forensics.report import tables
from qrm_forensics.report.visible import clip, clip_start, shown_text, visible

#: What a built-in template is called from one that replaces it.
BUILTIN = "builtin"
THEME = "theme.css"
_BASE = "base.html.j2"


def templates_dir() -> Path:
    """The folder of the templates: inside the package (wheel), else at the root of a checkout."""
    here = Path(__file__).resolve()
    for folder in (here.with_name("_templates"), here.parents[2] / "reports" / "templates"):
        if (folder / _BASE).is_file():
            return folder
    raise InputError("the report templates are missing from this installation; install qrm-forensics again")


def environment(own: Path | None) -> Environment:
    """The templates, those of the folder ``own`` first.

    Raises InputError for a folder that is not there, and for a template in it that nothing would ever use.
    """
    if own is not None and not own.is_dir():
        raise InputError(f"template folder {own} is not there; give a folder that holds templates")
    folders = [FileSystemLoader(folder, encoding="utf-8") for folder in (own, templates_dir()) if folder is not None]
    made = Environment(
        loader=ChoiceLoader([*folders, PrefixLoader({BUILTIN: folders[-1]})]),
        autoescape=lambda name: name is None or name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "visible": visible,
        "clip": clip,
        "clip_start": clip_start,
        "md": tables.md_escape,
        "fence": fenced,
        "shown": shown_text,
    }
    if own is not None:
        _check(own, made)
    return made


def source(templates: Environment, name: str) -> str:
    """The text of a file that is not a template (a script, a style sheet)."""
    if templates.loader is None:
        raise ValueError("an environment without a loader has no templates")
    text = templates.loader.get_source(templates, name)[0]
    return text.replace("\r\n", "\n")  # browsers normalize line ends before they check the hash


def theme(templates: Environment) -> str:
    """The user's style sheet, empty without one; raises InputError where it would leave its element."""
    try:
        text = source(templates, THEME)
    except TemplateNotFound:
        return ""
    except UnicodeDecodeError as error:
        raise InputError(f"{THEME}: is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    if "</style" in text.lower():
        raise InputError(f"{THEME}: holds '</style'; a theme holds CSS only")
    return text


@contextmanager
def told_in_one_line(own: Path | None) -> Iterator[None]:
    """A mistake in a user's template becomes an InputError that names the file and the line."""
    try:
        yield
    except TemplateError as error:
        if own is None:
            raise
        raise InputError(f"{_place(own, error)}: {error.message or type(error).__name__}") from error


def _place(own: Path, error: TemplateError) -> str:
    """The user's file that the error is in, or the last of them on the way to it."""
    if isinstance(error, TemplateSyntaxError):
        return f"{own / (error.name or '')}:{error.lineno}"
    found, step = str(own), error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        if Path(file).is_relative_to(own):
            found = f"{file}:{step.tb_lineno}"
        step = step.tb_next
    return found


def _check(own: Path, made: Environment) -> None:
    """Every template of the folder replaces a built-in one or is named by another of the folder."""
    names = sorted(p.relative_to(own).as_posix() for p in own.rglob("*.j2"))
    built_in = {p.relative_to(templates_dir()).as_posix() for p in templates_dir().rglob("*") if p.is_file()}
    used: set[str | None] = set()
    with told_in_one_line(own):
        for name in names:
            try:
                text = (own / name).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{own / name}: is not UTF-8 ({error.reason} at byte {error.start})") from None
            used |= set(meta.find_referenced_templates(made.parse(text, name, str(own / name))))
    for name in names:
        if name not in built_in and name not in used:
            near = difflib.get_close_matches(name, built_in, 1)
            hint = f"did you mean {near[0]}?" if near else "it has to be called as a built-in template is"
            raise InputError(f"{own / name}: replaces no template; {hint}")


def fenced(text: object) -> str:
    """Text as a fenced block whose fence is longer than any run of backticks inside."""
    body = "\n".join(shown_text(line) for line in str(text).split("\n"))
    longest = max((len(run) for run in _backticks(body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{body}\n{fence}"


def _backticks(text: str) -> list[str]:
    runs, current = [], ""
    for character in text:
        if character == "`":
            current += character
        elif current:
            runs.append(current)
            current = ""
    return [*runs, current]
