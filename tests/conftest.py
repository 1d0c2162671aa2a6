"""What holds for all tests: those with drawn examples draw the same ones on every machine, and no example has to be quick.

Other examples, to look for what these do not find: ``pytest tests/properties --hypothesis-profile=other --hypothesis-seed=1``.
"""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("hypothesis") is not None:  # the environments of vLLM and of lighteval may be without it
    from hypothesis import HealthCheck, settings

    # A clock says how busy a machine is; bounds on time are tests of their own, in seconds of the processor.
    everywhere = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("everywhere", everywhere)
    settings.register_profile("other", everywhere, derandomize=False)
    settings.load_profile("everywhere")
