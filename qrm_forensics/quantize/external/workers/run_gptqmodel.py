"""Runs GPTQModel in its own environment: ``python run_gptqmodel.py task.json``.  Imports nothing of this package.

Symmetric and without ``desc_act``: what vLLM loads.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def main(task: dict[str, Any]) -> None:
    # its pool of loaders wants two workers, also where there is one core for each of two pools; read when it is imported
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig

    options = task["options"]
    named = {} if torch.cuda.is_available() else {"device": "cpu"}
    config = QuantizeConfig(bits=options["bits"], group_size=options["group_size"], sym=True, desc_act=False, **named)
    model = GPTQModel.load(task["model"], config)
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in task["token_ids"]]
    model.quantize(rows, batch_size=1)
    model.save(task["out"])


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    main(given)
    found = {name: metadata.version(name) for name in ("gptqmodel", "transformers", "torch")}
    Path(given["result"]).write_text(json.dumps(found), encoding="utf-8")
