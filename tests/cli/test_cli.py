"""The command line as its users meet it: exit codes, streams, one-line errors."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import degsynth
from degsynth.apply.manifest import Manifest
from degsynth.model import checkpoint
from degsynth.ops.kernels import gaussian
from tests.conftest import Run, flags_by_command, run_cli, save_png
from tests.model.test_checkpoint import save_with_record

COMMANDS = flags_by_command()
Folders = Callable[..., tuple[Path, Path]]


@pytest.fixture
def folders(pair_folders: Folders) -> tuple[Path, Path]:
    return pair_folders(gaussian(12, 1.0, 1.3, 0.4), 2, side=120)


def test_the_whole_line(cli: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    hr, lr = folders
    run, file, out = tmp_path / "runs/cam", tmp_path / "cam.pt", tmp_path / "set"
    code, stdout, stderr = cli(
        "fit", "--method", "linear", "--hr", hr, "--lr", lr, "--out", run, "--set", "kernel_size=12"
    )
    assert (code, stdout) == (0, "")
    assert "bicubic" in stderr
    assert cli("export", run, "-o", file)[0] == 0
    code, stdout, stderr = cli("apply", file, hr, out, "--awgn", "5", "--json")
    rows = [json.loads(line) for line in stdout.splitlines()]
    assert code == 0
    assert len(rows) == 4
    assert {row["awgn_sigma"] for row in rows} == {5.0}
    assert "4 LR images, 0 failed" in stderr
    assert "hard links" not in stderr
    for number, link in enumerate(("hard", "copy")):
        code, _, stderr = cli("apply", file, hr, tmp_path / link, "--link", link)
        assert (code, stderr.count("editing a file there edits the original (--link copy")) == (0, 1 - number)
    code, stdout, _ = cli("evaluate", file, "--hr", hr, "--lr", lr, "--json")
    document = json.loads(stdout)
    assert code == 0
    assert document["mean"]["model"]["psnr_y"] > document["mean"]["bicubic"]["psnr_y"] + 3
    code, stdout, _ = cli("evaluate", run, "--hr", hr, "--lr", lr)
    assert code == 0
    assert re.search(r"^shot3( +[0-9.]+){4}\n", stdout, re.MULTILINE), "a row of the table, plain and whole"
    assert f"{document['mean']['model']['psnr_y']:.2f} dB" in stdout
    code, stdout, _ = cli("selftest", file, "--json")
    assert code == 0
    assert json.loads(stdout)["passed"] is True
    checks = len(json.loads(stdout)["checks"])
    assert f"{checks} of {checks} checks passed" in cli("selftest", file)[1].splitlines()[-1]
    code, stdout, _ = cli("inspect", file, "--json")
    assert json.loads(stdout)["config"]["kernel_size"] == 12
    code, stdout, _ = cli("inspect", file)
    assert (code, stdout.count("\nbicubic ")) == (0, 1)
    assert not re.search(r"\.\d{9}", stdout), "numbers of more digits than are read"
    assert "linear:" in cli("methods")[1]
    assert "--set ridge=" in cli("methods", "linear")[1]


def test_a_run_is_repeated_from_its_config(cli: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    hr, lr = folders
    options = (
        "--method",
        "linear",
        "--hr",
        hr,
        "--lr",
        lr,
        "--set",
        "kernel_size=10",
        "--set",
        "gain=apply",
        "--seed",
        "3",
    )
    assert cli("fit", *options, "--out", tmp_path / "a")[0] == 0
    assert cli("fit", "--config", tmp_path / "a/config.toml", "--out", tmp_path / "b")[0] == 0
    assert (tmp_path / "a/config.toml").read_text() == (tmp_path / "b/config.toml").read_text()
    models = [checkpoint.load(tmp_path / run / "checkpoint.pt") for run in "ab"]
    assert models[0].spec == models[1].spec
    assert torch.equal(models[0].degrader.optics.kernels, models[1].degrader.optics.kernels)


def bad_commands(tmp: Path) -> dict[str, tuple[list[str], str]]:
    """Arguments, and a part of the message that they must lead to, by name."""
    hr, lr, run, same = str(tmp / "HR"), str(tmp / "LR"), str(tmp / "run"), str(tmp / "same")
    fit = ["fit", "--method", "linear", "--hr", hr, "--lr", lr, "--out", run]
    model = str(tmp / "model.pt")
    return {
        "unknown method": (["fit", "--method", "linaer", *fit[3:]], "no method 'linaer'; did you mean 'linear'?"),
        "unknown preset": ([*fit, "--preset", "papper"], "no preset 'papper'"),
        "unknown option": ([*fit, "--set", "kernal_size=5"], "no option 'kernal_size'; did you mean 'kernel_size'?"),
        "bad value": ([*fit, "--set", "ridge=-1"], "--set ridge=-1"),
        "not an assignment": ([*fit, "--set", "ridge"], "key=value"),
        "wrong parity": ([*fit, "--set", "kernel_size=21"], "kernel size 21 at scale 2"),
        "wrong scale": ([*fit, "--scale", "3"], "scale 2, not 3"),
        "missing hr": (["fit", "--method", "linear", "--lr", lr, "--out", run], "--hr is missing"),
        "no such folder": (["fit", "--method", "linear", "--hr", "nowhere", *fit[5:]], "nowhere: no such folder"),
        "empty folder": (["fit", "--method", "linear", "--hr", str(tmp / "empty"), *fit[5:]], "holds no image"),
        "no common stem": (["fit", "--method", "linear", "--hr", hr, "--lr", str(tmp / "other"), "--out", run], "stem"),
        "run exists": ([*fit[:-1], str(tmp / "empty")], "exists"),
        "bad register": ([*fit, "--register", "affine"], "--register affine"),
        "no toml": ([*fit, "--config", str(tmp / "text")], "is not TOML"),
        "missing toml": ([*fit, "--config", "nowhere.toml"], "nowhere.toml: No such file"),
        "unknown table": ([*fit, "--config", str(tmp / "table.toml")], "has 'fti'"),
        "unknown fit key": ([*fit, "--config", str(tmp / "key.toml")], "'sclae'; did you mean 'scale'?"),
        "bad range": ([*fit, "--data-range", "9:1"], "--data-range 9:1"),
        "no model": (["apply", "nowhere.pt", hr, run], "no such file or run"),
        "no checkpoint": (["apply", str(tmp / "text"), hr, run], "no degsynth checkpoint"),
        "newer checkpoint": (["apply", str(tmp / "newer.pt"), hr, run], "upgrade degsynth"),
        "model is a folder": (["selftest", hr], "without config.toml"),
        "bad awgn": (["apply", model, hr, run, "--awgn", "much"], "--awgn much"),
        "negative awgn": (["apply", model, hr, run, "--awgn", "-3"], "awgn"),
        "reversed awgn": (["apply", model, hr, run, "--awgn", "9:2"], "LO"),
        "two noises": (
            ["apply", model, hr, run, "--awgn", "3", "--shot-read", "0,9"],
            "--awgn and --shot-read exclude",
        ),
        "bad shot-read": (["apply", model, hr, run, "--shot-read", "4"], "--shot-read 4: give A,B"),
        "no learned noise": (["apply", model, hr, run, "--noise", "learned"], "has none; use --awgn"),
        "unknown noise": (["apply", model, hr, run, "--noise", "loud"], "--noise loud"),
        "unknown link": (["apply", model, hr, run, "--link", "soft"], "--link soft"),
        "no workers": (["apply", model, hr, run, "--workers", "-1"], "--workers -1"),
        "both": (["apply", model, hr, run, "--resume", "--overwrite"], "exclude each other"),
        "unknown device": (["apply", model, hr, run, "--device", "tpu"], "--device tpu"),
        "out is hr": (["apply", model, hr, hr], "inside each other"),
        "scale of pairs": (["evaluate", model, "--hr", hr, "--lr", same], "scale 1, not 2"),
        "one folder twice": (["evaluate", model, "--hr", hr, "--lr", hr], "is given as HR and as LR"),
        "negative border": (["evaluate", model, "--hr", hr, "--lr", lr, "--border", "-1"], "--border -1"),
        "export over a file": (["export", model, "-o", model], "exists"),
        "export to a picture": (["export", model, "-o", str(tmp / "a.png")], "ends in .pt"),
        "export into nowhere": (["export", model, "-o", str(tmp / "no/such/m.pt")], "there is no folder"),
        "demo over a folder": (["demo", hr], "exists"),
        "unknown method name": (["methods", "dlm"], "no method 'dlm'"),
    }


@pytest.fixture
def bad_world(folders: tuple[Path, Path], tmp_path: Path) -> Path:
    from tests.doubles import linear_double

    shutil.copytree(folders[0], tmp_path / "same")
    linear_double(tmp_path / "model.pt", 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello world")
    (tmp_path / "table.toml").write_text("[fti]\nscale = 2\n")
    (tmp_path / "key.toml").write_text("[fit]\nsclae = 2\n")
    save_png(tmp_path / "other/nothing.png", torch.rand(3, 60, 60))
    save_with_record(tmp_path / "newer.pt", '{"format_version": 99}')
    return tmp_path


@pytest.mark.parametrize("name", bad_commands(Path()))
def test_bad_input_is_one_line_exit_2_nothing_written(name: str, bad_world: Path, cli: Run) -> None:
    arguments, message = bad_commands(bad_world)[name]
    before = sorted(p for p in bad_world.rglob("*"))
    code, stdout, stderr = cli(*arguments)
    assert (code, stdout) == (2, "")
    errors = [line for line in stderr.splitlines() if line.startswith("degsynth:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in stderr
    assert sorted(p for p in bad_world.rglob("*")) == before


def test_bad_pairs_are_named_and_can_be_skipped(cli: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    hr, lr = folders
    (lr / "shot2.png").write_bytes(b"")
    arguments = (
        "fit",
        "--method",
        "linear",
        "--hr",
        hr,
        "--lr",
        lr,
        "--out",
        tmp_path / "run",
        "--set",
        "kernel_size=8",
    )
    code, _, stderr = cli(*arguments)
    assert code == 2
    assert "1 of 4 pairs cannot be used: shot2 (unreadable" in stderr
    assert not (tmp_path / "run").exists()
    assert cli(*arguments, "--bad-pairs", "skip")[0] == 0
    assert json.loads((tmp_path / "run/fit.json").read_text())["pairs"]["left_out"][0]["name"] == "shot2"


def test_too_little_texture_is_exit_1(cli: Run, tmp_path: Path) -> None:
    """Pairs that pass every check and still determine no kernel."""
    ramp = torch.linspace(0.2, 0.8, 120).expand(3, 120, 120)
    for number in range(3):
        save_png(tmp_path / f"HR/{number}.png", ramp.roll(number, 1))
        save_png(tmp_path / f"LR/{number}.png", ramp.roll(number, 1)[:, ::2, ::2])
    code, _, stderr = cli(
        "fit", "--method", "linear", "--hr", tmp_path / "HR", "--lr", tmp_path / "LR", "--out", tmp_path / "run",
        "--set", "ridge=0",
    )  # fmt: skip
    assert code == 1
    assert "texture" in stderr
    assert not (tmp_path / "run").exists()


def test_failed_images_are_exit_1(cli: Run, bad_world: Path) -> None:
    (bad_world / "HR/broken.png").write_bytes(b"no picture")
    code, _, stderr = cli("apply", bad_world / "model.pt", bad_world / "HR", bad_world / "out")
    assert code == 1
    assert "failed: broken.png" in stderr
    assert sum(row.status == "ok" for row in Manifest(bad_world / "out").read()) == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_unwritable_output(cli: Run, bad_world: Path) -> None:
    locked = bad_world / "locked"
    locked.mkdir(mode=0o500)
    code, _, stderr = cli("apply", bad_world / "model.pt", bad_world / "HR", locked / "out")
    assert code == 2
    assert "cannot be written" in stderr


def test_output_below_a_file(cli: Run, bad_world: Path) -> None:
    """Unwritable for root as well."""
    code, _, stderr = cli("apply", bad_world / "model.pt", bad_world / "HR", bad_world / "text" / "out")
    assert code == 2
    assert "cannot be written" in stderr


def test_help_needs_no_torch() -> None:
    heavy = "{'torch', 'numpy', 'cv2', 'scipy', 'h5py', 'matplotlib'}"
    script = f"import sys; from degsynth.cli import app; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, stdout, _ = cli(*name.split(), "--help")
    assert code == 0
    assert all(len(line) <= 80 for line in stdout.splitlines())
    assert all(flag in stdout for flag in COMMANDS[name])
    paragraphs = stdout.split("\n\n")
    examples = [text.strip() for text in paragraphs if text.startswith("  ") and ": degsynth " in text]
    assert examples
    assert examples[0].startswith(f"Example: degsynth {name} ")
    for example in examples:
        assert "\n" not in example, "an example that is wrapped cannot be copied"
        words = shlex.split(example.partition(": ")[2])
        assert {word for word in words if word.startswith("-")} <= COMMANDS[name]


@pytest.mark.parametrize("group", ["", "kernel-pool", "sr"])
def test_the_list_of_commands_has_whole_sentences(group: str, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, stdout, _ = cli(*group.split(), "--help")
    assert code == 0
    lines = stdout.partition("Commands:\n")[2].splitlines()
    assert len(lines) == len({name.removeprefix(group).split()[0] for name in COMMANDS if name.startswith(group)})
    assert all(line.endswith(".") and not line.endswith("...") for line in lines), stdout


def test_usage_errors_are_exit_2() -> None:
    for arguments in (["aply"], ["apply"], ["apply", "a", "b", "c", "--wokers", "2"]):
        assert run_cli(*arguments).returncode == 2


def test_version() -> None:
    assert run_cli("--version").stdout.strip() == degsynth.__version__
