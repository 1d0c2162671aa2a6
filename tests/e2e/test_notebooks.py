"""The notebooks run from top to bottom on a small run of the built-in model; in Git they have no outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat (extra 'test')")
nbclient = pytest.importorskip("nbclient", reason="notebooks need nbclient (extra 'test')")
pytest.importorskip("torch", reason="the built-in model needs torch")

from click.testing import CliRunner  # noqa: E402

from qrm_forensics.cli import cli  # noqa: E402
from qrm_forensics.notebook import open_run  # noqa: E402

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ["01_first_study", "02_anatomy_of_a_failure", "03_write_a_metric", "04_what_causes_the_loop"]
SMALL = {"QRM_PROBLEMS": "12", "QRM_TOKENS": "256", "QRM_CASES": "2", "QRM_DRAWS": "1"}

pytestmark = pytest.mark.slow


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", 4)


def executed(book: Any, folder: Path, run: Path, patch: pytest.MonkeyPatch) -> list[Any]:
    """The code cells after all of them ran, in a fresh kernel whose folder is ``folder``."""
    for name, value in {**SMALL, "QRM_RUN": str(run), "OMP_NUM_THREADS": "1", "PLOTLY_RENDERER": "json"}.items():
        patch.setenv(name, value)
    nbclient.NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [cell for cell in book.cells if cell.cell_type == "code"]


def shown(cell: Any) -> str:
    """Everything that a cell printed or displayed, as text."""
    return "\n".join(o.get("text", "") or str(o.get("data", {}).get("text/html", "")) for o in cell.outputs)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The run that the first notebook makes, and what that notebook showed."""
    folder = tmp_path_factory.mktemp("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        return folder / "run", executed(read(NAMES[0]), folder, folder / "run", patch)


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_have_no_outputs_and_are_named_here(name: str) -> None:
    assert sorted(p.stem for p in FOLDER.glob("*.ipynb")) == NAMES
    book = read(name)
    nbformat.validate(book)
    for cell in book.cells:
        assert "execution" not in cell.metadata
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    assert book.cells[0].source.startswith("# ")
    assert next(c.metadata.get("tags") for c in book.cells if c.cell_type == "code") == ["parameters"]


def test_the_first_study(study: tuple[Path, list[Any]]) -> None:
    run = open_run(study[0])
    assert [v.id for v in run.variants] == ["bf16", "rtn-w3g128", "gptq-w2g128"]
    assert run.store.trace_count() == 36
    cells = study[1]
    assert 'class="qrm"' in shown(cells[2])
    assert "gptq-w2g128 against" in shown(cells[3])
    assert f"accuracy/{run.benchmarks[0]}/gptq-w2g128/strict" in shown(cells[-1])


def test_the_anatomy_of_a_failure(study: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(study[0])
    cells = executed(read(NAMES[1]), study[0].parent, study[0], monkeypatch)
    lost = run.problems(variant="gptq-w2g128", lost=True)
    assert f"lost {len(lost)} problems" in shown(cells[1])
    assert "Where the responses part" in shown(cells[2])
    assert "right answer:" in shown(cells[7])


def test_writing_a_metric(study: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    cells = executed(read(NAMES[2]), study[0].parent, study[0], monkeypatch)
    traces = open_run(study[0]).table("traces", text=True)
    again = traces[traces["variant"] == "gptq-w2g128"]["text"].str.count(r"(?i)\btry again\b").mean()
    assert f"{again:.6f}" in shown(cells[5])


def test_what_causes_the_loop(study: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    book = read(NAMES[3])
    book.cells.append(
        nbformat.v4.new_code_cell(
            "lost = table.loc['lost']\n"
            "assert lost['n'].eq(len(MOMENTS['lost'])).all() and len(MOMENTS['lost']) > 0\n"
            "assert set(table.loc['lost'].index) == set(PLAN)\n"
            "whole = put_back(matrices)\n"
            "assert all(torch.equal(tensor, intact.tensor(name)) for name, tensor in whole.items())\n"
            "half = random_rows(0.5, 0)\n"
            "changed = [(tensor != damaged.tensor(name)).any(1).sum().item() for name, tensor in half.items()]\n"
            "assert all(0 < n <= len(half[name]) / 2 for n, name in zip(changed, half))\n"
            "assert sum(len(names) for names in GROUPS.values()) == len(matrices)\n"
            "print('as planned')"
        )
    )
    cells = executed(book, study[0].parent, study[0], monkeypatch)
    assert shown(cells[-1]).strip() == "as planned"
    assert "everything" in shown(cells[-3])


def test_a_notebook_for_one_problem_runs(
    study: tuple[Path, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(study[0])
    name = run.problems(variant="gptq-w2g128", lost=True)["case"].iloc[0]
    out = tmp_path / "case.ipynb"
    done = CliRunner().invoke(
        cli,
        [
            "case",
            str(study[0]),
            name,
            "--variant",
            "bf16",
            "--variant",
            "gptq-w2g128",
            "--lang",
            "ko",
            "--notebook",
            str(out),
        ],
    )
    assert done.exit_code == 0, done.output
    cells = executed(nbformat.read(out, 4), tmp_path, study[0], monkeypatch)
    assert "응답이 갈라지는 곳" in shown(cells[1])
    assert "token" in shown(cells[2])
