"""What others may have put into the folder of a data set: nothing outside is touched, damage is found and mended."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from degsynth import apply
from degsynth.apply import Options, lock
from degsynth.apply.layouts.names import PlannedOutput, assign_stems, plan_outputs
from degsynth.apply.layouts.pairs import PairWriter
from degsynth.apply.manifest import Manifest, Row
from degsynth.apply.root import Root
from degsynth.errors import ConfigError, DataError, DegsynthError
from degsynth.model.checkpoint import Checkpoint
from tests.conftest import save_png
from tests.doubles import linear_double

SECRET = "precious"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return linear_double(tmp_path_factory.mktemp("model") / "m.pt", 2)


@pytest.fixture
def hr(tmp_path: Path, photographs: list[Tensor]) -> Path:
    """Two images that are kept, of which one in a sub-folder, and one that must be cropped."""
    for name, height in (("a.png", 32), ("sub/b.png", 32), ("odd.png", 33)):
        save_png(tmp_path / "HR" / name, photographs[0][:, :height, :32])
    return tmp_path / "HR"


@pytest.fixture
def out(model: Checkpoint, hr: Path, tmp_path: Path) -> Path:
    apply.run(model, hr, tmp_path / "out")
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/precious.png").write_text(SECRET)
    (tmp_path / "victim/b.png").write_text(SECRET)
    return tmp_path / "out"


def untouched(tmp_path: Path) -> bool:
    victim = tmp_path / "victim"
    return sorted(p.name for p in victim.iterdir()) == ["b.png", "precious.png"] and all(
        p.read_text() == SECRET for p in victim.iterdir()
    )


def images_of(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*.png")}


def attempt(model: Checkpoint, hr: Path, out: Path, existing: Any) -> str:
    """The message of the error that a run ends in, if it does."""
    try:
        apply.run(model, hr, out, Options(existing=existing))
    except DegsynthError as error:
        return str(error)
    return ""


def edit_row(out: Path, source: str, changes: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    changed = [line | changes if line["source"] == source else line for line in lines]
    (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))


NAMES = ["../victim/precious.png", "lr/../../victim/precious.png", "{tmp}/victim/precious.png", "hr/./a.png",
         "lr//a.png", "a\0.png", "", "lr", "victim/precious.png", "lr/precious.txt", "..", "dataset.json"]  # fmt: skip


@pytest.mark.parametrize("existing", ["resume", "overwrite"])
@pytest.mark.parametrize("field", ["hr", "lr", "source"])
@pytest.mark.parametrize("name", NAMES)
def test_names_in_the_manifest(
    name: str, field: str, existing: Any, model: Checkpoint, hr: Path, out: Path, tmp_path: Path
) -> None:
    edit_row(out, "a.png", {field: name.format(tmp=tmp_path), "lr_sha256": "0"})
    message = attempt(model, hr, out, existing)
    if message:
        assert existing == "resume"
        assert "\n" not in message
        assert "manifest.jsonl, line 1: not a manifest row" in message
        apply.run(model, hr, out, Options(existing="overwrite"))
    assert untouched(tmp_path)
    assert {row.source for row in Manifest(out).read() if row.status == "ok"} == {"a.png", "odd.png", "sub/b.png"}


def test_a_row_that_names_the_files_of_another(model: Checkpoint, hr: Path, out: Path) -> None:
    before = images_of(out)
    row = json.loads((out / "manifest.jsonl").read_text().splitlines()[0])
    with (out / "manifest.jsonl").open("a") as file:
        file.write(json.dumps(row | {"source": "c.png", "lr_sha256": "0"}) + "\n")
    apply.run(model, hr, out, Options(existing="resume"))
    assert images_of(out) == before


PLACES = ["hr", "lr", "lr/sub", "hr/sub", ".partial", ".partial/lock", "manifest.jsonl", "dataset.json"]


@pytest.mark.parametrize("existing", ["refuse", "resume", "overwrite"])
@pytest.mark.parametrize("place", PLACES)
def test_links(place: str, existing: Any, model: Checkpoint, hr: Path, out: Path, tmp_path: Path) -> None:
    if existing == "refuse":  # a folder that looks new
        shutil.rmtree(out)
        out.mkdir()
    path = out / place
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    is_file = "." in Path(place).name[1:] or place.endswith("lock")
    path.symlink_to(tmp_path / "victim" / ("precious.png" if is_file else ""))
    with pytest.raises(ConfigError, match="is a link, so files would be written where it points; remove it"):
        apply.run(model, hr, out, Options(existing=existing))
    assert untouched(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
@pytest.mark.parametrize("place", [".partial/lock", "manifest.jsonl", "dataset.json", "lr/a.png", "hr/a.png"])
def test_fifos_are_not_waited_for(place: str, model: Checkpoint, hr: Path, out: Path) -> None:
    (out / ".partial").mkdir()
    (out / place).unlink(missing_ok=True)
    os.mkfifo(out / place)
    if place[:3] in ("lr/", "hr/"):
        assert apply.run(model, hr, out, Options(existing="resume")).done == 3
        assert (out / place).is_file()
    else:
        with pytest.raises(DegsynthError):
            apply.run(model, hr, out, Options(existing="resume"))


def test_lr_that_is_a_link_is_done_again(model: Checkpoint, hr: Path, out: Path, tmp_path: Path) -> None:
    before = images_of(out)
    (tmp_path / "same.png").write_bytes(before["lr/a.png"])
    (out / "lr/a.png").unlink()
    (out / "lr/a.png").symlink_to(tmp_path / "same.png")
    assert apply.run(model, hr, out, Options(existing="resume")).resumed == 2
    assert not (out / "lr/a.png").is_symlink()
    assert images_of(out) == before


@pytest.mark.parametrize("verb", ["open", "write", "move", "link", "symlink", "remove", "remove_tree", "make_folder"])
@pytest.mark.parametrize(
    "name", ["../victim/precious.png", "link/precious.png", "/victim/precious.png", "a/../../victim/b.png"]
)
def test_no_verb_leaves_the_root(verb: str, name: str, out: Path, tmp_path: Path) -> None:
    (out / "link").symlink_to(tmp_path / "victim")
    (out / "new").write_text("x")
    root = Root(out)
    verbs: dict[str, Callable[[], object]] = {
        "open": lambda: root.open(name, "r+b"),
        "write": lambda: root.write(name, "x"),
        "move": lambda: root.move("new", name),
        "link": lambda: root.link(out / "new", name),
        "symlink": lambda: root.symlink(out / "new", name),
        "remove": lambda: root.remove(name),
        "remove_tree": lambda: root.remove_tree(name),
        "make_folder": lambda: root.make_folder(name),
    }
    with pytest.raises((ValueError, ConfigError)):
        verbs[verb]()
    assert untouched(tmp_path)


def test_elsewhere_every_folder_is_checked(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("degsynth.apply.root.HAS_DIR_FD", False)
    (out / "link").symlink_to(tmp_path / "victim")
    root = Root(out)
    for name in ("link/x", "link/sub/x", "../victim/x"):
        with pytest.raises((ValueError, ConfigError)):
            root.write(name, "x")
    root.write("new/folder/x", "x")
    root.remove("new/folder/x")
    root.remove_empty_folders("new")
    assert not (out / "new").exists()
    assert untouched(tmp_path)


@pytest.mark.parametrize("check", ["quick", "full"])
@pytest.mark.parametrize("link", ["hard", "symlink", "copy"])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_replaced_source(in_place: bool, link: Any, check: Any, model: Checkpoint, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    for name in ("a.png", "b.png"):
        save_png(tmp_path / "HR" / name, noise[0])
    apply.run(model, tmp_path / "HR", tmp_path / "out", Options(link=link))
    later = save_png(tmp_path / "later.png", noise[1])
    assert later.stat().st_size == (tmp_path / "HR/a.png").stat().st_size  # noise is stored as it is
    if in_place:
        (tmp_path / "HR/a.png").write_bytes(later.read_bytes())
    else:
        later.replace(tmp_path / "HR/a.png")
    options = Options(link=link, existing="resume", check=check)
    assert apply.run(model, tmp_path / "HR", tmp_path / "out", options).resumed == 1
    apply.run(model, tmp_path / "HR", tmp_path / "straight", Options(link=link))
    assert images_of(tmp_path / "out") == images_of(tmp_path / "straight")


@pytest.mark.parametrize("check", ["quick", "full"])
@pytest.mark.parametrize(
    ("link", "name"),  # hr/a.png as a link is the source
    [(link, f"{side}.png") for link in ("symlink", "copy") for side in ("hr/odd", "lr/a", "lr/odd")]
    + [("copy", "hr/a.png")],
)
@pytest.mark.parametrize("damage", ["halved", "flipped", "gone", "empty"])
def test_damaged_outputs(
    damage: str, name: str, link: Any, check: Any, model: Checkpoint, hr: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    apply.run(model, hr, out, Options(link=link))
    before = images_of(out)
    content = bytearray((out / name).read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        (out / name).unlink()
    else:
        (out / name).write_bytes({"halved": content[: len(content) // 2], "flipped": content}.get(damage, b""))
    assert apply.run(model, hr, out, Options(link=link, existing="resume", check=check)).resumed == 2
    assert images_of(out) == before
    assert apply.run(model, hr, out, Options(link=link, existing="resume", check=check)).resumed == 3


def test_rows_of_older_manifests(model: Checkpoint, hr: Path, out: Path) -> None:
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    old = [{k: v for k, v in line.items() if k not in ("source_mtime_ns", "hr_bytes")} for line in lines]
    (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    assert apply.run(model, hr, out, Options(existing="resume")).resumed == 3


def test_the_only_copy_is_not_deleted(model: Checkpoint, hr: Path, out: Path) -> None:
    (hr / "a.png").unlink()
    (out / "lr/a.png").write_bytes(b"")
    warnings: list[str] = []
    apply.run(model, hr, out, Options(existing="resume"), on_warning=warnings.append)
    assert (out / "hr/a.png").stat().st_size > 0
    assert "a.png is missing" in warnings[0]


GARBAGE = ["nonsense", "[" * 100_000, "{}", "7", '{"source": "a.png", "status": "odd"}', "\0" * 50, "\x1b[31m"]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("how", ["added", "in place of a row"])
def test_garbage_in_the_middle(garbage: str, how: str, model: Checkpoint, hr: Path, out: Path) -> None:
    """An error whose way out works, and deletes nothing that no row names."""
    before = images_of(out)
    lines = (out / "manifest.jsonl").read_text().splitlines()
    lines[1:1] = [garbage]
    if how != "added":
        del lines[2]
    (out / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"line 2: not a manifest row.*`existing=overwrite`"):
        apply.run(model, hr, out, Options(existing="resume"))
    warnings: list[str] = []
    assert apply.run(model, hr, out, Options(existing="overwrite"), on_warning=warnings.append).done == 3
    after = images_of(out)
    assert {name: content for name, content in after.items() if name in before} == before
    aside = [name for name in after if name.startswith("set-aside-")]
    assert len(aside) == 2 * (how != "added")
    assert len(warnings) == (how != "added")


@pytest.mark.parametrize("count", [1, 20, 100])
def test_a_torn_last_line(count: int, model: Checkpoint, hr: Path, out: Path) -> None:
    before = images_of(out)
    content = (out / "manifest.jsonl").read_bytes()
    (out / "manifest.jsonl").write_bytes(content[:-count])
    done = apply.run(model, hr, out, Options(existing="resume"))
    assert (done.done, done.resumed) == (3, 3 if count == 1 else 2)
    assert images_of(out) == before
    assert (out / "manifest.jsonl").read_bytes() == content


DESCRIPTIONS = ["", "[]", "{" * 9, "[" * 100_000, '{"made_by": [], "environment": {}}',
                '{"made_by": {}, "environment": {}, "resumed_in": 3}']  # fmt: skip


@pytest.mark.parametrize("content", DESCRIPTIONS)
@pytest.mark.parametrize("existing", ["resume", "overwrite"])
def test_a_damaged_description(content: str, existing: Any, model: Checkpoint, hr: Path, out: Path) -> None:
    (out / "dataset.json").write_text(content)
    before = images_of(out)
    with pytest.raises(ConfigError, match="not written by degsynth"):
        apply.run(model, hr, out, Options(existing=existing))
    assert images_of(out) == before


@pytest.mark.parametrize("draws", [1, 2])
@pytest.mark.parametrize("letter", ["x", "é", "漢"])
def test_long_names(letter: str, draws: int, model: Checkpoint, tmp_path: Path, photographs: list[Tensor]) -> None:
    stem = letter * (250 // len(letter.encode()))
    names = [f"{stem}.png", f"{stem[:-1]}y.png", f"{stem}.jpg"]
    for name in names:
        save_png(tmp_path / "HR" / name, photographs[0][:, :32, :32])
    out = tmp_path / "out"
    assert apply.run(model, tmp_path / "HR", out, Options(draws=draws)).done == 3 * draws
    rows = Manifest(out).read()
    assert {row.source for row in rows} == set(names)
    assert len({str(row.lr).casefold() for row in rows}) == 3 * draws
    assert all((out / str(name)).is_file() for row in rows for name in (row.hr, row.lr))
    assert apply.run(model, tmp_path / "HR", out, Options(draws=draws, existing="resume")).resumed == 3 * draws


def test_names_that_fit_are_left_alone() -> None:
    assert assign_stems(["x" * 251 + ".png"]) == {"x" * 251 + ".png": "x" * 251}
    (planned,) = plan_outputs(["a/b.png"], 2, [])["a/b.png"][1:]
    assert planned.stem == "a/b_1"


def test_a_full_disk_names_the_output(
    model: Checkpoint, hr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("degsynth.data.writing.write", full)
    rows: list[Row] = []
    apply.run(model, hr, tmp_path / "out", on_row=lambda row, total: rows.append(row))
    assert {row.error for row in rows} == {f"lr/{row.source}: No space left on device" for row in rows}
    assert images_of(tmp_path / "out") == {}


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks(
    number: int, model: Checkpoint, hr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock, "_lock", refuse)
    warnings: list[str] = []
    assert apply.run(model, hr, tmp_path / "out", on_warning=warnings.append).done == 3
    assert "its file system has no locks" in warnings[0]


def test_a_refused_run_leaves_the_files_of_the_other(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """The second run starts before the first has made ``.partial``, and is refused after."""
    root = Root(tmp_path)
    root.make_folder(".partial")
    (tmp_path / ".partial/half").touch()
    with lock.locked(root, print), pytest.raises(ConfigError, match="another run"), lock.locked(root, print):
        pass
    assert (tmp_path / ".partial/half").exists()


def test_a_lock_file_that_was_removed_is_no_lock(tmp_path: Path) -> None:
    root = Root(tmp_path)
    with lock.locked(root, print):
        root.remove_tree(".partial")
        with lock.locked(root, print):  # a new file, so a new lock
            assert (tmp_path / ".partial/lock").exists()


@pytest.mark.parametrize("link", ["hard", "symlink", "copy"])
def test_a_source_that_changes_while_it_is_read(
    link: Any, model: Checkpoint, hr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HR would be of the new image and LR of the old: a failed row, and nothing is left of it."""
    write = PairWriter._write_output

    def replacing(self: PairWriter, files: Any, output: PlannedOutput, *others: Any) -> Row:
        if output.source == "a.png":
            shutil.copy(hr / "sub/b.png", tmp_path / "later.png")
            (tmp_path / "later.png").replace(hr / "a.png")
        return write(self, files, output, *others)

    monkeypatch.setattr(PairWriter, "_write_output", replacing)
    summary = apply.run(model, hr, tmp_path / "out", Options(link=link))
    assert (summary.done, summary.failed) == (2, 1)
    assert not (tmp_path / "out/hr/a.png").exists()
    assert "changed while it was read" in next(str(row.error) for row in Manifest(tmp_path / "out").read() if row.error)
    monkeypatch.undo()
    assert apply.run(model, hr, tmp_path / "out", Options(link=link, existing="resume")).done == 3
