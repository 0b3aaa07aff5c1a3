"""``degsynth apply``."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from degsynth.cli import console, options, streams
from degsynth.cli.signals import GracefulStop, way_on
from degsynth.errors import ConfigError, DegsynthError
from degsynth.files import is_pool_name

if TYPE_CHECKING:
    from degsynth.apply import Summary
    from degsynth.apply.manifest import Row
    from degsynth.data.sources import Sources
    from degsynth.model.degradation import Noise
    from degsynth.model.mixture import Mixture

NAME = "apply"


def command(
    model: options.Models,
    hr: Annotated[
        Path,
        typer.Argument(
            metavar="HR",
            help="Folder of HR images, searched recursively, one image, a pattern ('photos/**/*.png'), a data set of "
            "an HDF5 file (photos.h5:/hr), or - for a list of files on stdin.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the training set.")],
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="learned|none|OTHER",
            help="Noise that is added: the model's own (learned), none, or that of another model. "
            "Unset: the model's own, if it has any.",
        ),
    ] = None,
    awgn: Annotated[
        str | None,
        typer.Option(
            metavar="SIGMA|LO:HI",
            help="White Gaussian noise that is added, independent in every channel: its σ on the 0–255 scale, or a "
            "range from which every image draws one. In luma it has 0.67 σ. Unset: none.",
        ),
    ] = None,
    awgn_luma: Annotated[
        str | None,
        typer.Option(
            metavar="SIGMA|LO:HI",
            help="The same, but equal in all channels, so that σ is that of luma.",
        ),
    ] = None,
    shot_read: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="White noise, independent in every channel, whose variance is A·x + B at level x (pdm, Eq. 9). All "
            "are on the 0–255 scale, so 0,25 is the same as σ 5, and 0.4,4 has σ 2 at black and σ 10.3 at white. Each "
            "may be a range LO:HI, from which every image draws one. Excludes --awgn. Unset: none.",
        ),
    ] = None,
    jpeg: Annotated[
        str | None,
        typer.Option(
            metavar="learned|none|QUALITY|LO:HI",
            help="Compress the LR images as JPEG files, then write their pixels without loss: as the LR images of the "
            "fit (learned), or at a quality of libjpeg (1–100), which every image draws from a range. Unset: learned, "
            "where these were JPEG files.",
        ),
    ] = None,
    jpeg_files: Annotated[
        bool, typer.Option("--jpeg-files", help="Write these JPEG files themselves as LR images.")
    ] = False,
    scale: options.PoolScale = None,
    hardware_factor: options.HardwareFactor = None,
    layout: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYOUT",
            help="Also write the training set as a certain trainer or library reads it, into OUT/LAYOUT: basicsr, "
            "kair, neosr, trainner, div2k, hf, webdataset, lmdb, hdf5 or deepinv. It can be given several times, and "
            "with --resume for a set that is finished. Unset: pairs, which are OUT/hr and OUT/lr.",
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(help="Number of LR images of each HR image; each gets its own random numbers.")
    ] = 1,
    crop: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Cut HR images into crops of N×N px, each with its own LR image, which is the crop of the LR image of "
            "the whole. N is a multiple of the scale. Unset: whole images.",
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(
            metavar="M",
            help="Distance between crops, px, a multiple of the scale; the last one is moved inwards. More than N "
            "leaves gaps. Unset: N.",
        ),
    ] = None,
    seed: options.Seed = 0,
    data_range: options.DataRange = None,
    to_srgb: options.ToSrgb = False,
    memory: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            help="Memory for the tiles of all workers together. Unset: 0.25 for each worker; on a GPU, half of what is "
            "free.",
        ),
    ] = None,
    tile: Annotated[
        int | None, typer.Option(help="Side of a tile in LR pixels. Unset: as large as the memory allows.")
    ] = None,
    link: Annotated[
        str, typer.Option(metavar="hard|symlink|copy", help="How HR files get into OUT/hr if they need no change.")
    ] = "hard",
    workers: Annotated[
        int | None, typer.Option(help="Number of images that are processed at a time. Unset: the number of cores.")
    ] = None,
    device: options.Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    check: Annotated[
        str,
        typer.Option(
            metavar="quick|full",
            help="How closely --resume looks at finished outputs: reads HR files only if they have changed since "
            "(quick), or all of them.",
        ),
    ] = "quick",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a training set that degsynth wrote.")] = False,
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="MANIFEST",
            help="Make the outputs of this manifest again, with the options in the dataset.json beside it. Give the "
            "same MODEL and HR, and --noise only for the noise of another model. The exit code is 1 if a byte differs.",
        ),
    ] = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check everything, say what would be done and about how much room and time that takes, and write "
            "nothing. With --json as one object on stdout. The exit code is 1 if an image would fail, or if there is "
            "too little room.",
        ),
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Degrade only the first three images, draw the middle of each (HR, LR, bicubic LR) into this file, "
            "and leave OUT alone.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Degrade only the first N images. Unset: all.")] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Files of a list are separated by null characters, not by lines.")
    ] = False,
    max_pixels: options.MaxPixels = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Give an image up, as failed, where its decoder or its file system takes longer (on Linux). 0: never.",
        ),
    ] = 600.0,
    json: Annotated[
        bool, typer.Option("--json", help="Print the rows of the manifest as JSON lines on stdout.")
    ] = False,
) -> None:
    """Degrade HR images into an HR-LR training set.

    OUT/hr holds the HR images, OUT/lr their LR images, and OUT/manifest.jsonl a row for each LR image.

    Example: degsynth apply nikon.pt my_hr_photos/ trainset/ --awgn 5

    Example: degsynth apply nikon.pt hr/ set/ --noise runs/phone --draws 3

    Example: degsynth apply pool.h5 my_hr_photos/ trainset/ --scale 2

    Example: degsynth apply nikon.pt hr/ set/ --crop 480 --step 240

    Example: degsynth apply nikon.pt:0.7,phone.pt:0.3 my_hr_photos/ trainset/

    Example: degsynth apply nikon.pt hr/ set/ --layout basicsr --layout lmdb

    Example: degsynth apply nikon.pt hr/ again/ --replay set/manifest.jsonl

    Example: degsynth apply nikon.pt hr/ set/ --include '*.tif' --exclude old

    Example: degsynth apply nikon.pt my_hr_photos/ trainset/ --dry-run

    Example: find photos/ -name '*.tif' -print0 | degsynth apply nikon.pt - set/ -0 --json
    """
    from degsynth import apply, watching
    from degsynth.apply import allocator
    from degsynth.apply.jpeg import parse as parse_jpeg
    from degsynth.cli import trial
    from degsynth.data.sources import Choice, Sources
    from degsynth.model.resolve import mixture_parts, open_mixture
    from degsynth.parallel import usable_cores

    allocator.keep_freed_memory()
    if link not in apply.LINKS:
        raise ConfigError(f"--link {link}: give hard, symlink or copy")
    if check not in apply.CHECKS:
        raise ConfigError(f"--check {check}: give quick or full")
    if not 0 <= timeout < math.inf:
        raise ConfigError(f"--timeout {timeout:g}: give a number of seconds, or 0")
    watching.board().set_longest(timeout)
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")
    trial.check(dry_run, preview)
    levels = options.data_range(data_range)
    device = options.pick_device(device)
    recorded = None if replay is None else apply.Replay.read(replay)
    if recorded is not None:
        _refuse(
            {
                "--scale": scale,
                "--noise": noise if noise in ("learned", "none") else None,
                "--awgn": awgn,
                "--awgn-luma": awgn_luma,
                "--shot-read": shot_read,
                "--hardware-factor": hardware_factor,
                "--jpeg": jpeg,
                "--jpeg-files": jpeg_files or None,
                "--data-range": data_range,
                "--to-srgb": to_srgb or None,
                "--seed": seed or None,
                "--crop": crop,
                "--step": step,
                "--draws": None if draws == 1 else draws,
                "--include": " ".join(include or ()) or None,
                "--exclude": " ".join(exclude or ()) or None,
            }
        )
        scale = recorded.made_by.scale if any(is_pool_name(name) for name, _ in mixture_parts(model)) else None
    loaded = open_mixture(model, scale, device)
    added = _with_white(_noise(noise, loaded, device), awgn, awgn_luma, shot_read)
    settings: dict[str, Any] = {
        "seed": seed,
        "noise": added,
        "draws": draws,
        "jpeg": parse_jpeg(jpeg),
        "jpeg_files": jpeg_files,
        "to_srgb": to_srgb,
        "crop": crop,
        "step": step,
        "hardware_factor": options.interval(hardware_factor, "hardware_factor"),
        "data_range": levels,
    }
    if recorded is not None:
        recorded.check_model(loaded)
        settings = recorded.settings(added.noise_model)
    chosen = apply.Options(
        **settings,
        tile=tile,
        memory=None if memory is None else 1e9 * memory,
        link=link,
        workers=usable_cores() if workers is None else workers,
        device=device,
        existing="resume" if resume else "overwrite" if overwrite else "refuse",
        check=check,
        limit=limit,
        max_pixels=max_pixels,
        layouts=tuple(dict.fromkeys(name.lower() for name in layout or () if name.lower() != "pairs")),
    )
    for warning in chosen.degradations(loaded).warnings():
        console.warn(warning)
    choice = Choice(tuple(include or ()), tuple(exclude or ()))
    if str(hr) == "-":
        sources = Sources.of_list(streams.input_lines(b"\0" if null else b"\n")).chosen(choice)
    else:
        sources = Sources.of(hr, choice)
    if preview is not None:
        trial.check_no_input(preview, sources)
        trial.draw_preview(preview, loaded, model, sources, chosen)
        return
    if dry_run:
        trial.report_forecast(loaded, sources, out, chosen, json)
        return
    with way_on(lambda: "go on with --resume"), GracefulStop() as stop, console.Progress() as progress:
        rows = _Rows(progress, json)
        summary = apply.run(loaded, sources, out, chosen, rows, stop.asked, progress.warn, progress)
    _report(out, summary, sources)
    if not summary.interrupted:
        for name in chosen.layouts:
            if (out / name).is_dir():
                console.note(f"layout {name}: {out / name}")
    if summary.interrupted:
        console.note("interrupted; go on with --resume")
        raise typer.Exit(stop.exit_code)
    if rows.linked and not json:
        console.note(f"{out / 'hr'} has hard links: editing a file there edits the original (--link copy makes copies)")
    if summary.failed or summary.differing:
        raise typer.Exit(1)


def _refuse(given: dict[str, object]) -> None:
    """Raise ConfigError where an option was given that a replay takes from dataset.json."""
    for flag, value in given.items():
        if value is not None:
            raise ConfigError(f"{flag} {value} and --replay exclude each other: it is what it was then", "leave it out")


def _with_white(noise: Noise, awgn: str | None, awgn_luma: str | None, shot_read: str | None) -> Noise:
    """Add white noise as ``--awgn``, ``--awgn-luma`` or ``--shot-read`` asks for it."""
    from degsynth.model.degradation import ShotRead

    given = {"--awgn": awgn, "--awgn-luma": awgn_luma, "--shot-read": shot_read}
    flags = [flag for flag, value in given.items() if value is not None]
    if len(flags) > 1:
        raise ConfigError(f"{flags[0]} and {flags[1]} exclude each other", "give one of them")
    if shot_read is not None:
        return dataclasses.replace(noise, shot_read=ShotRead.parse(shot_read))
    if awgn_luma is not None:
        return dataclasses.replace(noise, awgn=options.interval(awgn_luma, "awgn_luma"), awgn_luma=True)
    return dataclasses.replace(noise, awgn=options.interval(awgn, "awgn"))


def _noise(text: str | None, mixture: Mixture, device: str) -> Noise:
    """Read the value of ``--noise``."""
    from degsynth.model import checkpoint
    from degsynth.model.degradation import Noise
    from degsynth.model.resolve import resolve

    if text in (None, "learned", "none"):
        silent = [model for model in mixture.models if not model.spec.has_noise]
        if text == "learned" and silent:
            raise ConfigError(
                f"--noise learned: the model {silent[0].path} ({silent[0].spec.method}) has none; use --awgn, or give "
                "another model whose noise is added"
            )
        return Noise(text != "none")
    try:
        return Noise(True, checkpoint.load(resolve(str(text)), device))
    except DegsynthError as error:
        raise ConfigError(f"--noise {text}: {error}") from None


class _Rows:
    """Reports every row of the manifest: progress, failures, and JSON where it is asked for."""

    def __init__(self, progress: console.Progress, json: bool) -> None:
        self._progress, self._json, self._count = progress, json, 0
        self.linked = False
        """Whether an HR file of the data set is the original, by a hard link."""

    def __call__(self, row: Row, total: int) -> None:
        self._count += 1
        self.linked = self.linked or row.hr_kept == "hard"
        if row.status == "failed":
            self._progress.note(f"failed: {row.source}: {row.error}")
        if self._json:
            typer.echo(row.model_dump_json(exclude_none=True))
        self._progress("apply", self._count, total)


def _report(out: Path, summary: Summary, sources: Sources) -> None:
    """Print what became of the images, and what was passed over or left out by --include and --exclude."""
    from degsynth.cli import trial

    trial.say_passed_over(sources)
    before = f" ({summary.resumed} of them by an earlier run)" if summary.resumed else ""
    chosen = f"; {sources.left_out} HR images left out by --include and --exclude" if sources.left_out else ""
    console.note(f"{out}: {summary.done} LR images{before}, {summary.failed} failed{chosen}")
