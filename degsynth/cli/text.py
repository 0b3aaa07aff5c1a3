"""Text for a terminal: what a file name, an argument or an error of another library holds must not steer it."""

from __future__ import annotations

import re

from degsynth.errors import steers

LONGEST_WORD, KEPT_OF_IT = 600, 200
"""Longest word of a message, and how many characters of each of its ends stay where it is longer."""


def printable(text: str, kept: str = "") -> str:
    """Return a text with control characters written as escapes; those in ``kept`` stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii") if steers(character) and character not in kept else character
        for character in text
    )


def with_short_words(text: str) -> str:
    """Return a message without the middle of words that are too long to be read, such as a value of a damaged file."""
    return re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda word: f"{word[0][:KEPT_OF_IT]}…{word[0][-KEPT_OF_IT:]}", text)
