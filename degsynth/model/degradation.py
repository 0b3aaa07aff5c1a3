"""How an image is degraded: the model, and what the user chooses beside it (noise, hardware factor, device)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from degsynth.config import Interval
from degsynth.errors import ConfigError, DataError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.noise_field import NoiseField
from degsynth.model.spec import colour_names
from degsynth.ops.noise import block_field, uniform
from degsynth.seeds import Identity

SIGMA_UNIT = 255.0
"""The σ of AWGN is given on the 0–255 scale of the data range."""
UNKNOWN_BYTES = 1024
"""Bytes that a model is assumed to need for an HR pixel where its file does not say."""
FAINT_AWGN = 0.25
"""White noise below this σ is warned of: whoever asks for it thinks of levels from 0 to 1."""
LOW_FACTOR = 0.5
"""Below this share of the factor of the fit, a model sharpens what its encoder and decoder learnt to sharpen, and no
longer blurs it again; the user is warned."""


class ShotRead(NamedTuple):
    """Intervals from which the A and B of an image are drawn: at level x, white noise has the variance A·x + B.

    Levels and σ are on the 0–255 scale: A is a variance for each level, B a variance (pdm, Eq. 9). The level is that of
    the LR image with its learned noise, from black to white.
    """

    shot: Interval
    """A: the noise of the light, whose variance grows with the level."""
    read: Interval
    """B: the noise of reading the sensor; B alone is the same as AWGN of σ √B."""

    @classmethod
    def parse(cls, text: str) -> ShotRead:
        """Read ``A,B``, of which each may be a range LO:HI; ConfigError for anything else."""
        parts = text.split(",")
        if len(parts) != 2:
            raise ConfigError(f"`shot_read={text}`: give A,B, of which each may be a range LO:HI")
        return cls(Interval.parse(parts[0], "shot_read"), Interval.parse(parts[1], "shot_read"))

    def __str__(self) -> str:
        """Write it as the command line reads it."""
        return f"{self.shot},{self.read}"

    def sigma(self) -> float:
        """Return the largest σ that is asked for, which is that of white."""
        return math.sqrt(self.shot.high * SIGMA_UNIT + self.read.high)


@dataclass(frozen=True)
class Noise:
    """The noise that is added after the blur."""

    learned: bool = True
    """Add the model's own noise, where it has some, or that of ``noise_model``."""
    noise_model: Checkpoint | None = None
    """Another model, whose noise takes the place of the model's own. Noise lies on the LR grid, whatever the scale."""
    awgn: Interval | None = None
    """Interval from which the σ of additive white Gaussian noise is drawn, one for each image, on the 0–255 scale.

    The noise is independent in all channels, so that of the luma of an RGB image has 0.67 σ."""
    awgn_luma: bool = False
    """Add the same white noise to all channels, so that the noise of the luma has σ."""
    shot_read: ShotRead | None = None
    """White noise, independent in all channels, whose variance grows with the level, instead of AWGN."""

    def __post_init__(self) -> None:
        if self.shot_read is not None:
            self._check_shot_read(self.shot_read)
        if self.awgn is not None:
            awgn = Interval(*self.awgn)
            object.__setattr__(self, "awgn", awgn)
            if not 0 <= awgn.low <= awgn.high <= SIGMA_UNIT:
                raise ConfigError(f"`awgn={awgn}`: give σ from 0 to {SIGMA_UNIT:g}, or LO:HI with LO ≤ HI")
        if self.noise_model is not None and not self.noise_model.spec.has_noise:
            raise ConfigError(
                f"the model {self.noise_model.path} ({self.noise_model.spec.method}) has no learned noise to add",
                "give a model that has, or add white noise with `awgn=SIGMA`",
            )

    def _check_shot_read(self, asked: ShotRead) -> None:
        asked = ShotRead(Interval(*asked[0]), Interval(*asked[1]))
        object.__setattr__(self, "shot_read", asked)
        if self.awgn is not None:
            raise ConfigError(
                f"`shot_read={asked}` and `awgn={Interval(*self.awgn)}` exclude each other",
                "a variance of σ² in B adds white noise of σ",
            )
        for part in asked:
            if not 0 <= part.low <= part.high < math.inf:
                raise ConfigError(f"`shot_read={asked}`: give A and B of at least 0, or LO:HI with LO ≤ HI")
        if asked.sigma() > SIGMA_UNIT:
            raise ConfigError(
                f"`shot_read={asked}`: at white, σ is {asked.sigma():.3g}, more than {SIGMA_UNIT:g}; the variance "
                "A·x + B is on the scale of levels x from 0 to 255"
            )


@dataclass(frozen=True)
class Degradation:
    """A model together with everything that a user chooses about how it degrades images."""

    model: Checkpoint
    noise: Noise = Noise()
    hardware_factor: Interval | None = None
    """Interval from which each image's hardware factor is drawn; None: the model's own factor, where it has one."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.hardware_factor is not None:
            object.__setattr__(self, "hardware_factor", Interval(*self.hardware_factor))
            self._check_hardware_factor(Interval(*self.hardware_factor))
        self._check_noise_channels()

    def _check_hardware_factor(self, factor: Interval) -> None:
        known = self.model.spec.hardware_factor
        if known is None:
            raise ConfigError(
                f"hardware factor {factor}: the model {self.model.path} ({self.model.spec.method}) has none; "
                "models fitted by abl do"
            )
        if not known.range.low <= factor.low <= factor.high <= known.range.high:
            raise ConfigError(
                f"hardware factor {factor}: give one from {known.range.low:g} to {known.range.high:g}, or LO:HI with "
                "LO ≤ HI"
            )

    def _check_noise_channels(self) -> None:
        """Raise ConfigError where there are no images that both the model and the noise model take."""
        if self.noise.noise_model is None:
            return
        own, other = self.model.spec.channels, self.noise.noise_model.spec.channels
        if own != "any" and other != "any" and not set(own) & set(other):
            raise ConfigError(
                f"noise of {self.noise.noise_model.path} is for {colour_names(other)} images, the model "
                f"{self.model.path} for {colour_names(own)} ones; give noise that was learnt on the same kind"
            )

    @property
    def noise_model(self) -> Checkpoint:
        """The model whose noise is added: another one, or the model itself."""
        return self.noise.noise_model or self.model

    @property
    def noise_name(self) -> Literal["learned", "other", "none"]:
        """The kind of learned noise that is added, as the manifest names it."""
        if self.noise.learned and self.noise.noise_model is not None:
            return "other"
        return "learned" if self.noise.learned and self.model.spec.has_noise else "none"

    @property
    def whole_only(self) -> bool:
        """Whether images cannot be made in tiles."""
        return "whole_only" in (self.model.spec.tiling, self.noise_model.spec.tiling)

    @property
    def halo(self) -> int:
        """HR px beyond an LR pixel's own block that the pixel depends on, with the noise that is added."""
        return self.model.spec.clean_halo + self.model.spec.scale * self.noise_model.spec.noise_halo

    @property
    def bytes_per_pixel(self) -> int:
        """Bytes of memory that a tile needs for each of its HR pixels."""
        return max(model.spec.bytes_per_pixel or UNKNOWN_BYTES for model in (self.model, self.noise_model))

    def warnings(self) -> list[str]:
        """List what a user should know before images are made."""
        texts = (self._low_factor_warning(), self._noise_scale_warning(), self._faint_awgn_warning())
        return [text for text in texts if text]

    def _faint_awgn_warning(self) -> str:
        awgn, shot_read = self.noise.awgn, self.noise.shot_read
        if shot_read is not None and 0 < shot_read.sigma() < FAINT_AWGN:
            return (
                f"white noise of `shot_read={shot_read}` is not seen in 8-bit files: at white it has σ "
                f"{shot_read.sigma():.2g}; A and B are on the scale from 0 to 255"
            )
        if awgn is None or not 0 < awgn.high < FAINT_AWGN:
            return ""
        return (
            f"white noise of σ {awgn.high:g} is not seen in 8-bit files: σ is on the scale from 0 to 255; for "
            f"{awgn.high:g} of the range give {255 * awgn.high:g}"
        )

    def _low_factor_warning(self) -> str:
        known, asked = self.model.spec.hardware_factor, self.hardware_factor
        if known is None:
            return ""
        low = known.default if asked is None else asked.low
        if low >= LOW_FACTOR * known.trained:
            return ""
        return (
            f"hardware factor {low:g} is far below the {known.trained:g} of the fit: the model then sharpens what it "
            "should blur, and amplifies noise"
        )

    def _noise_scale_warning(self) -> str:
        if self.noise_model.spec.scale == self.model.spec.scale:
            return ""
        return (
            f"the noise was learnt at scale {self.noise_model.spec.scale}, the model blurs at scale "
            f"{self.model.spec.scale}: is it the same camera's?"
        )

    def row_warning(self) -> str | None:
        """Return the warning that is recorded with every image, if there is one."""
        return self._noise_scale_warning() or None

    def check_channels(self, channels: int) -> None:
        """Raise DataError where the model, or the model whose noise is added, does not take such images."""
        for model, name in ((self.model, "the model"), (self.noise.noise_model, "the noise's model")):
            if model is None or model.spec.channels == "any" or channels in model.spec.channels:
                continue
            raise DataError(
                f"the image is {colour_names([channels])}, {name} takes {colour_names(model.spec.channels)}; "
                "convert the image, or fit a model to such images"
            )

    def draw(self, identity: Identity, channels: int, height: int, width: int) -> Draw:
        """Draw everything that is random about one LR image (channels, height, width).

        Raises DataError where the model does not take images of so many channels.
        """
        self.check_channels(channels)
        seed = identity.seed("kernel")
        code = _drawn_code(self.model, seed, height, width)
        hardware_factor = self._draw_hardware_factor(code, identity)
        only_blurs = self.noise_name != "learned"
        own = DrawnModel(self.model, code, NoiseField.of(self.model, seed, channels, height, width, only_blurs))
        noise = own
        if self.noise.noise_model is not None:  # drawn from a seed of its own: the blur is the same without it
            seed, other = identity.seed("noise"), self.noise.noise_model
            code = _drawn_code(other, seed, height, width)
            noise = DrawnModel(other, code, NoiseField.of(other, seed, channels, height, width))
        white, awgn_sigma, shot_read = None, None, None
        if self.noise.awgn is not None:
            awgn_sigma = uniform(identity.seed("awgn"), *self.noise.awgn)
            white = _white(identity.seed("awgn"), 1 if self.noise.awgn_luma else channels, height, width)
        elif self.noise.shot_read is not None:
            shot, read = self.noise.shot_read
            shot_read = uniform(identity.seed("shot"), *shot), uniform(identity.seed("read"), *read)
            white = _white(identity.seed("shot-read"), channels, height, width)
        kernel_id = int(own.code[0, 0]) if self.model.spec.pool else None
        return Draw((channels, height, width), own, noise, white, awgn_sigma, shot_read, hardware_factor, kernel_id)

    def _draw_hardware_factor(self, code: Tensor, identity: Identity) -> float | None:
        """Write the image's factor into its code, where one is asked for; return the factor that the image gets."""
        known = self.model.spec.hardware_factor
        if known is None:
            return None
        if self.hardware_factor is not None:
            factor = uniform(identity.seed("factor"), *self.hardware_factor)
            code[:, known.entry] = factor
            return factor
        written = float(code[0, known.entry])
        # The code has 32 bits: report the number as it was set where that is the only difference.
        return known.default if math.isclose(written, known.default, rel_tol=1e-6) else written


def _white(seed: int, planes: int, height: int, width: int) -> NoiseField:
    """Return white noise of σ 1."""
    return NoiseField(lambda y, x, h, w: block_field(seed, y, x, h, w, planes), height, width)


def _drawn_code(model: Checkpoint, seed: int, height: int, width: int) -> Tensor:
    """Return the code (1, G) that a model draws for an image; DataError where the model breaks its own record."""
    code = model.degrader.draw(seed, height, width)
    factor = model.spec.hardware_factor
    least = max(1 if model.spec.pool else 0, 0 if factor is None else factor.entry + 1)
    if code.ndim != 2 or code.shape[0] != 1 or code.shape[1] < least or not bool(code.isfinite().all()):
        raise DataError(
            f"the model {model.path} draws the code {list(code.shape)}, not (1, G) of at least {least} finite numbers",
            "fit another model",
        )
    return code


@dataclass(frozen=True)
class DrawnModel:
    """A model with the random numbers that it uses for one image."""

    model: Checkpoint
    code: Tensor
    """The numbers (1, G) that hold for the whole image."""
    field: NoiseField
    """The random numbers of every LR pixel, in F planes (`degsynth.model.optics.Optics`)."""


@dataclass(frozen=True)
class Draw:
    """Everything that is random about one LR image."""

    size: tuple[int, int, int]
    """Channels, height and width of the LR image."""
    blur: DrawnModel
    noise: DrawnModel
    """The model whose learned noise is added: the same as ``blur``, or another one."""
    white: NoiseField | None
    """White noise of σ 1, where some is added."""
    awgn_sigma: float | None
    """σ of the AWGN on the 0–255 scale."""
    shot_read: tuple[float, float] | None
    """A and B of the variance A·x + B of the noise at level x, on the 0–255 scale."""
    hardware_factor: float | None
    kernel_id: int | None
    """Index of the kernel in the model's pool, where it has one."""


def lr_size(height: int, width: int, scale: int) -> tuple[int, int]:
    """Return height and width of the LR of an HR image; DataError where there is not one whole LR pixel."""
    if min(height, width) < scale:
        raise DataError(f"the image is {width}×{height}, smaller than one LR pixel at scale {scale}")
    return height // scale, width // scale
