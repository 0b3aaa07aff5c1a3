"""Too little memory ends in a row or an exit code that says so: no traceback, no signal, no wait for ever."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import cv2
import imagecodecs
import pytest
import simplejpeg
import tifffile
from torch import Tensor

from degsynth import apply
from degsynth.apply.layouts.pairs import PairWriter
from degsynth.apply.manifest import Manifest, Row
from degsynth.data import images, writing
from degsynth.errors import DataError
from degsynth.model.checkpoint import Checkpoint
from tests.doubles import stochastic
from tests.test_errors import LACKS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return stochastic(tmp_path_factory.mktemp("model") / "model.pt", 2)


@pytest.fixture
def hr(tmp_path: Path, photographs: list[Tensor]) -> Path:
    for number, suffix in enumerate((".png", ".png", ".tif", ".png")):
        pixels = images.quantise(photographs[number][:, :200, :200], images.np.dtype("uint8"))
        (tmp_path / "HR").mkdir(exist_ok=True)
        (tmp_path / f"HR/{number}{suffix}").write_bytes(writing.encode(images.Image(pixels), suffix))
    return tmp_path / "HR"


@pytest.mark.parametrize("error", LACKS, ids=str)
def test_a_row_says_that_memory_is_too_short(
    error: Exception, model: Checkpoint, hr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever library has noticed it; the other images are made."""

    def write(writer: PairWriter, outputs: list[object]) -> list[Row]:
        if outputs[0].source == "2.tif":  # type: ignore[attr-defined]
            raise error
        return original(writer, outputs)  # type: ignore[arg-type]

    original = PairWriter.write
    monkeypatch.setattr(PairWriter, "write", write)
    summary = apply.run(model, hr, tmp_path / "out")
    assert (summary.done, summary.failed) == (3, 1)
    (row,) = (row for row in Manifest(tmp_path / "out").read() if row.status == "failed")
    assert row.source == "2.tif"
    assert "memory is too short" in str(row.error)
    assert "`memory`" in str(row.error)
    assert "`workers`" in str(row.error)


DECODERS = {
    ".png": (imagecodecs, "png_decode"),
    ".jpg": (simplejpeg, "decode_jpeg"),
    ".webp": (imagecodecs, "webp_decode"),
    ".tif": (tifffile.TiffPage, "decode"),
}
"""What decodes a file with this ending."""


@pytest.mark.parametrize("suffix", DECODERS)
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("Insufficient memory: failed to allocate 8 bytes")])
def test_a_decoder_without_memory_does_not_blame_the_file(
    suffix: str, error: Exception, tmp_path: Path, photographs: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*arguments: object, **options: object) -> None:
        raise error

    path = tmp_path / f"photo{suffix}"
    pixels = images.quantise(photographs[0], images.np.dtype("uint8"))
    if suffix == ".tif":
        tifffile.imwrite(path, pixels, compression="deflate")
    else:
        cv2.imwrite(str(path), pixels[..., ::-1])
    owner, name = DECODERS[suffix]
    monkeypatch.setattr(owner, name, property(lambda page: no_memory) if suffix == ".tif" else no_memory)
    with pytest.raises(DataError, match="memory is too short") as caught:
        images.read(path)
    assert str(path) in str(caught.value)
    assert "damaged" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound the memory of a process")
@pytest.mark.parametrize("megabytes", [450, 700, 1000, 1100])
def test_under_a_limit(megabytes: int, model: Checkpoint, hr: Path, tmp_path: Path) -> None:
    """Python, torch, OpenCV and their threads are refused memory at different places."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    command = [sys.executable, "-m", "degsynth", "apply", str(model.path), str(hr), str(tmp_path / "out")]
    result = subprocess.run(
        [*command, "--workers", "2"], capture_output=True, text=True, check=False, timeout=120, preexec_fn=limit
    )
    assert result.returncode in (0, 1, 2), result.stderr
    assert "Traceback" not in result.stderr
    if result.returncode == 2:
        assert "memory" in result.stderr.splitlines()[-1]
        assert not (tmp_path / "out").exists()
        return
    rows = Manifest(tmp_path / "out").read()
    assert result.returncode == int(any(row.status == "failed" for row in rows)) or len(rows) < 4
    assert all("memory" in str(row.error) for row in rows if row.status == "failed")
    again = apply.run(model, hr, tmp_path / "out", apply.Options(existing="resume"))
    assert (again.done, again.failed) == (4, 0)
