from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth.data import images, levels
from degsynth.data.images import Image
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian

NAMES = ["a", "b", "c", "d"]


def compared(
    shots: list[Tensor], gain: Tensor | list[Tensor] | float, offset: Tensor | list[Tensor] | float = 0.0
) -> levels.Levels:
    """Compare pairs of scale 2 whose LR is blurred, and changed by a gain and an offset, of each pair if listed."""
    pairs = []
    for number, shot in enumerate(shots):
        hr = 0.2 + 0.5 * shot  # so that no level is clipped
        lr = blur_decimate(hr[None], gaussian(8, 1.2, 1.2)[None].float(), 2)[0]
        times, plus = (value[number] if isinstance(value, list) else torch.as_tensor(value) for value in (gain, offset))
        lr = times.reshape(-1, 1, 1) * lr + plus.reshape(-1, 1, 1)
        pairs.append(levels.moments(*(Image(images.quantise(side, np.dtype(np.uint8))) for side in (hr, lr)), 2))
    return levels.compare(pairs, 0.0, 255.0)


def test_equal_levels_are_not_told_of(photographs: list[Tensor]) -> None:
    found = compared(photographs, 1.0)
    assert (found.describe_change(), found.describe_variation(NAMES), found.has_cast) == ("", "", False)
    assert found.gain == pytest.approx([1.0] * 3, abs=0.02)
    assert max(found.change, found.cast, found.variation) < 1 / 255


def test_a_common_level(photographs: list[Tensor]) -> None:
    found = compared(photographs, 0.8, 0.1)
    assert found.gain == pytest.approx([0.8] * 3, abs=0.02)
    assert found.offset == pytest.approx([0.1] * 3, abs=0.01)
    assert found.describe_change().startswith("LR has another level than HR: gain 0.8")
    assert not found.has_cast
    assert found.describe_variation(NAMES) == ""


@pytest.mark.parametrize(
    ("gain", "offset"),
    [((1.0, 1.0, 1.06), (0.0, 0.0, 0.0)), ((1.0, 1.0, 1.0), (0.0, -0.03, 0.0)), ((1.1, 1.0, 0.9), (0.0, 0.0, 0.0))],
)
def test_a_colour_cast(gain: tuple[float, ...], offset: tuple[float, ...], photographs: list[Tensor]) -> None:
    """It may be in one channel only."""
    colourful = [shot for shot in photographs if shot.shape[0] == 3]
    found = compared(colourful, torch.tensor(gain), torch.tensor(offset))
    assert found.has_cast
    assert found.gain == pytest.approx(gain, abs=0.02)
    assert found.offset == pytest.approx(offset, abs=0.012)
    assert found.describe_change().startswith("LR has a colour cast against HR: the channels have gains ")
    assert found.describe_variation(NAMES) == ""


@pytest.mark.parametrize(
    ("gain", "offset"), [((0.95, 1.05, 0.95, 1.05), (0.0,) * 4), ((1.0,) * 4, (0.0, 0.0, 0.06, 0.0))]
)
def test_levels_that_vary_between_pairs(
    gain: tuple[float, ...], offset: tuple[float, ...], photographs: list[Tensor]
) -> None:
    """As an exposure, or as an offset of one pair."""
    found = compared(photographs, list(torch.tensor(gain)), list(torch.tensor(offset)))
    assert found.variation > levels.LEAST_VARIATION
    assert "levels vary from pair to pair" in found.describe_variation(NAMES)
    expected = [g + o / 0.45 for g, o in zip(gain, offset, strict=True)]
    assert found.ratios == pytest.approx(expected, abs=0.05)
    brightest = NAMES[int(np.argmax(found.ratios))]
    assert f"({brightest}) times as bright as HR" in found.describe_variation(NAMES)


def test_levels_are_relative_to_black_and_white(photographs: list[Tensor]) -> None:
    pairs = []
    for shot in photographs:
        hr = (100 + 4000 * shot.permute(1, 2, 0).numpy()).astype(np.uint16)
        pairs.append(levels.moments(Image(hr), Image(((hr[::2, ::2] - 100.0) * 0.5 + 100).astype(np.uint16)), 2))
    found = levels.compare(pairs, 100.0, 4100.0)
    assert found.gain == pytest.approx([0.5] * 3, abs=0.02)
    assert found.offset == pytest.approx([0.0] * 3, abs=0.005)
    flat = Image(np.full((8, 8, 1), 7, np.uint8))
    assert levels.compare([levels.moments(flat, flat, 1)], 0.0, 255.0).change == 0
