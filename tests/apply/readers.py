"""How trainers read their data sets, to the letter of their loaders, where these cannot be installed.

Each reader takes the folder of a layout and returns what the trainer would train on: pairs of a name and both images,
as (name, HR, LR). It fails as the trainer would.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import torch

Sample = tuple[str, np.ndarray, np.ndarray]


def _decoded(content: bytes) -> np.ndarray:
    """``imfrombytes(content, float32=True)`` of BasicSR: BGR."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return image.astype(np.float32) / 255.0


def _scandir(folder: Path, recursive: bool) -> Iterator[str]:
    """``scandir`` of BasicSR: every file that does not begin with a dot."""
    for entry in os.scandir(folder):
        if not entry.name.startswith(".") and entry.is_file():
            yield entry.name
        elif recursive and entry.is_dir():
            yield from (f"{entry.name}/{name}" for name in _scandir(Path(entry.path), True))


def basicsr(root: Path) -> list[Sample]:
    """``PairedImageDataset`` with ``dataroot_gt``, ``dataroot_lq`` and ``filename_tmpl: '{}'``."""
    gt_folder, lq_folder = root / "hr", root / "lr"
    lq_paths, gt_paths = list(_scandir(lq_folder, False)), list(_scandir(gt_folder, False))
    assert len(lq_paths) == len(gt_paths)
    samples = []
    for gt_path in gt_paths:
        basename, ext = os.path.splitext(os.path.basename(gt_path))  # noqa: PTH119, PTH122
        input_name = f"{basename}{ext}"
        assert input_name in lq_paths, f"{input_name} is not in lq_paths."
        samples.append((basename, _decoded((gt_folder / gt_path).read_bytes()),
                        _decoded((lq_folder / input_name).read_bytes())))  # fmt: skip
    return samples


def basicsr_meta_info(root: Path) -> list[Sample]:
    """The same with ``meta_info_file``."""
    samples = []
    for line in (root / "meta_info.txt").read_text().splitlines():
        gt_name = line.strip().split(" ")[0]
        basename, ext = os.path.splitext(os.path.basename(gt_name))  # noqa: PTH119, PTH122
        gt = _decoded((root / "hr" / gt_name).read_bytes())
        size = re.fullmatch(r"\((\d+),(\d+),(\d)\)", line.strip().split(" ")[1])
        assert size
        assert gt.shape[:2] == (int(size[1]), int(size[2]))
        samples.append((basename, gt, _decoded((root / "lr" / f"{basename}{ext}").read_bytes())))
    return samples


def realesrgan(root: Path) -> list[Sample]:
    """``RealESRGANPairedDataset`` with ``meta_info``; both data roots are the folder of the layout."""
    samples = []
    for line in (root / "meta_info_pair.txt").read_text().splitlines():
        gt_path, lq_path = line.strip().split(", ")
        samples.append((Path(gt_path).stem, _decoded((root / gt_path).read_bytes()),
                        _decoded((root / lq_path).read_bytes())))  # fmt: skip
    return samples


def kair(root: Path) -> list[Sample]:
    """``DatasetSR`` with ``dataroot_H`` and ``dataroot_L``: sorted lists, nothing else."""
    extensions = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".tif")

    def listed(folder: Path) -> list[str]:
        found = []
        for place, _, names in sorted(os.walk(folder)):
            found += [f"{place}/{name}" for name in sorted(names) if name.lower().endswith(extensions)]
        assert found
        return sorted(found)

    def decoded(path: str) -> np.ndarray:
        image = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_BGRA2BGR) if (
            image.ndim == 2 or image.shape[2] == 4
        ) else image  # fmt: skip

    paths_h, paths_l = listed(root / "hr"), listed(root / "lr")
    assert len(paths_h) == len(paths_l)
    return [(Path(hr).stem, decoded(hr), decoded(lr)) for hr, lr in zip(paths_h, paths_l, strict=True)]


def neosr(root: Path) -> list[Sample]:
    """``paired``: recursive, four endings, the LR path by replacing the folder."""
    gt_folder, lq_folder = str(root / "hr"), str(root / "lr")
    samples = []
    for name in _scandir(root / "hr", True):
        assert name.endswith((".jpg", ".jpeg", ".png", ".webp")), f"{name} is not read"
        gt_path = f"{gt_folder}/{name}"
        lq_path = gt_path.replace(gt_folder, lq_folder)
        samples.append((name.rpartition(".")[0], _decoded(Path(gt_path).read_bytes()),
                        _decoded(Path(lq_path).read_bytes())))  # fmt: skip
    return samples


def trainner(root: Path) -> list[Sample]:
    """``PairedImageDataset`` of traiNNer-redux: recursive, by stem; a profile is converted, so both sides have it."""
    sides: list[dict[str, bytes]] = []
    for side in ("hr", "lr"):
        sides.append({os.path.splitext(name)[0]: (root / side / name).read_bytes() for name in _scandir(root / side, True)})  # noqa: E501, PTH122  # fmt: skip
    gt, lq = sides
    assert gt.keys() == lq.keys()
    assert all((b"iCCP" in gt[stem]) == (b"iCCP" in lq[stem]) for stem in gt)
    return [(stem, _decoded(gt[stem]), _decoded(lq[stem])) for stem in gt]


def edsr(root: Path, scale: int, last: int) -> list[Sample]:
    """``DIV2K`` of EDSR-PyTorch with ``--dir_data root --data_range 1-last``; images are cached by ``pickle``."""
    apath = root / "DIV2K"
    names_hr = sorted((apath / "DIV2K_train_HR").glob("*.png"))
    names_lr = [apath / "DIV2K_train_LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png" for path in names_hr]
    begin, end = 0, last
    samples = []
    for hr, lr in zip(names_hr[begin:end], names_lr[begin:end], strict=True):
        images: list[Any] = [pickle.loads(pickle.dumps(_decoded(path.read_bytes()))) for path in (hr, lr)]
        samples.append((hr.stem, *images))
    return samples


def basicsr_lmdb(root: Path, lmdb: Any) -> list[Sample]:
    """``paired_paths_from_lmdb`` and ``LmdbBackend`` of BasicSR."""
    folders = [root / "train_hr.lmdb", root / "train_lr.lmdb"]
    keys = [[line.split(".")[0] for line in (folder / "meta_info.txt").read_text().splitlines()] for folder in folders]
    assert set(keys[0]) == set(keys[1])
    clients = [lmdb.open(str(folder), readonly=True, lock=False, readahead=False) for folder in folders]
    samples = []
    for key in sorted(keys[1]):
        contents = []
        for client in clients:
            with client.begin(write=False) as transaction:
                contents.append(_decoded(transaction.get(key.encode("ascii"))))
        samples.append((key, *contents))
    for client in clients:
        client.close()
    return samples  # type: ignore[return-value]


def deepinv(path: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """``HDF5Dataset(path, train=True)`` of deepinv: pairs of the signal x and the measurement y, with no name."""
    with h5py.File(path, "r") as store:
        assert "stacked" not in store.attrs
        x, y = store["x_train"], store["y_train"]
        cast = [[torch.from_numpy(array[index]).type(torch.float) for array in (x, y)] for index in range(len(y))]
    return [(signal, measurement) for signal, measurement in cast]
