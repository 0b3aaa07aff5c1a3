from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

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


@pytest.mark.parametrize(
    "fields",
    [{"source": "a\n.png"}, {"source": "x" * 4097}, {"source": "d/" * 200 + "a.png"}, {"lr": "lr/\x1b[2J.png"},
     {"lr": "lr/\u202egnp.png"}, {"hr": f"hr/{'é' * 2048}.png"}, {"page": -1}, {"draw": -1}, {"crop": [0, -2]}],
)  # fmt: skip
def test_rows_that_no_run_writes(fields: dict[str, Any]) -> None:
    """Their names would steer a terminal, or make folders that nothing removes; their numbers name nothing."""
    whole = {"source": "x/é.png", "status": "ok", "lr": "lr/x/é.png", "hr": "hr/x/é.png"}
    Row.model_validate(whole | {"page": 0, "crop": [0, 2], "source": "d/" * 199 + "é.png"})
    with pytest.raises(ValidationError, match=r"is no name that degsynth gives to a file|greater than or equal to 0"):
        Row.model_validate(whole | fields)
