"""The inputs: a seed, a kind and a number always give the same one."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.fuzz import checkpoints, kernels, mutations, pictures, records
from tests.fuzz.material import Material

SHARES = {
    "images": 34, "checkpoints": 12, "pools": 10, "mat": 6, "npy": 6, "toml": 6, "manifests": 8, "layouts": 6,
    "replays": 6, "verified": 6,
}  # fmt: skip
"""Of a hundred inputs of all kinds, how many are of each."""
NAMES = ("a\nb", "\x1b[2Jx", "-x", "x" * 240, "é̂😀", "a b ", "\u202egnp", "%s{0}", "a;rm", "\udcff\udcfe")
"""Parts of names that files of others may have."""
Special = Literal["pipe", "folder", "itself", "/dev/zero", "victim", "victim/precious.png"]
"""What stands in place of a file: a named pipe, a folder, or a link to itself or to what is named."""
SPECIALS: tuple[Special, ...] = ("pipe", "folder", "itself", "/dev/zero", "victim", "victim/precious.png")
Content = bytes | Special
OF_DATASETS = ("manifests", "layouts", "replays", "verified")
"""Kinds of inputs that replace a file of a data set."""
SOUND = "sound"
"""How inputs without damage were made."""


@dataclass(frozen=True)
class Input:
    """A file with which a run is disturbed."""

    kind: str
    number: int
    how: str
    """How it was made."""
    name: str
    """Its path relative to the folder it belongs in; those of `OF_DATASETS` replace a file of a data set."""
    content: Content
    whole: bytes | None = None
    """The undamaged image file: if degsynth accepts what is left of it, the pixels must be the same."""
    flags: tuple[str, ...] = ()
    """Options of the command that reads it."""

    def __str__(self) -> str:
        """Return how reports call it; ``--only`` takes that."""
        return f"{self.kind}-{self.number}"

    def write(self, folder: Path, work: Path) -> Path:
        """Put the file below ``folder``, in place of what is there; links lead to places in ``work``."""
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        elif self.content == "pipe":
            os.mkfifo(path)
        elif self.content == "folder":
            path.mkdir()
        else:
            path.symlink_to(path.name if self.content == "itself" else work / self.content)
        return path


def generate(kind: str, number: int, seed: int, material: Material) -> Input:
    """Return the input of a kind that has this number."""
    return MAKERS[kind](number, random.Random(f"{seed} {kind} {number}"), material)


def sound(material: Material) -> list[Input]:
    """Return undamaged inputs, which must be accepted: otherwise the damaged ones would test little."""
    files = {
        "images": pictures.sound(),
        "checkpoints": [(".pt", path.read_bytes()) for path in material.models],
        "pools": [(".h5", material.pool.read_bytes()), *kernels.sound_hdf5()],
        "mat": kernels.sound_mat(),
        "npy": kernels.sound_npy(),
        "toml": [(".toml", text.encode()) for text in material.configurations()],
        **{kind: [("dataset.json", (material.dataset / "dataset.json").read_bytes())] for kind in OF_DATASETS},
    }
    numbered = [(kind, *entry) for kind, entries in files.items() for entry in enumerate(entries)]
    flags = {"manifests": ("--resume",), "layouts": LAYOUT_COMMANDS[0]}
    return [
        Input(kind, number, SOUND, suffix if kind in OF_DATASETS else f"{number:05}{suffix}", content, content,
              flags.get(kind, ()))
        for kind, number, (suffix, content) in numbered
    ]  # fmt: skip


def is_network(item: Input) -> bool:
    """Tell whether an input is the configuration of a fit of a network, which takes longest."""
    return isinstance(item.content, bytes) and b'method = "dml"' in item.content


def plan(kind: str, count: int) -> list[tuple[str, int]]:
    """Return the kinds and numbers of ``count`` inputs: of one kind, or of all by their shares."""
    if kind != "all":
        return [(kind, number) for number in range(count)]
    amounts = {name: count * share // 100 for name, share in SHARES.items()}
    amounts["images"] += count - sum(amounts.values())
    return [(name, number) for name, amount in amounts.items() for number in range(amount)]


def _image(number: int, rng: random.Random, material: Material) -> Input:
    roll, whole = rng.random(), None
    content: Content
    if roll < 0.5:
        suffix, sound = rng.choice(pictures.sound())
        how, content = mutations.damaged(sound, rng)
        whole = sound if how == "truncated" or suffix == ".png" else None  # the parts of a PNG have checksums
    else:
        how = rng.choice(list(pictures.CRAFTED))
        suffix, content = pictures.CRAFTED[how](rng)
        if roll > 0.95:
            more, content = mutations.damaged(content, rng)
            how += f", {more}"
    if rng.random() < 0.03:
        how, content, whole = "no regular file", rng.choice(SPECIALS[:5]), None
    odd = rng.random() < 0.05
    return Input("images", number, how, f"{number:05}{rng.choice(NAMES) if odd else ''}{suffix}", content, whole)


def _checkpoint(number: int, rng: random.Random, material: Material) -> Input:
    content = rng.choice(material.models).read_bytes()
    roll = rng.random()
    if roll < 0.4:
        how, content = "flipped", mutations.flipped(content, rng)
    elif roll < 0.7:
        how, content = mutations.damaged(content, rng)
    else:
        how = rng.choice(list(checkpoints.CRAFTED))
        content = checkpoints.CRAFTED[how](content, rng)
    return Input("checkpoints", number, how, f"{number:05}.pt", content)


def _of_kernels(
    kind: str, number: int, rng: random.Random, sound: list[tuple[str, bytes]], crafted: kernels.Crafted
) -> Input:
    if rng.random() < 0.6:
        suffix, content = rng.choice(sound)
        how, content = mutations.damaged(content, rng)
    else:
        how = rng.choice(list(crafted))
        suffix, content = crafted[how](rng)
    return Input(kind, number, how, f"{number:05}{suffix}", content)


def _pool(number: int, rng: random.Random, material: Material) -> Input:
    own = material.pool.read_bytes()
    crafted = {**kernels.CRAFTED_HDF5, "pool changed": lambda rng: kernels.pool_changed(own, rng)}
    return _of_kernels("pools", number, rng, [(".h5", own), *kernels.sound_hdf5()], crafted)


def _mat(number: int, rng: random.Random, material: Material) -> Input:
    return _of_kernels("mat", number, rng, kernels.sound_mat(), kernels.CRAFTED_MAT)


def _npy(number: int, rng: random.Random, material: Material) -> Input:
    return _of_kernels("npy", number, rng, kernels.sound_npy(), kernels.CRAFTED_NPY)


def _text(text: str, rng: random.Random) -> tuple[str, bytes]:
    """Change a value or a line of a text, or damage its bytes."""
    roll = rng.random()
    if roll > 0.8:
        return mutations.damaged(text.encode(), rng)
    how, changed = (
        ("value", mutations.other_value(text, rng)) if roll < 0.6 else ("line", mutations.other_line(text, rng))
    )
    return how, changed.encode("utf-8", "surrogatepass")


def _toml(number: int, rng: random.Random, material: Material) -> Input:
    linear, learnt = material.configurations()
    learns = rng.random() < 0.1  # a step of training takes a second, most of it for the export
    how, content = _text(learnt if learns else linear, rng)
    return Input("toml", number, how, f"{number:05}.toml", content, flags=("--steps", "1") if learns else ())


def _manifest(number: int, rng: random.Random, material: Material) -> Input:
    flags = rng.choice((("--resume",), ("--resume",), ("--resume", "--check", "full"), ("--overwrite",)))
    roll = rng.random()
    if roll < 0.15:
        places = ("hr", "lr", "lr/sub", "hr/sub", ".partial", ".partial/lock", "manifest.jsonl", "dataset.json",
                  "lr/a_0.png", "hr/a_0.png")  # fmt: skip
        return Input("manifests", number, "planted", rng.choice(places), rng.choice(SPECIALS), flags=flags)
    if roll < 0.35:
        name = rng.choice(
            sorted(path.relative_to(material.dataset).as_posix() for path in material.dataset.rglob("*.png"))
        )
        how, content = mutations.damaged((material.dataset / name).read_bytes(), rng)
        return Input("manifests", number, f"output {how}", name, content, flags=flags)
    name = "dataset.json" if roll < 0.5 else "manifest.jsonl"
    text = (material.dataset / name).read_text("utf-8")
    if roll < 0.65 or name == "dataset.json":
        how, content = _text(text, rng)
    else:
        how, content = "names", _other_names(text, rng).encode()
    return Input("manifests", number, how, name, content, flags=flags)


LAYOUT_COMMANDS = (
    ("verify",), ("--resume", "--layout", "basicsr"), ("--resume", "--layout", "hdf5"), ("--resume",),
    ("--overwrite", "--layout", "basicsr", "--layout", "hdf5"),
)  # fmt: skip
"""What is done with a data set whose layouts were changed."""


def _layout(number: int, rng: random.Random, material: Material) -> Input:
    """A changed record, list or file of a layout, or something else in its place."""
    flags, layout, roll = rng.choice(LAYOUT_COMMANDS), rng.choice(("basicsr", "hdf5")), rng.random()
    folder = material.laid_out / layout
    names = sorted(path.relative_to(material.laid_out).as_posix() for path in folder.rglob("*") if path.is_file())
    if roll < 0.2:
        place = rng.choice((*names, layout, "basicsr/hr", "basicsr/lr", "kair", f"{layout}/more.png"))
        return Input("layouts", number, "planted", place, rng.choice(SPECIALS), flags=flags)
    if roll < 0.35:
        name = rng.choice(names)
        how, content = mutations.damaged((material.laid_out / name).read_bytes(), rng)
        return Input("layouts", number, f"{name} {how}", name, content, flags=flags)
    name = f"{layout}/{'layout.json' if roll < 0.9 else 'pairs.jsonl'}"
    change = records.other_record if roll < 0.9 else records.other_rows
    how, content = change((material.laid_out / name).read_text("utf-8"), names, rng)
    return Input("layouts", number, how, name, content, flags=flags)


def _of_records(kind: str, number: int, rng: random.Random, material: Material) -> Input:
    """A changed manifest or ``dataset.json``; the folder where replays are read holds nothing else of a data set."""
    name = "dataset.json" if rng.random() < 0.4 else "manifest.jsonl"
    roll = rng.random()
    if roll < 0.08:
        return Input(kind, number, "planted", name, rng.choice(SPECIALS))
    rows = [json.loads(line) for line in (material.dataset / "manifest.jsonl").read_text("utf-8").splitlines()]
    names = [str(row[key]) for row in rows for key in ("source", "hr", "lr")]
    if kind == "verified" and roll < 0.3:
        name = rng.choice(sorted({name for name in names if name.startswith(("hr/", "lr/"))}))
        if roll < 0.15:
            return Input(kind, number, "planted", name, rng.choice(SPECIALS))
        how, content = mutations.damaged((material.dataset / name).read_bytes(), rng)
        return Input(kind, number, f"output {how}", name, content)
    change = records.other_record if name == "dataset.json" else records.other_rows
    how, content = change((material.dataset / name).read_text("utf-8"), names, rng)
    return Input(kind, number, how, name, content)


def _replay(number: int, rng: random.Random, material: Material) -> Input:
    return _of_records("replays", number, rng, material)


def _verified(number: int, rng: random.Random, material: Material) -> Input:
    return _of_records("verified", number, rng, material)


def _other_names(text: str, rng: random.Random) -> str:
    """Let rows of a manifest name files outside, or those of other rows."""
    rows = [json.loads(line) for line in text.splitlines()]
    names = [str(row[key]) for row in rows for key in ("source", "hr", "lr")]
    names += ["../victim/precious.png", "lr/../../victim/b.png", "hr/../../HR/a.png", "lr/./a_0.png", "lr//a_0.png",
              "../victim/precious.txt", "/etc/hostname", "lr", "..", "", "dataset.json", "lr/a\0.png"]  # fmt: skip
    for _ in range(rng.choice((1, 2, 5))):
        rng.choice(rows)[rng.choice(("source", "hr", "lr"))] = rng.choice(names)
        if rng.random() < 0.5:
            rng.choice(rows)[rng.choice(("lr_sha256", "hr_sha256", "hr_kept", "status"))] = rng.choice(
                ("0", "ok", "failed")
            )
    if rng.random() < 0.2:
        rows.append(rng.choice(rows))
    return "".join(json.dumps(row) + "\n" for row in rows)


MAKERS: dict[str, Callable[[int, random.Random, Material], Input]] = {
    "images": _image,
    "checkpoints": _checkpoint,
    "pools": _pool,
    "mat": _mat,
    "npy": _npy,
    "toml": _toml,
    "manifests": _manifest,
    "layouts": _layout,
    "replays": _replay,
    "verified": _verified,
}
