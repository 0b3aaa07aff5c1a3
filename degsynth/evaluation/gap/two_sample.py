"""A two-sample test: how often a small network tells patches of synthetic images from patches of real ones.

It is cross-fitted: two networks learn, each from one half of the images of both folders, and each judges the other
half. Halves are of whole images, so that no network has seen anything of the images that it judges. Where both folders
come from one distribution, the expected accuracy is 50 %, however flexible the network (Lopez-Paz and Oquab 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.evaluation.gap.splits import Halves
from degsynth.nets.patch_critic import PatchCritic
from degsynth.ops.resample import dihedral
from degsynth.ops.spread import evenly_spaced
from degsynth.seeds import derive

SIDE = 32
"""Side of the patches, px."""
MOST_PATCHES = 100
"""Largest number of patches of an image, evenly spread over it."""
BATCH = 32
"""Patches in a step of training, half of them synthetic."""
RATE = 3e-3
"""Largest learning rate."""
RESAMPLES = 2000
"""Number of times that the scenes are drawn anew for the interval."""
OnStep = Callable[[], None]


@dataclass(frozen=True)
class Judgement:
    """What the networks say of each image that they did not learn from."""

    synthetic: list[Tensor]
    """For each synthetic image that was judged, the logits (N,) of its patches; positive where they seem real."""
    real: list[Tensor]
    """The same for the real images."""
    images: tuple[list[int], list[int]]
    """Indices of the synthetic and of the real images that were judged."""

    def accuracies(self) -> tuple[Tensor, Tensor]:
        """Return the share of patches that were told rightly, in each synthetic and in each real image."""
        return (
            torch.stack([(logits < 0).double().mean() for logits in self.synthetic]),
            torch.stack([(logits >= 0).double().mean() for logits in self.real]),
        )

    def accuracy(self) -> float:
        """Return the share of patches that were told rightly; both folders and all their images count the same."""
        return float(torch.stack([rates.mean() for rates in self.accuracies()]).mean())

    def log_loss(self) -> float:
        """Return the mean cross entropy, in bits: 1 where nothing can be told, and more where the networks err."""
        fake = torch.stack([F.softplus(logits.double()).mean() for logits in self.synthetic]).mean()
        real = torch.stack([F.softplus(-logits.double()).mean() for logits in self.real]).mean()
        return float((fake + real) / 2 / torch.log(torch.tensor(2.0)))

    def interval(self, seed: int, scenes: tuple[Sequence[str], Sequence[str]]) -> tuple[float, float]:
        """Return the 95 % interval of the accuracy: scenes are drawn anew, since what one of them shows is alike.

        ``scenes`` has the scene of each synthetic and of each real image, also of those that were not judged.
        """
        generator = torch.Generator().manual_seed(derive(seed, "bootstrap") % 2**63)
        drawn = torch.zeros(RESAMPLES, dtype=torch.float64)
        for rates, images, names in zip(self.accuracies(), self.images, scenes, strict=True):
            _, scene = np.unique([names[index] for index in images], return_inverse=True)
            count = torch.bincount(torch.from_numpy(scene)).double()
            total = torch.bincount(torch.from_numpy(scene), rates)
            chosen = torch.randint(len(count), (RESAMPLES, len(count)), generator=generator)
            drawn += total[chosen].sum(1) / count[chosen].sum(1) / 2
        low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        return low, high


def patches(image: Tensor) -> Tensor:
    """Return patches (N, C, SIDE, SIDE) of an image (C, h, w), which do not overlap: at most `MOST_PATCHES`."""
    rows = image.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE).permute(1, 2, 0, 3, 4).flatten(0, 1)
    return rows[evenly_spaced(len(rows), MOST_PATCHES)].contiguous()


@dataclass(frozen=True)
class Training:
    """What one network learns from and what it judges, as indices of images of both folders."""

    learnt: tuple[list[int], list[int]]
    judged: tuple[list[int], list[int]]
    seed: int
    steps: int
    width: int


def trainings(halves: Halves, seed: int, steps: int, width: int) -> list[Training]:
    """Return the two trainings of a test on these halves."""
    sides = halves.synthetic, halves.real
    return [
        Training(
            (sides[0][half], sides[1][half]),
            (sides[0][1 - half], sides[1][1 - half]),
            derive(seed, "critic", half),
            steps,
            width,
        )
        for half in (0, 1)
    ]


def judge(
    training: Training,
    synthetic: Sequence[Tensor],
    real: Sequence[Tensor],
    network: PatchCritic,
    on_step: OnStep = lambda: None,
) -> Judgement:
    """Train a network and judge by it; ``synthetic`` and ``real`` are the patches (N, C, h, w) of each image."""
    generator = torch.Generator().manual_seed(training.seed % 2**63)
    sides = synthetic, real
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=max(2, training.steps))
    targets = torch.cat([torch.zeros(BATCH // 2), torch.ones(BATCH // 2)])
    network.train()
    for _ in range(training.steps):
        batch = torch.cat([_draw(sides[side], training.learnt[side], generator) for side in (0, 1)])
        turn = int(torch.randint(8, (), generator=generator))
        loss = F.binary_cross_entropy_with_logits(network(dihedral(batch, turn)), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_step()
    network.eval()
    with torch.no_grad():
        logits = [[network(sides[side][index]) for index in judged] for side, judged in enumerate(training.judged)]
    return Judgement(logits[0], logits[1], training.judged)


def _draw(images: Sequence[Tensor], chosen: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return half a batch of patches of the chosen images; all images are equally likely."""
    which = torch.randint(len(chosen), (BATCH // 2,), generator=generator).tolist()
    drawn = []
    for number in which:
        of_image = images[chosen[number]]
        drawn.append(of_image[int(torch.randint(len(of_image), (), generator=generator))])
    return torch.stack(drawn)


def joined(parts: Sequence[Judgement]) -> Judgement:
    """Return the judgements of both networks as one."""
    return Judgement(
        [logits for part in parts for logits in part.synthetic],
        [logits for part in parts for logits in part.real],
        (
            [index for part in parts for index in part.images[0]],
            [index for part in parts for index in part.images[1]],
        ),
    )


def networks(count: int, channels: int, width: int, seed: int) -> list[PatchCritic]:
    """Return new networks; their first weights depend on the seed only. To be called from one thread."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights") % 2**63)
        return [PatchCritic(channels, width) for _ in range(count)]
