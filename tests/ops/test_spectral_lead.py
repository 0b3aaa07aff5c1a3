"""Which of two blurs is nearer to real LR of other scenes: known answers on pictures that are generated."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor

from degsynth.ops.kernels import gaussian, similarity
from degsynth.ops.spectra import SIDE, Bins, power
from degsynth.ops.spectral_lead import Lead, Scatter
from tests.ops.test_spectra import degraded, scene

BINS = Bins(SIDE)
TRUTH = gaussian(12, 1.2, 1.2)
NARROW, WIDE = (gaussian(12, sigma, sigma) for sigma in (math.sqrt(1.2**2 - 0.3), math.sqrt(1.2**2 + 0.3)))
"""Their log-spectra differ from that of the truth by as much, one way and the other."""
SCENES, HELD, SPLITS = 56, 8, 10

SCATTERS: dict[tuple[str, int], Scatter] = {}
"""Scatter of the scenes of a split, by kind of real LR and number."""


def rows(images: list[Tensor]) -> Tensor:
    return torch.stack([BINS(power(image, SIDE)) for image in images])


@pytest.fixture(scope="module")
def pictures() -> dict[str, Tensor]:
    """Powers of pictures: blurred by each kernel, unblurred, and blurred by the truth, with noise, in 8 bits."""
    scenes = [scene(number, 176) for number in range(SCENES)]
    rng = torch.Generator().manual_seed(3)
    blurred = {name: [degraded(image, kernel, 2) for image in scenes] for name, kernel in KERNELS.items()}
    noisy = [image + 0.01 * torch.randn(image.shape, generator=rng) for image in blurred["truth"]]
    sets = {**blurred, "sharp": [image[::2, ::2] for image in scenes], "noisy": noisy}
    sets["real"] = [(255 * image).round() / 255 for image in blurred["truth"]]
    return {name: rows(images) for name, images in sets.items()}


KERNELS = {"truth": TRUTH, "narrow": NARROW, "wide": WIDE}


@functools.cache
def order(seed: int) -> Tensor:
    return torch.randperm(SCENES, generator=torch.Generator().manual_seed(seed))


def leads(pictures: dict[str, Tensor], start: str, candidate: str, real: str = "real") -> list[Lead]:
    """Leads in random splits: scenes of either side for the scatter, and others to compare."""
    found = []
    for seed in range(SPLITS):
        hr, lr = order(seed)[: SCENES // 2], order(seed)[SCENES // 2 :]
        if (real, seed) not in SCATTERS:
            SCATTERS[real, seed] = Scatter([pictures["sharp"][hr[HELD:]], pictures[real][lr[HELD:]]], BINS)
        held = pictures[start][hr[:HELD]], pictures[candidate][hr[:HELD]], pictures[real][lr[:HELD]]
        found.append(SCATTERS[real, seed].compare(*held))
    return found


def test_the_kernels_are_near_each_other() -> None:
    assert 0.99 < similarity(TRUTH, NARROW) < similarity(TRUTH, WIDE) < 0.996


@pytest.mark.parametrize("start", ["narrow", "wide"])
@pytest.mark.parametrize("real", ["real", "noisy"])
def test_the_truth_leads_a_near_start_in_most_splits_and_never_the_other_way(
    start: str, real: str, pictures: dict[str, Tensor]
) -> None:
    forth, back = leads(pictures, start, "truth", real), leads(pictures, "truth", start, real)
    assert sum(lead.t > 1 for lead in forth) >= 0.9 * SPLITS
    assert sum(lead.t > 1 for lead in back) == 0
    assert sum(lead.lead for lead in forth) / SPLITS == pytest.approx(0.5, abs=0.15)
    assert all(lead.evidence > 0 for lead in forth if lead.t > 0)


def test_a_blur_has_no_lead_over_itself(pictures: dict[str, Tensor]) -> None:
    assert all(lead.t == lead.lead == lead.evidence == 0 for lead in leads(pictures, "wide", "wide"))


def test_t_scatters_by_one(pictures: dict[str, Tensor]) -> None:
    """Were the direction and the scatter along it measured on the same images, t would scatter by 1.6."""
    change = torch.exp(0.1 * torch.sin(math.pi * BINS.ring / BINS.ring.max()))
    few, many = pictures["truth"] / change, pictures["truth"] * change
    ts = torch.tensor([lead.t for lead in leads({**pictures, "few": few, "many": many}, "few", "many")])
    assert 0.5 < float(ts.std()) < 1.3


def test_results_follow_from_the_images_alone(pictures: dict[str, Tensor]) -> None:
    assert leads(pictures, "wide", "truth") == leads(pictures, "wide", "truth")


def test_confidence_is_a_half_at_zero_and_falls_short_with_few_images() -> None:
    assert Lead(0.0, 0.0, 5, 0.0).confidence == 0.5
    assert Lead(0.2, 1.0, 10**6, 1.0).confidence == pytest.approx(0.5 * (1 + math.erf(1 / math.sqrt(2))), abs=1e-4)
    assert Lead(0.2, 1.0, 2, 1.0).confidence < Lead(0.2, 1.0, 20, 1.0).confidence


def test_few_and_flat_images(pictures: dict[str, Tensor]) -> None:
    real = pictures["real"].clone()
    scatter = Scatter([pictures["sharp"][:1], real[:2]], BINS)
    assert scatter.freedom == 1
    assert math.isfinite(scatter.compare(pictures["wide"][2:3], pictures["truth"][2:3], real[3:4]).t)
    real[5] = 0
    lead = Scatter([pictures["sharp"][:9], real[:9]], BINS).compare(
        pictures["wide"][9:], pictures["truth"][9:], real[5:]
    )
    assert math.isfinite(lead.t)
    with pytest.raises(ValueError, match="a single image of each side"):
        Scatter([real[:1], real[1:2]], BINS)
