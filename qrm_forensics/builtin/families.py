"""The problem families of the built-in reasoner, with worked solutions.

Each family plays the part of a subject of a real benchmark and has three
levels.  A family is one function ``(rng, level, slips) -> Worked``: it draws the
numbers first, so the question never depends on ``slips``, and then writes the
chain of thought that the model is trained on.

The chains are made so that *their end is decided by the model's own state*:
check a result by another route and redo it after "Wait, ..." until the check
passes, try values until a condition holds, subtract until the rest is smaller.
A model that computes well leaves such a chain soon; one whose arithmetic is
damaged has to find its own way out, which is what quantized reasoning models
fail to do.  With ``slips`` (training only) an attempt sometimes contains a
wrong step, which the check that follows really finds.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

LEVELS = (1, 2, 3)

#: One problem in eight is kept from training, chosen by a hash of its numbers.
HELD_OUT_MODULUS = 8

SLIP_RATE = 0.22
REPEATED_SLIP_RATE = 0.25
MAX_ATTEMPT_LINES = 40

_RETRY = (
    "Wait, that does not look right. Let me redo it.",
    "Wait, that is not right. Let me try again.",
    "But wait, this does not match. Let me redo it.",
    "Hmm, that does not match. Let me check again.",
)


@dataclass(frozen=True, slots=True)
class Worked:
    """A problem and one worked solution; ``chain`` is the text between the think tags."""

    key: str
    question: str
    chain: str
    answer: str

    @property
    def held_out(self) -> bool:
        """Whether the problem belongs to the evaluation side of the split."""
        return zlib.crc32(self.key.encode()) % HELD_OUT_MODULUS == 0


FamilyFunction = Callable[[Random, int, bool], Worked]

# An attempt writes its lines and returns what it arrived at; with slip=True one
# of its steps is wrong, and everything after that step follows from it.
Attempt = Callable[[bool], tuple[list[str], int]]
# A check works from the attempt's result alone and says whether it holds.
Check = Callable[[int], tuple[list[str], bool]]


def _verify_and_retry(rng: Random, slips: bool, attempt: Attempt, check: Check) -> list[str]:
    """Lines of zero or more failing attempts and the passing one at the end."""
    lines: list[str] = []
    failing = 0
    if slips and rng.random() < SLIP_RATE:
        failing = 1 + (rng.random() < REPEATED_SLIP_RATE)
    for _ in range(8 * failing):
        tried, result = attempt(True)
        checked, passed = check(result)
        if passed or len(tried) + len(checked) > MAX_ATTEMPT_LINES:
            continue  # the slip cancelled out, or led nowhere: it would teach a wrong habit
        lines += [*tried, *checked, rng.choice(_RETRY)]
        failing -= 1
        if not failing:
            break
    tried, result = attempt(False)
    checked, passed = check(result)
    if not passed:
        raise AssertionError(f"a correct attempt failed its own check: {tried} {checked}")
    return [*lines, *tried, *checked]


def _other_digit(rng: Random, digit: int) -> int:
    return (digit + rng.choice((1, 2, 3, 7, 8, 9))) % 10


def _digits(value: int, width: int = 0) -> list[int]:
    """Decimal digits, the units first."""
    return [int(d) for d in reversed(str(value).zfill(width))]


def _number(rng: Random, digits: int) -> int:
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def addition(rng: Random, level: int, slips: bool) -> Worked:
    """Column addition, checked by column subtraction."""
    width = level + 1
    a, b = _number(rng, width), _number(rng, width)
    question = rng.choice(("What is {a} + {b}?", "Add {a} and {b}.", "Find {a} + {b}.")).format(a=a, b=b)

    def attempt(slip: bool) -> tuple[list[str], int]:
        lines, carry, out = ["Add the columns."], 0, []
        wrong_at = rng.randrange(width) if slip else -1
        for i, (x, y) in enumerate(zip(_digits(a), _digits(b), strict=True)):
            total = x + y + carry
            if i == wrong_at:
                total = max(0, total + rng.choice((-2, -1, 1, 2)))
            lines.append(f"{x}+{y}+{carry}={total}, write {total % 10}, carry {total // 10}.")
            out.append(total % 10)
            carry = total // 10
        if carry:
            out.append(carry)
        result = int("".join(map(str, reversed(out))))
        lines.append(f"So I get {result}.")
        return lines, result

    def check(result: int) -> tuple[list[str], bool]:
        lines, borrow, out = [f"Check {result}-{b}."], 0, []
        top = _digits(result, width)
        low = _digits(b, len(top))
        for x, y in zip(top, low, strict=True):
            lifted = x + 10 if x - y - borrow < 0 else x
            digit = lifted - y - borrow
            new_borrow = int(lifted >= 10)
            lines.append(f"{lifted}-{y}-{borrow}={digit}, borrow {new_borrow}.")
            out.append(digit)
            borrow = new_borrow
        back = int("".join(map(str, reversed(out))))
        if back == a:
            lines.append(f"That gives {back}, which matches.")
        else:
            lines.append(f"That gives {back}, not {a}.")
        return lines, back == a

    lines = _verify_and_retry(rng, slips, attempt, check)
    return Worked(f"addition/{a}/{b}", question, "\n".join(lines), str(a + b))


def multiplication(rng: Random, level: int, slips: bool) -> Worked:
    """Long multiplication by one digit, checked by casting out nines."""
    width = level + 1
    a, d = _number(rng, width), rng.randint(3, 9)
    question = rng.choice(("What is {a} * {d}?", "Multiply {a} by {d}.", "Find {a} * {d}.")).format(a=a, d=d)

    def attempt(slip: bool) -> tuple[list[str], int]:
        lines, carry, out = ["Multiply the digits."], 0, []
        wrong_at = rng.randrange(width) if slip else -1
        for i, x in enumerate(_digits(a)):
            total = x * d + carry
            if i == wrong_at:
                total = max(0, total + rng.choice((-2, -1, 1, 2, 10, -10)))
            lines.append(f"{x}*{d}+{carry}={total}, write {total % 10}, carry {total // 10}.")
            out.append(total % 10)
            carry = total // 10
        if carry:
            out += _digits(carry)
        result = int("".join(map(str, reversed(out))))
        lines.append(f"So I get {result}.")
        return lines, result

    def root(value: int, lines: list[str]) -> int:
        running = 0
        parts = []
        for x in map(int, str(value)):
            running = (running + x) % 9
            parts.append(str(running))
        lines.append(f"{value}: {', '.join(parts)}.")
        return running

    def check(result: int) -> tuple[list[str], bool]:
        lines = ["Check the nines."]
        expected = root(a, lines) * d % 9
        lines.append(f"Times {d} is {expected}.")
        found = root(result, lines)
        same = found == expected
        lines.append(f"{found} is {expected}, which matches." if same else f"{found} is not {expected}.")
        return lines, same

    lines = _verify_and_retry(rng, slips, attempt, check)
    return Worked(f"multiplication/{a}/{d}", question, "\n".join(lines), str(a * d))


def remainder(rng: Random, level: int, slips: bool) -> Worked:
    """Subtract until smaller, checked by adding back up."""
    divisor = rng.randint(6, 29)
    quotient = rng.randint(2 * level, 4 * level + 1)
    rest = rng.randrange(divisor)
    n = divisor * quotient + rest
    question = rng.choice(
        (
            "What is the remainder of {n} divided by {m}?",
            "Find {n} mod {m}.",
            "Divide {n} by {m}. What is the remainder?",
        )
    ).format(n=n, m=divisor)

    def attempt(slip: bool) -> tuple[list[str], int]:
        lines, value, count = [f"Subtract {divisor} until it is smaller."], n, 0
        wrong_at = rng.randrange(quotient) if slip else -1
        while value >= divisor:
            after = value - divisor
            if count == wrong_at:
                after = max(0, after + rng.choice((-10, -2, -1, 1, 2)))
            lines.append(f"{value}-{divisor}={after}.")
            value, count = after, count + 1
        lines.append(f"{value} is smaller than {divisor}.")
        return lines, value

    def check(result: int) -> tuple[list[str], bool]:
        lines, value = [f"Check from {result}."], result
        while value < n:
            lines.append(f"{value}+{divisor}={value + divisor}.")
            value += divisor
        lines.append(f"{value} matches." if value == n else f"{value} is not {n}.")
        return lines, value == n

    lines = _verify_and_retry(rng, slips, attempt, check)
    return Worked(f"remainder/{n}/{divisor}", question, "\n".join(lines), str(rest))


def equation(rng: Random, level: int, slips: bool) -> Worked:
    """Solve a*x + b = c by trying values until one fits."""
    a, b = rng.randint(2, 9), rng.randint(1, 30)
    x = rng.randint(3 * level - 1, 4 * level + 1)
    c = a * x + b
    question = rng.choice(
        ("Solve {a}x + {b} = {c}.", "Find x so that {a}x + {b} = {c}.", "If {a}x + {b} = {c}, what is x?")
    ).format(a=a, b=b, c=c)

    def attempt(slip: bool) -> tuple[list[str], int]:
        lines, wrong_at = [f"I need {c}."], rng.randint(max(1, x - 3), x) if slip else -1
        t, drift = 1, 0
        while True:
            if t == wrong_at:
                drift = rng.choice((-1, 1)) * (a if rng.random() < 0.5 else rng.randint(1, 5))
            product = a * t + drift
            value = product + b
            if value >= c:
                lines.append(f"Try {t}: {product}+{b}={value}. " + ("Yes." if value == c else "Too big."))
                return lines, t
            lines.append(f"Try {t}: {product}+{b}={value}. Not {c}.")
            t += 1

    def check(result: int) -> tuple[list[str], bool]:
        product = a * result
        value = product + b
        lines = [f"Check {a}*{result}={product}, {product}+{b}={value}."]
        lines.append(f"{value} matches." if value == c else f"{value} is not {c}.")
        return lines, value == c

    lines = _verify_and_retry(rng, slips, attempt, check)
    return Worked(f"equation/{a}/{b}/{c}", question, "\n".join(lines), str(x))


def base(rng: Random, level: int, slips: bool) -> Worked:
    """Write a number in another base by repeated division, checked by rebuilding it."""
    radix = rng.randint(2, 5)
    n = rng.randint(20 * level * level, (99, 249, 499)[level - 1])
    question = rng.choice(("Write {n} in base {r}.", "What is {n} in base {r}?", "Convert {n} to base {r}.")).format(
        n=n, r=radix
    )

    def attempt(slip: bool) -> tuple[list[str], int]:
        lines, value = [f"Divide by {radix} until it is 0."], n
        out: list[int] = []
        steps = 0
        probe = n
        while probe:
            probe //= radix
            steps += 1
        wrong_at = rng.randrange(steps) if slip else -1
        while value:
            quotient, rest = divmod(value, radix)
            if len(out) == wrong_at:
                if quotient > 2 and rng.random() < 0.5:
                    quotient += rng.choice((-1, 1))
                else:
                    rest = (rest + rng.randint(1, radix - 1)) % radix
            lines.append(f"{value}/{radix}={quotient} rest {rest}.")
            out.append(rest)
            value = quotient
        written = "".join(map(str, reversed(out))).lstrip("0") or "0"
        lines.append(f"So I get {written}.")
        return lines, int(written)

    def check(result: int) -> tuple[list[str], bool]:
        lines, value = ["Check by going back."], 0
        for digit in map(int, str(result)):
            after = value * radix + digit
            lines.append(f"{value}*{radix}+{digit}={after}.")
            value = after
        lines.append(f"{value} matches." if value == n else f"{value} is not {n}.")
        return lines, value == n

    lines = _verify_and_retry(rng, slips, attempt, check)
    written, value = "", n
    while value:
        written = str(value % radix) + written
        value //= radix
    return Worked(f"base/{n}/{radix}", question, "\n".join(lines), written)


def ordering(rng: Random, level: int, slips: bool) -> Worked:
    """Median of a list by taking the smallest away again and again, checked by counting."""
    size = 2 * level + 1
    numbers = rng.sample(range(10, 100), size)
    listed = ", ".join(map(str, numbers))
    question = rng.choice(
        ("What is the median of {n}?", "Find the median of {n}.", "Order {n}. Which is in the middle?")
    ).format(n=listed)
    middle = size // 2

    def attempt(slip: bool) -> tuple[list[str], int]:
        lines, left = ["Take the smallest away."], list(numbers)
        wrong_at = rng.randrange(middle) if slip else -1
        taken = 0
        while True:
            ranked = sorted(left)
            pick = ranked[0]
            if taken == wrong_at:
                pick = rng.choice(ranked[1 : min(4, len(ranked))])
            if taken == middle:
                lines.append(f"Left {', '.join(map(str, left))}. The smallest is {pick}. Taken {taken}.")
                return lines, pick
            lines.append(f"Left {', '.join(map(str, left))}. Take {pick}.")
            left.remove(pick)
            taken += 1

    def check(result: int) -> tuple[list[str], bool]:
        lines, below = [f"Check below {result}."], 0
        for value in numbers:
            below += value < result
            lines.append(f"{value} {'yes' if value < result else 'no'} {below}.")
        lines.append(f"{below} matches." if below == middle else f"{below} is not {middle}.")
        return lines, below == middle

    lines = _verify_and_retry(rng, slips, attempt, check)
    return Worked(f"ordering/{listed}", question, "\n".join(lines), str(sorted(numbers)[middle]))


def iteration(rng: Random, level: int, slips: bool) -> Worked:
    """Halve when even, add when odd, until small; the count is checked by a second run."""
    k = rng.choice((3, 5, 7, 9))
    start = rng.randint((12, 40, 150)[level - 1], (60, 199, 600)[level - 1])
    question = rng.choice(
        (
            "Start at {s}. Halve if even, add {k} if odd. How many steps until it is below {e}?",
            "From {s}, halve even numbers and add {k} to odd ones. How many steps to get below {e}?",
        )
    ).format(s=start, k=k, e=k + 1)

    def run(wrong_at: int) -> tuple[list[str], int]:
        lines, value, steps = [], start, 0
        while value > k:
            after = value // 2 if value % 2 == 0 else value + k
            if steps == wrong_at:
                after = max(1, after + rng.choice((-1, 1, 2, 10)))
            steps += 1
            sign = "/2" if value % 2 == 0 else f"+{k}"
            lines.append(f"{steps}: {value}{sign}={after}.")
            value = after
        return lines, steps

    true_steps = run(-1)[1]

    def attempt(slip: bool) -> tuple[list[str], int]:
        lines, steps = run(rng.randrange(true_steps) if slip else -1)
        return ["Count the steps.", *lines, f"So {steps} steps."], steps

    def check(result: int) -> tuple[list[str], bool]:
        values, value = [str(start)], start
        while value > k:
            value = value // 2 if value % 2 == 0 else value + k
            values.append(f"{value}")
        counted = len(values) - 1
        lines = ["Check again.", ", ".join(f"{v} {i}" for i, v in enumerate(values)) + "."]
        lines.append(f"{counted} matches." if counted == result else f"{counted} is not {result}.")
        return lines, counted == result

    lines = _verify_and_retry(rng, slips, attempt, check)
    return Worked(f"iteration/{start}/{k}", question, "\n".join(lines), str(true_steps))


def gcd(rng: Random, level: int, slips: bool) -> Worked:
    """Greatest common divisor by subtraction, checked by counting both numbers up."""
    common = rng.randint(2, (9, 13, 18)[level - 1])
    first = rng.randint(2, (6, 7, 9)[level - 1])
    second = rng.randint(2, (6, 7, 9)[level - 1])
    a, b = common * first, common * second
    if a == b:
        a += common
    question = rng.choice(
        ("What is the gcd of {a} and {b}?", "Find the greatest common divisor of {a} and {b}.", "Find gcd({a}, {b}).")
    ).format(a=a, b=b)

    def run(wrong_at: int) -> tuple[list[str], int]:
        lines, x, y = ["Subtract the smaller."], max(a, b), min(a, b)
        while x != y:
            after = x - y
            if len(lines) - 1 == wrong_at:
                after = max(1, after + rng.choice((-2, -1, 1, 2)))
            lines.append(f"{x}-{y}={after}. Now {after} and {y}.")
            x, y = max(after, y), min(after, y)
        lines.append(f"Both are {x}.")
        return lines, x

    clean, true = run(-1)

    def attempt(slip: bool) -> tuple[list[str], int]:
        return run(rng.randrange(len(clean) - 2)) if slip else (clean, true)

    def check(result: int) -> tuple[list[str], bool]:
        lines = [f"Check {result}."]
        for target in (a, b):
            value, shown = 0, []
            while value < target:
                value += result
                shown.append(str(value))
            lines.append(", ".join(shown) + ("." if value == target else f", not {target}."))
            if value != target:
                return lines, False
        lines.append("Both match.")
        return lines, True

    lines = _verify_and_retry(rng, slips, attempt, check)
    return Worked(f"gcd/{min(a, b)}/{max(a, b)}", question, "\n".join(lines), str(true))


#: Family name -> function, in the order in which benchmarks and reports list them.
FAMILIES: dict[str, FamilyFunction] = {
    "addition": addition,
    "multiplication": multiplication,
    "remainder": remainder,
    "equation": equation,
    "base": base,
    "ordering": ordering,
    "iteration": iteration,
    "gcd": gcd,
}
