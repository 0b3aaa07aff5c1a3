"""What lfl and adl share: a downsampler that a discriminator takes for the camera, held by a data loss (adl, Eq. 2).

The downsampler is a *kernel*, whose taps are learnt, or the *network* of the paper. Three forces act on it::

    L  =  − log F(D(hr) + noise)             adversarial: non-saturating cross-entropy
        + alpha · L_data                     what D(hr) must keep of hr: this is where lfl and adl differ
        + spectra / n · (misfit + ½ |z|²)    ours, of a kernel only: `ops.spectra`, and how far it is from its start

Presets. ``paper`` is the published method: network, 17.4 M discriminator, batch 24 of 64 px, 5e-5, weights from
N(0, 0.02²), on RGB; it wants a GPU and hours. ``default`` is for minutes on a CPU. What it does otherwise, and why:

- it starts from the kernel of `spectral`: adversarial training from nothing wanders for hours;
- the downsampler is that kernel, its taps free within `ops.blind_kernel.leeway`: exact under tiling, and 1 700 times
  faster to apply than the network; its change has no sum and no first moment, so neither level nor place can drift;
- the spectra hold it, as a likelihood: with few hundred images a discriminator soon sees their content, and pulls the
  kernel to where the content would fit; misfit says what content cannot account for;
- the discriminator is small and looks at fine luma detail in units of contrast, so at blur and not at colour;
- the mean of the weights over 100 steps is what is judged, by held-out spectra, and so is the start: it is what is
  exported, unless something that came of it is better by 2 % (few held-out images cannot tell less).

Noise in the LR would give the fakes away, and no kernel makes it (adl, 3.1): white noise of the level that flat places
of the LR images have is added to the fakes, and recorded in the checkpoint.
"""

from __future__ import annotations

import abc
import math
from itertools import islice
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from degsynth.errors import ConfigError, FitError
from degsynth.methods import protocol
from degsynth.methods.protocol import Training, Unpaired
from degsynth.methods.shared import losses
from degsynth.methods.shared.unpaired_optics import KernelOptics, Memory, NetworkOptics, Taps
from degsynth.methods.shared.unpaired_sets import Sets, kernel_facts, taps_per_side
from degsynth.model.degrader import Degrader
from degsynth.model.spec import MethodSpec
from degsynth.nets.discriminator import FinePatches, PatchGAN, drawn
from degsynth.nets.downsampler import Downsampler
from degsynth.ops import kernel_families as families
from degsynth.ops.blind_kernel import Family, estimate
from degsynth.ops.blur import blur_decimate, half_width
from degsynth.ops.kernels import centroid, composed
from degsynth.ops.least_squares import NormalEquations, solve
from degsynth.ops.low_pass import low_pass
from degsynth.ops.noise_level import matrix_sqrt
from degsynth.ops.resample import crop_border, luma

LOGITS_PX = 24
"""Side of the part of a patch that the small discriminator judges, LR px."""
FIRST_WEIGHTS = 0.02
"""Standard deviation of the published networks' first weights."""
RETRIEVED_RIDGE = 1e-6
"""Of Eq. 6: a network's output is no photograph, and not quantised."""
FAR_FROM_KERNEL = 45.0
"""Below this PSNR between kernel and network, dB, a user is told."""
RETRIEVED_PX = 128
"""Side of the parts of HR images from which a network's kernel is retrieved, LR px."""
PAPER: dict[str, Any] = {
    "generator": "network", "norm": "instance", "export": "network", "start": "random", "spectra": 0.0,
    "discriminator": "paper", "discriminator_width": 64, "discriminator_rate": 5e-5, "discriminator_first": 0,
    "learning_rate": 5e-5, "schedule": "constant", "warmup": 0, "average": 0.0, "batch": 24, "steps": 139_280,
    "beta": 0.9, "noise": "none",
}  # fmt: skip
"""80 epochs of 1 741 steps. What differs: borders of the downsampler are repeated and its level is kept (see
`nets.downsampler`); flat patches are drawn again; what is exported is the best of 20 states by held-out spectra, not
the last; Eq. 6 takes parts of 256 px of up to 64 images."""


class Config(Training):
    """Options that lfl and adl have in common."""

    steps: int = Field(default=1_500, ge=1)
    """Batches to learn from."""
    batch: int = Field(default=32, ge=1)
    """Patches of either side in a batch."""
    learning_rate: float = Field(default=2e-2, gt=0, le=1)
    """Adam's, at its highest, for the downsampler; a kernel's is in standard deviations of its taps."""
    warmup: int = Field(default=0, ge=0)
    """Steps over which it rises."""
    generator: Literal["kernel", "network"] = "kernel"
    """The downsampler: one kernel, or the network of the paper."""
    norm: Literal["none", "instance"] = "none"
    """Of the network. With instance norm (paper) it depends on the whole image: it is then never applied in tiles."""
    width: int = Field(default=64, ge=1)
    """Feature maps of the network."""
    export: Literal["kernel", "network"] = "kernel"
    """What the checkpoint holds where the downsampler is a network: itself, or the kernel that comes nearest to it."""
    kernel_size: int | None = Field(default=None, ge=5, le=63)
    """Taps per side, even at even scales, odd at odd ones; unset: 20, 21, or 10 times the scale if that is more."""
    start: Literal["spectral", "bicubic", "average", "random"] = "spectral"
    """Where training begins: at the kernel of `spectral`, a fixed one, or anywhere (network only, paper)."""
    family: Family = "auto"
    """Among which kernels `spectral` looks for the start."""
    spectra: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Weight of the spectra's misfit per frequency; 0 for a network."""
    alpha: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Weight of the data loss, levels being in [−1, 1]."""
    discriminator: Literal["small", "paper"] = "small"
    """Which network tells real from made."""
    discriminator_width: int = Field(default=16, ge=1)
    """Its feature maps, in the first layer."""
    discriminator_rate: float = Field(default=4e-4, gt=0, le=1)
    """Its learning rate, at its highest."""
    discriminator_first: int = Field(default=100, ge=0)
    """Steps in which it alone learns."""
    beta: float = Field(default=0.5, ge=0, lt=1)
    """First moment's decay of both Adams."""
    images: int = Field(default=50, ge=1)
    """HR images from which a network's kernel is retrieved (N of Eq. 6)."""
    filter: Literal["box", "gaussian"] = "box"
    """What takes the low frequencies out for the data loss of lfl."""
    filter_size: int = Field(default=16, ge=2)
    """Its size, LR px: a box's side, four standard deviations of a Gaussian."""
    noise: Literal["match", "none"] = "match"
    """Whether made LR gets the noise of the real one before the discriminator sees it. It is recorded in any case."""
    cascade: bool = False
    """At scale 4: learn a downsampler of scale 2 and apply it twice (Eq. 5). It takes for granted that LR photographs
    look like their own halves would. Published for ×4; preset ``paper`` leaves it off, too."""


class Adversary(protocol.Learned):
    """All of lfl and adl but the data loss."""

    def __init__(self, name: str, config: Config, scale: int, channels: int) -> None:
        self.name, self.config, self.channels = name, config, channels
        self._check(scale)
        self.full_scale, self.scale = scale, 2 if config.cascade else scale
        self.kernel_size = taps_per_side(config.kernel_size, self.scale, name)
        self.linear = config.generator == "kernel"
        self.cut = -(-half_width(self.kernel_size, self.scale) // self.scale) if self.linear else 0
        self.patch = config.patch or scale * (LOGITS_PX + 2 * self.cut if config.discriminator == "small" else 64)
        self.least_patch = scale * ((16 if config.discriminator == "small" else 32) + 2 * self.cut)
        self.multiple_of = scale
        self.generator: Taps | Downsampler
        if self.linear:
            self.generator = Taps(self.kernel_size)
        else:
            self.generator = Downsampler(channels, self.scale, config.width, config.norm == "instance")
        self.critic: nn.Module
        if config.discriminator == "small":
            self.critic = FinePatches(config.discriminator_width)
        else:
            self.critic = drawn(PatchGAN(channels, config.discriminator_width), FIRST_WEIGHTS)
        if config.start == "random":
            drawn(self.generator, FIRST_WEIGHTS)
        self.memory = Memory(self.kernel_size, channels)
        self.references: list[Tensor] = []
        self.modules: dict[str, nn.Module] = {
            "optics": self.generator, "discriminator": self.critic, "memory": self.memory,
        }  # fmt: skip
        betas = (config.beta, 0.99 if config.beta < 0.9 else 0.999)
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generator": torch.optim.Adam(self.generator.parameters(), lr=config.learning_rate, betas=betas),
            "discriminator": torch.optim.Adam(self.critic.parameters(), lr=config.discriminator_rate, betas=betas),
        }

    def _check(self, scale: int) -> None:
        config, name = self.config, self.name
        if config.steps <= config.discriminator_first:
            raise ConfigError(
                f"method {name}: steps (={config.steps}) must be more than discriminator_first "
                f"(={config.discriminator_first}), in which nothing but the discriminator learns"
            )
        if config.cascade and scale != 4:
            raise ConfigError(
                f"method {name}: cascade=true applies a downsampler of scale 2 twice; the scale is {scale}"
            )
        if config.generator == "network" and config.spectra > 0:
            raise ConfigError(f"method {name}: spectra (={config.spectra:g}) hold a kernel; a network needs spectra=0")
        if config.generator == "network" and config.start != "random":
            raise ConfigError(f"method {name}: a network can only begin with start=random, not {config.start}")
        if config.generator == "kernel" and (config.start == "random" or config.export == "network"):
            key = "start=random" if config.start == "random" else "export=network"
            raise ConfigError(f"method {name}: {key} is for generator=network; a kernel has none of it")

    def prepare(self, images: Unpaired) -> None:
        """Take the spectra and the noise of both sides, and find where to begin."""
        self.sets = Sets(images, self.scale, self.name)
        if not self.linear:
            side = self.scale * RETRIEVED_PX
            self.references = [hr[:, :side, :side].clone() for hr in islice(images.hr, self.config.images)]
        try:
            wanted = self.config.family if self.config.start == "spectral" else "box"
            self.found = estimate(self.sets.spectra, wanted, self.kernel_size)
        except ValueError as error:
            raise FitError(f"{self.name}: {error}") from None
        self.memory.noise.copy_(self.sets.noise(self.found.kernel))
        if self.config.noise == "match":
            self.memory.matched.copy_(matrix_sqrt(self.sets.noise_left(self.found.kernel)))
        if isinstance(self.generator, Taps):
            y, x = families.frequencies()
            aperture = {"bicubic": families.bicubic, "average": families.box}.get(self.config.start)
            kernel, held = self.found.kernel, self.found.plausible and not self.found.free
            if aperture is not None:
                transfer = aperture(y, self.scale) * aperture(x, self.scale)
                kernel, held = families.taps(transfer, self.kernel_size), False
            with torch.no_grad():
                self.generator.begin(kernel, self.scale, held)

    @property
    def noise(self) -> Tensor | None:
        """Covariance of the noise that the LR images have; None where they have none."""
        return self.memory.noise.double().cpu() if bool(self.memory.noise.any()) else None

    # --- one step -----------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def data_loss(self, hr: Tensor, made: Tensor, step: int) -> Tensor:
        """What the LR made of hr (B, C, s·h, s·w) must keep of it; made (B, C, h − 2·cut, w − 2·cut)."""

    def alpha(self, step: int) -> float:
        """Weight of the data loss."""
        return self.config.alpha

    def low_frequency_loss(self, hr: Tensor, made: Tensor) -> Tensor:
        """Eq. 4: L1 between low frequencies of hr (B, C, s·h, s·w) and made (B, C, h − 2·cut, w − 2·cut)."""
        same = crop_border(hr, self.scale * self.cut)
        size = min(self.config.filter_size, made.shape[-1])
        return F.l1_loss(
            low_pass(made, self.config.filter, size), low_pass(same, self.config.filter, self.scale * size)
        )

    def make(self, hr: Tensor) -> Tensor:
        """LR of a batch, what would have read over the patch's edge left out."""
        if isinstance(self.generator, Taps):
            return crop_border(blur_decimate(hr, self.generator.kernel()[None], self.scale), self.cut)
        made: Tensor = self.generator(hr)
        return made

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """One step of the discriminator, then one of the downsampler (adl, Algorithm 1)."""
        hr, real = self.seen(batch)
        made = self.make(hr)
        told = self.told_apart(real, made.detach(), rng)
        terms = {"discriminator": losses.update(self.optimizers["discriminator"], told)}
        if step < self.config.discriminator_first:
            return terms
        self.critic.requires_grad_(False)
        fooled = losses.real(self.critic(self.noisy(made, rng), _dither(made, rng)))
        data = 2 * self.data_loss(hr, made, step)  # levels in [−1, 1]
        total = fooled + self.alpha(step) * data
        terms |= {"adversarial": fooled.detach(), "data": data.detach()}
        if self.config.spectra > 0:
            held = self.surprise() / self.sets.spectra.count
            total = total + self.config.spectra * held
            terms["spectra"] = held.detach()
        losses.update(self.optimizers["generator"], total)
        self.critic.requires_grad_(True)
        return terms

    def seen(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """HR patches and the part of LR patches that made ones are compared with; luma where nothing asks for more."""
        hr, real = batch["hr"], crop_border(batch["lr"], self.cut)
        side = self.scale * batch["lr"].shape[-1]
        hr = hr[..., :side, :side]  # of a cascade: one of its steps
        gray = self.linear and self.config.discriminator == "small"
        return (luma(hr), luma(real)) if gray else (hr, real)

    def told_apart(self, real: Tensor, made: Tensor, rng: torch.Generator) -> Tensor:
        """Cross-entropy of the discriminator."""
        for_real = losses.real(self.critic(real, _dither(real, rng)))
        return for_real + losses.fake(self.critic(self.noisy(made, rng), _dither(made, rng)))

    def noisy(self, made: Tensor, rng: torch.Generator) -> Tensor:
        """Made LR with the noise that the real LR has beyond it."""
        white = torch.randn(made.shape[0], self.channels, *made.shape[2:], generator=rng).to(made.device)
        noise = torch.einsum("ab,nbhw->nahw", self.memory.matched, white)
        return made + (noise if made.shape[1] == self.channels else luma(noise))

    def surprise(self) -> Tensor:
        """−log of what spectra and start leave of a kernel's likelihood."""
        generator = cast("Taps", self.generator)
        spectra = self.sets.spectra.to(generator.z.device)
        misfit = spectra.misfit(spectra.of_kernel(generator.kernel().double()), self.found.floor)
        return misfit + 0.5 * generator.z.square().sum()

    def diagnose(self, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, float]:
        """How many held-out logits the last discriminator gets right against what is exported: 0.5 is guessing."""
        hr, real = self.seen(batch)
        with torch.no_grad():
            made = self.noisy(self.make(hr), rng)
            right = (self.critic(real, _dither(real, rng)) > 0).float().mean()
            right = right + (self.critic(made, _dither(made, rng)) < 0).float().mean()
        return {"discriminator_accuracy": float(right) / 2}

    # --- what it amounts to -------------------------------------------------------------------------------------

    def retrieve(self, generator: nn.Module | None = None) -> Tensor:
        """The kernel (K, K) that comes nearest to the downsampler: least squares, float64 (adl, Eq. 6).

        Of a kernel that is the kernel itself.
        """
        generator = self.generator if generator is None else generator
        with torch.no_grad():
            if isinstance(generator, Taps):
                return generator.kernel().double().cpu()
            if not self.references:
                raise FitError(
                    f"{self.name}: a kernel is retrieved from HR images, which a snapshot does not have; fit with "
                    "--set export=network to export the network of any snapshot"
                )
            equations = NormalEquations(self.kernel_size, self.scale)
            reach = -(-cast("Downsampler", generator).reach() // self.scale)
            device = next(generator.parameters()).device
            for hr in self.references:
                side = tuple(length // self.scale * self.scale for length in hr.shape[1:])
                hr = hr[:, : side[0], : side[1]]
                made = luma(generator(hr[None].to(device))[0].cpu())[0]
                equations.add(luma(hr)[0], made, reach)
            try:
                return solve(equations, RETRIEVED_RIDGE).kernel
            except ValueError as error:
                raise FitError(f"{self.name}: no kernel comes near the network: {error}") from None

    def kernel(self, generator: nn.Module | None = None) -> Tensor:
        """The kernel of the whole scale: `retrieve`, once or twice."""
        once = self.retrieve(generator)
        return composed(once, once, 2) if self.config.cascade else once

    @property
    def whole(self) -> bool:
        """Whether the checkpoint holds the network."""
        return not self.linear and self.config.export == "network"

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """The kernel or the network, and the noise, as a checkpoint module."""
        generator = self.generator if optics is None else optics
        device = next(generator.parameters()).device
        made: nn.Module
        if self.whole:
            made = NetworkOptics(cast("Downsampler", generator), 2 if self.config.cascade else 1, self.noise)
            return Degrader(made.to(device), self.full_scale, channels=[self.channels])
        made = KernelOptics(self.kernel(generator), self.full_scale, self.noise)
        return Degrader(made.to(device), self.full_scale, channels=None if self.noise is None else [self.channels])

    def spec(self) -> MethodSpec:
        """Kernel: exact tiles, centred. Network: one colour count, phase measured, whole images with instance norm."""
        noisy = self.noise is not None
        if self.whole:
            reach = cast("Downsampler", self.generator).reach()
            tiling: Literal["exact", "whole_only"] = "exact" if self.config.norm == "none" else "whole_only"
            halo = reach + (self.scale * reach if self.config.cascade else 0)
            return MethodSpec(
                channels=[self.channels],
                clean_halo=halo,
                tiling=tiling,
                multiple_of=self.full_scale,
                stochastic=noisy,
                has_noise=noisy,
            )
        kernel = self.kernel()
        return MethodSpec(
            channels=[self.channels] if noisy else "any",
            clean_halo=half_width(kernel.shape[-1], self.full_scale),
            multiple_of=self.full_scale,
            stochastic=noisy,
            has_noise=noisy,
            phase=(centroid(kernel),),
        )

    def report(self) -> dict[str, Any]:
        """The kernel, how well it explains the spectra, and how far a network is from its kernel."""
        kernel = self.retrieve()
        found = {
            "start": self.config.start,
            "start_family": self.found.family,
            "generator_parameters": sum(p.numel() for p in self.generator.parameters()),
            **kernel_facts(self.kernel()),
            **self.sets.to_cpu().report(kernel, self.found.floor),
        }
        if not self.linear:
            found["kernel_against_network_psnr"] = self.network_psnr()
        return found

    def network_psnr(self) -> float:
        """Of the kernel's LR against the network's, one step of a cascade, on parts of images of the fit, dB."""
        kernel, errors = self.retrieve().float()[None], []
        for hr in self.references[:8]:
            side = tuple(length // self.scale * self.scale for length in hr.shape[1:])
            hr = hr[None, :, : side[0], : side[1]]
            with torch.no_grad():
                apart = self.generator(hr) - blur_decimate(hr, kernel, self.scale)
            errors.append(float(crop_border(apart, 8).square().mean()))
        return -10 * math.log10(max(sum(errors) / len(errors), 1e-12))

    def warnings(self) -> list[str]:
        """Different contents, a kernel that says little of the network, or an unfinished warm-up."""
        found = self.sets.to_cpu().warnings(self.retrieve())
        if not self.linear and self.network_psnr() < FAR_FROM_KERNEL:
            kept = "network" if self.whole else "kernel"
            found.append(
                f"kernel and network are {self.network_psnr():.1f} dB apart: the checkpoint holds the {kept}, "
                "--set export=network|kernel chooses"
            )
        return found


def _dither(like: Tensor, rng: torch.Generator) -> Tensor:
    shape = like.shape[0], 1, *like.shape[2:]
    return (2 * torch.rand(shape, generator=rng) - 1).to(like.device)
