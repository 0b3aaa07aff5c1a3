"""pdm: distributions of kernels and of noise, learnt from two folders. Unpaired; pdm paper, 3.1-3.4, Eqs. 2-8.

::

    lr  =  (hr ∗ netK(z_k)) ↓s  +  netN(clean lr, z_n)            z_k (64), z_n (3 × h × w): standard normal

No two LR images have the same blur and noise: every draw of z_k is another kernel, every draw of z_n is other noise.
netK (`nets.kernel_generator`) ends in a softmax over taps, and its kernels are centred. netN (`nets.noise_generator`)
is a network that sees the clean LR; it can be replaced by a closed form that follows the level (`ops.grain`).

Presets. ``paper`` is the published method: both networks, from a flat start, against a PatchGAN with least squares
losses, and λ = 100 on the mean of noise². It is meant for a GPU and takes hours. It is known to end in one kernel for
all images (its users report so), or in scattered taps. ``default`` is for minutes on a CPU, and estimates what the
adversary would have to find:

1. the noise: its strength at every level, and the correlation of neighbours and channels, from flat places of the LR
   images (`pdm.estimate`);
2. the blur of every LR image, by a regression that is learnt on HR images blurred by known Gaussians, with that noise;
3. the distribution of blurs behind these readings, the errors of which are known (`ops.blur_widths`);
4. netK is taught to draw from that distribution (`pdm.teaching`).

``steps`` of adversarial refinement may follow, which an anchor holds to what was taught. They are kept only if held-out
spectra become clearly better (`fit.loop.CLEAR_LEAD`); spectra show the blur, but not the noise. By default there are no
such steps: where the start is good they gained nothing.

Where Gaussians do not explain the spectra of the two folders, as with most cameras (or with ``signed=true``), kernels
are that of `spectral` (family auto), stretched to every width. It has negative lobes, as bicubic and sharpening have; a
softmax cannot make them, but the difference of two can.

``paper`` differs from the paper as follows. Learning rates are halved every 50 000 steps, as in the authors' code (the
paper prints 5 000, which would leave 2e-16 of 2e-4 at the end). With spatial=correlated only the first layer is 3×3.
The kernel has 21 taps at odd scales, and 20 at even ones, where 21 cannot be centred. There is no batch norm. Patches
are larger than 32 px by what a kernel reads beyond the edge, so that the discriminator sees 32. Both real and synthetic
patches are dithered by ± 1/255 (the authors quantise softly), because 8-bit levels would give the real ones away. netN
is symmetrised to mean 0. The best of 20 states by held-out spectra is exported. SR networks are not trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from degsynth.errors import ConfigError, FitError
from degsynth.methods import protocol
from degsynth.methods.pdm import estimate, teaching
from degsynth.methods.pdm.optics import (
    MAX_GROUPS,
    GrainNoise,
    ImageKernelOptics,
    NetworkNoise,
    PDMOptics,
    PixelKernelOptics,
    Silence,
)
from degsynth.methods.pdm.options import Config, check_options
from degsynth.methods.protocol import Data, Distribution, MeasuredNoise, Unpaired
from degsynth.methods.shared import losses, measured_noise
from degsynth.methods.shared.discriminator import optimizers
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
from degsynth.seeds import derive

JUDGED_PX = {"small": 24, "paper": 32}
"""Side of the part of a patch that each discriminator judges, LR px."""
SAMPLES, SPECTRA_SAMPLES = 500, 64
"""Numbers of kernels that are drawn to see how they differ, and to see what power they leave."""
EXAMPLE_PX = 23
"""Side of the part of an image, LR px, from whose pixels `SAMPLES` kernels are drawn, where each pixel has its own."""
IMITATION_WARNING = 0.2
"""An error of imitation (relative, or in nats) above this causes a warning."""


@dataclass(frozen=True)
class Estimated:
    """What was estimated from the two folders, and is taught to the networks."""

    noise: estimate.GroupNoise
    blurs: estimate.BlurDistribution
    examples: teaching.KernelExamples
    """Inputs of netK with the kernels that it should make of them."""


@dataclass(frozen=True)
class Fit:
    """What `prepare` found in the two folders."""

    images: Unpaired
    sets: Sets
    example: Tensor
    """Part of an HR image (1, C, H, W), for whose pixels kernels are drawn where each pixel has its own."""
    estimated: Estimated | None
    """None with start=flat."""


class Method(protocol.Learned):
    """The method `pdm`, as `degsynth.methods.protocol` asks for it."""

    data: Data = "unpaired"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the networks and their optimisers; ConfigError where options do not go together.

        First weights are drawn from torch's global generator, which the fit seeds, and what is taught from ``seed``.
        """
        check_options(config)
        self.config, self.scale, self.channels, self.seed = config, scale, channels, seed
        size = config.kernel_size or (21 - (21 - scale) % 2 if config.start == "flat" else None)
        self.kernel_size = taps_per_side(size, scale, "pdm")
        self.draws, self.sees = config.kernel_from in ("z", "both"), config.kernel_from in ("content", "both")
        self._make_generator(signed=config.signed is True)
        self.discriminator: nn.Module = FinePatches(config.discriminator_width)
        if config.discriminator == "paper":
            self.discriminator = LocalPatchGAN(channels, config.discriminator_width)
        self.border = -(-half_width(self.kernel_size, scale) // scale)
        """LR px at each edge of a patch for which a kernel would read beyond the edge."""
        self.patch = config.patch or scale * (JUDGED_PX[config.discriminator] + 2 * self.border)
        self.least_patch, self.multiple_of = scale * (16 + 2 * self.border), scale
        self._list_modules()
        self._fit: Fit | None = None
        self.errors: dict[str, float] = {}
        """Errors with which the networks imitate what was estimated, by what they make."""

    def _make_generator(self, signed: bool) -> None:
        """Make the networks that draw kernels and noise."""
        config, neighbours = self.config, self.config.spatial == "correlated"
        inputs = config.numbers * (self.draws or not self.sees) + self.channels * self.sees
        self.kernels = KernelGenerator(
            inputs, config.kernel_features, config.kernel_blocks, self.kernel_size, signed, neighbours
        )
        self.noises = self._noise_module()
        self.optics = self._optics(self.kernels, self.noises)

    def _list_modules(self) -> None:
        """Make the optimisers of the networks and of the discriminator."""
        self.modules: dict[str, nn.Module] = {"optics": self.optics, "discriminator": self.discriminator}
        self.optimizers = optimizers(self.optics, self.discriminator, self.config, 0.999)

    def _noise_module(self) -> nn.Module:
        """Return the module for the kind of noise that is asked for."""
        config = self.config
        if config.noise == "none":
            return Silence()
        if config.noise == "grain":
            return GrainNoise(self.channels)
        network = NoiseGenerator(
            self.channels,
            config.noise_numbers,
            config.noise_features,
            config.noise_blocks,
            sees=config.noise_from != "z",
            draws=config.noise_from != "content",
        )
        return NetworkNoise(network, config.noise_numbers)

    def _optics(self, kernels: KernelGenerator, noises: nn.Module) -> PDMOptics:
        """Return optics with these two modules."""
        if self.config.spatial == "none":
            return ImageKernelOptics(kernels, noises, self.scale, self.config.numbers, self.draws)
        return PixelKernelOptics(kernels, noises, self.scale, self.config.numbers * self.draws, self.sees)

    @property
    def fit(self) -> Fit:
        """What `prepare` found."""
        assert self._fit is not None, "prepare() comes first"
        return self._fit

    # --- closed form --------------------------------------------------------------------------------------------

    def prepare(self, images: Unpaired) -> None:
        """Estimate noise and blurs, and teach the networks; with start=flat nothing is estimated."""
        self._check_images(images)
        sets = Sets(images, self.scale, "pdm")
        side = EXAMPLE_PX * self.scale
        example = images.in_light()[0][-1][None, :, :side, :side].clone()
        estimated = None if self.config.start == "flat" else self._estimate(images, sets)
        self._fit = Fit(images, sets, example, estimated)
        if estimated is not None:
            if estimated.blurs.base is not None and not self.kernels.signed:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(derive(self.seed, "signed kernels"))
                    self._make_generator(signed=True)
                self._list_modules()
            self._teach(images, estimated)

    def _check_images(self, images: Unpaired) -> None:
        """Raise ConfigError where options do not suit the images."""
        config, count = self.config, len(images.group_sizes)
        if config.noise != "none" and not torch.equal(images.noise, images.noise_left):
            raise ConfigError(
                "method pdm: `lr_denoise=nlm` removes the noise that is to be learnt; leave it out, or give "
                "`noise=none`"
            )
        if count > MAX_GROUPS:
            raise ConfigError(
                f"`group_by` makes {count} groups of the LR images, but a model can hold at most {MAX_GROUPS}; put "
                "all images with the same noise into one folder, and use `group_by=folder`"
            )
        if count > 1 and (config.noise == "network" or config.spatial != "none" or config.kernel_from == "none"):
            raise ConfigError(
                "method pdm: `group_by` is for noise=grain or none, spatial=none and kernel_from=z: only then does an "
                "image belong to one group"
            )

    def _estimate(self, images: Unpaired, sets: Sets) -> Estimated:
        """Estimate the noise and the distribution of blurs; FitError where images are too small."""
        config = self.config
        noise = estimate.estimate_noise(images)
        try:
            blurs = estimate.estimate_blurs(
                images, sets.spectra, noise, self.kernel_size, config.signed, derive(self.seed, "examples of blur")
            )
        except ValueError as error:
            raise FitError(f"pdm: {error}") from None
        rng = generator(derive(self.seed, "mean power of the kernels"))
        kernels = blurs.kernels(torch.randn(SAMPLES, config.numbers, generator=rng))
        noise = estimate.noise_beyond_hr(noise, images.hr, float(kernels.square().sum((1, 2)).mean()))
        pictures = teaching.reduced_images(images.in_light()[0], self.scale) if self.sees else []
        side = 3 if config.spatial == "correlated" else 1
        examples = teaching.KernelExamples(blurs, config.numbers, self.draws, side, pictures)
        return Estimated(noise, blurs, examples)

    def _teach(self, images: Unpaired, estimated: Estimated) -> None:
        """Teach the networks what was estimated."""
        config, noise = self.config, estimated.noise
        if isinstance(self.noises, GrainNoise):
            self.noises.store(noise.grains, noise.share, config.noise_from == "both")
        if config.spatial == "correlated" and self.draws:
            self.kernels.begin_smooth()
        seed = derive(self.seed, "examples of kernels")
        self.errors["kernels"] = teaching.teach_kernels(self.kernels, estimated.examples, config.imitation, seed)
        if isinstance(self.noises, NetworkNoise) and noise.grains:
            seed = derive(self.seed, "examples of noise")
            self.errors["noise"] = teaching.teach_noise(
                self.noises.network, config.noise_numbers, images.lr, noise.grains[0], config.imitation, seed
            )

    # --- refinement ---------------------------------------------------------------------------------------------

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Take a step of the discriminator, then one of the networks (pdm, Eqs. 6-8, least squares losses)."""
        hr, real = batch["hr"], crop_border(batch["lr"], self.border)
        clean, noise, field = self.draw(hr, rng)
        fake = crop_border(clean + noise, self.border)
        fake = fake + (fake.clamp(0, 1) - fake).detach()  # cut off as real LR is, but the gradient passes
        fake = self.fit.images.tone.to(hr.device).to_light(fake)
        planes = 1 if self.config.discriminator == "small" else real.shape[1]
        dither = 2 * torch.rand(2 * len(real), planes, *real.shape[2:], generator=rng) - 1
        for_real, for_fake = dither.to(hr.device).chunk(2)
        loss = losses.squares(self.discriminator(real, for_real), 1.0)
        loss = loss + losses.squares(self.discriminator(fake.detach(), for_fake), 0.0)
        terms = {"discriminator": losses.update(self.optimizers["discriminator"], 0.5 * loss)}
        if step < self.config.discriminator_first:
            return terms
        self.discriminator.requires_grad_(False)
        total = losses.squares(self.discriminator(fake, for_fake), 1.0)
        terms["adversarial"] = total.detach()
        if isinstance(self.noises, NetworkNoise):
            terms["noise"] = noise.detach().square().mean()
            total = total + self.config.noise_weight * noise.square().mean()
        if self.config.anchor > 0:
            error = self.imitation_error(clean.detach(), noise, field, rng)
            terms["anchor"] = error.detach()
            total = total + self.config.anchor * error
        losses.update(self.optimizers["generator"], total)
        self.discriminator.requires_grad_(True)
        return terms

    def draw(self, hr: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return the LR (B, C, h, w) of a batch without noise, its noise, and the field (B, F, h, w) it was drawn from.

        ``hr`` is in light, LR and noise are in levels. Noise has no gradient by the blur (as in the authors' code).
        """
        height, width = (length // self.scale for length in hr.shape[2:])
        code = torch.randn(len(hr), self.optics.code_size, generator=rng).to(hr.device)
        field = torch.randn(len(hr), self.optics.field_planes(hr.shape[1]), height, width, generator=rng).to(hr.device)
        clean = self.fit.images.tone.to(hr.device).to_levels(self.optics.clean(hr, code, field))
        return clean, self.optics.noise(clean.detach().clamp(0, 1), code, field), field

    def imitation_error(self, clean: Tensor, noise: Tensor, field: Tensor, rng: torch.Generator) -> Tensor:
        """Return how far the networks are from what they were taught, for kernels and for noise."""
        estimated = self.fit.estimated
        assert estimated is not None, "start=flat has no anchor"
        z, target = estimated.examples.draw(rng, 2 * len(clean))
        kernels = self.kernels.middle(z.to(clean.device))
        error = teaching.kernel_error(kernels, target.to(clean.device), self.kernels.signed)
        if isinstance(self.noises, NetworkNoise) and self.noises.network.draws and estimated.noise.grains:
            white = field[:, self.optics.kernel_planes :][:, : clean.shape[1]]
            wanted = measured_noise.draw_noise(estimated.noise.grains[0], clean.clamp(0, 1), white)
            error = error + teaching.relative_error(noise, wanted)
        return error

    # --- the result ---------------------------------------------------------------------------------------------

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """Return the networks as a checkpoint module, without the noise module where that gives only zeros."""
        learnt = self.optics if optics is None else cast("PDMOptics", optics)
        noises = Silence() if _silent(learnt.noises) else learnt.noises
        return Degrader(self._optics(learnt.kernels, noises), self.scale, channels=self._channels(noises))

    def _channels(self, noises: nn.Module) -> list[int] | None:
        """Return the numbers of channels that the model takes, or None for any."""
        return None if isinstance(noises, Silence) and not self.sees else [self.channels]

    def spec(self) -> MethodSpec:
        """Describe the model: tiles are exact, kernels are centred, and random numbers are used as the options say."""
        noises = self.degrader().optics.noises
        neighbours = self.scale if self.config.spatial == "correlated" else 0
        planes = self.optics.kernel_planes + noises.planes
        return MethodSpec(
            channels=self._channels(noises) or "any",
            clean_halo=half_width(self.kernel_size, self.scale) + neighbours,
            noise_halo=noises.reach,
            multiple_of=self.scale,
            stochastic=self.optics.code_size + planes > 0,
            has_noise=not isinstance(noises, Silence),
            phase=((0.0, 0.0),),
        )

    def sample_kernels(self, count: int = SAMPLES) -> Tensor:
        """Draw kernels (N, K, K) float64: of ``count`` images, or of at most so many pixels of one image."""
        with torch.no_grad():
            if isinstance(self.optics, ImageKernelOptics):
                inputs = self.optics.inputs(torch.cat([self.optics.draw(seed) for seed in range(count)]))
            else:
                optics, example = cast("PixelKernelOptics", self.optics), self.fit.example
                height, width = (length // self.scale for length in example.shape[2:])
                field = torch.randn(1, optics.field_planes(self.channels), height, width, generator=generator(0))
                inputs = optics.inputs(example[:, :, : self.scale * height, : self.scale * width], field)
            taps = self.kernels(inputs).view(-1, self.kernel_size, self.kernel_size)
            return cast("Tensor", taps[:count].double())

    def distribution(self) -> Distribution:
        """Return kernels that the model draws, kernels of the estimated distribution, and the measured noise."""
        kernels, estimated = self.sample_kernels(), self.fit.estimated
        if estimated is None:
            return Distribution(kernels, None, self.draws, [])
        target = estimated.blurs.kernels(torch.randn(SAMPLES, self.config.numbers, generator=generator(1)))
        noise = estimated.noise
        if self.config.noise == "none" or not noise.grains:
            return Distribution(kernels, target, self.draws, [])
        middle = torch.special.ndtri(noise.share.cumsum(0) - noise.share / 2).tolist()
        names = self.fit.images.group_sizes
        measured = [
            MeasuredNoise(name, grain, number) for name, grain, number in zip(names, noise.grains, middle, strict=True)
        ]
        return Distribution(kernels, target, self.draws, measured)

    def report(self) -> dict[str, Any]:
        """Return the mean kernel, how well it explains the spectra, and how well the networks were taught."""
        kernels = self.sample_kernels()[:SPECTRA_SAMPLES]
        floor = luma_variance(self.fit.sets.noise(kernels))
        return {
            "start": self.config.start,
            "signed": self.kernels.signed,
            "generator_parameters": sum(p.numel() for p in self.optics.parameters()),
            "imitation_error": self.errors,
            "groups": dict(self.fit.images.group_sizes),
            "mean_kernel": kernel_facts(kernels.mean(0)),
            **self.fit.sets.report(kernels, floor),
        }

    def warnings(self) -> list[str]:
        """Warn of too few images, different contents, groups without flat places, and networks that did not learn."""
        fit, config = self.fit, self.config
        warnings = fit.sets.warnings(self.sample_kernels()[:SPECTRA_SAMPLES])
        if fit.estimated is None:
            return warnings
        warnings += estimate.warnings(fit.images, fit.estimated.blurs, fit.estimated.noise, self.scale)
        for what, error in self.errors.items():
            source = config.kernel_from if what == "kernels" else config.noise_from
            if source == "content" and config.steps == 0:
                warnings.append(
                    f"the network for {what} learns nothing without `steps=`, because the estimated {what} cannot be "
                    "predicted from the picture alone"
                )
            elif error > IMITATION_WARNING and source in ("z", "both"):
                warnings.append(
                    f"the network imitates the estimated {what} with an error of {error:.2f}, more than "
                    f"{IMITATION_WARNING:g}; `imitation={4 * config.imitation}` may reduce it"
                )
        return warnings


def _silent(noises: nn.Module) -> bool:
    """Return whether a noise module gives only zeros: nothing was measured, and a network was taught nothing."""
    if isinstance(noises, GrainNoise):
        return not bool(noises.share.any())
    return isinstance(noises, NetworkNoise) and not any(bool(p.any()) for p in noises.network.last.parameters())
