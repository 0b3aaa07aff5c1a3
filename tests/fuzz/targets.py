"""How an input is given to degsynth, and what must be true afterwards. All of it runs in a child process."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.inputs import Input
from tests.fuzz.material import OPTIONS, SECRETS, Material, command

LONGEST_MESSAGE = 1000
"""Characters of the longest line that degsynth may print."""


@dataclass
class Verdict:
    """What became of an input."""

    outcome: str
    """``accepted`` or ``refused``."""
    faults: list[str] = field(default_factory=list)
    """Rules that were broken, in words."""


@dataclass(frozen=True)
class Place:
    """A folder in which inputs are run: ``given`` with the inputs, ``out``, and what nobody may touch."""

    work: Path
    material: Material

    @property
    def given(self) -> Path:
        """The folder of the inputs."""
        return self.work / "given"

    @property
    def out(self) -> Path:
        """The only folder that may change."""
        return self.work / "out"

    def make(self) -> None:
        """Fill the folder, and make it the current one."""
        for folder in ("given", "out", "victim"):
            (self.work / folder).mkdir()
        for name in SECRETS:
            (self.work / "victim" / name).write_text("precious")
        shutil.copytree(self.material.hr, self.work / "HR")
        shutil.copytree(self.material.pairs, self.work / "pairs")
        os.chdir(self.work)

    def clear(self) -> None:
        """Remove all inputs and outputs."""
        for folder in (self.given, self.out):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(exist_ok=True)

    def fingerprint(self, below: Path | None = None) -> dict[str, str]:
        """Return what everything outside ``out`` is, or in a folder: type, permissions, and content or target."""
        found = {}
        for folder, names, files in os.walk(below or self.work):
            if Path(folder) == self.work:
                names.remove("out")
            for name in (*names, *files):
                path = Path(folder, name)
                status = path.lstat()
                what = oct(status.st_mode)
                if stat.S_ISREG(status.st_mode):
                    what += hashlib.sha256(path.read_bytes()).hexdigest()
                elif stat.S_ISLNK(status.st_mode):
                    what += str(path.readlink())
                found[os.path.relpath(path, self.work)] = what
        return found


@contextlib.contextmanager
def captured() -> Iterator[list[str]]:
    """Collect what is printed on stdout and stderr, by C libraries too; the list has both texts in the end."""
    texts: list[str] = []
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        kept = os.dup(1), os.dup(2)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", append=True)  # behind the filters that degsynth sets itself
                yield texts
        finally:
            for stream, number, saved in ((sys.stdout, 1, kept[0]), (sys.stderr, 2, kept[1])):
                stream.flush()
                os.dup2(saved, number)
                os.close(saved)
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "backslashreplace"))


def last_line(error: BaseException) -> str:
    """Return an error as a traceback ends."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1][:200]}"


def called(*arguments: object, named: Sequence[str] = (), printed: list[str] | None = None) -> tuple[int, Verdict]:
    """Run the command line and check how it ends and what it says; an exit code of 2 must name one of ``named``."""
    faults: list[str] = []
    code = -1
    with captured() as texts:
        try:
            code = command(*arguments)
        except BaseException as error:  # whatever leaves the command line is what a user would see as a traceback
            faults.append(f"traceback: {last_line(error)}")
    stderr = texts[1]
    if printed is not None:
        printed += texts
    verb = f"degsynth {arguments[0]}"
    if not faults and code not in (0, 1, 2):
        faults.append(f"{verb} ends with exit code {code}")
    if "Traceback (most recent" in stderr:
        faults.append(f"{verb} prints a traceback")
    lines = stderr.rstrip("\n").split("\n")
    if any(not line.isprintable() or len(line) > LONGEST_MESSAGE for line in lines):
        bad = next(line for line in lines if not line.isprintable() or len(line) > LONGEST_MESSAGE)
        faults.append(f"{verb} prints a line that is too long or cannot be printed: {bad[:200]!a}")
    if code == 2:
        said = [line for line in lines if line.startswith("degsynth: ")]
        if len(said) != 1:
            faults.append(f"{verb} gives up with {len(said)} lines that begin with 'degsynth: ': {stderr[-300:]!a}")
        elif named and not any(name in said[0] for name in named):
            faults.append(f"{verb} does not name the file: {said[0]}")
    if loud := [line for line in lines if re.search(r"warning: |Warning:|^\[|error:", line) and "degsynth" not in line]:
        loud = [line for line in loud if not line.startswith(("warning: ", "failed: "))]
        faults += [f"{verb}: a library prints {line[:200]!a}" for line in loud[:1]]
    return code, Verdict("refused" if code == 2 else "accepted", faults)


def image_alone(item: Input, place: Place) -> Verdict:
    """Decode an image; if it is what was left of a whole one, its pixels must be that one's."""
    from degsynth.data import images
    from degsynth.errors import DataError

    path = item.write(place.given, place.work)
    pixels, verdict = None, Verdict("accepted")
    with captured() as texts:
        try:
            pixels = images.read(path)
        except DataError as error:
            verdict.outcome = "refused"
            if item.name not in str(error) or "\n" in str(error).replace(item.name, ""):
                verdict.faults.append(f"the message does not name the file in one line: {str(error)[:300]!a}")
        except Exception as error:
            verdict.faults.append(f"traceback: {last_line(error)}")
    if any(texts):
        verdict.faults.append(f"a library prints {''.join(texts)[:200]!a}")
    if pixels is not None and item.whole is not None:
        whole = path.with_name(f"whole{path.suffix}")
        whole.write_bytes(item.whole)
        if not _same(pixels, images.read(whole)):
            verdict.faults.append("a damaged file is accepted with other pixels than it had")
        whole.unlink()
    path.unlink(missing_ok=True) if not path.is_dir() or path.is_symlink() else path.rmdir()
    return verdict


def _same(one: object, other: object) -> bool:
    import numpy as np

    def equal(a: object, b: object) -> bool:
        return (a is None) == (b is None) and (a is None or np.array_equal(a, b))

    return equal(one.pixels, other.pixels) and equal(one.alpha, other.alpha)  # type: ignore[attr-defined]


def images_together(items: Sequence[Input], place: Place) -> Verdict:
    """Apply a model to a folder of all images: each is a row, or is counted as left out."""
    for item in items:
        item.write(place.given, place.work)
    shutil.copy(place.material.hr / "a.png", place.given / "sound.png")
    printed: list[str] = []
    code, verdict = called(
        "apply", place.material.models[0], place.given, place.out / "set", "--workers", 1, printed=printed
    )
    if verdict.faults:
        return verdict
    rows = [json.loads(line) for line in (place.out / "set/manifest.jsonl").read_text("utf-8").splitlines()]
    failed = {row["source"]: str(row.get("error")) for row in rows if row["status"] == "failed"}
    counted = re.findall(r"are (?:left out|not followed) \((\d+)\)", printed[1])
    left_out = sum(map(int, counted))
    faults = verdict.faults
    if code != bool(failed):
        faults.append(f"{len(failed)} images failed, and the exit code is {code}")
    files = 1 + sum(item.content != "folder" for item in items)
    if len({row["source"] for row in rows}) + left_out != files:
        faults.append(f"of {files} files {len(rows)} have rows and {left_out} are left out")
    for name, reason in failed.items():
        if f"failed: {name}: " not in printed[1]:
            faults.append(f"{name}: its reason is not printed")
        if not reason.isprintable() or reason in ("", "None"):
            faults.append(f"{name}: its reason is {reason[:200]!a}")
    for row in rows:
        if row["status"] == "ok" and not all((place.out / "set" / row[side]).is_file() for side in ("hr", "lr")):
            faults.append(f"{row['source']}: a file of its row is missing")
    if "sound.png" in failed:
        faults.append(f"a sound image beside bad ones failed: {failed['sound.png']}")
    return verdict


def checkpoint(item: Input, place: Place) -> Verdict:
    """Inspect a checkpoint; if that accepts it, apply it, and test every third.

    One whose code was changed, with right checksums, is only loaded: it is another program, which may do anything.
    """
    path = item.write(place.given, place.work)
    code, verdict = called("inspect", path, named=[item.name])
    if code != 0 or item.how in ("member", "arrangement"):
        return verdict
    commands = [("apply", path, "HR", place.out / "set"), *([("selftest", path)] if item.number % 3 == 0 else [])]
    for arguments in commands:
        verdict.faults += called(*arguments, named=[item.name])[1].faults
    return verdict


def pool(item: Input, place: Place) -> Verdict:
    """Import a file of kernels; if that accepts it, show the pool that came of it. Show what may be a pool,
    and apply every third."""
    path = item.write(place.given, place.work)
    made = place.out / "made.h5"
    code, verdict = called("kernel-pool", "import", path, "-o", made, named=[item.name])
    if code == 0:
        verdict.faults += called("kernel-pool", "show", made, named=["made.h5"])[1].faults
    if path.suffix == ".h5":
        verdict.faults += called("kernel-pool", "show", path, named=[item.name])[1].faults
        if item.number % 3 == 0:
            verdict.faults += called("apply", path, "HR", place.out / "set", "--scale", 2, named=[item.name])[1].faults
    return verdict


def configuration(item: Input, place: Place) -> Verdict:
    """Fit with a configuration."""
    path = item.write(place.given, place.work)
    return called("fit", "--config", path, "--out", place.out / "run", *item.flags)[1]


def manifest(item: Input, place: Place) -> Verdict:
    """Go on with a data set that was changed, or replace it; if that succeeds, all its images are as they were."""
    made = place.out / "set"
    shutil.copytree(place.material.dataset, made)
    item.write(made, place.work)
    arguments = ("apply", place.material.models[0], "HR", made, *OPTIONS, *item.flags)
    code, verdict = called(*arguments, named=["manifest.jsonl", "dataset.json", str(made)])
    if code != 0:
        return verdict
    for path in sorted(place.material.dataset.rglob("*.png")):
        name = path.relative_to(place.material.dataset)
        if not (made / name).is_file() or (made / name).read_bytes() != path.read_bytes():
            verdict.faults.append(f"exit code 0, but {name} is not as it was")
    return verdict


def layout(item: Input, place: Place) -> Verdict:
    """Look at a data set whose layouts were changed, go on with it, or replace it.

    Where ``verify`` finds nothing, nothing is changed; where layouts are asked for, they are whole in the end.
    """
    made, sound = place.out / "set", place.material.laid_out
    shutil.copytree(sound, made)
    item.write(made, place.work)
    if item.flags == ("verify",):
        return _looked_at(item, made, sound, place)
    arguments = ("apply", place.material.models[0], "HR", made, *OPTIONS, *item.flags)
    code, verdict = called(*arguments, named=[str(made)])
    if code == 0:
        asked = [flag for flag in item.flags if flag in ("basicsr", "hdf5")]
        for path in sorted(path for name in asked for path in (sound / name).rglob("*") if path.is_file()):
            there = made / path.relative_to(sound)
            if not there.is_file() or (path.name != "layout.json" and there.stat().st_size != path.stat().st_size):
                verdict.faults.append(f"exit code 0, but {path.relative_to(sound)} is not as it was")
    return verdict


def verified(item: Input, place: Place) -> Verdict:
    """Look at a data set that was changed: nothing is written, and where nothing is found, its images are sound."""
    made = place.out / "set"
    shutil.copytree(place.material.dataset, made)
    item.write(made, place.work)
    return _looked_at(item, made, place.material.dataset, place)


def _looked_at(item: Input, made: Path, sound: Path, place: Place) -> Verdict:
    before = place.fingerprint(made)
    flags = [("--hr", "HR"), ("--json",), ()][item.number % 3]
    code, verdict = called("verify", made, "--workers", 1, *flags, named=[str(made)])
    if place.fingerprint(made) != before:
        verdict.faults.append("verify has changed the data set")
    if code == 0 and item.how != "sound":
        verdict.faults += [
            f"verify finds nothing, but {path.relative_to(sound)} is not as it was"
            for path in sorted(sound.rglob("*"))
            if path.is_file() and _is_other(made / path.relative_to(sound), path)
        ]
    return verdict


def _is_other(path: Path, sound: Path) -> bool:
    """Tell whether a file that was checked by its content is another one: records are, by what they say."""
    if sound.suffix == ".json" or sound.name == "manifest.jsonl":
        return False
    return not path.is_file() or path.read_bytes() != sound.read_bytes()


def replay(item: Input, place: Place) -> Verdict:
    """Make a data set again from a manifest and ``dataset.json`` of others; where that succeeds, it is what it was."""
    given, made = place.given / "set", place.out / "again"
    given.mkdir()
    for name in ("manifest.jsonl", "dataset.json"):
        shutil.copy(place.material.dataset / name, given / name)
    item.write(given, place.work)
    arguments = ("apply", place.material.models[0], "HR", made, "--replay", given / "manifest.jsonl", "--link", "copy")
    code, verdict = called(*arguments, "--workers", 1, named=[str(given)])
    if code == 0:
        rows = [json.loads(line) for line in (made / "manifest.jsonl").read_text("utf-8").splitlines()]
        names = [name for row in rows for name in (row["hr"], row["lr"])]
        stems = [Path(str(row["lr"])).with_suffix("") for row in rows]
        if len(set(stems)) < len(stems):
            verdict.faults.append("two outputs have one name")
        verdict.faults += [f"exit code 0, and {name} is missing" for name in names if not (made / name).is_file()]
    return verdict


ALONE: dict[str, Callable[[Input, Place], Verdict]] = {
    "images": image_alone,
    "checkpoints": checkpoint,
    "pools": pool,
    "mat": pool,
    "npy": pool,
    "toml": configuration,
    "manifests": manifest,
    "layouts": layout,
    "replays": replay,
    "verified": verified,
}
"""How an input of each kind is run by itself."""
