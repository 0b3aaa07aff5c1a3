"""Damage that does not know the format of a file: bytes are cut off, flipped, moved, repeated, zeroed or made up."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

NUMBERS = (
    "-1", "0", "1e999", "-1e999", "NaN", "Infinity", "nan", "inf", "1000000000", "99999999999999999999999", "0.5",
    "1e-320", "9" * 5000, "true", "null", '""', "[]", "{}", '"x"', "[[[[1]]]]", "[" * 5000 + "]" * 5000,
)  # fmt: skip
"""Values that stand in a text where another one was expected."""
WORDS = ("../victim/precious.png", "/etc/hostname", "a\\u0000b", "\\u001b[2J", "x" * 5000, "", "\\ud800", "😀", "dtype")
"""Texts that stand in a text where another one was expected."""
BORDER_INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Integers at which many programs go wrong."""


def truncated(content: bytes, rng: random.Random) -> bytes:
    """Cut a file off: at any place, or a few bytes before its end."""
    if rng.random() < 0.2:
        return content[: max(0, len(content) - rng.randint(1, 64))]
    return content[: rng.randrange(len(content) + 1)]


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Flip one bit or a few, in half of the cases near the beginning, where the headers are."""
    changed = bytearray(content)
    end = min(len(changed), 256) if rng.random() < 0.5 else len(changed)
    for _ in range(rng.choice((1, 1, 1, 3, 20))):
        changed[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _range(content: bytes, rng: random.Random) -> tuple[int, int]:
    """Draw the first byte and the end of a range, short or long."""
    start = rng.randrange(len(content))
    return start, min(len(content), start + rng.choice((1, 4, 16, 200, 5000)))


def swapped(content: bytes, rng: random.Random) -> bytes:
    """Exchange two neighbouring ranges of bytes."""
    start, middle = _range(content, rng)
    end = min(len(content), 2 * middle - start)
    return content[:start] + content[middle:end] + content[start:middle] + content[end:]


def duplicated(content: bytes, rng: random.Random) -> bytes:
    """Repeat a range of bytes, once or often."""
    start, end = _range(content, rng)
    return content[:end] + content[start:end] * rng.choice((1, 1, 50)) + content[end:]


def zeroed(content: bytes, rng: random.Random) -> bytes:
    """Fill a range with zeros, as a file system does after a power failure."""
    start, end = _range(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def removed(content: bytes, rng: random.Random) -> bytes:
    """Leave out a range of bytes."""
    start, end = _range(content, rng)
    return content[:start] + content[end:]


def made_up(content: bytes, rng: random.Random) -> bytes:
    """Replace a range by random bytes, or everything behind the first bytes."""
    start, end = _range(content, rng)
    if rng.random() < 0.2:
        start, end = rng.choice((0, 4, 16, 64)), len(content)
    return content[:start] + rng.randbytes(max(0, end - start)) + content[end:]


def extreme_integer(content: bytes, rng: random.Random) -> bytes:
    """Write an integer of 1, 2, 4 or 8 bytes that is likely to be a border case, mostly among the headers."""
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(BORDER_INTEGERS) & (1 << 8 * size) - 1
    end = min(len(content), 512) if rng.random() < 0.7 else len(content)
    start = rng.randrange(end)
    return content[:start] + value.to_bytes(size, rng.choice(("little", "big"))) + content[start + size :]


def with_tail(content: bytes, rng: random.Random) -> bytes:
    """Append the file to itself, or random bytes, or zeros."""
    return content + rng.choice((content, rng.randbytes(300), bytes(5000)))


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": truncated,
    "flipped": flipped,
    "swapped": swapped,
    "duplicated": duplicated,
    "zeroed": zeroed,
    "removed": removed,
    "made up": made_up,
    "extreme integer": extreme_integer,
    "with tail": with_tail,
}
"""All of these, by the name that reports give them."""


def damaged(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Damage a file, which is not empty, in one way; return the name of the damage and the bytes."""
    name = rng.choice(list(DAMAGE))
    return name, DAMAGE[name](content, rng)


def other_value(text: str, rng: random.Random) -> str:
    """Replace one value of a JSON or TOML text, a number, a quoted text or a list, by one that does not suit."""
    values = list(re.finditer(r'(?<=[:=\[, ])\s*("(?:[^"\\]|\\.)*"|-?\d[\d.e+-]*|\[[^\[\]]*\]|true|false|null)', text))
    if not values:
        return rng.choice(NUMBERS)
    start, end = rng.choice(values).span(1)
    value = f'"{rng.choice(WORDS)}"' if rng.random() < 0.4 else rng.choice(NUMBERS)
    return text[:start] + value + text[end:]


def other_line(text: str, rng: random.Random) -> str:
    """Exchange, repeat, drop or cut a line, or put in one of nonsense."""
    lines = text.split("\n")
    at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.choice(("exchange", "repeat", "drop", "cut", "nonsense"))
    if change == "exchange":
        lines[at], lines[to] = lines[to], lines[at]
    elif change == "repeat":
        lines.insert(to, lines[at])
    elif change == "drop":
        del lines[at]
    elif change == "cut":
        lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
    else:
        lines.insert(to, rng.choice(("nonsense", "\0" * 50, "\x1b[31m", "[" * 100_000, "{}", "a = " + "{b=" * 50_000)))
    return "\n".join(lines)
