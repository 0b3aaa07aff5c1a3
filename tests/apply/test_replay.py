"""`--replay`: the same bytes again from a manifest, and a clear word where that cannot be."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from degsynth import apply
from degsynth.apply import Options, Replay
from degsynth.apply.manifest import Manifest
from degsynth.config import Interval
from degsynth.errors import ConfigError, DataError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Noise, ShotRead
from tests.apply.test_apply import contents
from tests.conftest import Run, save_png
from tests.doubles import factor_double, linear_double, stochastic


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Scale 2; random kernel and noise."""
    return stochastic(tmp_path_factory.mktemp("model") / "model.pt", 2)


@pytest.fixture
def hr(tmp_path: Path, photographs: list[Tensor]) -> Path:
    for number, name in enumerate(("a.png", "sub/b c.png", "odd.png")):
        save_png(tmp_path / "HR" / name, photographs[number][:, : 32 + (name == "odd.png"), :36])
    return tmp_path / "HR"


def images_of(out: Path) -> dict[str, str]:
    return {name: digest for name, digest in contents(out).items() if name.startswith(("hr/", "lr/"))}


def again(model: Checkpoint, hr: Path, before: Path, out: Path, other: Checkpoint | None = None) -> apply.Summary:
    return apply.run(model, hr, out, Options(**Replay.read(before).settings(other)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seed": 3, "draws": 2, "noise": Noise(awgn=Interval(2.0, 6.0))},
        {"noise": Noise(False, awgn=Interval(5.0, 5.0), awgn_luma=True)},
        {"noise": Noise(shot_read=ShotRead.parse("0.2:0.6,4:9"))},
        {"data_range": Interval(0.0, 40000.0)},
        {"data_range": "dtype"},
    ],
)
def test_the_same_bytes(
    options: dict[str, Any], model: Checkpoint, hr: Path, tmp_path: Path, photographs: list[Tensor]
) -> None:
    for path in hr.rglob("*.png"):  # with a range of levels, files of 8 bits are refused
        save_png(path, 0.6 * photographs[3][:, :32, : len(path.name) + 28], np.uint16)
    apply.run(model, hr, tmp_path / "before", Options(**options))
    summary = again(model, hr, tmp_path / "before/manifest.jsonl", tmp_path / "after")
    assert (summary.failed, summary.differing) == (0, 0)
    assert contents(tmp_path / "after") == contents(tmp_path / "before")


def test_a_hardware_factor(hr: Path, tmp_path: Path) -> None:
    model = factor_double(tmp_path / "m.pt")
    apply.run(model, hr, tmp_path / "before", Options(hardware_factor=Interval(0.5, 2.0)))
    again(model, hr, tmp_path / "before", tmp_path / "after")
    assert contents(tmp_path / "after") == contents(tmp_path / "before")


def test_the_noise_of_another_model(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    plain = linear_double(tmp_path / "plain.pt", 2)
    apply.run(plain, hr, tmp_path / "before", Options(noise=Noise(True, model)))
    again(plain, hr, tmp_path / "before", tmp_path / "after", model)
    assert contents(tmp_path / "after") == contents(tmp_path / "before")
    with pytest.raises(
        ConfigError, match=r"was made with the noise of another model \(double, SHA-256 .*give that model for the noise"
    ):
        Replay.read(tmp_path / "before").settings()
    apply.run(plain, hr, tmp_path / "clean")
    with pytest.raises(ConfigError, match=r"was made without the noise of another model; leave .*model.pt out"):
        Replay.read(tmp_path / "clean").settings(model)
    with pytest.raises(ConfigError, match=r"the model of the noise .* has the SHA-256"):
        Replay.read(tmp_path / "before").settings(stochastic(tmp_path / "other.pt", 1))


def test_names_and_choice_are_those_of_the_manifest(
    model: Checkpoint, hr: Path, tmp_path: Path, photographs: list[Tensor]
) -> None:
    """Images that came later take no part, though one would take the name of another."""
    (hr / "a.png").rename(hr / "a.bmp.png")
    apply.run(model, hr, tmp_path / "before", Options(limit=2))
    save_png(hr / "0.png", photographs[0][:, :32, :32])
    save_png(hr / "A.BMP.png", photographs[0][:, :32, :32])
    again(model, hr, tmp_path / "before", tmp_path / "after")
    assert images_of(tmp_path / "after") == images_of(tmp_path / "before")


def test_a_replay_goes_on_where_it_was_interrupted(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "before", Options(draws=2))
    settings = Replay.read(tmp_path / "before").settings()
    apply.run(model, hr, tmp_path / "after", Options(**settings, limit=1))
    assert len(images_of(tmp_path / "after")) == 4
    summary = apply.run(model, hr, tmp_path / "after", Options(**settings, existing="resume"))
    assert (summary.done, summary.resumed, summary.differing) == (6, 2, 0)
    assert contents(tmp_path / "after") == contents(tmp_path / "before")


def test_another_source_is_told(model: Checkpoint, hr: Path, tmp_path: Path, photographs: list[Tensor]) -> None:
    apply.run(model, hr, tmp_path / "before", Options(link="copy"))
    (hr / "sub/b c.png").unlink()
    save_png(hr / "a.png", photographs[3][:, 40:72, :36])
    warnings: list[str] = []
    options = Options(**Replay.read(tmp_path / "before").settings())
    summary = apply.run(model, hr, tmp_path / "after", options, on_warning=warnings.append)
    assert (summary.done, summary.failed, summary.differing) == (2, 1, 1)
    assert len(warnings) == 1
    assert "1 outputs are not those of" in warnings[0]
    assert "e.g. a.png has" in warnings[0]
    failed = [row for row in Manifest(tmp_path / "after").read() if row.status == "failed"]
    assert [(row.source, row.error) for row in failed] == [("sub/b c.png", "No such file or directory")]


def test_another_environment_is_named_where_bytes_differ(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    apply.run(model, hr, tmp_path / "before")
    manifest, described = tmp_path / "before/manifest.jsonl", tmp_path / "before/dataset.json"
    row = next(row for row in Manifest(tmp_path / "before").read() if row.source == "a.png")
    manifest.write_text(manifest.read_text().replace(str(row.lr_sha256), 64 * "0"))
    content = json.loads(described.read_text())
    content["environment"]["torch"] = "1.0"
    described.write_text(json.dumps(content))
    warnings: list[str] = []
    options = Options(**Replay.read(tmp_path / "before").settings())
    summary = apply.run(model, hr, tmp_path / "after", options, on_warning=warnings.append)
    assert summary.differing == 1
    assert "e.g. lr/a.png has another SHA-256; it was made with torch 1.0, now " in warnings[0]


def test_what_cannot_be_replayed(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    apply.run(model, hr, before)
    with pytest.raises(ConfigError, match=r"give a manifest.jsonl, or the data set that holds it"):
        Replay.read(hr)
    with pytest.raises(ConfigError, match=r"the model .*other.pt has the SHA-256 .*; give that model"):
        again(linear_double(tmp_path / "other.pt", 2), hr, before, tmp_path / "after")
    assert not (tmp_path / "after").exists()
    content = json.loads((before / "dataset.json").read_text())
    content["made_by"]["blur"] = 3
    (before / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="has no option 'blur'"):
        Replay.read(before)
    (before / "dataset.json").unlink()
    with pytest.raises(ConfigError, match=r"there is no valid dataset.json beside it"):
        Replay.read(before / "manifest.jsonl")


def test_names_that_cannot_be_replayed(model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    apply.run(model, hr, before)
    manifest = before / "manifest.jsonl"
    text = manifest.read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    for name, said in (
        (None, r"manifest\.jsonl: \S+ has no LR file; restore the manifest"),
        (rows[1]["lr"], rf"has the LR file {rows[1]['lr']} of another output"),
        (rows[1]["lr"].replace(".png", ".tif"), rf"has the LR file {rows[1]['lr']} of another output"),
        ("lr/../../a.png", "not a relative path"),
        ("/tmp/a.png", "not a relative path"),
        ("hr/a.png", r"does not lie in lr/"),
    ):
        manifest.write_text("".join(json.dumps(row) + "\n" for row in [{**rows[0], "lr": name}, *rows[1:]]))
        with pytest.raises(DataError, match=said):
            Replay.read(before)
    manifest.write_text(text)
    Replay.read(before)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("draws", 0, "`draws=0` must be at least 1"), ("awgn", [9, 1], "`awgn=9:1`: give σ"),
     ("step", 8, "`step=8` is the"), ("crop", 7, "`crop=7` is no multiple of the scale 2"),
     ("hardware_factor", [1, 1], "hardware factor 1: the model")],
)  # fmt: skip
def test_bad_settings_are_those_of_the_file(
    name: str, value: Any, said: str, model: Checkpoint, hr: Path, tmp_path: Path
) -> None:
    """Nobody has given them as options, so the message says where they stand."""
    before = tmp_path / "before"
    apply.run(model, hr, before, Options(noise=Noise(awgn=Interval(1, 2))))
    content = json.loads((before / "dataset.json").read_text())
    content["made_by"][name] = value
    (before / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=re.escape(f"before/dataset.json: {said}")):
        again(model, hr, before, tmp_path / "after")
    assert not (tmp_path / "after").exists()


def test_the_command(cli: Run, model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    assert cli("apply", model.path, hr, before, "--awgn", "1:5", "--draws", 2, "--seed", 4)[0] == 0
    code, _, stderr = cli("apply", model.path, hr, after, "--replay", before / "manifest.jsonl")
    assert code == 0, stderr
    assert contents(after) == contents(before)
    for flag, value in (("--awgn", 3), ("--seed", 1), ("--noise", "none"), ("--scale", 2)):
        code, _, stderr = cli("apply", model.path, hr, tmp_path / "no", "--replay", before, flag, value)
        assert code == 2
        assert f"{flag} {value} and --replay exclude each other" in stderr
    shutil.copy(hr / "odd.png", hr / "a.png")
    code, _, stderr = cli("apply", model.path, hr, tmp_path / "other", "--replay", before)
    assert code == 1
    assert "2 outputs are not those of" in stderr
