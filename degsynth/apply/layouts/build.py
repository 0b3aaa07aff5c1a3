"""Making the layouts of a finished data set.

A layout is a view of the data set: what it holds follows from ``hr/``, ``lr/`` and the manifest alone. It is made in
``.partial`` and moved into place in one step, so it is whole or not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import degsynth
from degsynth.apply import layouts
from degsynth.apply.layouts import record
from degsynth.apply.layouts.names import safe_stems
from degsynth.apply.layouts.place import Callbacks, Pair, Place, StoppedError
from degsynth.apply.layouts.record import FORMAT, RECORD_NAME, Record
from degsynth.apply.manifest import Row
from degsynth.apply.options import Options
from degsynth.apply.root import PARTIAL, Root
from degsynth.config import OnText
from degsynth.errors import DegsynthError, OutputError, os_reason

PNG_TYPES = ("uint8", "uint16")
PNG_CHANNELS = (1, 3)
"""What a PNG can hold."""


def build_layouts(
    out: Path,
    rows: Sequence[Row],
    scale: int,
    options: Options,
    callbacks: Callbacks,
) -> bool:
    """Make the layouts that the options ask for, where they are not there already; False where somebody asked to stop.

    Warns of older layouts in the folder that the data set has outgrown. OutputError where one cannot be written.
    """
    root = Root(out)
    made_of = record.fingerprint(rows)
    for name in options.layouts:
        before = record.read(root, name)
        if before is not None and before.made_of == made_of and record.is_complete(root, before):
            continue
        pairs = _pairs(name, rows, callbacks.on_warning)
        if not pairs:
            callbacks.on_warning(f"layout {name} is not made: there is no pair that it can hold")
            continue
        folder = f"{PARTIAL}/{name}"
        root.remove_tree(folder)
        place = Place(root, folder, scale, options.workers, options.max_pixels, callbacks)
        try:
            _build(name, pairs, place, made_of)
        except StoppedError:
            return False
        except (OSError, DegsynthError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else str(error)
            raise OutputError(
                f"layout {name}: {reason}; the data set itself is whole: mend that, then go on with `existing=resume`"
            ) from None
        finally:
            root.remove_tree(folder)
    for old in record.existing(root):
        if old.layout not in options.layouts and old.made_of != made_of:
            callbacks.on_warning(
                f"OUT {out}: {old.layout} was made before the data set changed; `layout={old.layout}` renews it"
            )
    return True


def _build(name: str, pairs: Sequence[Pair], place: Place, made_of: str) -> None:
    """Make a layout within ``.partial`` and put it in the place of the one before."""
    root = place.root
    layouts.get(name).write(pairs, place)
    place.write_notes()
    described = Record(
        layout=name,
        format=FORMAT,
        degsynth=degsynth.__version__,
        scale=place.scale,
        made_of=made_of,
        pairs=len(pairs),
        files=place.files(),
    )
    place.write(RECORD_NAME, described.model_dump_json(indent=1) + "\n")
    if (root.path / name).exists():
        record.check_replaceable(root, name)
        record.remove(root, name)
    root.move(place.folder, name)


def _pairs(name: str, rows: Sequence[Row], on_warning: OnText) -> list[Pair]:
    """Return the pairs that a layout can hold, sorted by their stems; say which it cannot."""
    made = [row for row in rows if row.status == "ok"]
    if layouts.get(name).HOLDS_PNG:
        others = [row for row in made if not _fits_png(row)]
        if others:
            on_warning(
                f"layout {name} holds PNG files, which cannot hold {len(others)} of the images, e.g. "
                f"{others[0].source} ({others[0].dtype}, {others[0].channels} channels); they are left out there"
            )
        made = [row for row in made if _fits_png(row)]
    stems = safe_stems([str(row.lr) for row in made])
    return sorted((Pair(row, stems[str(row.lr)]) for row in made), key=lambda pair: pair.stem)


def _fits_png(row: Row) -> bool:
    return row.dtype in PNG_TYPES and row.channels in PNG_CHANNELS and not row.others
