"""How well the gibberish metric does: false alarms on real responses, recall on what is planted, speed.

    python bench/gibberish.py [FOLDER] [--seed 1] [--memory MEGABYTES]

FOLDER holds response files of the Quantized-Reasoning-Models layout (by default those beside the project; without
any, texts of the built-in problem families stand in, and say little about real prose).

The thresholds were chosen while looking at the responses beside the project, so their false alarms are in-sample;
on others they are not.  What is planted was not used to choose anything.  Planted responses are put back into the
run from which the reference is made, one in twenty at a time, so that the reference is not clean either.
"""

from __future__ import annotations

import argparse
import random
import resource
import string
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from planted_truth.bases import HALVES, TRACES, Base, clean, responses

from qrm_forensics.metrics.gibberish import gibberish, unknown_types
from qrm_forensics.metrics.lexicon import FLOOR, LEAST_WORDS, Lexicon, build_lexicon, problem_hash, types_of
from qrm_forensics.metrics.scan import scan_text, scans

SIGNS = ("gibberish", "overrepresented_words", "unknown_words", "script_mixing", "random_digit_windows")
LONG = 600  # words of a response that something is planted into
SHARE = 20  # one planted response in so many


def table(found: Sequence[Base]) -> pa.Table:
    texts = pa.array([b.text for b in found], pa.large_string())
    problems = pa.array([b.problem for b in found])
    names = pa.array(["b"] * len(found))
    return pa.table([texts, problems, problems, names, problems], names=list(gibberish.reads))


def kind(b: Base) -> str:
    return "closed, correct" if b.closed and b.correct else "closed, wrong" if b.closed else "not closed"


def false_alarms(run: Sequence[Base]) -> None:
    corpus = build_lexicon([table(run)])
    measured = gibberish(table(run), corpus).to_pylist()
    totals = Counter(map(kind, run))
    print(
        f"\nRun of {len(run)} responses to {len({b.problem for b in run})} problems; {corpus.n_words:,} reference words;"
    )
    print(f"a window is unknown from {unknown_types(corpus)} different unknown words on\n")
    print(f"{'responses with a sign':24}" + "".join(f"{k + f' ({totals[k]})':>24}" for k in sorted(totals)))
    for sign in (*SIGNS, "replacement_characters"):
        found = Counter(kind(b) for b, row in zip(run, measured, strict=True) if row[sign])
        print(f"{sign:24}" + "".join(f"{found[k]:24}" for k in sorted(totals)))
    found = Counter(kind(b) for b, row in zip(run, measured, strict=True) if row["longest_digit_run"] >= 100)
    print(f"{'run of 100 digits':24}" + "".join(f"{found[k]:24}" for k in sorted(totals)))
    found = Counter(kind(b) for b in run if over_all_words(b, corpus))
    print(f"{'rate over all words':24}" + "".join(f"{found[k]:24}" for k in sorted(totals)))
    print("(the last line: 20 occurrences at 30,000 times the reference, the rate taken over the whole response)\n")
    for b, row in zip(run, measured, strict=True):
        if row["gibberish"]:
            what = row["gibberish_words"] or f"digits: {row['longest_digit_run']} in a row"
            print(f"  {b.name:22} {kind(b):16} at {row['gibberish_first_char']:6}: {what}")


def over_all_words(b: Base, corpus: Lexicon) -> bool:
    """The over-representation of a word by its rate in the whole response."""
    types = types_of(scan_text(b.text))
    _, limits = corpus.judge(types, problem_hash("b", b.problem))
    asked = set(types_of(scan_text(b.problem)).hashes.tolist())
    over = (limits > 0) & (types.words >= FLOOR) & (types.words >= limits * max(int(types.n_words), 1))
    return any(h not in asked for h in types.hashes[over].tolist())


def smaller_runs(run: Sequence[Base], rng: random.Random) -> None:
    problems = sorted({b.problem for b in run})
    print("\nSmaller runs (a random choice of problems, three each): closed, correct responses with a sign")
    print(f"{'problems':>10}{'threshold':>10}{'flagged':>12}{'of':>8}{'over-represented':>18}{'unknown':>9}")
    for n in (150, 100, 50, 30):
        if n > len(problems):
            continue
        flagged = over = unknown = of = 0
        limits = []
        for _ in range(3):
            chosen = set(rng.sample(problems, n))
            part = [b for b in run if b.problem in chosen]
            corpus = build_lexicon([table(part)])
            limits.append(unknown_types(corpus))
            for row in gibberish(table([b for b in part if b.closed and b.correct]), corpus).to_pylist():
                of += row["gibberish"] is not None
                flagged += bool(row["gibberish"])
                over += bool(row["overrepresented_words"])
                unknown += bool(row["unknown_words"])
        print(f"{n:10}{'/'.join(map(str, limits)):>10}{flagged:12}{of:8}{over:18}{unknown:9}")


# ------------------------------------------------------------------------------------------------- planting
Plant = Callable[[str, random.Random], tuple[str, int]]  # (text, where the planted part begins)


def _between(text: str, rng: random.Random) -> int:
    """A place between two words, in the second to fourth tenth of the text, so that there is room behind it."""
    at = text.find(" ", rng.randrange(len(text) // 10, len(text) * 4 // 10))
    return at if at >= 0 else len(text) // 2


def insert(what: Callable[[random.Random], str]) -> Plant:
    def plant(text: str, rng: random.Random) -> tuple[str, int]:
        at = _between(text, rng)
        return f"{text[:at]} {what(rng)}{text[at:]}", at + 1

    return plant


def bursts(words: Sequence[str], n: int) -> Plant:
    """``n`` foreign words put in place of words, within 400 characters or so."""

    def plant(text: str, rng: random.Random) -> tuple[str, int]:
        at = first = _between(text, rng)
        for _ in range(n):
            text = f"{text[:at]} {rng.choice(words)}{text[at:]}"
            following = text.find(" ", at + 30 + rng.randrange(50))
            at = following if following >= 0 else len(text)
        return text, first + 1

    return plant


def corrupted(share: float) -> Plant:
    """Of 200 words (three letters or more) in a row, ``share`` get a letter changed, dropped, doubled or swapped."""

    def plant(text: str, rng: random.Random) -> tuple[str, int]:
        at = _between(text, rng)
        words = text[at:].split(" ")
        first, place, counted = -1, at, 0
        for i, word in enumerate(words):
            letters = [k for k, c in enumerate(word) if c in string.ascii_letters]
            if len(letters) >= 3 and "\\" not in word:
                counted += 1
                if rng.random() < share:
                    first = place if first < 0 else first
                    words[i] = _damaged(word, letters, rng)
            if counted == 200:
                break
            place += len(words[i]) + 1
        return text[:at] + " ".join(words), first

    return plant


def _damaged(word: str, letters: list[int], rng: random.Random) -> str:
    k = rng.choice(letters[:-1])
    how = rng.randrange(4)
    if how == 0:
        return word[:k] + rng.choice(string.ascii_lowercase) + word[k + 1 :]
    if how == 1:
        return word[:k] + word[k + 1 :]
    if how == 2:
        return word[:k] + word[k] + word[k:]
    return word[:k] + word[k + 1] + word[k] + word[k + 2 :]


def shuffled(text: str, rng: random.Random) -> tuple[str, int]:
    """300 words in a random order: known words, no sense."""
    at = _between(text, rng)
    words = text[at:].split(" ")
    part = words[:300]
    rng.shuffle(part)
    return text[:at] + " ".join(part + words[300:]), at


HAN, CYRILLIC, THAI = ("首先", "因此", "的", "计算", "答案"), ("поэтому", "равно", "числа"), ("ดังนั้น", "จำนวน")
PLANTS: dict[str, Plant] = {
    "'Vis, ' x 15": insert(lambda _: "Vis, " * 15),
    "'Vis, ' x 25": insert(lambda _: "Vis, " * 25),
    "'Vis, ' x 100": insert(lambda _: "Vis, " * 100),
    "'Vis, ' x 2,000": insert(lambda _: "Vis, " * 2000),
    "'Vis, no. ' x 50": insert(lambda _: "Vis, no. " * 50),
    "'So the Vis is the sum of it. ' x 50": insert(lambda _: "So the Vis is the sum of it. " * 50),
    "'IV, ' x 2,000": insert(lambda _: "IV, " * 2000),
    "corrupted words, 5 % of 200": corrupted(0.05),
    "corrupted words, 10 % of 200": corrupted(0.1),
    "corrupted words, 20 % of 200": corrupted(0.2),
    "Chinese, 1 word": bursts(HAN[:2], 1),
    "Chinese, 3 words": bursts(HAN, 3),
    "Russian, 1 word": bursts(CYRILLIC, 1),
    "three scripts, 5 words": bursts(HAN + CYRILLIC + THAI, 5),
    "a Chinese sentence (a passage)": insert(lambda _: "首先我们需要计算这个三角形的面积然后再求出边的长度 "),
    "digits, 120 in a row": insert(lambda r: "".join(r.choices("0123456789", k=120)) + " "),
    "digits, 1,000 in groups of 1 to 5": insert(
        lambda r: " ".join("".join(r.choices("0123456789", k=r.randint(1, 5))) for _ in range(333)) + " "
    ),
    "word salad (300 words shuffled)": shuffled,
}


def planted(run: Sequence[Base], rng: random.Random) -> None:
    hosts = [i for i, b in enumerate(run) if b.closed and b.correct and len(b.text.split()) >= LONG]
    rng.shuffle(hosts)
    size = max(len(run) // SHARE, 1)
    print(f"\nPlanted into {len(hosts)} closed, correct responses of {LONG} words or more, {size} at a time")
    print(f"{'':38}{'found':>8}{'flagged':>9}{'position off by (median, p90)':>32}")
    for name, plant in PLANTS.items():
        found = flagged = 0
        errors = []
        for start in range(0, len(hosts), size):
            ill, truth = list(run), {}
            for i in hosts[start : start + size]:
                text, truth[i] = plant(run[i].text, rng)
                ill[i] = replace(run[i], text=text)
            rows = gibberish(table([ill[i] for i in truth]), build_lexicon([table(ill)])).to_pylist()
            for row, begins in zip(rows, truth.values(), strict=True):
                flagged += bool(row["gibberish"])
                at = (
                    row["gibberish_first_char"]
                    if row["gibberish_first_char"] is not None
                    else row["foreign_first_char"]
                )
                found += at is not None
                if at is not None:
                    errors.append(abs(at - begins))
        off = f"{np.median(errors):.0f}, {np.quantile(errors, 0.9):.0f}" if errors else "-"
        print(f"{name:38}{found / len(hosts):8.3f}{flagged / len(hosts):9.3f}{off:>32}")


# ------------------------------------------------------------------------------------- lists of frequencies
def frequency_lists(run: Sequence[Base], rng: random.Random) -> None:
    """What a frequency list of English would find instead of the words of the run."""
    try:
        import wordfreq
    except ImportError:
        print("\nwordfreq is not installed, so no line on frequency lists")
        return
    zipf: dict[str, float] = {}

    def rare(words: list[str], bound: float) -> bool:
        """Whether some 200 words in a row have 7 different ones below ``bound``."""
        for w in words:
            if w not in zipf:
                zipf[w] = wordfreq.zipf_frequency(w, "en")
        at = [(i, w) for i, w in enumerate(words) if zipf[w] < bound]
        return any(len({w for j, w in at[k : k + 200] if j < i + 200}) >= 7 for k, (i, _) in enumerate(at))

    good = [b for b in run if b.closed and b.correct]
    print("\nFrequency list (wordfreq) instead of the words of the run; 7 different words of 200 below a Zipf value")
    print("Zipf values: " + ", ".join(f"{w} {wordfreq.zipf_frequency(w, 'en')}" for w in ("vis", "vi", "hmm", "binom")))
    for bound in (0.1, 1.5, 3.5):
        plants = {n: PLANTS[n] for n in ("corrupted words, 10 % of 200", "'Vis, ' x 100")}
        alarms = sum(rare(_plain(b.text), bound) for b in good)
        shares = ", ".join(
            f"{n} {sum(rare(_plain(plant(b.text, rng)[0]), bound) for b in good)}" for n, plant in plants.items()
        )
        print(f"  below {bound}: false alarms {alarms} of {len(good)}; found: {shares}")


def _plain(text: str) -> list[str]:
    scan = scan_text(text)
    t = scan.tokens
    spelled = (scan.slice(a, b) for a, b, k in zip(t.starts, t.ends, t.kinds, strict=True) if k == 2)
    return [w.lower() for w in spelled if len(w) >= 3 and not w.isupper()]


# ----------------------------------------------------------------------------------------------------- speed
def speed(run: Sequence[Base]) -> None:
    whole = table(run)
    n = sum(len(b.text.encode()) for b in run)
    corpus = build_lexicon([whole])
    gibberish(whole.slice(0, 64), corpus)
    building, scanning, measuring = [], [], []
    for _ in range(5):
        began = time.process_time()
        build_lexicon([whole])
        building.append(time.process_time() - began)
        scanned = measured = 0.0
        for start in range(0, len(run), 64):
            part = whole.slice(start, 64)
            began = time.process_time()
            for scan in scans(part):
                assert scan is not None
                _ = scan.tokens, scan.words
            scanned += time.process_time() - began
            began = time.process_time()
            gibberish(part, corpus)
            measured += time.process_time() - began
        scanning.append(scanned)
        measuring.append(measured)
    print(f"\nSpeed on {n / 1e6:.1f} MB, one core: corpus {n / 1e6 / min(building):.0f} MB/s; ", end="")
    print(f"metric {min(measuring) / n * 1e9:.1f} ns/byte beside {min(scanning) / n * 1e9:.1f} of the scan")
    hostile = {
        "1 MB of one digit": "7" * 1_000_000,
        "1 MB of one letter": "a" * 1_000_000,
        "100,000 open boxes": "\\boxed{" * 100_000,
        "1 MB of random digits": "".join(random.Random(1).choices(string.digits, k=1_000_000)),
        "200,000 times Vis": "Vis, " * 200_000,
        "150,000 different words": " ".join(f"q{_letters(i)}" for i in range(150_000)),
        "Latin and Han in turn": "a首b " * 200_000,
    }
    for name, text in hostile.items():
        ill = replace(run[0], text=text, problem="another")
        part = table([ill])
        for scan in scans(part):
            assert scan is not None
            _ = scan.tokens, scan.words
        began = time.process_time()
        gibberish(part, corpus)
        print(f"  {name:26}{(time.process_time() - began) * 1e3:7.1f} ms")


def _letters(i: int) -> str:
    return "".join(string.ascii_lowercase[i // 26**k % 26] for k in range(4))


def memory(run: Sequence[Base], megabytes: int, rng: random.Random) -> None:
    """The corpus of a large run: the responses over and over, a tenth of the words different in each, new problems."""
    made = Counter[str]()

    def batches() -> Iterator[pa.Table]:
        copy = 0
        while made["bytes"] < megabytes * 1_000_000:
            part = []
            for b in rng.sample(list(run), min(32, len(run))):
                words = b.text.split(" ")
                for k in range(rng.randrange(10), len(words), 10):
                    if words[k].isalpha():
                        words[k] += rng.choice(string.ascii_lowercase) + _letters(rng.randrange(20_000))
                part.append(replace(b, text=" ".join(words), problem=f"{copy}/{b.problem[:40]}"))
                made["bytes"] += len(b.text)
                made["responses"] += 1
                copy += 1
            yield table(part)

    given = batches()
    for _ in range(20):
        next(given)  # what making the texts takes is not the corpus's
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    corpus = build_lexicon(given)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    arrays = sum(a.nbytes for a in (corpus.keys, corpus.owners, corpus.counts, corpus.pairs)) / 1e6
    print(
        f"\nCorpus of {made['responses']:,} responses, {made['bytes'] / 1e6:,.0f} MB: {arrays:.0f} MB of tables, ",
        end="",
    )
    print(f"the process grew by {grown:.0f} MB while it was made")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=TRACES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", type=int, metavar="MEGABYTES", help="also make the corpus of so large a run")
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    run = responses(asked.folder) or [b for half in HALVES for b in clean(half, "builtin")]
    if build_lexicon([table(run)]).n_words < LEAST_WORDS:
        sys.exit(f"{asked.folder}: too few responses to make a reference of")
    false_alarms(run)
    smaller_runs(run, rng)
    planted(run, rng)
    frequency_lists(run, rng)
    speed(run)
    if asked.memory:
        memory(run, asked.memory, rng)


if __name__ == "__main__":
    main()
