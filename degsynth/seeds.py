"""Seeds: every random number of an output follows from the run's seed and the output's own identity.

The key is the image's path relative to its root, so moving the folder changes nothing; the purpose separates stages, so
adding one leaves the others as they were. Batch, tile, worker and order do not enter.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata


def derive(run_seed: int, key: str, page: int, draw: int, purpose: str) -> int:
    """First 63 bits of SHA-256 over the five parts. ``key`` is a POSIX path; it is brought to Unicode NFC."""
    text = json.dumps([run_seed, unicodedata.normalize("NFC", key), page, draw, purpose], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1
