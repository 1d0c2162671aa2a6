"""Deep dives in Jupyter: a run, and any single problem of it, with rich display and as pandas tables.

::

    from qrm_forensics import open_run

    run = open_run("runs/demo")            # or open_run(), the newest one
    case = run.case("MATH-500/211")        # every variant's response to one problem
    case.divergence()                      # where the responses part
    run.problems(variant="awq-w3g128", lost=True)

Nothing here needs torch or a GPU.  What is displayed is HTML without scripts, in which every text of
a model is escaped.
"""

from __future__ import annotations

from qrm_forensics.notebook.case import Case
from qrm_forensics.notebook.response import Response
from qrm_forensics.notebook.run import Run, open_run

__all__ = ["Case", "Response", "Run", "open_run"]
