"""Tokens per second of the embedded backend, where the time goes, and the noise floor.

    python bench/generate_speed.py CHECKPOINT [--problems 60] [--batch-sizes 1,8,64] [--profile]

Runs the built-in problem families through CHECKPOINT once per batch size and prints the
throughput of each and the share of traces that are identical to the first's.
"""

from __future__ import annotations

import argparse
import time
from random import Random

from qrm_forensics.builtin.families import FAMILIES, LEVELS
from qrm_forensics.generate import get_generator, noise_floor
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Finish, Kind, ModelRef, Problem, Request


def requests(checkpoint: str, count: int) -> list[Request]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    rng = Random(7)
    made = []
    cells = [(name, family, level) for name, family in FAMILIES.items() for level in LEVELS]
    for i in range(count):
        name, family, level = cells[i % len(cells)]
        worked = family(rng, level, False)
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": worked.question}], tokenize=False, add_generation_prompt=True
        )
        problem = Problem("families", f"p{i}", worked.question, prompt, worked.answer, Kind.MATH, name, str(level))
        made.append(Request("bf16", problem, 0, 42))
    return made


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--batch-sizes", default="1,8,64")
    parser.add_argument("--max-new-tokens", type=int, default=640)
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()

    sampling = Sampling(temperature=args.temperature, top_p=0.95, max_new_tokens=args.max_new_tokens)
    planned = requests(args.checkpoint, args.problems)
    first = None
    for batch_size in map(int, args.batch_sizes.split(",")):
        with get_generator("embedded", batch_size=batch_size).open(
            ModelRef(args.checkpoint, None, "bf16", None, "original")
        ) as session:
            start = time.perf_counter()
            cpu = time.process_time()
            if args.profile:
                with torch.profiler.profile() as profile:
                    traces = list(session.sample(planned, sampling))
                print(
                    profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=50)
                )
            else:
                traces = list(session.sample(planned, sampling))
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            tokens = sum(t.completion_tokens or 0 for t in traces)
            floor = noise_floor(first or traces, traces)
            print(
                f"batch {batch_size:3d}, {torch.get_num_threads()} threads: {tokens} tokens in {wall:.1f} s = "
                f"{tokens / wall:.0f} tokens/s ({tokens / cpu:.0f} per CPU second), "
                f"{session.steps} steps of {1000 * wall / session.steps:.1f} ms, {session.prefills} prefills, "
                f"{sum(t.finish == Finish.LENGTH for t in traces)} at the limit; "
                f"identical to the first: {floor.identical}/{floor.n}, "
                f"parting at tokens {[d.position for d in floor.divergences]}",
                flush=True,
            )
            first = first or traces


if __name__ == "__main__":
    main()
