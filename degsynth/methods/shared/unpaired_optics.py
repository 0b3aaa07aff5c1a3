"""Modules that the unpaired methods share: kernels and networks as optics with measured noise, and learnable taps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.methods.shared.measured_noise import Parts, silence
from degsynth.model.optics import Optics
from degsynth.nets.downsampler import Downsampler
from degsynth.ops.blind_kernel import sum_and_moments, tap_prior
from degsynth.ops.blur import blur_decimate
from degsynth.ops.grain import Grain, grain

HELD, LOOSE = (0.03, 4.0), (0.1, 4.0)
"""Departure and reach (`ops.blind_kernel.tap_prior`) from a start that a family explains, and from any other start."""


class _NoisyOptics(Optics):
    """Optics with measured noise, or with none."""

    def __init__(self, noise: Parts | None) -> None:
        super().__init__()
        self.noisy = noise is not None
        sigma, factors, mixing = (torch.zeros(1),) * 3 if noise is None else noise.compact()
        self.sigma, self.factors, self.mixing = nn.Buffer(sigma), nn.Buffer(factors), nn.Buffer(mixing)

    @torch.jit.export
    def field_planes(self, channels: int) -> int:
        return channels if self.noisy else 0

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return grain(lr, field, self.sigma, self.factors, self.mixing) if self.noisy else torch.zeros_like(lr)


class KernelOptics(_NoisyOptics):
    """One kernel for all channels, and noise."""

    def __init__(self, kernel: Tensor, scale: int, noise: Parts | None = None) -> None:
        """Take a kernel (K, K), which is divided by its sum, and the noise, if there is any."""
        super().__init__(noise)
        self.scale = scale
        self.kernels = nn.Buffer((kernel / kernel.sum()).float()[None])

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        return blur_decimate(hr, self.kernels, self.scale)


class NetworkOptics(_NoisyOptics):
    """The network of the paper, applied once or twice, and noise."""

    def __init__(self, network: Downsampler, rounds: int, noise: Parts | None) -> None:
        """Take a network, how often it is applied (``rounds``), and the noise, if there is any."""
        super().__init__(noise)
        self.network, self.rounds = network, rounds

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        for _ in range(self.rounds):
            hr = self.network(hr)
        return hr


class Taps(nn.Module):
    """A kernel whose taps can be learnt: ``k = start + c − back @ rows @ c`` with ``c = spread · (tie @ z @ tieᵀ)``.

    z (K, K) is what is learnt. The sum and the first moments of ``k − start`` are 0, so the sum and the centroid of the
    kernel do not change. `ops.blind_kernel.tap_prior` explains the terms.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.zeros(size, size))
        self.start, self.spread = nn.Buffer(torch.zeros(size, size)), nn.Buffer(torch.zeros(size, size))
        self.tie, self.back = nn.Buffer(torch.zeros(size, size)), nn.Buffer(torch.zeros(size**2, 3))
        self.rows = nn.Buffer(sum_and_moments(size).float())

    def begin(self, kernel: Tensor, scale: int, held: bool) -> None:
        """Start at a kernel (K, K). If ``held``, the taps may depart from it less (`HELD`, otherwise `LOOSE`)."""
        spread, tie, back = tap_prior(kernel, scale, *(HELD if held else LOOSE))
        for buffer, value in ((self.start, kernel), (self.spread, spread), (self.tie, tie), (self.back, back)):
            buffer.copy_(value)

    def kernel(self) -> Tensor:
        """Return the kernel (K, K)."""
        change = (self.spread * (self.tie @ self.z @ self.tie.T)).flatten()
        return self.start + (change - self.back @ (self.rows @ change)).view_as(self.start)


class Memory(nn.Module):
    """What snapshots of lfl and adl hold besides weights."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.kernel = nn.Buffer(torch.zeros(size, size))
        """The kernel k̄ (K, K) that guides adl."""
        self.sigma, self.factors, self.mixing = (nn.Buffer(part) for part in silence(channels))
        """The `Parts` of the noise that the model adds; a ``sigma`` of 0 means that it adds none."""
        self.matched = nn.Buffer(torch.zeros(channels, channels))
        """Matrix (C, C) that turns white noise into the noise that is added to synthetic LR for the discriminator."""
        self.register_load_state_dict_pre_hook(_with_parts)  # type: ignore[no-untyped-call]

    @property
    def noise(self) -> Parts | None:
        """The noise that the model adds; None where it adds none."""
        return Parts(self.sigma, self.factors, self.mixing).cpu() if bool(self.sigma.any()) else None

    def keep_noise(self, noise: Grain | None) -> None:
        """Hold this noise from now on."""
        parts = silence(len(self.sigma)) if noise is None else Parts.of(noise)
        for buffer, part in zip((self.sigma, self.factors, self.mixing), parts, strict=True):
            buffer.copy_(part)


def _with_parts(memory: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Put the parts of the noise into the state of a `Memory` of an earlier version, which held its covariance."""
    covariance = state.pop(f"{prefix}noise", None)
    if covariance is not None:
        parts = Parts.of(Grain.white(covariance.cpu()))
        state.update({f"{prefix}{name}": part for name, part in parts._asdict().items()})
