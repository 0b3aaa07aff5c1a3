"""Seeds: every random number of a run follows from the run's seed and from what the number is for.

The seed of an output follows from the output's own identity: the path of its image relative to the HR root, the page
and the draw. Moving the folder changes nothing, and batch, tile, worker and order do not enter. The purpose separates
the stages, so that adding one stage leaves the random numbers of the others as they were.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass


def derive(seed: int, *parts: str | int) -> int:
    """Derive a seed: the first 63 bits of SHA-256 over the run's seed and the parts. Text is normalised to NFC."""
    plain = [unicodedata.normalize("NFC", part) if isinstance(part, str) else part for part in parts]
    text = json.dumps([seed, *plain], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Identity:
    """Everything that the random numbers of one output depend on."""

    run_seed: int
    key: str
    """POSIX path of the image relative to the HR root."""
    page: int = 0
    """Slice of a stack."""
    draw: int = 0
    """Number of the LR image, where one HR image gets several."""

    def seed(self, purpose: str) -> int:
        """Return the seed for one purpose.

        Called with the seed for ``kernel``, the checkpoint's ``degrade`` makes the LR of the image again.
        """
        return derive(self.run_seed, self.key, self.page, self.draw, purpose)
