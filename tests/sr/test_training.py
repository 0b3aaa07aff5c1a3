"""Trainings of small networks on small sets: they learn, repeat and resume, and strangers can load the result."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth.config import Events
from degsynth.data import images, writing
from degsynth.errors import ConfigError, DataError, FitStoppedError
from degsynth.sr import folders, networks, testing, training
from degsynth.sr.enlarging import enlarge_image, super_resolve
from degsynth.sr.options import Pairs, Training
from degsynth.sr.sources import Batches, FilePairs, MadePairs, bicubic_lr, open_source
from tests.conftest import save_png
from tests.doubles import stochastic
from tests.sr.conftest import write_pair


def quick(*pairs: Pairs, **values: object) -> Training:
    return Training.model_validate({"pairs": pairs, "steps": 6, "batch": 2, "patch": 12, **values})


def weights(run: Path) -> bytes:
    return (run / networks.WEIGHTS).read_bytes()


def test_the_same_seed_gives_the_same_bytes(pair: Pairs, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        training.run(quick(pair, seed=seed), tmp_path / name)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


def test_a_resumed_training_ends_as_an_uninterrupted_one(pair: Pairs, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    training.run(quick(pair), whole)
    calls = iter(range(100))

    @contextlib.contextmanager
    def stop() -> Iterator[Callable[[], bool]]:
        yield lambda: next(calls) == 3

    with pytest.raises(FitStoppedError, match="step 4"):
        training.run(quick(pair), parts, events=Events(deferred_stop=stop))
    assert not (parts / networks.NETWORK).exists()
    record = training.run(quick(pair), parts, resume=True)
    assert weights(parts) == weights(whole)
    assert record["steps"] == 6
    assert [json.loads(line)["step"] for line in (parts / "log.jsonl").read_text().splitlines()] == [1, 2, 3, 4, 5, 6]
    assert training.run(quick(pair), parts, resume=True) == record


def test_a_training_is_never_overwritten(pair: Pairs, tmp_path: Path) -> None:
    training.run(quick(pair), tmp_path / "a")
    with pytest.raises(ConfigError, match="exists"):
        training.run(quick(pair), tmp_path / "a")


def test_the_rate_rises_quickly_and_falls_to_nothing() -> None:
    rates = [training.rate(step / 1000) for step in range(1001)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 50
    assert rates[-1] == pytest.approx(0.0)


@pytest.mark.parametrize("kind", ["files", "model", "bicubic"])
def test_batches_depend_on_seed_and_step_alone(kind: str, pair: Pairs, tmp_path: Path) -> None:
    stochastic(tmp_path / "m.pt", 2)
    made = {"files": pair, "model": Pairs(hr=pair.hr, model=str(tmp_path / "m.pt")), "bicubic": Pairs(hr=pair.hr)}[kind]
    chosen = quick(made, scale=2)
    first, again = (Batches([open_source(made, chosen, "cpu", Events())], chosen, "cpu") for _ in range(2))
    again.batch(3)
    for one, other in zip(first.batch(5), again.batch(5), strict=True):
        assert torch.equal(one, other)
    hr, lr = first.batch(5)
    assert (hr.shape, lr.shape) == ((2, 1, 24, 24), (2, 1, 12, 12))
    assert not torch.equal(lr, first.batch(6)[1])


def test_a_model_draws_anew_and_writes_levels_of_files(pair: Pairs, tmp_path: Path) -> None:
    stochastic(tmp_path / "m.pt", 2)
    made = Pairs(hr=pair.hr, model=str(tmp_path / "m.pt"))
    source = open_source(made, quick(made), "cpu", Events())
    assert isinstance(source, MadePairs)
    assert source.lr("0.png", 0).dtype == "uint8"
    assert (source.lr("0.png", 0) != source.lr("0.png", 1)).any()


def test_pairs_are_of_one_kind() -> None:
    assert (Pairs(hr="HR").read, Pairs(hr="HR", lr="LR").read, Pairs(pairs="t.csv").read) == (False, True, True)
    for values in ({}, {"hr": "HR", "pairs": "t.csv"}, {"lr": "LR", "pairs": "t.csv"}):
        with pytest.raises(ValueError, match="give hr, or pairs without lr"):
            Pairs(**values)


def test_both_sides_are_turned_together(pair: Pairs) -> None:
    source = MadePairs(Path(pair.hr), bicubic_lr(2), 2, 1, 0)
    hr, lr = Batches([source], quick(pair, batch=16), "cpu").batch(0)
    mean = torch.nn.functional.avg_pool2d(hr, 2)
    for high, low in zip(mean, lr, strict=True):
        assert float(torch.corrcoef(torch.stack([high.flatten(), low.flatten()]))[0, 1]) > 0.9


def test_a_mixture_fills_half_of_every_batch(pair: Pairs, tmp_path: Path) -> None:
    """Flat HR images on one side, so that one can see where a patch comes from."""
    save_png(tmp_path / "flat/0.png", torch.full((3, 120, 120), 0.5))
    mixed = quick(pair, Pairs(hr=str(tmp_path / "flat")), scale=2, batch=6)
    sources = [open_source(pairs, mixed, "cpu", Events()) for pairs in mixed.pairs]
    hr, _ = Batches(sources, mixed, "cpu").batch(0)
    assert [float(patch.std()) < 1e-6 for patch in hr] == [False, True] * 3
    with pytest.raises(ConfigError, match="2 or more"):
        Batches(sources, mixed.model_copy(update={"batch": 1}), "cpu")


def test_a_stranger_loads_the_network_without_degsynth(pair: Pairs, tmp_path: Path) -> None:
    training.run(quick(pair), tmp_path / "a")
    code = (
        "import sys, json, torch\n"
        "extra = {'degsynth_sr.json': ''}\n"
        "net = torch.jit.load(sys.argv[1] + '/network.pt', _extra_files=extra)\n"
        "assert json.loads(extra['degsynth_sr.json'])['scale'] == 2\n"
        "state = torch.load(sys.argv[1] + '/weights.pth', weights_only=True)['params']\n"
        "assert 'conv_first.weight' in state\n"
        "print(tuple(net(torch.rand(1, 1, 9, 7)).shape), [m for m in sys.modules if m.startswith('degsynth')])"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "a")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONSAFEPATH": "1", "PATH": ""},
    )
    assert result.stdout.strip() == "(1, 1, 18, 14) []", result.stderr


def test_pairs_that_show_different_scenes_are_left_out_and_others_named(pair: Pairs, tmp_path: Path) -> None:
    """A data set of strong blur may move its LR images: that is learnt from, with a warning."""
    lr = Path(str(pair.lr))
    said: list[str] = []
    whole = images.read(lr / "1.png").pixels
    save_png(lr / "0.png", np.full_like(whole, 7))
    for name in ("1.png", "2.png"):
        save_png(lr / name, np.roll(images.read(lr / name).pixels, 3, 0))
    source = open_source(pair, quick(pair), "cpu", Events(on_warning=said.append))
    assert isinstance(source, FilePairs)
    assert [one.name for one in source.pairs.pairs] == ["1", "2"]
    assert ["left out" in said[0], "shifted by 3.0 LR px" in said[1]] == [True, True]
    save_png(lr / "0.png", whole[:50])
    with pytest.raises(DataError, match=r"pair 0 .*mis-sized"):
        open_source(pair, quick(pair), "cpu", Events())


@pytest.fixture(scope="module")
def trained(photographs: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> networks.Trained:
    folder = tmp_path_factory.mktemp("trained")
    training.run(quick(write_pair(folder, photographs)), folder / "run")
    return networks.load(folder / "run")


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_equal_the_whole(trained: networks.Trained, channels: int) -> None:
    lr = torch.rand(channels, 57, 70, generator=torch.Generator().manual_seed(0))
    whole, tiles = super_resolve(trained, lr, 1000), super_resolve(trained, lr, 16)
    assert whole.shape == (channels, 114, 140)
    assert float((whole - tiles).abs().max()) < 2e-6


def test_hidden_colours_do_not_reach_what_is_seen(trained: networks.Trained) -> None:
    rng = np.random.default_rng(1)
    colours = rng.integers(0, 256, (20, 24, 3), np.uint8)
    alpha = np.full((20, 24), 255, np.uint8)
    alpha[:, 14:] = 0
    other = np.where(alpha[..., None] > 0, colours, 255 - colours)
    first, second = (enlarge_image(trained, images.Image(side, alpha)).pixels for side in (colours, other))
    assert np.array_equal(first[:, : 2 * 14], second[:, : 2 * 14])


def test_a_folder_keeps_names_types_and_alpha(trained: networks.Trained, tmp_path: Path) -> None:
    lr = tmp_path / "in"
    (lr / "sub").mkdir(parents=True)
    pixels = (torch.rand(20, 24, 3, generator=torch.Generator().manual_seed(0)) * 65535).numpy().astype("uint16")
    (lr / "sub/a.tif").write_bytes(writing.encode(images.Image(pixels, pixels[..., 0]), ".tif"))
    save_png(lr / "b.png", pixels[..., :1])
    (lr / "c.png").write_bytes(b"no image")
    heard = []
    assert folders.run(trained, lr, tmp_path / "out", on_image=lambda *facts: heard.append(facts)) == 1
    assert [name for name, fault, _, _ in heard if fault] == ["c.png"]
    large = images.read(tmp_path / "out/sub/a.tif")
    assert (large.pixels.shape, large.pixels.dtype, large.has_alpha) == ((40, 48, 3), "uint16", True)
    assert images.read(tmp_path / "out/b.png").pixels.shape == (40, 48, 1)


def test_two_images_of_one_name_are_refused_before_anything_is_written(
    trained: networks.Trained, tmp_path: Path
) -> None:
    save_png(tmp_path / "in/a.png", torch.rand(3, 20, 20))
    shutil.copy(tmp_path / "in/a.png", tmp_path / "in/a.bmp")
    with pytest.raises(ConfigError, match=r"a\.bmp and a\.png"):
        folders.run(trained, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_training_beats_the_bicubic_enlargement(pair: Pairs, tmp_path: Path) -> None:
    """On the blur that it was trained on."""
    training.run(quick(pair, steps=150, batch=4, patch=24), tmp_path / "a")
    network = networks.load(tmp_path / "a")
    pairs = testing.open_pairs(Path(pair.hr), Path(str(pair.lr)), network, Events())
    means = testing.run({"network": network}, pairs)["mean"]
    assert means["network"]["psnr_y"] > means["bicubic"]["psnr_y"] + 0.5
