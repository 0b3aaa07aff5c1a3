"""pdm: a distribution of kernels and of noise, learnt from two unrelated folders. Unpaired; pdm, 3.1-3.4, Eqs. 2-8.

::

    lr  =  (hr ∗ netK(z_k)) ↓s  +  netN(clean lr, z_n)            z_k (64), z_n (3 × h × w): standard normal

No two LR images have the same blur and noise: every draw of z_k is another kernel, every draw of z_n another grain.
netK (`nets.kernel_generator`) ends in a softmax over taps; its kernels are centred. netN (`nets.noise_generator`) is a
network that looks at the clean LR, or in its place a closed form that follows its level (`ops.grain`).

Presets. ``paper`` is the published method: both networks, from a flat start, against a PatchGAN with least squares
losses, λ = 100 on the mean of noise²; it wants a GPU and hours, and is known to end in one kernel for all (its users
say so) or in scattered taps. ``default`` is for minutes on a CPU, and estimates what the adversary would have to find:

1. noise: how strong at which level, how neighbours and channels are tied, from flat places of the LR images;
2. blur: read off every LR image, by a regression learnt on HR images blurred by known Gaussians, with that noise;
3. the distribution of blurs behind these readings, whose own scatter is known (`ops.blur_widths`);
4. netK is taught to draw from it.

``steps`` of adversarial refinement may follow, held by an anchor to what was taught. They are kept only if held-out
spectra become clearly better (`loop.CLEARLY`), which see blur, and of noise nothing; the default has no steps: where
the start is good they gained nothing.

``signed=true``: a softmax cannot make negative lobes, which bicubic and sharpening have. The difference of two can; it
is taught the kernel that `spectral` finds (family auto), stretched to every width.

What differs from the paper in ``paper``: rates are halved every 50 000 steps, as in the authors' code (it prints 5 000:
2e-16 would be left of 2e-4 at the end); with spatial=correlated only the first layer is 3×3; the kernel has 21 taps at
odd scales, 20 at even ones, where 21 cannot be centred; no batch norm; patches are larger than 32 px by what a kernel
reads beyond its edge, so the discriminator sees 32; both sides are dithered by ± 1/255 (the authors quantise softly),
lest 8-bit levels give the real ones away; netN is symmetrised to mean 0; what is exported is the best of 20 states by
held-out spectra. SR networks are not trained.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from degsynth.errors import ConfigError, FitError
from degsynth.methods import protocol
from degsynth.methods.pdm import estimate as start
from degsynth.methods.pdm.optics import MOST_GROUPS, GrainNoise, NetworkNoise, PDMOptics, Silence
from degsynth.methods.protocol import Data, Distribution, MeasuredNoise, Training, Unpaired
from degsynth.methods.shared import losses
from degsynth.methods.shared.unpaired_sets import Sets, kernel_facts, taps_per_side
from degsynth.model.degrader import Degrader
from degsynth.model.spec import MethodSpec
from degsynth.nets.discriminator import FinePatches, LocalPatchGAN
from degsynth.nets.kernel_generator import KernelGenerator
from degsynth.nets.noise_generator import NoiseGenerator
from degsynth.ops.blur import half_width
from degsynth.ops.noise import generator
from degsynth.ops.noise_level import luma_variance
from degsynth.ops.resample import crop_border

LOGITS_PX = 24
"""Side of the part of a patch that the small discriminator judges, LR px; that of the paper: 32."""
DRAWN, SPECTRA = 500, 64
"""Kernels that are looked at to see how they differ, and what power they leave."""
PLACES = 23
"""Side of a part of an image that has so many pixels, if each has its kernel."""
UNTAUGHT = 0.2
"""Error of imitation (relative, or nats) from which a user is told."""

Source = Literal["z", "content", "both", "none"]

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "start": "flat", "noise": "network", "kernel_features": 64, "kernel_blocks": 16, "noise_features": 64,
        "noise_blocks": 16, "discriminator": "paper", "discriminator_width": 64, "discriminator_rate": 2e-4,
        "discriminator_first": 0, "learning_rate": 2e-4, "schedule": "constant", "halve_every": 50_000, "warmup": 0,
        "average": 0.0, "steps": 200_000, "beta": 0.9, "anchor": 0.0, "noise_weight": 100.0,
    },
}  # fmt: skip
QUICK: dict[str, Any] = {"steps": 25, "batch": 2, "discriminator_first": 0, "imitation": 150}


class Config(Training):
    """Options of `pdm`."""

    steps: int = Field(default=0, ge=0)
    """Batches of adversarial refinement."""
    batch: int = Field(default=32, ge=1)
    """Patches of either side in a batch."""
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    """Adam's, at its highest, for what draws kernels and noise."""
    warmup: int = Field(default=0, ge=0)
    """Steps over which it rises."""
    start: Literal["estimated", "flat"] = "estimated"
    """Where refinement begins: at what was estimated and taught, or at flat kernels and no noise (paper)."""
    imitation: int = Field(default=1_500, ge=1)
    """Steps in which the networks are taught what was estimated."""
    kernel_size: int | None = Field(default=None, ge=5, le=63)
    """Taps per side, even at even scales, odd at odd ones; unset: 20 or 21, or 10 times the scale if that is more; with
    start=flat 20 or 21."""
    numbers: int = Field(default=64, ge=4)
    """Length of z_k."""
    kernel_features: int = Field(default=64, ge=1)
    """Features of netK."""
    kernel_blocks: int = Field(default=4, ge=0)
    """Residual blocks of netK."""
    signed: bool = False
    """Whether taps may be negative."""
    spatial: Literal["none", "independent", "correlated"] = "none"
    """Whether every pixel has a kernel of its own: not; from dice of its own; or from its neighbours' as well."""
    kernel_from: Source = "z"
    """What the kernel follows from: numbers; the picture (with ``spatial``); both; or nothing, one kernel for all."""
    noise: Literal["grain", "network", "none"] = "grain"
    """Noise that is measured and follows the level, that a network draws, or none."""
    noise_from: Literal["both", "z", "content"] = "both"
    """What noise follows from: numbers and the picture; numbers alone (grain: as strong at all levels); or, of a
    network, the picture alone."""
    noise_numbers: int = Field(default=3, ge=3)
    """Planes of z_n, of a network."""
    noise_features: int = Field(default=32, ge=1)
    """Features of netN."""
    noise_blocks: int = Field(default=4, ge=0)
    """Residual blocks of netN."""
    noise_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """λ, the weight of the mean of a network's noise², in refinement. It makes noise vanish."""
    anchor: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    """Weight of the error of imitation, in refinement."""
    discriminator: Literal["small", "paper"] = "small"
    """Which network tells real from made."""
    discriminator_width: int = Field(default=16, ge=1)
    """Its feature maps, in the first layer."""
    discriminator_rate: float = Field(default=4e-4, gt=0, le=1)
    """Its learning rate, at its highest."""
    discriminator_first: int = Field(default=80, ge=0)
    """Steps in which it alone learns."""
    beta: float = Field(default=0.5, ge=0, lt=1)
    """First moment's decay of both Adams."""


class Method(protocol.Learned):
    """`degsynth.methods.Learned` and `Stochastic` for pdm."""

    data: Data = "unpaired"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the networks and their optimisers; ConfigError where options do not go together."""
        self.config, self.scale, self.channels = config, scale, channels
        self._check()
        size = config.kernel_size or (21 - (21 - scale) % 2 if config.start == "flat" else None)
        self.kernel_size = taps_per_side(size, scale, "pdm")
        self.varies = config.spatial != "none"
        self.draws, self.sees = config.kernel_from in ("z", "both"), config.kernel_from in ("content", "both")
        inputs = config.numbers * (self.draws or not self.sees) + channels * self.sees
        neighbours = config.spatial == "correlated"
        self.kernels = KernelGenerator(
            inputs, config.kernel_features, config.kernel_blocks, self.kernel_size, config.signed, neighbours
        )
        self.noises: nn.Module = Silence()
        if config.noise == "grain":
            self.noises = GrainNoise(channels)
        elif config.noise == "network":
            network = NoiseGenerator(
                channels, config.noise_numbers, config.noise_features, config.noise_blocks,
                config.noise_from != "z", config.noise_from != "content",
            )  # fmt: skip
            self.noises = NetworkNoise(network, config.noise_numbers)
        self.optics = self._optics(self.kernels, self.noises)
        self.critic: nn.Module = FinePatches(config.discriminator_width)
        if config.discriminator == "paper":
            self.critic = LocalPatchGAN(channels, config.discriminator_width)
        self.cut = -(-half_width(self.kernel_size, scale) // scale)
        judged = LOGITS_PX if config.discriminator == "small" else 32
        self.patch = config.patch or scale * (judged + 2 * self.cut)
        self.least_patch, self.multiple_of = scale * (16 + 2 * self.cut), scale
        self.modules: dict[str, nn.Module] = {"optics": self.optics, "discriminator": self.critic}
        betas = (config.beta, 0.999)
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generator": torch.optim.Adam(self.optics.parameters(), lr=config.learning_rate, betas=betas),
            "discriminator": torch.optim.Adam(self.critic.parameters(), lr=config.discriminator_rate, betas=betas),
        }
        self.errors: dict[str, float] = {}

    def _check(self) -> None:
        config = self.config
        if 0 < config.steps <= config.discriminator_first:
            raise ConfigError(
                f"method pdm: steps (={config.steps}) must be more than discriminator_first "
                f"(={config.discriminator_first}), in which nothing but the discriminator learns"
            )
        if config.start == "flat" and config.steps == 0:
            raise ConfigError("method pdm: start=flat has nothing but what refinement finds: give it steps")
        if config.minutes is not None and config.steps == 0:
            raise ConfigError(f"method pdm: minutes (={config.minutes:g}) are for refinement; give it steps, too")
        if config.start == "flat" and config.noise == "grain":
            raise ConfigError("method pdm: noise=grain is estimated, start=flat is not; use noise=network or none")
        if config.start == "flat" and config.anchor > 0:
            raise ConfigError(f"method pdm: anchor (={config.anchor:g}) holds what was estimated; start=flat needs 0")
        if config.kernel_from in ("content", "both") and config.spatial == "none":
            raise ConfigError(
                f"method pdm: kernel_from={config.kernel_from} makes a kernel for every place; give "
                "spatial=independent or correlated"
            )
        if config.kernel_from == "none" and config.spatial != "none":
            raise ConfigError(f"method pdm: kernel_from=none is one kernel for all; spatial={config.spatial} is not")
        if config.noise == "grain" and config.noise_from == "content":
            raise ConfigError("method pdm: noise_from=content is for noise=network; what is measured is random")

    def _optics(self, kernels: KernelGenerator, noises: nn.Module) -> PDMOptics:
        return PDMOptics(kernels, noises, self.scale, self.config.numbers, self.draws, self.sees, self.varies)

    # --- closed form --------------------------------------------------------------------------------------------

    def prepare(self, images: Unpaired) -> None:
        """Estimate noise and blurs, and teach the networks; with start=flat only look at the images."""
        config = self.config
        self._check_images(images)
        self.sets = Sets(images, self.scale, "pdm")
        self.images = images
        side = PLACES * self.scale
        self.example = images.hr[-1][None, :, :side, :side].clone()
        if config.start == "flat":
            return
        self.found = start.noises(images)
        try:
            self.pool = start.pool(images, self.sets.spectra, self.found, self.scale, self.kernel_size, config.signed)
        except ValueError as error:
            raise FitError(f"pdm: {error}") from None
        some = self.pool.kernels(torch.randn(DRAWN, config.numbers, generator=generator(0)))
        self.found = start.beyond(self.found, images.hr, float(some.square().sum((1, 2)).mean()))
        if isinstance(self.noises, GrainNoise):
            self.noises.take(self.found.grains, self.found.share, config.noise_from == "both")
        if config.spatial == "correlated" and self.draws:
            self.kernels.begin_smooth()
        pictures = start.contents(images.hr, self.scale) if self.sees else []
        self.lesson = start.KernelLesson(
            self.pool, config.numbers, self.draws, 3 if config.spatial == "correlated" else 1, pictures
        )
        self.errors["kernels"] = start.teach_kernels(self.kernels, self.lesson, config.imitation)
        if isinstance(self.noises, NetworkNoise) and self.found.grains:
            self.errors["noise"] = start.teach_noise(
                self.noises.network, config.noise_numbers, images.lr, self.found.grains[0], config.imitation
            )

    def _check_images(self, images: Unpaired) -> None:
        config, count = self.config, len(images.group_sizes)
        if config.noise != "none" and not torch.equal(images.noise, images.noise_left):
            raise ConfigError(
                "method pdm: --lr-denoise takes off the noise that is to be learnt; leave it out, or --set noise=none"
            )
        if count > MOST_GROUPS:
            raise ConfigError(
                f"--group-by makes {count} groups of the LR images, at most {MOST_GROUPS} are kept apart; put images "
                "that are alike into one folder each, and use --group-by folder"
            )
        if count > 1 and (config.noise == "network" or config.spatial != "none" or config.kernel_from == "none"):
            raise ConfigError(
                "method pdm: --group-by is for noise=grain or none, spatial=none and kernel_from=z, so that an image "
                "is of one group"
            )

    # --- refinement ---------------------------------------------------------------------------------------------

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """One step of the discriminator, then one of what draws (pdm, Eqs. 6-8, least squares losses)."""
        hr, real = batch["hr"], crop_border(batch["lr"], self.cut)
        clean, noise, field = self.draw(hr, rng)
        made = crop_border(clean + noise, self.cut)
        made = made + (made.clamp(0, 1) - made).detach()  # as real LR is cut off; but a gradient goes through
        planes = 1 if self.config.discriminator == "small" else real.shape[1]
        dither = 2 * torch.rand(2 * len(real), planes, *real.shape[2:], generator=rng) - 1
        for_real, for_made = dither.to(hr.device).chunk(2)
        told = losses.squares(self.critic(real, for_real), 1.0)
        told = told + losses.squares(self.critic(made.detach(), for_made), 0.0)
        terms = {"discriminator": losses.update(self.optimizers["discriminator"], 0.5 * told)}
        if step < self.config.discriminator_first:
            return terms
        self.critic.requires_grad_(False)
        total = losses.squares(self.critic(made, for_made), 1.0)
        terms["adversarial"] = total.detach()
        if isinstance(self.noises, NetworkNoise):
            terms["noise"] = noise.detach().square().mean()
            total = total + self.config.noise_weight * noise.square().mean()
        if self.config.anchor > 0:
            held = self.departure(clean.detach(), noise, field, rng)
            terms["anchor"] = held.detach()
            total = total + self.config.anchor * held
        losses.update(self.optimizers["generator"], total)
        self.critic.requires_grad_(True)
        return terms

    def draw(self, hr: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """LR (B, C, h, w) of a batch without noise, each with a kernel of its own; its noise; the dice of places.

        The noise looks at what was blurred, but does not tell the blur how to change (authors' code).
        """
        height, width = (length // self.scale for length in hr.shape[2:])
        code = torch.randn(len(hr), self.optics.code_size, generator=rng).to(hr.device)
        field = torch.randn(len(hr), self.optics.field_planes(hr.shape[1]), height, width, generator=rng).to(hr.device)
        clean = self.optics.clean(hr, code, field)
        return clean, self.optics.noise(clean.detach().clamp(0, 1), code, field), field

    def departure(self, clean: Tensor, noise: Tensor, field: Tensor, rng: torch.Generator) -> Tensor:
        """How far the networks are from what they were taught, kernels and noise."""
        z, wanted = self.lesson(rng, 2 * len(clean))
        made = self.kernels.middle(z.to(clean.device))
        held = start.difference(made, wanted.to(clean.device), self.config.signed)
        if isinstance(self.noises, NetworkNoise) and self.noises.network.draws and self.found.grains:
            white = field[:, self.optics.kernel_planes :][:, : clean.shape[1]]
            held = held + start.relative_error(noise, start.noise_of(self.found.grains[0], clean.clamp(0, 1), white))
        return held

    # --- what it amounts to -------------------------------------------------------------------------------------

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """What draws, as a checkpoint module; without noise where there is none."""
        whole = self.optics if optics is None else cast("PDMOptics", optics)
        noises = Silence() if _silent(whole.noises) else whole.noises
        return Degrader(self._optics(whole.kernels, noises), self.scale, channels=self._channels(noises))

    def _channels(self, noises: nn.Module) -> list[int] | None:
        """Colour counts that it takes, or None: any."""
        return None if isinstance(noises, Silence) and not self.sees else [self.channels]

    def spec(self) -> MethodSpec:
        """Exact tiles, centred kernels; two kinds of dice."""
        optics = self.degrader().optics
        noisy = not isinstance(optics.noises, Silence)
        beside = self.scale if self.config.spatial == "correlated" else 0
        return MethodSpec(
            channels=self._channels(optics.noises) or "any",
            clean_halo=half_width(self.kernel_size, self.scale) + beside,
            noise_halo=optics.noises.reach,
            multiple_of=self.scale,
            stochastic=optics.code_size + optics.field_planes(self.channels) > 0,
            has_noise=noisy,
            phase=((0.0, 0.0),),
        )

    def drawn(self, count: int = DRAWN) -> Tensor:
        """Kernels (N, K, K) float64 of as many seeds, or of as many pixels of one image at most."""
        with torch.no_grad():
            if not self.varies:
                codes = torch.cat([self.optics.draw(seed) for seed in range(count)])
                return self.optics.image_kernels(codes).double()
            height, width = (length // self.scale for length in self.example.shape[2:])
            field = torch.randn(1, self.optics.field_planes(self.channels), height, width, generator=generator(0))
            seen = self.example[:, :, : self.scale * height, : self.scale * width]
            taps = self.kernels(self.optics.inputs(seen, field))
            return cast("Tensor", taps.view(-1, self.kernel_size, self.kernel_size)[:count].double())

    def distribution(self) -> Distribution:
        """Kernels that are drawn, those that were to be, and the noise that was measured."""
        kernels = self.drawn()
        if self.config.start == "flat":
            return Distribution(kernels, None, self.draws, [])
        wanted = self.pool.kernels(torch.randn(DRAWN, self.config.numbers, generator=generator(1)))
        if self.config.noise == "none" or not self.found.grains:
            return Distribution(kernels, wanted, self.draws, [])
        middle = torch.special.ndtri(self.found.share.cumsum(0) - self.found.share / 2).tolist()
        found = [
            MeasuredNoise(name, one, number)
            for name, one, number in zip(self.images.group_sizes, self.found.grains, middle, strict=True)
        ]
        return Distribution(kernels, wanted, self.draws, found)

    def report(self) -> dict[str, Any]:
        """The mean kernel, how well it explains the spectra, and how well the networks were taught."""
        some = self.drawn()[:SPECTRA]
        floor = luma_variance(self.sets.noise(some))
        return {
            "start": self.config.start,
            "generator_parameters": sum(p.numel() for p in self.optics.parameters()),
            "imitation_error": self.errors,
            "groups": dict(self.images.group_sizes),
            "mean_kernel": kernel_facts(some.mean(0)),
            **self.sets.report(some, floor),
        }

    def warnings(self) -> list[str]:
        """Too few images, different contents, groups without flat places, networks that did not learn."""
        found = self.sets.warnings(self.drawn()[:SPECTRA])
        if self.config.start == "flat":
            return found
        found += start.doubts(self.images, self.pool, self.found, self.scale)
        for what, error in self.errors.items():
            source = self.config.kernel_from if what == "kernels" else self.config.noise_from
            if source == "content" and self.config.steps == 0:
                found.append(
                    f"what was estimated does not follow from the picture: {what} learn nothing without --steps"
                )
            elif error > UNTAUGHT and source in ("z", "both"):
                found.append(
                    f"{what} as drawn differ from those taught (by {error:.2f}); --set "
                    f"imitation={4 * self.config.imitation} may bring them nearer"
                )
        return found


def _silent(noises: nn.Module) -> bool:
    """Whether it draws nothing but zeros: nothing was found, and a network was taught nothing."""
    if isinstance(noises, GrainNoise):
        return not bool(noises.share.any())
    return isinstance(noises, NetworkNoise) and not any(bool(p.any()) for p in noises.network.last.parameters())
