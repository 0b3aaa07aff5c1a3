"""kmsr: a pool of blur kernels, estimated from LR photographs and enlarged by a WGAN-GP. kmsr paper, 3.1-3.2, Eqs. 2-7.

::

    x' = y ∗ k'          y: HR image;   x': the LR photograph, interpolated to the HR grid (bicubic)

k' is estimated from windows of x' (`ops.dark_channel`), so it lies on the HR grid and contains the blur of the
interpolation as well as that of the camera. LR images are not interpolated, so at scale s > 1 the interpolation's blur
is taken off (`ops.enlargement`), unless ``interpolation`` is kept. A generative network (`nets.kernel_gan`) learns how
the estimated kernels are distributed, with the loss ::

    E[D(fake)] − E[D(real)] + λ E[(‖∇D(mixed)‖ − 1)²],     mixed = ε real + (1 − ε) fake

and draws more of them. The pool of estimated and generated kernels is exported, and every image draws one of them
(`model.pool_optics`). The LR image is every s-th pixel of the blurred HR image, at the centred phase and without
another low-pass filter, since the kernel is all the blur.

Presets. ``paper``: interpolation kept (an image becomes the paper's x' at scale 1), five random windows of 512 px from
each photograph, Eq. 6 as the only test (it rejects nothing, see `ops.texture.passes_eq6`), the authors' settings, DCGAN
at full width with batch norm and instance norm, 20 000 epochs of 1 000 kernels in batches of 32 for the critic.
``default`` takes at most 120 windows of 256 px with edges in all
directions, estimates in a window of taps that fits the kernel, and has networks a sixteenth as wide, which begin at the
mean kernel.

``paper`` differs from the paper as follows. There are 1024 filters where it prints 1025. A softmax takes the place of
the authors' tanh, clipping and division. Kernels are centred. Outliers are left out, and so are the kernels of a tenth
of the photographs, by which the generator is judged. The exported weights are the best of 20 states by the distance of
their kernels to the estimated ones. The paper does not describe the optimiser; that of WGAN-GP is used (Adam, 1e-4,
β 0 and 0.9, five steps of the critic for each of the generator). The authors' code clips weights; here the critic has
the gradient penalty that the text describes. The SR network is not trained.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from degsynth.errors import FitError
from degsynth.methods import protocol
from degsynth.methods.protocol import Data, Distribution, Training
from degsynth.methods.shared import losses
from degsynth.methods.shared.unpaired_sets import kernel_facts
from degsynth.model.degrader import Degrader
from degsynth.model.pool_optics import PoolOptics
from degsynth.model.spec import MethodSpec
from degsynth.nets.kernel_gan import KernelCritic, KernelGAN
from degsynth.ops.blur import half_width
from degsynth.ops.dark_channel import Settings
from degsynth.ops.noise import generator
from degsynth.ops.subpixel import suited_size
from degsynth.seeds import derive

DARK_WEIGHT = Settings().dark_weight
"""Weight of the dark channel in the estimation of kernels, where it is used."""
MIN_KERNELS = 2
"""Fewer kernels than this have no distribution that could be learnt."""
FEW_KERNELS = 20
"""Fewer kernels than this cause a warning."""
CRITIC_PEAK = 3.0
"""Mean highest tap of the kernels as the critic sees them, which are multiplied by a gain before."""
FAINT = 2e-3
"""Generated taps below this share of the highest are set to 0: a softmax has no zeros, but estimated kernels do."""
PART = 50
"""Number of kernels that are generated at a time. It is fixed, because a kernel's last digits depend on it."""

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "interpolation": "kept", "steps": 125_000, "learning_rate": 1e-4, "beta": 0.0, "schedule": "constant",
        "average": 0.0, "patch": 512,
        "max_patches": None, "selection": "eq6", "fitted": False, "width": 256, "batch_norm": True,
        "instance_norm": True, "start": "flat", "critic_steps": 5,
    },
}  # fmt: skip
QUICK: dict[str, Any] = {
    "steps": 25,
    "batch": 2,
    "width": 4,
    "prior": "gradient",
    "least_texture": 0.0,
    "patches": 1,
    "kernel_size": 17,
    "generated": 50,
    "critic_steps": 2,
}


class Config(Training):
    """Options of `kmsr`."""

    steps: int = Field(default=1_500, ge=1, le=10**9)
    """Number of steps of the generator; before each of them the critic takes ``critic_steps``."""
    batch: int = Field(default=32, ge=1, le=2**14)
    """Number of kernels in a batch."""
    patch: int | None = Field(default=None, ge=96, le=2**14)
    """Side of the windows from which kernels are estimated, HR px; unset: 256. Smaller photographs are used whole."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Largest learning rate of Adam, for both networks."""
    beta: float = Field(default=0.5, ge=0, lt=1)
    """Decay of the first moment in Adam, for both networks; that of the second moment is 0.9."""
    warmup: int = Field(default=0, ge=0, le=10**9)
    """Number of steps over which the learning rate rises from 0."""
    prior: Literal["dark", "gradient"] = "dark"
    """What is assumed of sharp photographs: sparse gradients and a dark channel (dark), or sparse gradients alone
    (gradient), which takes a quarter of the time."""
    patches: int = Field(default=5, ge=1, le=10**6)
    """Largest number of windows in a photograph."""
    max_patches: int | None = Field(default=120, ge=1, le=10**6)
    """Largest number of windows in all photographs together. If there are more photographs than that, as many of them
    are used, evenly spread. Unset: no limit."""
    selection: Literal["texture", "eq6"] = "texture"
    """How windows are chosen: those with most texture in all directions (texture), or random ones that pass Eq. 6 of
    the paper (eq6), which rejects next to nothing."""
    least_texture: float = Field(default=1.5, ge=0)
    """With selection=texture: smallest gradient that a window must have in every direction, levels of 255 per LR px."""
    alpha: float = Field(default=0.003, gt=0, lt=1)
    """α of Eq. 6."""
    kernel_size: int = Field(default=25, ge=17, le=31)
    """Taps per side on the HR grid, an odd number."""
    fitted: bool = True
    """Whether each kernel is estimated in a window of taps that fits it, which a quick first estimate finds."""
    interpolation: Literal["removed", "kept"] = "removed"
    """Whether the blur of the bicubic enlargement is taken off the kernels that are estimated at scales above 1, or
    kept in them as in the paper. LR images of kernels that keep it are blurred more than the photographs."""
    generated: int = Field(default=1_000, ge=1, le=10**6)
    """Number of kernels that the exported pool has besides the estimated ones."""
    numbers: int = Field(default=100, ge=1, le=2**14)
    """Number of random numbers that the generator makes a kernel from."""
    width: int = Field(default=16, ge=1, le=2**12)
    """Number of channels of the generator's last but one layer and of the critic's first layer; other layers have twice
    and four times as many."""
    critic_steps: int = Field(default=3, ge=1, le=10**6)
    """Number of steps of the critic for each step of the generator."""
    penalty: float = Field(default=10.0, gt=0)
    """Weight λ of the gradient penalty."""
    batch_norm: bool = False
    """Whether the generator has batch norm; average must then be 0."""
    instance_norm: bool = False
    """Whether the critic has instance norm."""
    start: Literal["mean", "flat"] = "mean"
    """Kernels with which the generator begins: near the mean of the estimated ones (mean), or nearly flat (flat)."""

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("give an odd number, because the kernels have a middle tap")
        return value

    @model_validator(mode="after")
    def _no_average_of_norms(self) -> Config:
        if self.batch_norm and self.average:
            raise ValueError(
                "batch_norm=true needs average=0, because averaged weights have no running statistics of their own"
            )
        return self

    def settings(self) -> Settings:
        """Return how kernels are estimated."""
        return Settings(self.kernel_size, DARK_WEIGHT if self.prior == "dark" else 0.0, fitted=self.fitted)


class Method(protocol.Learned):
    """The method `kmsr`, as `degsynth.methods.protocol` asks for it."""

    data: Data = "lr"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the generator and the critic.

        First weights are drawn from torch's global generator, which the fit seeds. The random numbers from which the
        kernels of the exported pool are generated follow from ``seed``.
        """
        self.config, self.scale = config, scale
        self.pool_seed = derive(seed, "kernels of the pool")
        self.patch = self.least_patch = config.patch or 256
        self.multiple_of = scale
        self.generator = KernelGAN(config.numbers, config.width, config.kernel_size, config.batch_norm)
        self.critic = KernelCritic(config.width, config.kernel_size, config.instance_norm)
        self.modules: dict[str, nn.Module] = {"optics": self.generator, "critic": self.critic}
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), config.learning_rate, (config.beta, 0.9))
            for name, module in self.modules.items()
        }

    def prepare(self, images: Tensor) -> None:
        """Take the estimated kernels (N, K, K); FitError where they are too few or have negative taps."""
        if bool((images < 0).any()):
            raise FitError(
                "kmsr: some kernels have negative taps, which its generator cannot make",
                "learn from estimated kernels, or apply the pool as it is",
            )
        if len(images) < MIN_KERNELS:
            raise FitError(
                f"kmsr: {len(images)} kernels to learn from, at least {MIN_KERNELS} are needed",
                "give more photographs with texture, or a lower `least_texture=`",
            )
        self.generator.store_kernels(images, self.config.start == "mean")
        self.critic.gain.fill_(CRITIC_PEAK / float(images.amax((1, 2)).mean()))

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Take a step of the critic for each batch of kernels (N, B, K, K), then one of the generator."""
        batches = batch["kernels"]
        gain, count, device = self.critic.gain, batches.shape[1], batches.device
        distances, penalties = [], []
        for real in batches:
            with torch.no_grad():
                fake = gain * self.generator(torch.randn(count, self.config.numbers, generator=rng).to(device))
            real = gain * real
            share = torch.rand(count, 1, 1, generator=rng).to(device)
            distance = self.critic(real).mean() - self.critic(fake).mean()
            penalty = self._penalty(share * real + (1 - share) * fake)
            losses.update(self.optimizers["critic"], self.config.penalty * penalty - distance)
            distances.append(distance.detach())
            penalties.append(penalty.detach())
        fake = gain * self.generator(torch.randn(count, self.config.numbers, generator=rng).to(device))
        losses.update(self.optimizers["optics"], -self.critic(fake).mean())
        return {"wasserstein": torch.stack(distances).mean(), "penalty": torch.stack(penalties).mean()}

    def _penalty(self, mixed: Tensor) -> Tensor:
        """Return the mean of (‖∇D‖ − 1)², where ∇D is the gradient of the critic by its inputs (B, K, K)."""
        mixed = mixed.detach().requires_grad_()
        slope = torch.autograd.grad(self.critic(mixed).sum(), mixed, create_graph=True)[0]
        penalty: Tensor = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return penalty

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """Return the pool of estimated kernels, followed by generated ones, as a checkpoint module."""
        network: Any = self.generator if optics is None else optics
        pool = torch.cat([network.estimated.cpu(), generate_kernels(network, self.config.generated, self.pool_seed)])
        return Degrader(PoolOptics(pool, self.scale), self.scale)

    def spec(self) -> MethodSpec:
        """Describe the model: exact tiles, any number of channels, a centred kernel for every image, no noise."""
        count = len(self.generator.estimated) + self.config.generated
        size = suited_size(self.config.kernel_size, self.scale)
        return MethodSpec(
            clean_halo=half_width(size, self.scale),
            multiple_of=self.scale,
            stochastic=count > 1,
            pool=count,
            phase=((0.0, 0.0),),
        )

    def report(self) -> dict[str, Any]:
        """Return the numbers of kernels, and the mean of the estimated ones."""
        kernels = self.generator.estimated
        return {
            "estimated": len(kernels),
            "generated": self.config.generated,
            "mean_kernel": kernel_facts(kernels.mean(0)),
        }

    def warnings(self) -> list[str]:
        """Warn where there are few kernels."""
        count = len(self.generator.estimated)
        if count >= FEW_KERNELS:
            return []
        return [
            f"{count} kernels are few to learn a distribution from; give more photographs, or more windows of each "
            "with `patches=`"
        ]

    def distribution(self) -> Distribution:
        """Return the kernels that the generator draws, and the estimated ones."""
        drawn = generate_kernels(self.generator, max(self.config.generated, 200), self.pool_seed)
        return Distribution(drawn, self.generator.estimated.cpu(), True, [])


def generate_kernels(network: KernelGAN, count: int, seed: int) -> Tensor:
    """Generate ``count`` kernels (N, K, K) float64 with sum 1. Kernel i is the same however many are generated."""
    rng, device = generator(seed), network.first_logits.device
    training = network.training
    network.eval()
    parts = []
    with torch.no_grad():
        for _ in range(0, count, PART):
            z = torch.stack([torch.randn(network.numbers, generator=rng) for _ in range(PART)])
            parts.append(network(z.to(device)).double().cpu())
    network.train(training)
    kernels = torch.cat(parts)[:count]
    faint = kernels < FAINT * kernels.amax((1, 2), keepdim=True)
    return network.softmax.balanced(kernels.masked_fill(faint, 0.0))
