"""Other programs' kernels: every format, and what is reported of kernels that had to be changed."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
import torch

from degsynth.errors import DataError
from degsynth.kernel_pool import importing
from degsynth.ops.kernels import centroid, gaussian, similarity

KERNEL = gaussian(15, 1.1, 2.0, 0.5).numpy()


def test_every_format_gives_the_same_kernel(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"Kernel": KERNEL})
    with h5py.File(tmp_path / "b.mat", "w") as file:  # MATLAB writes columns first
        file["Kernel"] = KERNEL.T
        file.create_dataset("#refs#/x", data=np.zeros((3, 3)))
    np.save(tmp_path / "c.npy", 7 * KERNEL)
    np.savez(tmp_path / "d.npz", k=KERNEL, name=np.array("text"))
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["some/kernel"] = KERNEL
    cv2.imwrite(str(tmp_path / "f.png"), (65535 * KERNEL / KERNEL.max()).round().astype(np.uint16))
    (tmp_path / "notes.txt").write_text("not a kernel")
    imported = importing.read(tmp_path)
    assert [origin.image for origin in imported.pool.origins] == [
        "a.mat:Kernel", "b.mat:Kernel", "c.npy", "d.npz:k", "e.h5:some/kernel", "f.png",
    ]  # fmt: skip
    assert torch.allclose(imported.pool.kernels, torch.from_numpy(KERNEL).expand(6, 15, 15), atol=1e-4)
    assert imported.notes == []


def test_stacks_and_sizes(tmp_path: Path) -> None:
    stack = np.stack([gaussian(13, 1.0, 1.0, 0.0, (2.0, 0.3)).numpy(), gaussian(13, 1.5, 1.0).numpy()])
    np.save(tmp_path / "stack.npy", stack)
    scipy.io.savemat(tmp_path / "matlab.mat", {"k": np.moveaxis(stack, 0, 2)})
    np.save(tmp_path / "even.npy", gaussian(12, 1.2, 1.2).numpy())
    np.save(tmp_path / "wide.npy", gaussian(21, 1.2, 1.2).numpy()[6:-6])
    imported = importing.read(tmp_path)
    kernels = imported.pool.kernels
    assert kernels.shape[1:] == (21, 21)
    assert [origin.image for origin in imported.pool.origins] == [
        "even.npy", "matlab.mat:k[0]", "matlab.mat:k[1]", "stack.npy[0]", "stack.npy[1]", "wide.npy",
    ]  # fmt: skip
    assert torch.allclose(kernels[1:3], kernels[3:5], atol=1e-12)
    for kernel in kernels:
        assert float(kernel.sum()) == pytest.approx(1.0)
        assert max(map(abs, centroid(kernel))) < 1e-6
    expected = gaussian(21, 1.2, 1.2)
    assert similarity(kernels[0], expected) > 0.9999
    assert torch.allclose(kernels[0], expected, atol=2e-3)
    text = " ".join(imported.notes)
    for part in ("1 of 6 kernels had an even size", "2 of 6 kernels were centred", "1 of 6 kernels were not square"):
        assert part in text


def test_negative_taps_are_kept_and_kernels_turned(tmp_path: Path) -> None:
    lopsided = np.zeros((9, 9))
    lopsided[4, 2:7] = [-0.1, 0.5, 0.4, 0.3, -0.1]
    np.save(tmp_path / "k.npy", lopsided)
    plain, turned = importing.read(tmp_path), importing.read(tmp_path, turn=True)
    assert any("negative" in note for note in plain.notes)
    assert float(plain.pool.kernels.min()) < -0.05
    assert torch.allclose(plain.pool.kernels, turned.pool.kernels.flip(1, 2), atol=1e-9)


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.zeros((5, 5)), "sums to 0"),
        (np.full((5, 5), np.nan), "not finite"),
        (np.zeros((0, 5)), "is empty"),
        (np.ones(5), "no kernel"),
        (np.ones((300, 300)), "no kernel"),
        (np.array([["a", "b"]]), "no kernel"),
    ],
)
def test_errors_name_what_is_no_kernel(array: np.ndarray, what: str, tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", KERNEL)
    np.save(tmp_path / "odd.npy", array)
    with pytest.raises(DataError, match=rf"odd\.npy.*{what}"):
        importing.read(tmp_path)


def test_files_with_the_wrong_contents(tmp_path: Path) -> None:
    for suffix in ("npy", "npz", "mat", "h5", "png"):
        path = tmp_path / f"text.{suffix}"
        path.write_text("hello")
        with pytest.raises(DataError, match=rf"text\.{suffix}"):
            importing.read(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no kernel"):
        importing.read(tmp_path / "empty")
    with pytest.raises(DataError, match="no such file"):
        importing.read(tmp_path / "missing")


def test_a_smaller_window_cuts_with_a_note(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", gaussian(31, 4.0, 4.0).numpy())
    imported = importing.read(tmp_path, size=15)
    assert imported.pool.kernels.shape == (1, 15, 15)
    assert float(imported.pool.kernels.sum()) == pytest.approx(1.0)
    assert any("cut to 15" in note for note in imported.notes)
