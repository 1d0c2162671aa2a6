"""lighteval's extractive match as the policy ``lenient``, in killable processes of the environment that has lighteval."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import Final

from qrm_forensics import answers
from qrm_forensics.errors import EnvironmentMissing
from qrm_forensics.lighteval_bridge import interpreter
from qrm_forensics.records import Kind, Problem
from qrm_forensics.score.shield import explosion
from qrm_forensics.score.workers import Judgement, WorkerPool

#: Wall-clock seconds for one response: lighteval allows itself five for each of several steps.
SECONDS: Final = 30.0
_SCRIPT: Final = Path(__file__).with_name("lighteval_worker.py")
_WANTED: Final = "the policy lenient by lighteval's rules"


@functools.lru_cache(maxsize=4)
def version_in(python: str) -> str:
    """The version of lighteval that a Python has.  Raises EnvironmentMissing where it has none."""
    code = "from importlib.metadata import version; print(version('lighteval'))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentMissing(f"{_WANTED}: {python} does not run ({error})") from None
    if done.returncode:
        raise EnvironmentMissing(f"{_WANTED}: {python} has no lighteval; see docs/lighteval.md")
    return done.stdout.strip()


def version_here() -> str:
    """The version of the lighteval that would be asked, ``absent`` where there is none."""
    try:
        return version_in(interpreter(_WANTED))
    except EnvironmentMissing:
        return "absent"


class Match:
    """Judges responses, with ``workers`` processes started when first needed; ``judge`` is safe to call from as many threads.

    ``rule`` is what verdicts name.  Raises EnvironmentMissing where there is no lighteval.
    """

    def __init__(self, workers: int = 1) -> None:
        python = interpreter(_WANTED)
        self.rule = f"lighteval-{version_in(python)}/extractive_match"
        self._pool = WorkerPool(workers, SECONDS, _SCRIPT, python)

    def judge(self, problem: Problem, text: str) -> Judgement:
        """lighteval's judgement of a whole response; an answer that would explode is refused, as by our own rules."""
        gold, choice = problem.gold, problem.kind is Kind.CHOICE
        if choice:
            letter = answers.choice_letter(answers.gold_answer(gold))
            if letter is None or letter > "J":
                return Judgement(None, None, None, "the gold answer is not a letter from A to J")
            gold = letter
        span = answers.last_box(text)
        refused = explosion(text[span[0] : span[1]]) if span is not None and not choice else None
        if refused is not None:
            return Judgement(None, None, None, f"refused: {refused}")
        return self._pool.judge({"gold": gold, "text": text, "choice": choice})

    def close(self) -> None:
        """Kill the processes.  Call ``end`` after every ``judge`` has returned."""
        self._pool.close()

    def end(self) -> None:
        self._pool.end()
