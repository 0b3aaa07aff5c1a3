"""kmsr: a pool of blur kernels, estimated from LR photographs alone and enlarged by a WGAN-GP. kmsr, 3.1-3.2, Eqs. 2-7.

::

    x' = y ∗ k'          y: HR image;   x': the LR photograph, interpolated to the HR grid (bicubic)

k' is estimated from windows of x' (`ops.dark_channel`), so it lies on the HR grid and holds the interpolation's blur
besides the camera's. A generative network (`nets.kernel_gan`) learns how the estimated kernels are distributed::

    E[D(fake)] − E[D(real)] + λ E[(‖∇D(mixed)‖ − 1)²],     mixed = ε real + (1 − ε) fake

and draws more of them. What is exported is the pool: estimated and generated kernels, one drawn for every image
(`ops.pool_optics`). At scale 1 an image becomes the paper's x'; at scale s > 1 every s-th pixel of it, at the centred
phase and without another low-pass: k' has all the blur there is.

Presets. ``paper``: five random windows of 512 px a photograph, Eq. 6 as the only test (which rejects nothing: `ops.
texture.passes_eq6`), the authors' settings, DCGAN at full width with batch norm and instance norm, 20 000 epochs of
1 000 kernels in batches of 32 for the critic. ``default`` takes 120 windows of 256 px at most, with edges in all
directions, a window of taps that fits the kernel, and networks a sixteenth as wide that begin at the mean kernel.

What differs from the paper in ``paper``: 1024 filters where it prints 1025; a softmax in place of the authors' tanh,
clip and division; kernels are brought to the centre; outliers are left out, and the kernels of a tenth of the
photographs, which judge the generator; the weights that are exported are the best of 20 states by the distance of their
kernels to the estimated ones. Of the optimiser the paper says nothing: it is that of WGAN-GP (Adam, 1e-4, β 0 and 0.9,
five steps of the critic for one of the generator). The authors' code trains with weight clipping; the gradient penalty
of the text is taken. The SR network is not trained.
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

WEIGHT = Settings().dark_weight
LEAST_KERNELS = 2
"""Of fewer there is no distribution."""
FEW_KERNELS = 20
"""Below so many a user is told."""
BRIGHT = 3.0
"""The critic sees kernels so that their highest taps are about as much."""
FAINT = 2e-3
"""Taps below that share of the highest are none: a softmax has no zeros, but estimated kernels have."""
AT_ONCE = 50
"""Kernels are generated in parts of so many: of another number each would have other last digits."""
GENERATED_SEED = 20
"""Of the numbers that the exported pool's kernels are made from."""

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "steps": 125_000, "learning_rate": 1e-4, "beta": 0.0, "schedule": "constant", "average": 0.0, "patch": 512,
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

    steps: int = Field(default=1_500, ge=1)
    """Steps of the generator; each has ``critic_steps`` of the critic before it."""
    batch: int = Field(default=32, ge=1)
    """Kernels in a batch."""
    patch: int | None = Field(default=None, ge=96)
    """Side of a window that a kernel is estimated from, HR px; unset: 256. Smaller photographs are taken whole."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Adam's, at its highest, of both networks."""
    beta: float = Field(default=0.5, ge=0, lt=1)
    """Adam's first decay, of both networks; the second is 0.9."""
    warmup: int = Field(default=0, ge=0)
    """Steps over which the rate rises."""
    prior: Literal["dark", "gradient"] = "dark"
    """What is known of sharp photographs: dark channel and gradients, or gradients alone, which takes a quarter of the
    time."""
    patches: int = Field(default=5, ge=1)
    """Windows of a photograph, at most."""
    max_patches: int | None = Field(default=120, ge=1)
    """Windows of all photographs together; of more photographs than that so many, evenly spread; unset: no limit."""
    selection: Literal["texture", "eq6"] = "texture"
    """Which windows: those that have most texture in all directions, or random ones that pass the paper's Eq. 6, which
    rejects next to nothing."""
    least_texture: float = Field(default=1.5, ge=0)
    """With selection=texture: gradient that a window must have in every direction, levels of 255 per LR px."""
    alpha: float = Field(default=0.003, gt=0, lt=1)
    """α of Eq. 6."""
    kernel_size: int = Field(default=25, ge=17, le=31)
    """Taps per side on the HR grid, odd."""
    fitted: bool = True
    """Estimate in a window of taps that fits the kernel, found by a quick look."""
    generated: int = Field(default=1_000, ge=1)
    """Kernels that the exported pool has besides the estimated ones."""
    numbers: int = Field(default=100, ge=1)
    """Length of the generator's input."""
    width: int = Field(default=16, ge=1)
    """Channels of its last but one layer and of the critic's first; others have twice and four times as many."""
    critic_steps: int = Field(default=3, ge=1)
    """Steps of the critic for each of the generator."""
    penalty: float = Field(default=10.0, gt=0)
    """λ of the gradient penalty."""
    batch_norm: bool = False
    """In the generator; average must then be 0."""
    instance_norm: bool = False
    """In the critic."""
    start: Literal["mean", "flat"] = "mean"
    """Where the generator begins: at the mean of the estimated kernels, or at nearly flat ones."""

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("give an odd number: kernels have a middle tap")
        return value

    @model_validator(mode="after")
    def _means(self) -> Config:
        if self.batch_norm and self.average:
            raise ValueError("batch_norm=true needs average=0: the running means of a mean of weights are not known")
        return self

    def settings(self) -> Settings:
        """How kernels are estimated."""
        return Settings(self.kernel_size, WEIGHT if self.prior == "dark" else 0.0, fitted=self.fitted)


class Method(protocol.Learned):
    """`degsynth.methods.Learned` for kmsr."""

    data: Data = "lr"
    config: Config

    def __init__(self, config: Config, scale: int, channels: int, seed: int = 0) -> None:
        """Make the generator and the critic."""
        self.config, self.scale = config, scale
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
        """Take the estimated kernels (N, K, K)."""
        if bool((images < 0).any()):
            raise FitError(
                "kmsr: some kernels have negative taps, which a generator of densities cannot learn; take estimated "
                "ones, or apply the pool as it is"
            )
        if len(images) < LEAST_KERNELS:
            raise FitError(
                f"kmsr: {len(images)} kernels to learn from, at least {LEAST_KERNELS} are needed; give more "
                "photographs with texture, or --set least_texture= a lower level"
            )
        self.generator.learn_from(images, self.config.start == "mean")
        self.critic.gain.fill_(BRIGHT / float(images.amax((1, 2)).mean()))

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """The critic learns from batches (N, B, K, K) of kernels, one after another; then the generator from it."""
        sets = batch["kernels"]
        gain, count, device = self.critic.gain, sets.shape[1], sets.device
        distances, penalties = [], []
        for real in sets:
            with torch.no_grad():
                fake = gain * self.generator(torch.randn(count, self.config.numbers, generator=rng).to(device))
            real = gain * real
            share = torch.rand(count, 1, 1, generator=rng).to(device)
            distance = self.critic(real).mean() - self.critic(fake).mean()
            penalty = self._penalty(share * real + (1 - share) * fake)
            losses.update(self.optimizers["critic"], self.config.penalty * penalty - distance)
            distances.append(distance.detach())
            penalties.append(penalty.detach())
        made = gain * self.generator(torch.randn(count, self.config.numbers, generator=rng).to(device))
        losses.update(self.optimizers["optics"], -self.critic(made).mean())
        return {"wasserstein": torch.stack(distances).mean(), "penalty": torch.stack(penalties).mean()}

    def _penalty(self, mixed: Tensor) -> Tensor:
        """Mean of (‖∇D‖ − 1)², the gradient with respect to what D sees."""
        mixed = mixed.detach().requires_grad_()
        slope = torch.autograd.grad(self.critic(mixed).sum(), mixed, create_graph=True)[0]
        found: Tensor = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return found

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """The pool: estimated kernels, then generated ones."""
        network: Any = self.generator if optics is None else optics
        pool = torch.cat([network.estimated.cpu(), made(network, self.config.generated, GENERATED_SEED)])
        return Degrader(PoolOptics(pool, self.scale), self.scale)

    def spec(self) -> MethodSpec:
        """Exact tiles, any colours, centred, no noise; another kernel for every image."""
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
        """How many kernels, and their mean."""
        kernels = self.generator.estimated
        return {
            "estimated": len(kernels),
            "generated": self.config.generated,
            "mean_kernel": kernel_facts(kernels.mean(0)),
        }

    def warnings(self) -> list[str]:
        """That there are few kernels."""
        count = len(self.generator.estimated)
        if count >= FEW_KERNELS:
            return []
        return [f"{count} kernels are few to learn a distribution from; give more photographs, or more windows of each"]

    def distribution(self) -> Distribution:
        """What the generator draws, beside the estimated kernels."""
        drawn = made(self.generator, max(self.config.generated, 200), GENERATED_SEED)
        return Distribution(drawn, self.generator.estimated.cpu(), True, [])


def made(network: KernelGAN, count: int, seed: int) -> Tensor:
    """``count`` kernels (N, K, K) float64 of a generator, of sum 1; number i is the same however many are drawn."""
    rng, device = generator(seed), network.first_logits.device
    learning = network.training
    network.eval()
    parts = []
    with torch.no_grad():
        for _ in range(0, count, AT_ONCE):
            z = torch.stack([torch.randn(network.numbers, generator=rng) for _ in range(AT_ONCE)])
            parts.append(network(z.to(device)).double().cpu())
    network.train(learning)
    kernels = torch.cat(parts)[:count]
    faint = kernels < FAINT * kernels.amax((1, 2), keepdim=True)
    return network.softmax.balanced(kernels.masked_fill(faint, 0.0))
