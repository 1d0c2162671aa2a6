"""These tests need lighteval, whose pins clash with everything else's; without it all of them are skipped.

``make lighteval-test`` makes the environment (requirements/lighteval.lock) and fails where it cannot.  The folder is not called
``lighteval``: as ``tests`` is on the path of imports, it would be found in place of the package that is not there.
"""

from __future__ import annotations

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
