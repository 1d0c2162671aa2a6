"""Our verdicts on programs beside those of lighteval's own harness, which is LiveCodeBench's.

Programs here are ours and harmless: that harness runs them without a sandbox.
"""

from __future__ import annotations

import json
import sys

import pytest

pytest.importorskip("lighteval", reason="needs lighteval; run make lighteval-test")
from lighteval.tasks.tasks.lcb.codegen_metrics import check_correctness, extract_code

from qrm_forensics.answers import Found
from qrm_forensics.benchmarks.code_tests import CodeTests, gold_of
from qrm_forensics.records import Status
from qrm_forensics.score.code_blocks import find_code
from qrm_forensics.score.code_judge import CodeJudge

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are only run on Linux")

SUM = CodeTests(["1 2\n", "3 4\n", "5 6\n"], ["3\n", "7\n", "11\n"], None)
PLUS = CodeTests(["[1, 2]\n3", "[]\n0"], ["[4, 5]", "[]"], "plus")
WORDS = CodeTests(["1\n"], ["0.50 2\nabc\n"], None)

AGREED = [
    ("a, b = map(int, input().split())\nprint(a + b)", SUM, True),
    ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", SUM, True),
    ("import sys\nfor line in sys.stdin:\n  a, b = map(int, line.split())\n  print(a + b)", SUM, True),
    ("import sys\ninput = sys.stdin.readline\na, b = map(int, input().split())\nsys.stdout.write(str(a + b))", SUM, True),
    ("def main():\n  print(sum(map(int, input().split())))\nif __name__ == '__main__':\n  main()", SUM, True),
    ("print(sum(map(int, input().split())))\nexit(3)", SUM, True),
    ("d = deque(map(int, input().split()))\nprint(reduce(add, d))", SUM, True),
    ("print(7)", SUM, False),
    ("a, b = map(int, input().split())\nprint(a + b if a < 5 else 1 // 0)", SUM, False),
    ("x = = 1", SUM, False),
    ("print('0.5 2.0  ')\nprint(' abc')\nprint()", WORDS, True),
    ("print('0.5  2')\nprint('ABC')", WORDS, False),
    ("print('0.5')\nprint('2 abc')", WORDS, False),
    ("class Solution:\n  def plus(self, xs: List[int], k: int):\n    print('debug')\n    return [x + k for x in xs]", PLUS, True),
    ("def plus(xs, k):\n  return tuple(x + k for x in xs)", PLUS, True),
    ("def plus(xs, k):\n  return [float(x + k) for x in xs]", PLUS, True),
    ("import numpy as np\ndef plus(xs, k):\n  return [x + np.int64(k) for x in xs]", PLUS, True),
    ("def plus(xs, k):\n  return [(x + k,) for x in xs]", PLUS, False),
    ("def plus(xs, k):\n  return {4, 5}", PLUS, False),
    ("def minus(xs, k):\n  return xs", PLUS, False),
    ("def plus(xs):\n  return xs", PLUS, False),
]  # fmt: skip

#: Programs that are right, and that fail where they are moved into a function and fed from patched objects.
OURS_ONLY = [
    ("import sys\ndata = sys.stdin.buffer.read().split()\nprint(int(data[0]) + int(data[1]))", SUM),
    ("print(sum(map(int, open(0).read().split())))", SUM),
    ("n = 0\ndef f():\n  global n\n  n += sum(map(int, input().split()))\nf()\nprint(n)", SUM),
    ("import os\nprint(sum(map(int, input().split())), flush=True)\nos._exit(0)", SUM),
]


def theirs(code: str, tests: CodeTests) -> bool:
    sample = {"inputs": list(tests.inputs), "outputs": list(tests.outputs), "fn_name": tests.fn_name}
    results = check_correctness({"input_output": json.dumps(sample)}, code, 6)
    return all(result > 0 for result in results)


def ours(code: str, tests: CodeTests) -> bool:
    outcome = CodeJudge().judge(code, gold_of(tests))
    assert outcome.status is not Status.UNSCORED, outcome.note
    return outcome.status is Status.CORRECT


@pytest.mark.parametrize(("code", "tests", "right"), AGREED)
def test_the_same_verdict(code: str, tests: CodeTests, right: bool) -> None:
    assert (theirs(code, tests), ours(code, tests)) == (right, right)


@pytest.mark.parametrize(("code", "tests"), OURS_ONLY)
def test_where_the_verdicts_are_known_to_differ(code: str, tests: CodeTests) -> None:
    assert (theirs(code, tests), ours(code, tests)) == (False, True)


@pytest.mark.parametrize(
    "text",
    [
        "a\n```python\nx = 1\n```\nend",
        "```\na\n```\n```py\nb\n```",
        "</think> ```x\ny\n``` z",
        "```\na",
        "none",
        "```a```\nb\n````",
    ],
)
def test_the_same_program_is_extracted(text: str) -> None:
    found = find_code(text, "lenient")
    assert (found.answer.removesuffix("\n") if isinstance(found, Found) else "") == extract_code(text)
