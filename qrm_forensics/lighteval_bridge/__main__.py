"""``python -m qrm_forensics.lighteval_bridge`` prints the file that lighteval takes as ``model_definition_file_path``."""

from __future__ import annotations

from pathlib import Path

if __name__ == "__main__":
    print(Path(__file__).with_name("model.py"))
