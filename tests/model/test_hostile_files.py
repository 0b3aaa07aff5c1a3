"""Checkpoints, records and configurations that are damaged or made to do harm: one line, and nothing happens."""

from __future__ import annotations

import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import Tensor

from degsynth.config import Strict, build, parse_assignments, read_toml
from degsynth.errors import CheckpointError, ConfigError, DataError, DegsynthError
from degsynth.model import archive, checkpoint
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.render import render
from degsynth.model.resolve import open_model
from degsynth.model.spec import Spec, parse_spec
from degsynth.seeds import Identity
from tests.doubles import StochasticOptics, VariantOptics, linear_double, save_double


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "m.pt"
    linear_double(path, 2)
    return path


def refused(path: Path, match: str | None = None) -> str:
    """Load a file that must be refused in one line, which names it."""
    with pytest.raises(CheckpointError, match=match) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()
    assert len(message) < 500
    return message


def outcome(load: Callable[[], Any]) -> tuple[str, Any]:
    """Return the line with which a file is refused, or what it holds."""
    try:
        return "", load()
    except DegsynthError as error:
        return str(error) if str(error).isprintable() else "", None


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_anywhere_is_noticed_or_harmless(seed: int, good: Path, tmp_path: Path) -> None:
    content, rng = bytearray(good.read_bytes()), random.Random(seed)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    (tmp_path / "flipped.pt").write_bytes(content)
    message, model = outcome(lambda: checkpoint.load(tmp_path / "flipped.pt"))
    if model is None:
        assert "flipped.pt" in message
    else:  # in padding, or in a time stamp
        hr = torch.rand(1, 3, 24, 24)
        assert torch.equal(model.degrader.degrade(hr, 0), checkpoint.load(good).degrader.degrade(hr, 0))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_checkpoint_that_is_cut_short_is_refused(share: float, good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    (tmp_path / "short.pt").write_bytes(content[: int(share * len(content))])
    refused(tmp_path / "short.pt")


# --- bombs ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.pt").open("wb") as file:
        file.truncate(archive.LARGEST_FILE + 1)  # sparse
    refused(tmp_path / "huge.pt", "more than")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", bytes(archive.LARGEST_UNPACKED + 1))
    refused(tmp_path / "m.pt", "bytes of compressed ones")


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_only_regular_files_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    make: dict[str, Callable[[], Any]] = {
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
    }
    make[kind]()
    refused(path)


@pytest.mark.parametrize("name", ["a\0b.pt", "x" * 5000 + ".pt", "a\0b.h5", "\ud800.pt"])
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(DegsynthError):
        open_model(name, 2)


# --- the record -----------------------------------------------------------------------------------------------------

NESTED = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "change",
    [
        '"format_version": Infinity',
        '"format_version": NaN',
        '"format_version": 1e400',
        '"format_version": [1]',
        '"format_version": "one"',
        '"scale": 0',
        '"scale": 1000000000',
        '"scale": 1e999',
        '"clean_halo": 99999999999999999999',
        '"multiple_of": 1000000000',
        '"channels": []',
        '"channels": [0]',
        '"channels": [1000000000]',
        '"gain": []',
        '"gain": [NaN]',
        '"offset": [Infinity]',
        '"phase": []',
        '"phase": [[0, Infinity]]',
        '"pool": 1e30',
        '"bytes_per_pixel": 1e300',
        '"method": "a\\u001b[2J"',
        '"method": "a\\nb"',
        '"degsynth_version": 3',
        '"hardware_factor": {"default": NaN, "trained": 1, "range": [0, 1]}',
        '"hardware_factor": {"default": 1, "trained": 1, "range": [0, Infinity]}',
        '"hardware_factor": {"default": 1, "trained": 1, "range": [1, 0]}',
        '"hardware_factor": {"default": 1, "trained": 1, "range": [0, 1], "entry": -1}',
        f'"config": {NESTED}',
    ],
    ids=lambda change: change[:40],
)
def test_a_record_of_nonsense_is_one_line(change: str) -> None:
    record = Spec(degsynth_version="1", method="m", scale=2, clean_halo=0, halo=0, multiple_of=2).model_dump_json()
    parse_spec(record, Path("m.pt"))
    with pytest.raises(CheckpointError, match=r"m\.pt") as caught:
        parse_spec(record[:-1] + f", {change}}}", Path("m.pt"))  # the last of two equal keys counts
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["", "null", "3", "[]", '"x"', NESTED, "{", b"\xff\xfe", "9" * 5000])
def test_what_is_no_record_is_one_line(text: str | bytes) -> None:
    with pytest.raises(CheckpointError, match=r"m\.pt.*cannot be read") as caught:
        parse_spec(text, Path("m.pt"))
    assert "\n" not in str(caught.value)


# --- what the code may do -------------------------------------------------------------------------------------------


def written(path: Path, optics: torch.nn.Module, **facts: Any) -> Path:
    spec = Spec(degsynth_version="t", method="m", scale=2, clean_halo=0, halo=0, multiple_of=2, **facts)
    checkpoint.write(Degrader(optics, 2), spec, path)
    return path


# --- what comes out -------------------------------------------------------------------------------------------------


class Wrong(Optics):
    """Gives images of one kind of nonsense."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:
        if self.kind == "code":
            return torch.full((1, 1), float("nan"))
        return torch.zeros(3) if self.kind == "code size" else torch.zeros(1, 0)

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        lr = hr[:, :, ::2, ::2].clone()
        if self.kind == "nan":
            lr[0, 0, 1, 1] = float("nan")
        if self.kind == "inf":
            lr[0, 0, 1, 1] = float("inf")
        if self.kind == "size":
            return lr[:, :, 1:]
        if self.kind == "channels":
            return lr[:, :1]
        if self.kind == "type":
            return lr.to(torch.int64)
        return lr

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return lr * float("nan") if self.kind == "noise" else torch.zeros_like(lr)


@pytest.mark.parametrize("kind", ["nan", "inf", "size", "channels", "type", "noise", "code", "code size"])
@pytest.mark.parametrize("tile", [None, 8])
def test_nonsense_from_a_model_fails_the_image(kind: str, tile: int | None, tmp_path: Path) -> None:
    path = written(tmp_path / "m.pt", Wrong(kind), has_noise=True)
    with pytest.raises(DataError, match=r"the model .*(gives|draws)") as caught:
        render(Degradation(checkpoint.load(path)), torch.rand(3, 40, 40), Identity(0, "x.png"), tile)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("optics", [StochasticOptics(2, 12), VariantOptics(2, 12)])
def test_good_models_pass(optics: torch.nn.Module, tmp_path: Path) -> None:
    model: Checkpoint = save_double(tmp_path / "m.pt", optics, 2, clean_halo=5, has_noise=True, noise_halo=1)
    assert render(Degradation(model), torch.rand(3, 40, 40), Identity(0, "x.png"), 8).shape == (3, 20, 20)


# --- options --------------------------------------------------------------------------------------------------------


class Options(Strict):
    batch: int = Field(default=8, ge=1, le=2**14)
    other: int = Field(default=1, ge=-(10**6), le=10**6)
    rate: float = 1.0


@pytest.mark.parametrize(
    "values",
    [
        {"batch": 1_000_000_000},
        {"batch": "1000000000"},
        {"batch": 1e9},
        {"other": 10**30},
        {"other": -(10**7)},
        {"other": 16**6000},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"a\x1b[2J\nb": 1},
        {"batch": "x" * 10_000},
        {"batch": "a\nb"},
    ],
    ids=lambda values: str(next(iter(values)))[:8],
)
def test_absurd_options_are_one_line(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="method m") as caught:
        build(Options, values, "method m")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "content",
    [
        b"a = " + b"[" * 50_000 + b"]" * 50_000,
        b"a = " + b"{b=" * 50_000,
        b"a = " + b"9" * 5000,
        b"a\0b = 1",
        b"\xff\xfe",
        b"[fit",
        b"#" * (2**20 + 1),
    ],
    ids=["lists", "tables", "digits", "NUL", "bytes", "cut", "large"],
)
def test_what_is_no_toml_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.toml") as caught:
        read_toml(tmp_path / "c.toml")
    assert str(caught.value).isprintable()


def test_an_assignment_of_any_text_is_taken_as_text() -> None:
    for text in ("[" * 50_000, "9" * 5000, "a\0b"):
        assert parse_assignments([f"k={text}"]) == {"k": text}
