"""BasicSR's ``PairedImageDataset``, and Real-ESRGAN's ``RealESRGANPairedDataset``.

Both list flat folders in which every file counts, and look for the LR image under the name of the HR image, extension
included. A line of ``meta_info_file`` is cut at its first space, and one of Real-ESRGAN's ``meta_info`` at ``', '``.
"""

from __future__ import annotations

from collections.abc import Sequence

from degsynth.apply.layouts.place import Pair, Place

HOLDS_PNG = True


def write(pairs: Sequence[Pair], place: Place) -> None:
    """Write ``hr/``, ``lr/``, ``meta_info.txt`` (BasicSR's) and ``meta_info_pair.txt`` (Real-ESRGAN's)."""
    place.put_sides(pairs)
    sizes = ((pair, *pair.size("hr"), pair.row.channels) for pair in pairs)
    place.write("meta_info.txt", "".join(f"{pair.stem}.png ({h},{w},{c})\n" for pair, h, w, c in sizes))
    place.write("meta_info_pair.txt", "".join(f"hr/{pair.stem}.png, lr/{pair.stem}.png\n" for pair in pairs))
