"""The Markdown report of a small context, word for word.

After a change that is meant, write the files again and read the difference:

    UPDATE_GOLDEN=1 pytest tests/golden && git diff tests/golden
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from report_sample import sample_context

from qrm_forensics.report.render import render

HERE = Path(__file__).parent


@pytest.mark.parametrize("language", ["en", "ko"])
def test_markdown_report(language: str, tmp_path: Path) -> None:
    render(sample_context(), [language], tmp_path, formats=["md"])
    made = (tmp_path / f"report.{language}.md").read_text("utf-8")
    golden = HERE / f"report.{language}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(made, encoding="utf-8")
    assert made == golden.read_text("utf-8")
