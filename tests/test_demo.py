from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch

from degsynth import demo
from degsynth.evaluation import selftest
from degsynth.model import checkpoint
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, gaussian_sigma


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "out"
    demo.run(folder)
    return folder


@pytest.mark.slow
def test_the_files_that_the_demo_writes(out: Path) -> None:
    assert {p.name for p in out.iterdir()} == {
        "pairs", "test", "run", "run_linear", "camera.pt", "trainset", "demo.png", "demo.json",
    }  # fmt: skip
    selftest.require(checkpoint.load(out / "camera.pt"))
    assert len(list((out / "trainset/lr").iterdir())) == len(demo.TEST)
    picture = cv2.imread(str(out / "demo.png"))
    assert picture.shape[1] > 1000
    assert picture.std() > 20


@pytest.mark.slow
def test_the_fit_beats_bicubic_on_photographs_it_never_saw(out: Path) -> None:
    import json

    mean = json.loads((out / "demo.json").read_text())["evaluation"]["mean"]
    assert mean["linear"]["psnr_y"] > mean["bicubic"]["psnr_y"] + 3
    assert mean["model"]["psnr_y"] > mean["linear"]["psnr_y"] + 0.3


def test_the_camera_is_as_documented() -> None:
    """The kernels are centred and widen; a flat gray keeps its level, and its noise has the documented variance."""
    widths = [gaussian_sigma(demo.camera_kernel(across)) for across in (0.0, 0.5, 1.0)]
    assert widths[0] == pytest.approx((0.8, 0.8), abs=0.01)
    assert [w[1] for w in widths] == sorted(w[1] for w in widths)  # type: ignore[type-var]
    for across in (0.0, 0.3, 1.0):
        assert centroid(demo.camera_kernel(across)) == pytest.approx((0, 0), abs=1e-9)
    flat = demo.camera(torch.full((3, 400, 400), 0.5), seed=1)
    assert float(flat.mean()) == pytest.approx(0.5, abs=2e-4)
    assert float(flat.var()) == pytest.approx(3e-5 + 2e-4 * 0.5, rel=0.03)


def test_the_blur_varies_from_left_to_right() -> None:
    """In a row of points, the first is blurred by the kernel of the left edge, the last by that of the right edge."""
    hr = torch.zeros(1, 60, 400)
    hr[0, 30, ::40] = 1.0
    lr = demo.camera(10 * hr, seed=0) / 10
    left = blur_decimate(hr[None], demo.camera_kernel(0.0)[None].float(), 2)[0]
    right = blur_decimate(hr[None], demo.camera_kernel(1.0)[None].float(), 2)[0]
    assert float((lr - left)[..., :10].abs().max()) < 0.02
    assert float((lr - right)[..., -30:].abs().max()) < 0.02
    assert float((lr - left)[..., -30:].abs().max()) > 0.05
