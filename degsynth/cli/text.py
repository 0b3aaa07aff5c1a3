"""Text for a terminal: what a file name, an argument or an error of another library holds must not steer it."""

from __future__ import annotations

import unicodedata

STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of characters that are not shown but do something: escapes, ends of lines, changes of direction."""
HARMLESS = {"\u00ad", "\u200c", "\u200d"}
"""Characters of those categories that names are written with: soft hyphen, zero-width non-joiner and joiner."""


def printable(text: str, kept: str = "") -> str:
    """Return a text with control characters written as escapes; those in ``kept`` stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in STEERING and character not in HARMLESS and character not in kept
        else character
        for character in text
    )
