"""These tests need lighteval, which has an environment of its own (``make lighteval-test``)."""

from __future__ import annotations

import importlib.util
import os

collect_ignore_glob: list[str] = []
if importlib.util.find_spec("lighteval") is None:
    collect_ignore_glob.append("test_*.py")

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
