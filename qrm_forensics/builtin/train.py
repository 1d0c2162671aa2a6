"""Train the built-in reasoner: ``python -m qrm_forensics.builtin.train --out DIR``.

Writes an ordinary Hugging Face folder (Qwen2 architecture, byte-level BPE with
one token per digit as in Qwen2's own tokenizer).  Training examples are drawn
without end from :mod:`qrm_forensics.builtin.families`; held-out problems are
skipped.  A run can be killed and started again with the same arguments: it goes
on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from qrm_forensics.builtin.families import FAMILIES, LEVELS, Worked

if TYPE_CHECKING:
    import torch

BOS, EOS, PAD, USER, ASSISTANT = "<|begin|>", "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' + message['content'].split('</think>')[-1].lstrip('\n') + eos_token }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}"
)
#: Qwen2's pre-tokenization: words with their leading space, single digits, punctuation runs.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
#: Tokens where a chain decides how it goes on.  They are rare beside digits and carry the whole
#: plan, so they weigh more in the loss (every alternative of a decision alike).
DECISIONS = (" Not", " Yes", " Too", " matches", " which", " not", " is", " yes", " no", "Wait", "So", "Check")
DECISION_WEIGHT = 4.0
CHUNK = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)


def prompt_text(question: str) -> str:
    """The prompt as the chat template renders it for one user turn."""
    return f"{BOS}{USER}{question}{ASSISTANT}<think>\n"


def response_text(worked: Worked) -> str:
    """What the model learns to write after the prompt, without the end token."""
    return f"{worked.chain}\n</think>\nThe answer is \\boxed{{{worked.answer}}}."


def examples(seed: int) -> Iterator[Worked]:
    """Training problems without end, families and levels evenly mixed, held-out ones left out."""
    rng = Random(seed)
    families = list(FAMILIES.values())
    while True:
        worked = rng.choice(families)(rng, rng.choice(LEVELS), True)
        if not worked.held_out:
            yield worked


def build_tokenizer(out: Path, vocab_size: int = 512, samples: int = 20_000) -> Any:
    """Train the byte-level BPE on generator text and save it as a ``PreTrainedTokenizerFast``."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS, USER, ASSISTANT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    source = examples(0)
    tokenizer.train_from_iterator(
        (w.question + "\n" + response_text(w) for _, w in zip(range(samples), source, strict=False)), trainer
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=2048,
    )
    # As in DeepSeek-R1, the think tags are single tokens but part of the text.
    fast.add_tokens(["<think>", "</think>"])
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(out)
    return fast


def build_model(args: argparse.Namespace, tokenizer: Any) -> Any:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(args.seed)
    config = Qwen2Config(
        vocab_size=math.ceil(len(tokenizer) / 64) * 64,
        hidden_size=args.hidden,
        intermediate_size=args.intermediate,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        max_position_embeddings=2048,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attention_dropout=0.0,
        initializer_range=args.init,
        use_cache=False,
    )
    return Qwen2ForCausalLM(config)


def batches(
    tokenizer: Any, seed: int, tokens_per_batch: int, max_length: int
) -> Iterator[tuple[list[list[int]], list[int]]]:
    """Right-padded-by-the-caller batches of similar length: token ids and prompt lengths."""
    source, rng = examples(seed), Random(seed)
    while True:
        pool: list[tuple[list[int], int]] = []
        for worked in source:
            prompt = prompt_text(worked.question)
            ids = tokenizer(prompt + response_text(worked) + EOS, add_special_tokens=False)["input_ids"]
            if len(ids) <= max_length:
                pool.append((ids, len(tokenizer(prompt, add_special_tokens=False)["input_ids"])))
            if len(pool) == 2048:
                break
        pool.sort(key=lambda item: len(item[0]))
        grouped, i = [], 0
        while i < len(pool):
            width = next(c for c in CHUNK if c >= len(pool[i][0]))
            j = i
            while j < len(pool) and len(pool[j][0]) <= width and (j - i + 1) * width <= tokens_per_batch:
                j += 1
            grouped.append(pool[i:j])
            i = j
        rng.shuffle(grouped)
        for group in grouped:
            yield [ids for ids, _ in group], [n for _, n in group]


def learning_rate(done: float, peak: float, cool_from: float, cool_peak: float) -> float:
    """Linear warm-up over 1 % of the budget, constant, then from ``cool_from`` on linear from ``cool_peak`` to zero."""
    if done < 0.01:
        return peak * (done + 1e-4) / 0.01
    if done < cool_from:
        return peak
    return cool_peak * max(0.0, (1.0 - done) / (1.0 - cool_from))


def train(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(args.threads)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer) if args.tokenizer else build_tokenizer(out)
    tokenizer.save_pretrained(out)
    model = build_model(args, tokenizer)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": args.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=args.lr,
        betas=(0.9, 0.98),
    )
    state_file = out / "state.pt"
    tokens = step = 0
    spent = 0.0
    if state_file.exists():
        state = torch.load(state_file)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        tokens, step, spent = state["tokens"], state["step"], state["spent"]
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters()), "tokens": tokens}), flush=True)
    weight = torch.ones(model.config.vocab_size)
    for text in DECISIONS:
        ids_of_text = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids_of_text) == 1:
            weight[ids_of_text[0]] = DECISION_WEIGHT
    start = time.perf_counter() - spent
    last_saved, running = time.perf_counter(), []
    model.train()
    for rows, prompts in batches(tokenizer, args.seed + 1000 + step, args.batch_tokens, CHUNK[-1]):
        # The budget may be set in seconds instead of tokens, for a machine with a deadline.
        spent = time.perf_counter() - start
        done = spent / args.seconds if args.seconds else tokens / args.tokens
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(done, args.lr, args.cool_from, args.cool_lr)
        width = next(c for c in CHUNK if c >= max(map(len, rows)))
        ids = torch.full((len(rows), width), tokenizer.pad_token_id)
        labels = torch.full((len(rows), width), -100)
        for i, (row, n) in enumerate(zip(rows, prompts, strict=True)):
            ids[i, : len(row)] = torch.tensor(row)
            labels[i, n : len(row)] = torch.tensor(row[n:])
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
        wanted = labels[:, 1:]
        kept = wanted != -100
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[kept]), wanted[kept], weight=weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += sum(map(len, rows))
        step += 1
        running.append(loss.item())
        if step % 50 == 0:
            line = {
                "step": step,
                "tokens": tokens,
                "loss": round(sum(running) / len(running), 4),
                "seconds": round(spent),
            }
            print(json.dumps(line), flush=True)
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            running = []
        if time.perf_counter() - last_saved > args.save_every:
            _save(out, model, optimizer, tokens, step, spent)
            last_saved = time.perf_counter()
    _save(out, model, optimizer, tokens, step, spent)


def _save(out: Path, model: Any, optimizer: torch.optim.Optimizer, tokens: int, step: int, spent: float) -> None:
    import torch

    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "tokens": tokens,
        "step": step,
        "spent": spent,
    }
    torch.save(state, out / "state.tmp")
    (out / "state.tmp").replace(out / "state.pt")
    model.config.use_cache = True
    model.config.dtype = torch.bfloat16
    rounded = {k: v.to(torch.bfloat16) for k, v in model.state_dict().items()}
    model.save_pretrained(out, state_dict=rounded)
    model.config.use_cache = False


def publish(trained: Path, target: Path) -> None:
    """Write the trained model as it ships: bfloat16 weights, tokenizer, generation settings; no training state."""
    import torch
    from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2ForCausalLM

    target.mkdir(parents=True, exist_ok=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(trained)
    model = Qwen2ForCausalLM.from_pretrained(trained, dtype=torch.bfloat16)
    model.config.use_cache = True
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    # Written in the words that transformers 4 and 5 both understand; the class keeps version 5
    # from loading Qwen2's own tokenizer instead, which would normalize the text first.
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "additional_special_tokens": [USER, ASSISTANT],
        "clean_up_tokenization_spaces": False,
        "padding_side": "left",
        "model_max_length": model.config.max_position_embeddings,
    }
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    tokenizer_file = target / "tokenizer.json"
    content = json.loads(tokenizer_file.read_text("utf-8"))
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": SPLIT}
    tokenizer_file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    # safetensors creates its files for the owner alone; a package is read by everybody.
    for file in target.iterdir():
        file.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--tokenizer")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--intermediate", type=int, default=384)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--init", type=float, default=0.03)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--cool-from", type=float, default=0.54)
    parser.add_argument("--cool-lr", type=float, default=1.5e-3)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--tokens", type=float, default=60e6)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--batch-tokens", type=int, default=6144)
    parser.add_argument("--save-every", type=float, default=240.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--publish", type=Path, help="only write what is trained in --out to this folder")
    args = parser.parse_args()
    if args.publish:
        publish(Path(args.out), args.publish)
    else:
        train(args)


if __name__ == "__main__":
    main()
