from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from degsynth.errors import CheckpointError
from degsynth.model import checkpoint
from degsynth.model.resolve import resolve
from degsynth.model.spec import FORMAT_VERSION, SPEC_NAME, Spec
from tests.doubles import PoolOptics, StochasticOptics, VariantOptics, linear_double, save_double


@pytest.mark.parametrize("optics", [StochasticOptics(2, 12), VariantOptics(2, 12), PoolOptics(2, 12)])
def test_reloaded_is_bit_equal_to_eager(optics: torch.nn.Module, tmp_path: Path) -> None:
    from degsynth.model.degrader import Degrader

    model = save_double(tmp_path / "m.pt", optics, 2, clean_halo=5)
    hr = torch.rand(2, 3, 60, 40)
    assert torch.equal(model.degrader.degrade(hr, 3), Degrader(optics, 2).degrade(hr, 3))


def test_a_stranger_needs_torch_only(tmp_path: Path) -> None:
    """In a process that cannot import degsynth, plain torch.jit.load applies the file."""
    model = linear_double(tmp_path / "m.pt", 2)
    hr = torch.rand(1, 3, 30, 44, generator=torch.Generator().manual_seed(0))
    torch.save({"hr": hr, "lr": model.degrader.degrade(hr, 9)}, tmp_path / "expected")
    script = """
import sys, torch
sys.modules["degsynth"] = None          # as in an environment without it
model = torch.jit.load(sys.argv[1])
expected = torch.load(sys.argv[2])
assert torch.equal(model.degrade(expected["hr"], 9), expected["lr"])
assert not any(name.startswith("degsynth.") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script, tmp_path / "m.pt", tmp_path / "expected"], check=True, cwd=tmp_path)


def test_apply_never_imports_the_methods(tmp_path: Path) -> None:
    script = """
import sys, degsynth.apply
for name in ("methods", "nets", "losses", "fit"):
    assert f"degsynth.{name}" not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_spec_travels_with_the_file(tmp_path: Path) -> None:
    model = linear_double(tmp_path / "m.pt", 2, shift=(0.25, 0.0))
    with zipfile.ZipFile(tmp_path / "m.pt") as archive:
        name = next(n for n in archive.namelist() if n.endswith("degsynth.json"))
        record = json.loads(archive.read(name))
    assert record["format_version"] == FORMAT_VERSION
    assert (record["scale"], record["clean_halo"], record["noise_halo"], record["halo"]) == (2, 5, 0, 5)
    assert record["phase"][0][0] == pytest.approx(0.25, abs=0.01)
    assert checkpoint.Spec.model_validate(record) == model.spec


def save_with_record(path: Path, text: str | None) -> Path:
    """A scripted module with any text as its degsynth.json."""
    with checkpoint._quiet_jit():
        module = torch.jit.script(torch.nn.Identity())
        torch.jit.save(module, str(path), _extra_files={} if text is None else {SPEC_NAME: text})
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.pt", "No such file"),
        ("text.pt", "no degsynth checkpoint"),
        ("empty.pt", "no degsynth checkpoint"),
        ("weights.pt", "no degsynth checkpoint"),
        ("foreign.pt", "holds no degsynth.json"),
        ("newer.pt", "format 99.*upgrade"),
        ("odd.pt", "cannot be read"),
        ("list.pt", "cannot be read"),
    ],
)
def test_what_is_no_checkpoint_is_named(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").touch()
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pt")
    save_with_record(tmp_path / "foreign.pt", None)
    save_with_record(tmp_path / "newer.pt", '{"format_version": 99, "degsynth_version": "9.0"}')
    save_with_record(tmp_path / "odd.pt", '{"format_version": 1, "scale": -3}')
    save_with_record(tmp_path / "list.pt", "[1, 2]")
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    model = linear_double(tmp_path / "m.pt", 2)
    content = bytearray(model.path.read_bytes())
    with zipfile.ZipFile(model.path) as archive:
        record = max(archive.infolist(), key=lambda entry: entry.file_size if "/data/" in entry.filename else 0)
    at = record.header_offset + 30 + len(record.filename) + len(record.extra) + 200
    content[at] ^= 16
    (tmp_path / "damaged.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged\.pt"):
        checkpoint.load(tmp_path / "damaged.pt")


def test_a_module_that_differs_once_saved_is_refused(tmp_path: Path) -> None:
    """Randomness outside the random field cannot be verified, so it is not saved; nothing is left behind."""
    from tests.doubles import SabotagedOptics

    inner = VariantOptics(2, 12)
    with pytest.raises(CheckpointError, match="differs from the fitted module"):
        save_double(tmp_path / "m.pt", SabotagedOptics(inner, "unseeded noise"), 2, clean_halo=5)
    assert list(tmp_path.iterdir()) == []


def test_a_halo_that_does_not_add_up_is_refused(tmp_path: Path) -> None:
    from degsynth.model.degrader import Degrader

    spec = Spec(degsynth_version="t", method="d", scale=2, clean_halo=5, noise_halo=1, halo=6, multiple_of=2)
    with pytest.raises(CheckpointError, match="halo"):
        checkpoint.save(Degrader(VariantOptics(2, 12), 2), spec, tmp_path / "m.pt")


def test_resolve(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(CheckpointError, match=r"without config\.toml"):
        resolve(str(tmp_path / "run"))
    (tmp_path / "run/config.toml").touch()
    with pytest.raises(CheckpointError, match="did not end"):
        resolve(str(tmp_path / "run"))
    (tmp_path / "run/fit.json").touch()
    assert resolve(str(tmp_path / "run")) == tmp_path / "run/checkpoint.pt"
    with pytest.raises(CheckpointError, match="no such file or run"):
        resolve("nonsense")


def test_wrong_input_is_explained_by_the_file_itself(tmp_path: Path) -> None:
    """A stranger's mistakes: odd size to clean(), gray to a colour model."""
    model = save_double(tmp_path / "m.pt", PoolOptics(2, 12), 2, clean_halo=5, channels=[3])
    nothing = torch.zeros(1, 0, 5, 5)
    with pytest.raises(torch.jit.Error, match="multiples of the scale 2"):
        model.degrader.clean(torch.rand(1, 3, 11, 10), torch.zeros(1, 1), nothing)
    with pytest.raises(torch.jit.Error, match="channels, not 1"):
        model.degrader.clean(torch.rand(1, 1, 10, 10), torch.zeros(1, 1), nothing)
    with pytest.raises(torch.jit.Error, match="no hardware factor"):
        model.degrader.set_hardware_factor(0.5)
