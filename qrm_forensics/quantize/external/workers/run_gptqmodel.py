"""Runs GPTQModel in its own environment: ``python run_gptqmodel.py task.json``.  Imports nothing of this package.

Symmetric and without ``desc_act``: what vLLM loads.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def main(task: dict[str, Any]) -> None:
    from gptqmodel import GPTQModel, QuantizeConfig

    options = task["options"]
    config = QuantizeConfig(bits=options["bits"], group_size=options["group_size"], sym=True, desc_act=False)
    model = GPTQModel.load(task["model"], config)
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in task["token_ids"]]
    model.quantize(rows, batch_size=1)
    model.save(task["out"])


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    main(given)
    found = {name: metadata.version(name) for name in ("gptqmodel", "transformers", "torch")}
    Path(given["result"]).write_text(json.dumps(found), encoding="utf-8")
