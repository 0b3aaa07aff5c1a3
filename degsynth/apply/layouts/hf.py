"""An ``imagefolder`` of the Hugging Face library datasets: ``load_dataset("imagefolder", data_dir=...)``.

Columns of ``metadata.jsonl`` whose names end in ``_file_name`` become images: the features are ``hr``, ``lr``, and how
the LR image was made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from degsynth.apply.layouts.place import Pair, Place

HOLDS_PNG = True


def write(pairs: Sequence[Pair], place: Place) -> None:
    """Write ``train/hr/``, ``train/lr/`` and ``train/metadata.jsonl``."""
    place.put_sides(pairs, "train/")
    lines = (
        {"hr_file_name": f"hr/{pair.stem}.png", "lr_file_name": f"lr/{pair.stem}.png", **place.facts(pair)}
        for pair in pairs
    )
    place.write("train/metadata.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
