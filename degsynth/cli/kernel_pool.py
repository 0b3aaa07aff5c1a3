"""``degsynth kernel-pool``: estimate, train, generate, import, show."""

from __future__ import annotations

import json as jsonlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from degsynth.cli import console, options

NAME = "kernel-pool"

app = typer.Typer(
    help="Pools of blur kernels: estimated from photographs, generated, imported; 'apply' draws from them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Output = Annotated[Path, typer.Option("--output", "-o", metavar="POOL.h5", help="Pool file.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Option of kmsr (see 'degsynth methods kmsr').")
]
Preset = Annotated[str, typer.Option(help="default, or paper: what was published.")]
Workers = Annotated[int | None, typer.Option(help="Windows that are looked at together; unset: one per core.")]


def _check_output(path: Path, overwrite: bool) -> None:
    from degsynth.errors import ConfigError
    from degsynth.files import is_pool_name

    options.check_output(path)
    if not is_pool_name(path):
        raise ConfigError(f"{path}: give a name that ends in .h5")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists; give another name, or --overwrite")


def _config(preset: str, assignments: list[str] | None, **given: Any) -> Any:
    """Configuration of kmsr: preset, then --set, then what has an option of its own."""
    from degsynth import config
    from degsynth.errors import ConfigError
    from degsynth.fit import options

    values, own = config.parse_assignments(assignments or []), {k: v for k, v in given.items() if v is not None}
    for name in values.keys() & own.keys():
        raise ConfigError(f"--set {name}= and the option for {name} are both given; leave one out")
    values |= own
    return options.resolve(options.FitOptions(method="kmsr", lr="", preset=preset), values)[1]


def _estimated(
    lr: Path, scale: int, config: Any, seed: int, workers: int | None, output: Path, resume: bool, overwrite: bool
) -> Any:
    """Estimate, noting what is done beside the output; the note stays until that is written."""
    from degsynth.errors import ConfigError
    from degsynth.files import is_pool_name
    from degsynth.kernel_pool import estimate
    from degsynth.model.pool_model import LARGEST_SCALE
    from degsynth.parallel import MAX_WORKERS, usable_cores

    if not 1 <= scale <= LARGEST_SCALE:
        raise ConfigError(f"--scale {scale}: give 1 to {LARGEST_SCALE}")
    if workers is not None and not 1 <= workers <= MAX_WORKERS:
        raise ConfigError(f"--workers {workers}: give 1 to {MAX_WORKERS}")
    if is_pool_name(lr):
        raise ConfigError(f"{lr} is a pool already; 'kernel-pool train' learns from it, --with puts it into another")
    journal = estimate.journal_of(output)
    if overwrite and not resume:
        journal.unlink(missing_ok=True)
    with console.Progress() as progress:
        return estimate.estimate(
            lr, scale, config, seed, workers or usable_cores(), journal, resume,
            lambda count, total: progress("estimating kernels", count, total),
        )  # fmt: skip


def _write(pool: Any, output: Path, estimated: bool = False) -> None:
    """The pool, in one move; what was noted beside it when it was ``estimated`` is then of no use."""
    from degsynth.errors import OutputError
    from degsynth.kernel_pool import estimate
    from degsynth.model import pool_file

    try:
        pool_file.write(pool, output)
        if estimated:
            estimate.journal_of(output).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: {error.strerror or error}") from None


@app.command("estimate")
def estimate(
    lr: Annotated[Path, typer.Argument(metavar="LR", help="Folder of LR photographs, or one.")],
    output: Output,
    scale: Annotated[int, typer.Option(help="HR size / LR size: kernels lie on the HR grid.", show_default=False)],
    preset: Preset = "default",
    prior: Annotated[
        str | None, typer.Option(metavar="dark|gradient", help="gradient: no dark channel, a quarter of the time.")
    ] = None,
    max_patches: Annotated[
        int | None, typer.Option(help="Windows of all photographs together; unset: 120, 5 of each.")
    ] = None,
    assignments: Assignments = None,
    workers: Workers = None,
    seed: options.Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted estimation.")] = False,
    overwrite: Overwrite = False,
    json: options.Json = False,
) -> None:
    """Estimate blur kernels from LR photographs alone (dark channel), in some windows of each.

    Example: degsynth kernel-pool estimate phone_photos/ -o estimated.h5 --scale 2

    Kernels that are no camera's blur (mass at the border, several blobs, odd width) stay in the file, but are flagged,
    and nothing draws them.
    """
    from degsynth.evaluation.kernel_sets import pool_summary

    _check_output(output, overwrite)
    config = _config(preset, assignments, prior=prior, max_patches=max_patches)
    found = _estimated(lr, scale, config, seed, workers, output, resume, overwrite)
    _write(found.pool, output, estimated=True)
    console.note(f"{output}: {found.told()}" + (f" ({found.resumed} windows before)" if found.resumed else ""))
    if json:
        record = {**pool_summary(found.pool), "windows": found.windows, "failed": found.failed}
        typer.echo(jsonlib.dumps(record, ensure_ascii=False))


@app.command("train")
def train(
    pool: Annotated[Path, typer.Argument(metavar="POOL.h5", help="Estimated kernels.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run directory to make.", show_default=False)],
    scale: Annotated[int | None, typer.Option(help="Of kernels that suit any scale; else the pool's own.")] = None,
    preset: Annotated[str | None, typer.Option(help="default, or paper: what was published.")] = None,
    assignments: Assignments = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the generator.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop training earlier.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda[:N].")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides first weights and batches; unset: 0.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Train a generator of kernels (WGAN-GP) on a pool: 'fit --method kmsr' from there on.

    Example: degsynth kernel-pool train estimated.h5 --out runs/kgan
    """
    from degsynth.cli import fit as fit_command

    fit_command.command(
        method="kmsr", lr=pool, out=out, scale=scale, preset=preset, assignments=assignments, steps=steps,
        minutes=minutes, device=device, seed=seed, resume=resume,
    )  # fmt: skip


@app.command("generate")
def generate(
    output: Output,
    source: Annotated[
        Path | None, typer.Argument(metavar="RUN|LR", help="A run of kmsr, or LR photographs; unset with --gaussian.")
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", help="Kernels to generate.")] = 1000,
    beside: Annotated[
        Path | None, typer.Option("--with", metavar="POOL.h5", help="Put these kernels into the pool as well.")
    ] = None,
    gaussian: Annotated[
        str | None, typer.Option(metavar="LO:HI", help="Gaussians of that σ (HR px), from a formula, to compare with.")
    ] = None,
    anisotropic: Annotated[
        bool, typer.Option("--anisotropic", help="With --gaussian: two widths, at any angle.")
    ] = False,
    kernel_size: Annotated[int | None, typer.Option(help="With --gaussian: taps per side, odd; unset: 25.")] = None,
    scale: Annotated[int | None, typer.Option(help="With LR photographs: HR size / LR size; unset: 2.")] = None,
    preset: Annotated[str | None, typer.Option(help="With LR photographs: default or paper.")] = None,
    assignments: Assignments = None,
    workers: Workers = None,
    device: Annotated[str | None, typer.Option(help="With LR photographs: auto, cpu or cuda[:N].")] = None,
    seed: options.Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="With LR photographs: go on with an interrupted estimation.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Generate a pool of kernels: from a trained run, from LR photographs (all three steps), or from a formula.

    Example: degsynth kernel-pool generate runs/kgan -n 1000 -o pool.h5 --with estimated.h5

    Example: degsynth kernel-pool generate phone_photos/ -n 1000 -o pool.h5

    Example: degsynth kernel-pool generate --gaussian 0.8:2.4 --anisotropic -n 500 -o pool.h5
    """
    from degsynth import fit
    from degsynth.errors import ConfigError
    from degsynth.kernel_pool import analytic
    from degsynth.model import pool_file

    _check_output(output, overwrite)
    if number < 1:
        raise ConfigError(f"-n {number}: give at least 1")
    if (source is None) == (gaussian is None):
        raise ConfigError("give a run, a folder of LR photographs, or --gaussian LO:HI, and one of them only")
    photographs = {
        "--scale": scale, "--preset": preset, "--set": assignments, "--workers": workers, "--device": device,
        "--resume": resume,
    }  # fmt: skip
    formula = {"--anisotropic": anisotropic, "--kernel-size": kernel_size}
    trained = source is not None and (source / "config.toml").is_file()
    for name, value in {
        **(formula if gaussian is None else {}),
        **(photographs if gaussian is not None or trained else {}),
    }.items():
        if value is not None and value is not False and value != []:
            what = "a formula (--gaussian)" if name in formula else "LR photographs"
            raise ConfigError(f"{name} goes with {what} only; leave it out")
    other = None if beside is None else pool_file.read(beside)
    if gaussian is not None:
        low, high = options.interval(gaussian, "--gaussian") or (0.0, 0.0)
        pool = analytic.gaussians(low, high, anisotropic, number, 25 if kernel_size is None else kernel_size, seed)
    elif source is not None and trained:
        pool = fit.generated_kernels(source, number, seed)
    else:
        assert source is not None
        scale = 2 if scale is None else scale
        if other is not None and other.scale not in (None, scale):
            raise ConfigError(f"--with {beside}: its kernels are of scale {other.scale}, not {scale}")
        console.note(f"scale {scale} (--scale); kernels will lie on a grid so much finer than {source}'s")
        config, on = _config(preset or "default", assignments), options.pick_device(device or "auto")
        found = _estimated(source, scale, config, seed, workers, output, resume, overwrite)
        console.note(found.told())
        pool = _trained(found.pool, config, number, on, seed)
        other = found.pool if other is None else pool_file.joined(found.pool, other)
    if other is not None:
        usable = other.subset(other.usable())
        if len(usable) < len(other):
            console.note(f"{len(other) - len(usable)} flagged kernels are left out")
        pool = pool_file.joined(pool, usable)
    _write(pool, output, estimated=not trained and gaussian is None)
    console.note(f"{output}: {_told(pool)}")


def _trained(estimated: Any, config: Any, number: int, device: str, seed: int) -> Any:
    """Kernels of a generator that is trained on the way, in a run that nobody keeps."""
    from degsynth import fit
    from degsynth.model import pool_file

    with tempfile.TemporaryDirectory() as elsewhere, console.Progress() as progress:
        known, run = Path(elsewhere) / "estimated.h5", Path(elsewhere) / "run"
        pool_file.write(estimated, known)
        chosen = fit.FitOptions(method="kmsr", lr=str(known), seed=seed, device=device)
        events = fit.Events(progress, progress.note, progress.warn, progress.figures)
        fit.run(chosen, config.model_dump(), run, events)
        facts = {"method": "kmsr", "seed": seed, **config.model_dump()}
        return replace(fit.generated_kernels(run, number, seed), made_by=facts)


def _told(pool: Any) -> str:
    return ", ".join(f"{count} {what}" for what, count in pool.counts().items())


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A folder, or a file: .mat .npy .npz .h5 or images.")],
    output: Output,
    kernel_size: Annotated[int | None, typer.Option(help="Taps per side, odd; unset: of the largest.")] = None,
    scale: Annotated[int | None, typer.Option(help="The grid's, where the kernels belong to one scale.")] = None,
    turn: Annotated[
        bool, typer.Option("--turn", help="Turn by half a turn: kernels that were made for convolution.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Make a pool of other programs' kernels; says what it did about even sizes, centring and negative taps.

    Example: degsynth kernel-pool import kernelgan_mats/ -o k.h5
    """
    from degsynth.kernel_pool import importing

    _check_output(output, overwrite)
    found = importing.read(source, kernel_size, scale, turn)
    for text in found.notes:
        console.note(text)
    _write(found.pool, output)
    console.note(f"{output}: {_told(found.pool)}, {found.pool.kernels.shape[-1]} taps a side")


@app.command("show")
def show(
    pool: Annotated[Path, typer.Argument(metavar="POOL.h5")],
    picture: Annotated[
        Path | None,
        typer.Option("--picture", "-o", metavar="P.png", help="Draw kernels, and how they are distributed."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show what is in a pool: how many kernels of which source, how wide, how lopsided, and what is flagged.

    Example: degsynth kernel-pool show pool.h5 -o pool.png
    """
    from degsynth.errors import ConfigError
    from degsynth.evaluation.kernel_sets import pool_summary
    from degsynth.model import pool_file
    from degsynth.reports.pool import draw_pool

    opened = pool_file.read(pool)
    if picture is not None:
        options.check_output(picture)
        if picture.suffix.lower() != ".png":
            raise ConfigError(f"-o {picture}: give a name that ends in .png")
        scale = f", scale {opened.scale}" if opened.scale else ""
        draw_pool(picture, opened, f"{pool.name}: {_told(opened)}{scale}")
    facts = pool_summary(opened)
    if json:
        typer.echo(jsonlib.dumps(facts, ensure_ascii=False))
        return
    for name, value in facts.items():
        typer.echo(f"{name:14} {jsonlib.dumps(value, ensure_ascii=False)}")
