"""What lfl and adl share: a downsampler that learns to deceive a discriminator, held by a data loss (adl, Eq. 2).

The downsampler D is a *kernel* whose taps are learnt, or the *network* of the paper. Its loss has three terms::

    L  =  − log F(D(hr) + noise)             adversarial: non-saturating cross-entropy of the discriminator F
        + alpha · L_data                     what D(hr) must keep of hr: lfl and adl differ in this term
        + spectra / n · (misfit + ½ |z|²)    for a kernel only, not from the paper: n is the number of bins of frequency
                                             and misfit the misfit of `ops.spectra`; z are the learnt numbers, which
                                             are 0 at the start kernel

Presets. ``paper`` is the published method: network, discriminator of 17.4 M weights, batches of 24 patches of 64 px,
learning rate 5e-5, first weights from N(0, 0.02²), on RGB; it is meant for a GPU and takes hours. ``default`` is for
minutes on a CPU. It differs from the paper in this:

- it starts from the kernel of `spectral`, because adversarial training from random weights takes hours to get there;
- the downsampler is a kernel that starts there, and whose taps may change as far as `ops.blind_kernel.tap_prior`
  allows. In tiles it gives exactly the result of the whole image, and it is 1 700 times faster to apply than the
  network. The sum and the first moments of the change are 0, so neither the level nor the centroid can drift;
- the spectra constrain the kernel as a likelihood. With a few hundred images a discriminator soon recognises what they
  show, and distorts the kernel to imitate it; the misfit measures only what differences in content cannot explain;
- the discriminator is small and sees only the fine detail of luma, relative to the contrast, so it judges blur and not
  colour;
- the running mean of the weights (over 100 steps) is scored by held-out spectra, and so is the start. The start is
  exported, unless a t-test on the held-out images shows that a later state is better (`ops.spectral_lead`).

If only the real LR had noise, the discriminator could recognise it by that, and a kernel makes no noise (adl, 3.1). So
the noise of the LR images is measured in flat places, and white noise of that strength is added to the synthetic LR.
The checkpoint draws the noise as it was measured (`methods.shared.measured_noise`).
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.errors import FitError
from degsynth.methods import protocol
from degsynth.methods.protocol import Unpaired
from degsynth.methods.shared import losses
from degsynth.methods.shared.adversarial_options import Config, check_options
from degsynth.methods.shared.discriminator import optimizers
from degsynth.methods.shared.kernel_retrieval import kernel_psnr, retrieve_kernel
from degsynth.methods.shared.measured_noise import measured_noise, noise_report, noise_warnings
from degsynth.methods.shared.unpaired_optics import KernelOptics, Memory, NetworkOptics, Taps
from degsynth.methods.shared.unpaired_sets import Sets, kernel_facts, taps_per_side
from degsynth.model.degrader import Degrader
from degsynth.model.spec import MethodSpec
from degsynth.model.tone import Tone
from degsynth.nets.discriminator import FinePatches, PatchGAN, redraw_weights
from degsynth.nets.downsampler import Downsampler
from degsynth.ops import kernel_families as families
from degsynth.ops.blind_kernel import Estimate, estimate
from degsynth.ops.blur import blur_decimate, half_width
from degsynth.ops.kernels import centroid, composed
from degsynth.ops.low_pass import low_pass
from degsynth.ops.noise_level import matrix_sqrt
from degsynth.ops.resample import crop_border, luma

JUDGED_PX = 24
"""Side of the part of a patch that the small discriminator judges, LR px."""
FIRST_WEIGHTS_SIGMA = 0.02
"""Standard deviation of the first weights of the published networks."""
KERNEL_PSNR_WARNING = 45.0
"""A PSNR between the LR of kernel and network below this, dB, causes a warning."""
RETRIEVAL_PX = 128
"""Side of the parts of HR images from which a network's kernel is retrieved, LR px."""


@dataclass(frozen=True)
class Fit:
    """What `prepare` found in the two folders."""

    sets: Sets
    estimate: Estimate
    """The kernel of `spectral`, its family, and the noise floor of the spectra."""
    retrieval_images: Sequence[Tensor]
    """Parts of HR images (C, H, W) from which a network's kernel is retrieved; none where a kernel is learnt itself."""


class Adversary(protocol.Learned):
    """All of lfl and adl but the data loss."""

    def __init__(self, name: str, config: Config, scale: int, channels: int) -> None:
        """Make downsampler, discriminator and optimisers; ConfigError where options do not go together.

        First weights are drawn from torch's global generator, which the fit seeds. ``name`` is the method's.
        """
        check_options(config, scale, name)
        self.name, self.config, self.channels = name, config, channels
        self.full_scale, self.scale = scale, 2 if config.cascade else scale
        """Scale of the model, and scale of the downsampler, which a cascade applies twice."""
        self.kernel_size = taps_per_side(config.kernel_size, self.scale, name)
        self.linear = config.generator == "kernel"
        self.border = -(-half_width(self.kernel_size, self.scale) // self.scale) if self.linear else 0
        """LR px at each edge of a patch for which the kernel would read beyond the edge."""
        small = config.discriminator == "small"
        self.patch = config.patch or scale * (JUDGED_PX + 2 * self.border if small else 64)
        self.least_patch = scale * ((16 if small else 32) + 2 * self.border)
        self.multiple_of = scale
        self.generator: Taps | Downsampler
        if self.linear:
            self.generator = Taps(self.kernel_size)
        else:
            self.generator = Downsampler(channels, self.scale, config.width, config.norm == "instance")
        self.discriminator: nn.Module
        if small:
            self.discriminator = FinePatches(config.discriminator_width)
        else:
            self.discriminator = redraw_weights(PatchGAN(channels, config.discriminator_width), FIRST_WEIGHTS_SIGMA)
        if config.start == "random":
            redraw_weights(self.generator, FIRST_WEIGHTS_SIGMA)
        self.memory = Memory(self.kernel_size, channels)
        self.tone = Tone()
        self._fit: Fit | None = None
        self.modules: dict[str, nn.Module] = {
            "optics": self.generator, "discriminator": self.discriminator, "memory": self.memory,
        }  # fmt: skip
        second = 0.99 if config.beta < 0.9 else 0.999
        self.optimizers = optimizers(self.generator, self.discriminator, config, second)

    def prepare(self, images: Unpaired) -> None:
        """Take the spectra and the noise of both sides, and set the kernel where training begins."""
        sets = Sets(images, self.scale, self.name)
        self.tone = images.tone
        side = self.scale * RETRIEVAL_PX
        hr = () if self.linear else islice(images.in_light()[0], self.config.images)
        parts = [image[:, :side, :side].clone() for image in hr]
        family = self.config.family if self.config.start == "spectral" else "box"
        try:
            estimated = estimate(sets.spectra, family, self.kernel_size)
        except ValueError as error:
            raise FitError(f"{self.name}: {error}") from None
        self._fit = Fit(sets, estimated, parts)
        self.memory.keep_noise(measured_noise(images, sets, estimated.kernel))
        if self.config.noise == "match":
            self.memory.matched.copy_(matrix_sqrt(sets.noise_left(estimated.kernel)))
        if isinstance(self.generator, Taps):
            self._begin(self.generator, estimated)

    def _begin(self, taps: Taps, estimated: Estimate) -> None:
        """Let the taps start at the estimated kernel, or at the fixed one that is asked for."""
        y, x = families.frequencies()
        kernel, held = estimated.kernel, estimated.plausible and not estimated.free
        aperture = {"bicubic": families.bicubic, "average": families.box}.get(self.config.start)
        if aperture is not None:
            kernel = families.taps(aperture(y, self.scale) * aperture(x, self.scale), self.kernel_size)
            held = False
        with torch.no_grad():
            taps.begin(kernel, self.scale, held)

    @property
    def fit(self) -> Fit:
        """What `prepare` found."""
        assert self._fit is not None, "prepare() comes first"
        return self._fit

    # --- one step -----------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def data_loss(self, hr: Tensor, lr: Tensor, step: int) -> Tensor:
        """Return the loss for what the LR images must keep of hr (B, C, s·h, s·w).

        ``lr`` (B, C, h − 2·border, w − 2·border) is the output of `downsample`, with levels in [0, 1].
        """

    def alpha(self, step: int) -> float:
        """Return the weight of the data loss in a step."""
        return self.config.alpha

    def low_frequency_loss(self, hr: Tensor, lr: Tensor) -> Tensor:
        """Return the L1 distance between the low frequencies of hr and lr (Eq. 4), which are as in `data_loss`."""
        same_part = crop_border(hr, self.scale * self.border)
        size = min(self.config.filter_size, lr.shape[-1])
        return F.l1_loss(
            low_pass(lr, self.config.filter, size), low_pass(same_part, self.config.filter, self.scale * size)
        )

    def downsample(self, hr: Tensor) -> Tensor:
        """Return the LR of a batch of patches, without the border for which a kernel would read beyond a patch."""
        if isinstance(self.generator, Taps):
            return crop_border(blur_decimate(hr, self.generator.kernel()[None], self.scale), self.border)
        lr: Tensor = self.generator(hr)
        return lr

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Take one step of the discriminator, then one of the downsampler (adl, Algorithm 1)."""
        hr, real = self.patches(batch)
        fake = self.downsample(hr)
        loss = self.discriminator_loss(real, fake.detach(), rng)
        terms = {"discriminator": losses.update(self.optimizers["discriminator"], loss)}
        if step < self.config.discriminator_first:
            return terms
        self.discriminator.requires_grad_(False)
        adversarial = losses.real(self.discriminator(self.with_noise(fake, rng), _dither(fake, rng)))
        data = 2 * self.data_loss(hr, fake, step)  # levels in [−1, 1]
        total = adversarial + self.alpha(step) * data
        terms |= {"adversarial": adversarial.detach(), "data": data.detach()}
        if self.config.spectra > 0:
            spectral = self.negative_log_likelihood() / self.fit.sets.spectra.count
            total = total + self.config.spectra * spectral
            terms["spectra"] = spectral.detach()
        losses.update(self.optimizers["generator"], total)
        self.discriminator.requires_grad_(True)
        return terms

    def patches(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return HR patches, and the part of real LR patches that synthetic ones are compared with.

        Both are luma if neither downsampler nor discriminator needs colours.
        """
        hr, real = batch["hr"], crop_border(batch["lr"], self.border)
        side = self.scale * batch["lr"].shape[-1]
        hr = hr[..., :side, :side]  # a cascade learns from one of its two steps
        gray = self.linear and self.config.discriminator == "small"
        return (luma(hr), luma(real)) if gray else (hr, real)

    def discriminator_loss(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
        """Return the cross-entropy of the discriminator, on real LR and on synthetic LR without noise."""
        for_real = losses.real(self.discriminator(real, _dither(real, rng)))
        return for_real + losses.fake(self.discriminator(self.with_noise(fake, rng), _dither(fake, rng)))

    def with_noise(self, lr: Tensor, rng: torch.Generator) -> Tensor:
        """Return synthetic lr (B, C or 1, h, w) with the noise that real LR has besides what comes from HR.

        ``lr`` and the result are in light, the noise is added to levels.
        """
        white = torch.randn(lr.shape[0], self.channels, *lr.shape[2:], generator=rng).to(lr.device)
        noise = torch.einsum("ab,nbhw->nahw", self.memory.matched, white)
        noise = noise if lr.shape[1] == self.channels else luma(noise)
        tone = self.tone.to(lr.device)
        return tone.to_light(tone.to_levels(lr) + noise)

    def negative_log_likelihood(self) -> Tensor:
        """Return the negative log likelihood of a kernel: the misfit of the spectra, and ½ |z|² for its prior."""
        taps = cast("Taps", self.generator)
        spectra = self.fit.sets.spectra.to(taps.z.device)
        misfit = spectra.misfit(spectra.of_kernel(taps.kernel().double()), self.fit.estimate.floor)
        return misfit + 0.5 * taps.z.square().sum()

    def diagnose(self, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, float]:
        """Return the share of held-out logits that the last discriminator gets right; 0.5 means that it guesses."""
        hr, real = self.patches(batch)
        with torch.no_grad():
            fake = self.with_noise(self.downsample(hr), rng)
            right = (self.discriminator(real, _dither(real, rng)) > 0).float().mean()
            right = right + (self.discriminator(fake, _dither(fake, rng)) < 0).float().mean()
        return {"discriminator_accuracy": float(right) / 2}

    # --- the result ---------------------------------------------------------------------------------------------

    def retrieve(self, generator: nn.Module | None = None) -> Tensor:
        """Return the kernel (K, K) float64 that comes nearest to the downsampler (adl, Eq. 6).

        If the downsampler is a kernel, it is that kernel. ``generator`` has other weights to use.
        """
        generator = self.generator if generator is None else generator
        if isinstance(generator, Taps):
            with torch.no_grad():
                return generator.kernel().double().cpu()
        if self._fit is None:
            raise FitError(
                f"{self.name}: a kernel is retrieved from HR images, which a snapshot does not have",
                "fit with `export=network` to export the network of any snapshot",
            )
        network, images = cast("Downsampler", generator), self._fit.retrieval_images
        try:
            return retrieve_kernel(network, images, self.kernel_size, self.scale)
        except ValueError as error:
            raise FitError(f"{self.name}: no kernel can be retrieved from the network: {error}") from None

    def kernel(self, generator: nn.Module | None = None) -> Tensor:
        """Return the kernel of the whole scale: that of `retrieve`, or in a cascade the kernel of both steps."""
        single = self.retrieve(generator)
        return composed(single, single, 2) if self.config.cascade else single

    @property
    def exports_network(self) -> bool:
        """Whether the checkpoint holds the network."""
        return not self.linear and self.config.export == "network"

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """Return the kernel or the network, and the noise, as a checkpoint module."""
        generator, noise = self.generator if optics is None else optics, self.memory.noise
        device = next(generator.parameters()).device
        if self.exports_network:
            network = cast("Downsampler", generator)
            whole = NetworkOptics(network, 2 if self.config.cascade else 1, noise)
            return Degrader(whole.to(device), self.full_scale, channels=[self.channels])
        single = KernelOptics(self.kernel(generator), self.full_scale, noise)
        return Degrader(single.to(device), self.full_scale, channels=None if noise is None else [self.channels])

    def spec(self) -> MethodSpec:
        """Describe the model: for a kernel tiles are exact and the phase is known.

        A network takes one number of channels, `fit` measures its phase, and with instance norm it needs whole images.
        """
        noise = self.memory.noise
        noisy, noise_halo = noise is not None, 0 if noise is None else noise.reach()
        if self.exports_network:
            reach = cast("Downsampler", self.generator).reach()
            tiling: Literal["exact", "whole_only"] = "exact" if self.config.norm == "none" else "whole_only"
            return MethodSpec(
                channels=[self.channels],
                clean_halo=reach + (self.scale * reach if self.config.cascade else 0),
                noise_halo=noise_halo,
                tiling=tiling,
                multiple_of=self.full_scale,
                stochastic=noisy,
                has_noise=noisy,
            )
        kernel = self.kernel()
        return MethodSpec(
            channels=[self.channels] if noisy else "any",
            clean_halo=half_width(kernel.shape[-1], self.full_scale),
            noise_halo=noise_halo,
            multiple_of=self.full_scale,
            stochastic=noisy,
            has_noise=noisy,
            phase=(centroid(kernel),),
        )

    def report(self) -> dict[str, Any]:
        """Return the kernel, how well it explains the spectra, and how near a network it comes."""
        report = {
            "start": self.config.start,
            "start_family": self.fit.estimate.family,
            "generator_parameters": sum(p.numel() for p in self.generator.parameters()),
            **kernel_facts(self.kernel()),
            **self.fit.sets.to_cpu().report(self.retrieve(), self.fit.estimate.floor),
            **noise_report(self.memory.noise),
        }
        if not self.linear:
            report["kernel_against_network_psnr"] = self.network_psnr()
        return report

    def network_psnr(self) -> float:
        """Return the PSNR, dB, of the kernel's LR against the network's, for one step of a cascade."""
        network = cast("Downsampler", self.generator)
        return kernel_psnr(network, self.retrieve(), self.fit.retrieval_images, self.scale)

    def warnings(self) -> list[str]:
        """Warn where contents differ, noise is drawn white for want of more, or kernel and network differ."""
        warnings = self.fit.sets.to_cpu().warnings(self.retrieve()) + noise_warnings(self.memory.noise)
        if not self.linear and self.network_psnr() < KERNEL_PSNR_WARNING:
            exported, other = ("network", "kernel") if self.exports_network else ("kernel", "network")
            warnings.append(
                f"the LR of kernel and network differ (PSNR {self.network_psnr():.1f} dB): the checkpoint holds the "
                f"{exported}; `export={other}` exports the {other}"
            )
        return warnings


def _dither(like: Tensor, rng: torch.Generator) -> Tensor:
    """Return uniform random numbers (B, 1, h, w) in [−1, 1] for LR patches ``like`` (B, C, h, w)."""
    shape = like.shape[0], 1, *like.shape[2:]
    return (2 * torch.rand(shape, generator=rng) - 1).to(like.device)
