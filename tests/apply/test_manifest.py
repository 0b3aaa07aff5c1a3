from __future__ import annotations

from pathlib import Path

import pytest

from degsynth.apply.manifest import Manifest, Row
from degsynth.errors import DataError


def test_rows_come_back(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    rows = [
        Row(source="b.png", status="ok", lr="lr/b.png", lr_size=(3, 4)),
        Row(source="a.png", status="failed", error="x"),
    ]
    for row in rows:
        manifest.append(row)
    assert manifest.read() == rows
    manifest.write(rows)
    assert manifest.read() == rows[::-1]


def test_a_line_cut_short_is_dropped(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.append(Row(source="a.png", status="ok"))
    with manifest.path.open("a") as file:
        file.write('{"source": "b.png", "sta')
    assert [row.source for row in manifest.read()] == ["a.png"]


def test_damage_elsewhere_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text("nonsense\n" + Row(source="a", status="ok").model_dump_json() + "\n")
    with pytest.raises(DataError, match="line 1"):
        Manifest(tmp_path).read()
