"""`verify`: every kind of damage to a data set is named once, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from degsynth import apply
from degsynth.apply import Options
from degsynth.errors import ConfigError
from degsynth.model.checkpoint import Checkpoint
from tests.conftest import Run, save_png
from tests.doubles import linear_double


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return linear_double(tmp_path_factory.mktemp("model") / "m.pt", 2)


@pytest.fixture
def hr(tmp_path: Path, photographs: list[Tensor]) -> Path:
    """Two images that are kept, of which one in a sub-folder, and one that must be cropped."""
    for number, (name, height) in enumerate((("a.png", 32), ("sub/b.png", 32), ("odd.png", 33))):
        save_png(tmp_path / "HR" / name, photographs[number][:, :height, :32])
    return tmp_path / "HR"


@pytest.fixture(params=["hard", "symlink", "copy"])
def out(model: Checkpoint, hr: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    apply.run(model, hr, tmp_path / "out", Options(link=request.param))
    return tmp_path / "out"


def found(out: Path, hr: Path | None = None) -> list[tuple[str, str]]:
    return [(problem.file, problem.kind) for problem in apply.verify(out, hr).problems]


def test_a_sound_data_set_has_no_problems(out: Path, hr: Path, tmp_path: Path) -> None:
    for sources in (None, hr):
        report = apply.verify(out, sources, workers=2)
        assert (report.pairs, report.failed, report.problems) == (3, 0, [])
    shutil.copytree(out, tmp_path / "moved")  # as it arrives elsewhere: nothing is linked, and times are new
    for path in (tmp_path / "moved").rglob("*.png"):
        os.utime(path, (1, 1))
    assert found(tmp_path / "moved") == []
    assert found(tmp_path / "moved", hr) == []


def replace_lr(out: Path, hr: Path) -> None:
    shutil.copy(out / "lr/odd.png", out / "lr/a.png")


def cut_written_hr(out: Path, hr: Path) -> None:
    (out / "hr/odd.png").write_bytes((out / "hr/odd.png").read_bytes()[:-40])


def remove_lr(out: Path, hr: Path) -> None:
    (out / "lr/sub/b.png").unlink()


def remove_hr(out: Path, hr: Path) -> None:
    (out / "hr/a.png").unlink()


def add_file(out: Path, hr: Path) -> None:
    (out / "lr/Thumbs.db").write_text("x")


def replace_hr(out: Path, hr: Path) -> None:
    (out / "hr/a.png").unlink()
    shutil.copy(out / "hr/odd.png", out / "hr/a.png")


def lengthen_source(out: Path, hr: Path) -> None:
    """Edited in place: a link follows, a copy does not."""
    with (out / "hr/a.png").open("ab") as file:
        file.write(b"more")


def interrupt(out: Path, hr: Path) -> None:
    (out / ".partial").mkdir()


def tear_manifest(out: Path, hr: Path) -> None:
    lines = (out / "manifest.jsonl").read_text().splitlines(keepends=True)
    (out / "manifest.jsonl").write_text("".join(["{}\n", *lines[1:]]))


def lie_about_sizes(out: Path, hr: Path) -> None:
    text = (out / "manifest.jsonl").read_text().replace('"lr_size":[16,16]', '"lr_size":[16,15]', 1)
    (out / "manifest.jsonl").write_text(text)


def lie_about_scale(out: Path, hr: Path) -> None:
    (out / "dataset.json").write_text((out / "dataset.json").read_text().replace('"scale": 2', '"scale": 3'))


def remove_manifest(out: Path, hr: Path) -> None:
    (out / "manifest.jsonl").unlink()


ALL = [f"{side}/{name}" for side in ("hr", "lr") for name in ("a.png", "odd.png", "sub/b.png")]


@pytest.mark.parametrize(
    ("harm", "problems"),
    [
        (replace_lr, [("lr/a.png", "changed")]),
        (cut_written_hr, [("hr/odd.png", "changed")]),
        (remove_lr, [("hr/sub/b.png", "orphan"), ("lr/sub/b.png", "missing")]),
        (remove_hr, [("hr/a.png", "missing"), ("lr/a.png", "orphan")]),
        (add_file, [("lr/Thumbs.db", "stray")]),
        (replace_hr, [("hr/a.png", "changed")]),
        (lengthen_source, [("hr/a.png", "changed")]),
        (interrupt, [(".partial", "unfinished")]),
        (tear_manifest, [("hr/a.png", "stray"), ("lr/a.png", "stray"), ("manifest.jsonl", "manifest")]),
        (lie_about_sizes, [("lr/a.png", "size")]),
        (lie_about_scale, [(name, "size") for name in ALL[:3]]),
        (remove_manifest, [*((name, "stray") for name in ALL), ("manifest.jsonl", "missing")]),
    ],
)
def test_damage_is_named(
    harm: Callable[[Path, Path], None], problems: list[tuple[str, str]], out: Path, hr: Path
) -> None:
    harm(out, hr)
    assert found(out) == problems
    for _ in range(2):  # nothing was mended or written
        assert found(out, hr) == problems


def test_a_source_that_is_another_image(model: Checkpoint, hr: Path, tmp_path: Path, photographs: list[Tensor]) -> None:
    """A copy knows its size only; beside the source, its bytes are compared."""
    apply.run(model, hr, tmp_path / "out", Options(link="copy"))
    content = bytearray((tmp_path / "out/hr/a.png").read_bytes())
    content[-8] ^= 1  # the last letter of IEND's type
    (hr / "a.png").write_bytes(content)
    (hr / "sub/b.png").unlink()
    assert found(tmp_path / "out") == []
    assert found(tmp_path / "out", hr) == [("hr/a.png", "changed"), ("hr/sub/b.png", "changed")]


def test_a_linked_source_that_no_longer_decodes(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """Same size, same time: only the decoder can tell."""
    apply.run(model, hr, tmp_path / "out")
    status, content = (hr / "a.png").stat(), bytearray((hr / "a.png").read_bytes())
    content[60:80] = bytes(20)
    (hr / "a.png").write_bytes(content)
    os.utime(hr / "a.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert found(tmp_path / "out") == [("hr/a.png", "damaged")]


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no data set \(no valid dataset.json\); give a folder"):
        apply.verify(tmp_path)


def test_failed_rows_are_counted(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    (hr / "broken.png").write_text("no image")
    apply.run(model, hr, tmp_path / "out")
    report = apply.verify(tmp_path / "out")
    assert (report.pairs, report.failed, report.problems) == (3, 1, [])


def test_a_resumed_run_warns_of_strays(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "out")
    (tmp_path / "out/lr/notes.txt").write_text("mine")
    warnings: list[str] = []
    apply.run(model, hr, tmp_path / "out", Options(existing="resume"), on_warning=warnings.append)
    assert len(warnings) == 1
    assert "holds 1 files that its manifest does not name, e.g. lr/notes.txt" in warnings[0]


def test_the_command(cli: Run, model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    apply.run(model, hr, out)
    code, stdout, stderr = cli("verify", out, "--hr", hr)
    assert (code, stdout) == (0, "")
    assert "3 pairs; all is well" in stderr
    (out / "lr/a.png").unlink()
    code, stdout, _ = cli("verify", out, "--json")
    rows = [json.loads(line) for line in stdout.splitlines()]
    assert code == 1
    assert [(row["file"], row["kind"], row["source"]) for row in rows] == [
        ("hr/a.png", "orphan", "a.png"),
        ("lr/a.png", "missing", "a.png"),
    ]
    code, stdout, stderr = cli("verify", out, "--workers", 1)
    assert code == 1
    assert [line.split()[:2] for line in stdout.splitlines()] == [["orphan", "hr/a.png"], ["missing", "lr/a.png"]]
    assert "2 problems" in stderr
    assert cli("verify", tmp_path / "HR")[0] == 2
    assert cli("verify", out, "--hr", tmp_path / "nowhere")[0] == 2


@pytest.mark.parametrize("scale", ["{}", "[2]", '"2"', "0", "-2", "1e400", "true", "NaN"])
def test_a_scale_that_is_none(scale: str, model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "out")
    description = tmp_path / "out/dataset.json"
    description.write_text(description.read_text().replace('"scale": 2', f'"scale": {scale}'))
    (problem,) = apply.verify(tmp_path / "out").problems
    assert (problem.file, problem.kind) == ("dataset.json", "damaged")
    assert problem.reason.endswith("which is no whole number above 0")
