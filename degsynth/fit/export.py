"""From a method that has learnt to the checkpoint that it makes; also from the snapshots of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import degsynth
from degsynth.config import Interval, build
from degsynth.errors import ConfigError, shortened
from degsynth.evaluation.effective_kernel import measured_phase
from degsynth.evaluation.residual import with_residual
from degsynth.fit import loop
from degsynth.fit.options import FitOptions, resolve
from degsynth.fit.run_directory import RunDirectory
from degsynth.methods import kmsr
from degsynth.methods.protocol import Method
from degsynth.model import checkpoint
from degsynth.model.checkpoint import Checkpoint, in_memory
from degsynth.model.degrader import Degrader
from degsynth.model.pool_file import Origin, Pool, check_amount
from degsynth.model.spec import MOST_CHANNELS, JpegShare, Spec
from degsynth.nets.kernel_gan import KernelGAN
from degsynth.seeds import derive


class Images(Protocol):
    """What a spec says of the images of the fit."""

    scale: int
    data_range: Interval | None
    tone: tuple[float, ...]
    jpeg: tuple[JpegShare, ...]


def measured_checkpoint(
    name: str,
    method: Method,
    images: Images,
    config: dict[str, Any] | None = None,
    fingerprint: str | None = None,
    degrader: Degrader | None = None,
) -> Checkpoint:
    """Return what a method has learnt as a checkpoint in memory; its phase is measured if the method does not know it.

    ``name`` is the method's name in the table of methods. ``degrader`` has the weights to use (None: the method's).
    """
    known = method.spec()
    facts = known.model_dump()
    facts["phase"] = known.phase or ((0.0, 0.0),)
    spec = Spec(
        degsynth_version=degsynth.__version__,
        method=name,
        scale=images.scale,
        halo=known.clean_halo + images.scale * known.noise_halo,
        data_range=images.data_range,
        tone=images.tone,
        jpeg=images.jpeg,
        config=config or {},
        data_fingerprint=fingerprint,
        **facts,
    )
    degrader = degrader or method.degrader()
    degrader.add_tone(images.tone)
    model = in_memory(degrader, spec)
    if known.phase is not None:
        return model
    return Checkpoint(model.degrader, spec.model_copy(update={"phase": measured_phase(model)}), "", model.path)


def open_snapshot(run: Path, step: int, path: Path) -> Checkpoint:
    """Write the weights of a run's snapshot to ``path`` as a checkpoint without scores, and return it as loaded.

    What the model leaves out, and how LR were compressed, is known at the end of the fit; the snapshot gets the same.
    Raises ConfigError where there is no such run or snapshot.
    """
    folder = RunDirectory(run)
    tables = folder.description()
    contents = folder.load_snapshot(step)
    options = build(FitOptions, tables["fit"], str(run))
    module, config = resolve(options, tables["method"])
    if options.scale is None:
        raise ConfigError(f"{run}: its config.toml does not say the scale")
    channels, fingerprint = contents.get("channels"), contents.get("data_fingerprint")
    if channels is None or not 1 <= channels <= MOST_CHANNELS or fingerprint is None:
        raise ConfigError(f"{run}: its snapshot does not say the channels and the images of the fit", "fit anew")
    method = module.Method(config, options.scale, channels, options.seed)
    state = loop.State(method, contents.get("tone", ()))
    loop.restore(state, contents, str(run))
    method.modules["optics"].load_state_dict(state.learnt().state_dict())
    made = checkpoint.load(folder.checkpoint) if folder.checkpoint.is_file() else None
    images = _RunImages(options, tuple(state.tone), () if made is None else made.spec.jpeg)
    model = measured_checkpoint(
        options.method, method, images, config.model_dump(mode="json"), fingerprint, state.degrader()
    )
    if made is not None:
        noise = made.residual()
        model = model if noise is None else with_residual(model, noise)
    return checkpoint.save(model.degrader, model.spec, path)


class _RunImages:
    """The scale and data range of a run's images, from its configuration; the images themselves are not read."""

    def __init__(self, options: FitOptions, tone: tuple[float, ...], jpeg: tuple[JpegShare, ...]) -> None:
        assert options.scale is not None
        self.scale, self.tone, self.jpeg = options.scale, tone, jpeg
        self.data_range = None if options.data_range == "dtype" else options.data_range


def generated_kernels(run: Path, count: int, seed: int) -> Pool:
    """Draw kernels from the generator of a kmsr run, as it was at its best; ConfigError where it is no such run."""
    folder = RunDirectory(run)
    tables = folder.description()
    options = build(FitOptions, tables["fit"], str(run))
    if options.method != "kmsr":
        raise ConfigError(
            f"{run} is a run of {shortened(options.method)}; kernels are generated by runs of kmsr (kernel-pool train)"
        )
    config = build(kmsr.Config, tables["method"], str(run))
    check_amount(count, config.kernel_size, f"`number={count}`")
    contents = folder.load_snapshot()
    network = KernelGAN(config.numbers, config.width, config.kernel_size, config.batch_norm)
    with loop.fitting(str(run)):
        network.load_state_dict(contents.get("best") or contents["modules"]["optics"])
    kernels = kmsr.generate_kernels(network, count, derive(seed, "", 0, 0, "generated kernels"))
    facts = {"run": run.name, "step": contents["step"], "seed": seed}
    return Pool(kernels, [Origin("generated")] * count, options.scale, facts)
