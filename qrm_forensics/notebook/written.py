"""A ready notebook for one problem of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qrm_forensics.errors import InputError, missing_extra
from qrm_forensics.notebook.case import Case
from qrm_forensics.notebook.run import Run
from qrm_forensics.store import write_text


def write_notebook(run: Run, case: Case, out: Path, *, overwrite: bool = False) -> None:
    """Write a notebook that opens ``run`` and looks into ``case``; it runs from top to bottom without a GPU.

    Names from outside stand in code as Python literals and nowhere else.  Raises InputError for a file that is there
    (unless ``overwrite``) or cannot be written, EnvironmentMissing without nbformat.
    """
    try:
        import nbformat
    except ImportError as error:
        raise missing_extra("writing a notebook", "notebook", error) from error
    if out.exists() and not overwrite:
        raise InputError(f"{out}: is there already, and may hold your notes; choose another name, or add --force")
    t = run.texts
    v4: Any = nbformat.v4
    write: Any = nbformat.writes
    cells = []
    for text, code in _cells(run, case):
        if text:
            cells.append(v4.new_markdown_cell(t.text(f"notebook.doc.{text}").replace("\\n", "\n")))
        cells.append(v4.new_code_cell(code))
    cells[1]["metadata"]["tags"] = ["parameters"]
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"  # the same notebook for the same problem, byte for byte
    book = v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
    )
    try:
        write_text(out, write(book) + "\n")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another name") from error


def _cells(run: Run, case: Case) -> list[tuple[str, str]]:
    """(key of the words above it, code) of every cell."""
    settings = [
        f"RUN = {str(run.path.resolve())!r}",
        f"PROBLEM = {case.id!r}",
        f"VARIANTS = {list(case.variants)!r}",
        f"SAMPLE, SEED = {case.sample}, {case.seed}",
        f"LANGUAGE = {run.texts.language!r}",
    ]
    opened = (
        "from qrm_forensics import open_run\n\n"
        "run = open_run(RUN, language=LANGUAGE)\n"
        "case = run.case(PROBLEM, variants=VARIANTS, sample=SAMPLE, seed=SEED)\n"
        "case"
    )
    return [
        ("intro", "\n".join(settings)),
        ("", opened),
        ("parting", "case.divergence()"),
        ("loops", "case.loops()"),
        ("", 'equations = case.equations()\nequations[equations["verdict"] == "false"]'),
        ("figures", "for figure in case.figures().values():\n    figure.show()"),
        ("tokens", "case.top_tokens(20)"),
        ("", "case.measures()"),
    ]
