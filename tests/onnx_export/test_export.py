"""ONNX files give what the checkpoints give, at sizes and seeds other than those that `export` looks at itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from degsynth import onnx_export
from degsynth.errors import CheckpointError, ConfigError
from degsynth.methods.pdm.optics import GrainNoise, ImageKernelOptics
from degsynth.model import checkpoint
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.optics import Optics
from degsynth.model.pool_optics import PoolOptics
from degsynth.nets.kernel_generator import KernelGenerator
from degsynth.onnx_export import export
from degsynth.ops.grain import Grain
from degsynth.ops.kernels import gaussian
from tests import doubles
from tests.conftest import Run

SIZES = ((19, 26), (64, 33))
"""Heights and widths, LR px."""


def session_of(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def assert_equal(model: Checkpoint, path: Path) -> None:
    """The file and the checkpoint agree in `clean`, and in `noise` where the model has it."""
    session = session_of(path)
    assert [one.name for one in session.get_outputs()] == ["clean", "noise"][: 1 + model.spec.has_noise]
    batch = 3 if session.get_inputs()[0].shape[0] == "batch" else 1
    for seed, (height, width) in enumerate(SIZES, 100):
        inputs = export.example(model, height, width, seed, batch)
        hr, code, field = inputs.values()
        outputs = export.run(session, inputs)
        clean = model.degrader.clean(hr, code, field)
        assert outputs["clean"].shape == (batch, hr.shape[1], height, width)
        torch.testing.assert_close(outputs["clean"], clean, atol=1e-5, rtol=0)
        noise = outputs.get("noise", torch.zeros_like(clean))
        torch.testing.assert_close(noise, model.degrader.noise(clean.clamp(0, 1), code, field), atol=1e-5, rtol=0)


def two_kinds_of_noise(path: Path) -> Checkpoint:
    """A kernel drawn for each image, and the noise of one of two groups, as pdm has them."""
    torch.manual_seed(0)
    noise = GrainNoise(3)
    covariance = torch.tensor([[4.0, 1, 0], [1, 3, 1], [0, 1, 5]]) * 1e-4
    noise.store([Grain.white(covariance), Grain.white(9 * covariance)], torch.tensor([0.5, 0.5]), True)
    kernels = KernelGenerator(4, 8, 1, 8, True, False)
    optics = ImageKernelOptics(kernels, noise, 2, 4, True)
    return doubles.save_double(path, optics, 2, clean_halo=3, stochastic=True, has_noise=True, channels=[3])


def pool(path: Path) -> Checkpoint:
    """Kernels of very different widths, of which the narrow ones are stored with borders that are left out."""
    kernels = torch.stack([gaussian(15, width, 1.3 * width, width) for width in (0.4, 0.8, 1.4, 2.0)])
    return doubles.save_double(path, PoolOptics(kernels, 2), 2, clean_halo=7, stochastic=True, pool=4)


MODELS: dict[str, Callable[[Path], Checkpoint]] = {
    "linear-3": lambda path: doubles.linear_double(path, 3, gain=0.9),
    "variant-4": lambda path: doubles.variant(path, 4),
    "pooled-2": lambda path: doubles.pooled(path, 2),
    "composed-1": lambda path: doubles.composed(path, 1),
    "factor": doubles.factor_double,
    "pool": pool,
    "pdm": two_kinds_of_noise,
}


@pytest.mark.parametrize("name", MODELS)
def test_the_file_gives_what_the_checkpoint_gives(name: str, tmp_path: Path) -> None:
    model = MODELS[name](tmp_path / "model.pt")
    exported = export.write(model, tmp_path / "model.onnx")
    assert 0 <= exported.difference <= 1e-5
    assert exported.batch == (name in ("linear-3", "variant-4", "pooled-2"))
    assert_equal(model, tmp_path / "model.onnx")


def test_every_factor_and_every_kernel_gives_another_image(tmp_path: Path) -> None:
    """The code is an input of the graph, and not what it was when the graph was made."""
    for make, codes in ((doubles.factor_double, ([[7.0, 0.3]], [[7.0, 3.0]])), (pool, ([[0.0]], [[3.0]]))):
        model = make(tmp_path / "model.pt")
        export.write(model, tmp_path / "model.onnx", overwrite=True)
        inputs = export.example(model, 20, 20, 0)
        session = session_of(tmp_path / "model.onnx")
        sharp, soft = (export.run(session, {**inputs, "code": torch.tensor(code)})["clean"] for code in codes)
        assert sharp.std() > 1.05 * soft.std()


def test_the_record_says_what_a_program_needs(tmp_path: Path) -> None:
    model = doubles.factor_double(tmp_path / "model.pt")
    export.write(model, tmp_path / "model.onnx")
    record = session_of(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    assert (record["method"], record["checkpoint_sha256"]) == ("double", model.sha256)
    assert [json.loads(record[name]) for name in ("scale", "halo", "phase", "channels")] == [2, 7, [[0, 0]], 3]
    assert json.loads(record["data_range"]) is None
    assert json.loads(record["code"]) == ["standard normal number", "hardware factor, 0.1 to 4; 0.8 by default"]
    assert json.loads(record["degsynth.json"])["clean_halo"] == 7


def test_the_noise_can_be_cut_out(tmp_path: Path) -> None:
    """For an LR image that another program made."""
    model, path = doubles.stochastic(tmp_path / "model.pt", 2), tmp_path / "noise.onnx"
    export.write(model, tmp_path / "model.onnx")
    onnx.utils.extract_model(tmp_path / "model.onnx", path, ["lr", "field"], ["noise"])
    lr, (_, code, field) = torch.rand(1, 3, 21, 17), export.example(model, 21, 17, 5).values()
    (noise,) = session_of(path).run(None, {"lr": lr.numpy(), "field": field.numpy()})
    torch.testing.assert_close(torch.from_numpy(noise), model.degrader.noise(lr, code, field), atol=1e-5, rtol=0)


class Spectrum(Optics):
    """Blur by a Fourier transform, which has no translation."""

    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return torch.fft.ifft2(torch.fft.fft2(hr)).real


class Rows(Optics):
    """A loop over the rows of an image."""

    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        rows: list[Tensor] = []
        for row in range(hr.shape[2]):
            rows.append(hr[:, :, row : row + 1])
        return torch.cat(rows, 2)


class Guess(Optics):
    """What is done depends on the brightness of the image."""

    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return hr if int(hr.mean() * 2) == 0 else hr * 1.0


class Masked(Optics):
    """An operator that is known, in a use that is not."""

    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return torch.div(hr, 1.0, rounding_mode="trunc")


class Large(Optics):
    """Other arithmetic for images that are larger than the one with which branches are decided."""

    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return hr * 1.001 if hr.shape[2] > 40 else hr


@pytest.mark.parametrize(
    ("optics", "reason"),
    [
        (Spectrum(), "the operator aten::fft_fft2 cannot be exported to ONNX (it has no translation)"),
        (Rows(), "prim::Loop cannot be exported to ONNX (how often it runs depends on the size of the image)"),
        (Guess(), "prim::If cannot be exported to ONNX (what is done depends on the numbers"),
        (Masked(), "aten::div cannot be exported to ONNX (this use of it has no translation)"),
        (Large(), "its ONNX graph differs from it by 0.001"),
    ],
)
def test_what_cannot_be_exported_is_named(optics: Optics, reason: str, tmp_path: Path) -> None:
    model = doubles.save_double(tmp_path / "model.pt", optics, 1)
    with pytest.raises(CheckpointError) as caught:
        export.write(model, tmp_path / "model.onnx")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("use the TorchScript file, -o MODEL.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "LIBRARIES", ("onnx", "no_such_library"))
    with pytest.raises(
        ConfigError, match=r"no_such_library, which is not installed; run: pip install 'degsynth\[onnx\]'"
    ):
        onnx_export.check_installed()


def test_the_suffix_chooses_the_format(cli: Run, tmp_path: Path) -> None:
    doubles.linear_double(tmp_path / "model.pt", 2)
    code, stdout, stderr = cli("export", tmp_path / "model.pt", "-o", tmp_path / "model.onnx")
    assert (code, stdout) == (0, "")
    assert "equal to the model within" in stderr
    assert_equal(checkpoint.load(tmp_path / "model.pt"), tmp_path / "model.onnx")
    code, _, stderr = cli("export", tmp_path / "model.pt", "-o", tmp_path / "model.onnx")
    assert code == 2
    assert "exists; give another name, or --overwrite" in stderr
