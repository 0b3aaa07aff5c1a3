from __future__ import annotations

import hashlib
import unicodedata

from degsynth.seeds import Identity, derive


def test_first_63_bits_of_sha256() -> None:
    digest = hashlib.sha256(b'[7, "a/b.png", 0, 1, "kernel"]').hexdigest()
    assert derive(7, "a/b.png", 0, 1, "kernel") == int(digest[:16], 16) // 2


def test_every_part_counts() -> None:
    base = (0, "a", 0, 0, "kernel")
    others = [(1, "a", 0, 0, "kernel"), (0, "b", 0, 0, "kernel"), (0, "a", 1, 0, "kernel"), (0, "a", 0, 1, "kernel")]
    others.append((0, "a", 0, 0, "awgn"))
    seeds = {derive(*parts) for parts in [base, *others]}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_every_part_of_an_identity_counts() -> None:
    base = Identity(0, "a")
    others = [Identity(1, "a"), Identity(0, "b"), Identity(0, "a", page=1), Identity(0, "a", draw=1)]
    seeds = {identity.seed("kernel") for identity in [base, *others]} | {base.seed("awgn")}
    assert len(seeds) == 6
    assert base.seed("kernel") == derive(0, "a", 0, 0, "kernel")


def test_unicode_spelling_does_not() -> None:
    """macOS stores ü as two code points, Linux as one: the same picture either way."""
    composed, decomposed = unicodedata.normalize("NFC", "müll"), unicodedata.normalize("NFD", "müll")
    assert composed != decomposed
    assert derive(0, composed, 0, 0, "kernel") == derive(0, decomposed, 0, 0, "kernel")
