"""What our layer costs over bare vLLM: wall time of the vllm backend divided by that of ``LLM.generate``.

Both give the built-in model the same prompts with the same seeds and limits, as token ids, and both ask for the log-probability
of every sampled token.  The backend also checks and decodes every response, and makes a trace of it, one by one.  One engine
serves both, in turn, so that the machine's mood hits both alike; the ratio is that of the medians.  The engine is in this process,
so that the ratio of processor times says the same where other programs take the processor away.

    OMP_NUM_THREADS=1 TORCHDYNAMO_DISABLE=1 python bench/vllm_overhead.py [--requests 256] [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from qrm_forensics import builtin
from qrm_forensics.generate import get_generator
from qrm_forensics.generate.vllm_engine import request_seed
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import ModelRef, Request

SAMPLING = Sampling(temperature=0.6, top_p=0.95, max_new_tokens=256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()

    problems = builtin.problems(arguments.requests)
    requests = [Request("bf16", problem, 0, 42) for problem in problems]
    model = ModelRef(str(builtin.weights_dir()), None, "bf16", None, "original")
    backend = get_generator(
        "vllm",
        batch_size=arguments.batch_size,
        dtype="float32",
        kv_cache_memory_bytes=256 * 2**20,
        # a second pass over the same prompts is to cost what the first does
        engine={"enable_prefix_caching": False},
    )
    with backend.open(model) as session:
        from vllm import SamplingParams

        bare, ends = session._driver.llm, session._ends  # the very engine that the session asks
        ids = [{"prompt_token_ids": session._tokenizer.encode(p.prompt, add_special_tokens=False)} for p in problems]
        params = [
            SamplingParams(
                temperature=SAMPLING.temperature,
                top_p=SAMPLING.top_p,
                max_tokens=SAMPLING.max_new_tokens,
                seed=request_seed(request),
                logprobs=0,
                ignore_eos=True,
                stop_token_ids=ends,
                detokenize=False,
            )
            for request in requests
        ]

        def layer() -> dict[str, list[int]]:
            return {trace.problem_id: trace.token_ids or [] for trace in session.sample(requests, SAMPLING)}

        def engine() -> dict[str, list[int]]:
            outputs = bare.generate(ids, params, use_tqdm=False)
            return {p.id: list(o.outputs[0].token_ids) for p, o in zip(problems, outputs, strict=True)}

        def timed(answer: Callable[[], dict[str, list[int]]]) -> tuple[float, float, dict[str, list[int]]]:
            wall, processor = time.perf_counter(), time.process_time()
            answers = answer()
            return time.perf_counter() - wall, time.process_time() - processor, answers

        engine()  # warm
        seconds: dict[str, list[float]] = {"layer": [], "bare": []}
        busy: dict[str, list[float]] = {"layer": [], "bare": []}
        for repeat in range(arguments.repeats):
            order = (("layer", layer), ("bare", engine))
            answers = {}
            for name, answer in order if repeat % 2 else reversed(order):
                took, worked, answers[name] = timed(answer)
                seconds[name].append(took)
                busy[name].append(worked)
            if answers["layer"] != answers["bare"]:
                raise SystemExit("the two sides did not generate the same tokens; nothing is compared")
    tokens = sum(len(a) for a in answers["bare"].values())
    for name, values in seconds.items():
        median = statistics.median(values)
        print(
            f"{name}: {median:.2f} s median of {len(values)} ({min(values):.2f} to {max(values):.2f}), {tokens / median:.0f} tokens/s"
        )
    for what, values in (("wall time", seconds), ("processor time", busy)):
        pairs = [a / b for a, b in zip(values["layer"], values["bare"], strict=True)]
        ratio = statistics.median(values["layer"]) / statistics.median(values["bare"])
        print(f"{what}: ratio of the medians {ratio:.3f}   pairs: {', '.join(f'{pair:.3f}' for pair in pairs)}")


if __name__ == "__main__":
    main()
