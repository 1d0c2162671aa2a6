"""Generated pages are current, and the README's commands exist."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = runpy.run_path(str(ROOT / "docs" / "build.py"))["PAGES"]


@pytest.mark.parametrize("file", sorted(PAGES))
def test_generated_pages_are_current(file: str) -> None:
    assert (ROOT / "docs" / file).read_text(encoding="utf-8") == PAGES[file](), "run: python docs/build.py"


def test_every_command_and_option_in_the_readme_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    used = re.findall(r"^(?:\$ )?qrm-forensics (\w+)([^\n#]*)", readme, re.M)
    assert used
    for command, rest in used:
        done = subprocess.run(
            [sys.executable, "-m", "qrm_forensics", command, "--help"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, command
        for option in re.findall(r"--[a-z]+", rest):
            assert option in done.stdout, f"{command} {option}"


def test_links_in_the_readme_lead_somewhere() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", readme):
        assert (ROOT / target).exists(), target
