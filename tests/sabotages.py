"""One-line bugs that the tests must notice; ``python -m tests.sabotages [NAME ...] [--jobs 2]`` puts them in.

A test that cannot fail is worth nothing. Each sabotage is put into a copy of the package, the tests that should notice
it are run there, and it is ``caught`` where one of them fails. Before that, all these tests must pass in a copy without
a bug. The exit code is 1 where a sabotage was missed, or where the text that it replaces no longer occurs exactly once.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("degsynth", "tests", "models", "pyproject.toml")
"""What the tests below need of the repository."""


@dataclass(frozen=True)
class Sabotage:
    """A bug: a text that occurs once in a file of the package, and what it is replaced by."""

    name: str
    breaks: str
    """What it breaks, in a few words."""
    file: str
    """Path relative to the package."""
    old: str
    new: str
    tests: tuple[str, ...]
    """Files or node ids, relative to the folder of tests, that must notice it."""


SABOTAGES = (
    # --- JPEG ---
    Sabotage(
        "jpeg-noise-after",
        "the noise of JPEG files is measured as compression left it",
        "methods/shared/measured_noise.py",
        "    if jpeg is None:\n",
        "    if True:\n",
        ("fit/test_jpeg.py::test_blur_noise_and_tables_of_a_folder",),
    ),
    Sabotage(
        "jpeg-turned",
        "the blocks of a JPEG file that EXIF turns are looked for at the wrong corner",
        "methods/shared/measured_noise.py",
        "samples = [stored.samples_of(image) for image, stored in known]",
        "samples = [image for image, stored in known]",
        ("fit/test_jpeg.py::test_noise_of_photographs_that_are_stored_turned",),
    ),
    Sabotage(
        "jpeg-middles",
        "the middle of a large photograph does not end at a block of its JPEG file",
        "data/folders.py",
        "return left_out // 2 * step, length - left_out * step",
        "return left_out // 2 * step, min(length, side)",
        ("fit/test_jpeg.py::test_middles_begin_at_blocks_from_either_end",),
    ),
    Sabotage(
        "jpeg-residual-after",
        "what a model leaves out of JPEG files is drawn as compression left it, and compressed again",
        "evaluation/residual.py",
        "noise = before_compression(measured, clean, level_step, compress)",
        "noise = measured.noise",
        ("fit/test_jpeg.py::test_pairs",),
    ),
    Sabotage(
        "jpeg-flat-by-itself",
        "the coefficients in which noise is measured also decide which blocks are flat",
        "ops/jpeg_noise.py",
        "low = (_frequency() > 0) & (_frequency() <= JUDGED)",
        "low = _frequency() > 0",
        ("ops/test_jpeg_noise.py",),
    ),
    Sabotage(
        "jpeg-one-quality",
        "all images of a run are compressed alike",
        "apply/layouts/pairs.py",
        'jpeg.draw(identity.seed("jpeg"))',
        "jpeg.draw(0)",
        ("apply/test_jpeg.py::test_every_image_draws_its_quality",),
    ),
    Sabotage(
        "jpeg-zigzag",
        "tables of JPEG files are read row by row, not along the diagonals",
        "data/compression.py",
        "steps = dict(zip(ZIGZAG, table, strict=True))",
        "steps = dict(enumerate(table))",
        ("data/test_compression.py::test_tables_of_ones_own",),
    ),
    # --- the command line, alignment and levels ---
    Sabotage(
        "alignment-no-gain",
        "another contrast of LR is taken for a displacement",
        "data/alignment.py",
        "step = np.array(slopes) / gain if",
        "step = np.array(slopes) if",
        ("data/test_alignment.py", "data/test_pairs.py::test_shift_is_measured"),
    ),
    Sabotage(
        "alignment-warp-always",
        "every shift comes with a warp, which is noise",
        "data/alignment.py",
        "WARP_LEAVES = 0.8",
        "WARP_LEAVES = 1.01",
        ("data/test_alignment.py::test_a_shift_is_no_warp",),
    ),
    Sabotage(
        "alignment-turn-sign",
        "an LR image is said to be turned the other way",
        "data/alignment.py",
        "(self.warp[1][0] - self.warp[0][1]) / 2",
        "(self.warp[0][1] - self.warp[1][0]) / 2",
        ("data/test_alignment.py::test_zoom_and_rotation_are_measured",),
    ),
    Sabotage(
        "levels-black",
        "levels are compared without taking black off",
        "data/levels.py",
        "hr = (np.array([pair.hr_mean for pair in pairs]) - black) / unit",
        "hr = np.array([pair.hr_mean for pair in pairs]) / unit",
        ("data/test_levels.py",),
    ),
    Sabotage(
        "levels-cast-is-change",
        "a change of all channels alike is taken for a colour cast",
        "data/levels.py",
        "cast=float(rms(1 + gain - gain.mean(), offset - offset.mean()).max())",
        "cast=float(rms(gain, offset).max())",
        ("data/test_levels.py::test_a_common_level",),
    ),
    Sabotage(
        "levels-cropped-elsewhere",
        "blocks of HR and LR do not lie on each other",
        "data/levels.py",
        "block * scale)",
        "block)",
        ("data/test_levels.py",),
    ),
    Sabotage(
        "interrupted-without-advice",
        "who interrupts a fit is not told how to go on",
        "cli/fit.py",
        "if RunDirectory(out).steps() else NOTHING_KEPT",
        "if False else NOTHING_KEPT",
        ("cli/test_interruption.py",),
    ),
    Sabotage(
        "interrupted-false-hope",
        "an estimation that has kept nothing says that it can go on",
        "cli/kernel_pool/shared.py",
        "if journal_of(output).exists() else NOTHING_KEPT",
        "if True else NOTHING_KEPT",
        ("cli/test_interruption.py",),
    ),
    Sabotage(
        "budget-ignored",
        "the estimation of kernels goes on when the time is up",
        "kernel_pool/estimate.py",
        "and notes.has_kernel() and pace.stop_asked()",
        "and notes.has_kernel() and False",
        ("kernel_pool/test_estimating.py::test_what_was_stopped_is_a_pool_and_goes_on",),
    ),
    Sabotage(
        "budget-no-kernel",
        "a budget ends before there is a kernel",
        "kernel_pool/estimate.py",
        "and notes.has_kernel() and pace.stop_asked()",
        "and pace.stop_asked()",
        ("kernel_pool/test_estimating.py::test_what_was_stopped_is_a_pool_and_goes_on",),
    ),
    Sabotage(
        "budget-forgets",
        "what a budget has ended cannot go on",
        "cli/kernel_pool/generate.py",
        'estimated=origin == "photographs" and complete',
        'estimated=origin == "photographs"',
        ("cli/test_kernel_pool.py::test_a_budget_ends_with_the_kernels_that_there_are",),
    ),
    Sabotage(
        "export-late-refusal",
        "a model is tested for long before its file is refused",
        "cli/export.py",
        '    checkpoint.check_target(output, overwrite, ".onnx" if as_onnx else ".pt")\n',
        "",
        ("cli/test_cheap_checks.py",),
    ),
    Sabotage(
        "mis-sized-decoded",
        "pairs of another scale are decoded before they are refused",
        "data/opening.py",
        "_refuse(size_faults(matched, options.scale), len(matched), options)",
        "_refuse([], len(matched), options)",
        ("data/test_pairs.py::test_pairs_of_another_size_are_not_decoded",),
    ),
    Sabotage(
        "declared-turned",
        "the size of a photograph that its header turns is read without turning it",
        "data/decoding.py",
        "(width, height) if orientation >= 5 else",
        "(width, height) if orientation >= 9 else",
        ("data/test_pairs.py::test_pairs_of_another_size_are_not_decoded",),
    ),
    Sabotage(
        "ended-fit-repeated",
        "a fit that has ended is checked and fitted again",
        "fit/stages.py",
        "if resume and (ended :=",
        "if not resume and (ended :=",
        ("fit/test_fit.py::test_a_fit_without_steps_that_has_ended_is_not_repeated",),
    ),
    Sabotage(
        "ended-fit-other-options",
        "a fit that has ended ignores a larger budget",
        "fit/resuming.py",
        "name not in found | WITHOUT_EFFECT",
        "name not in found | MAY_CHANGE",
        ("fit/test_fit.py::test_resuming_needs_the_same_pairs_and_options",),
    ),
    Sabotage(
        "tables-on-stderr",
        "tables are lost where stdout is kept in a file",
        "cli/console.py",
        "stream = sys.stderr if is_note else sys.stdout",
        "stream = sys.stderr",
        ("cli/test_console.py",),
    ),
    Sabotage(
        "tables-cut",
        "tables in files are folded at 80 columns",
        "cli/console.py",
        "width=None if on_terminal else FILE_WIDTH",
        "width=None",
        ("cli/test_console.py",),
    ),
    # --- ONNX files ---
    Sabotage(
        "onnx-unchecked",
        "an ONNX file that differs from its model is written",
        "onnx_export/export.py",
        "if not difference <= TOLERANCE:",
        "if difference < 0:",
        ("onnx_export/test_export.py::test_what_cannot_be_exported_is_named",),
    ),
    Sabotage(
        "onnx-loop-of-the-example",
        "a loop over the rows of an image runs as often as in the example",
        "onnx_export/program.py",
        'self._refuse(count, "prim::Loop", "how often it runs depends on the size of the image")',
        "count = self._graph.example(count)",
        ("onnx_export/test_export.py::test_what_cannot_be_exported_is_named",),
    ),
    Sabotage(
        "onnx-scale-in-noise",
        "the noise of a model takes the sizes of the HR image for those of the LR image",
        "onnx_export/export.py",
        '*inputs("lr", 1))',
        '*inputs("hr", 1))',
        ("onnx_export/test_export.py::test_the_noise_can_be_cut_out",),
    ),
    # --- seeds and random numbers ---
    Sabotage(
        "seeds-page",
        "all slices of a stack share their random numbers",
        "seeds.py",
        "derive(self.run_seed, self.key, self.page, self.draw, purpose)",
        "derive(self.run_seed, self.key, 0, self.draw, purpose)",
        ("test_seeds.py",),
    ),
    Sabotage(
        "seeds-nfc",
        "a file name gets other random numbers where another system spells it differently",
        "seeds.py",
        'unicodedata.normalize("NFC", part) if isinstance(part, str) else part for part in parts',
        "part for part in parts",
        ("test_seeds.py",),
    ),
    Sabotage(
        "draws-share-seed",
        "several LR images of one HR image are equal",
        "apply/layouts/pairs.py",
        "Identity(self.options.seed, first.source, first.page, first.draw)",
        "Identity(self.options.seed, first.source)",
        ("apply/test_apply.py::test_draws_differ_and_do_not_depend_on_their_number",),
    ),
    Sabotage(
        "noise-blocks",
        "neighbouring blocks of the random field repeat",
        "ops/noise.py",
        "normals(block_seed(seed, row, column),",
        "normals(block_seed(seed, row, 0),",
        ("ops/test_noise.py",),
    ),
    Sabotage(
        "noise-window",
        "a window of the random field depends on where it begins",
        "model/noise_field.py",
        "inner_rows = slice(max(0, top - row * BLOCK), bottom - row * BLOCK)",
        "inner_rows = slice(0, bottom - max(top, row * BLOCK))",
        ("model/test_render.py::test_windows_of_a_noise_field_equal_the_whole_and_blocks_are_drawn_once",),
    ),
    Sabotage(
        "noise-model-seed",
        "another model's noise is drawn from the seed of the kernel",
        "model/degradation.py",
        'seed, other = identity.seed("noise"), self.noise.noise_model',
        'seed, other = identity.seed("kernel"), self.noise.noise_model',
        ("apply/test_apply.py::test_noise_of_another_model",),
    ),
    Sabotage(
        "training-step-seed",
        "fits with different seeds draw the same in training",
        "fit/loop.py",
        'generator(derive(course.seed, "training step", state.step))',
        "generator(state.step)",
        ("fit/test_loop.py::test_the_random_numbers_of_a_step_follow_from_seed_and_step",),
    ),
    # --- what goes into a run ---
    Sabotage(
        "patterns-depth",
        "a star also stands for folders, so that a pattern takes more images than it names",
        "data/patterns.py",
        "return bool(parts) and fnmatch.fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:])",
        'return fnmatch.fnmatchcase("/".join(parts), "/".join(wanted))',
        ("data/test_patterns.py",),
    ),
    Sabotage(
        "patterns-unknown",
        "a pattern with a slip in it leaves nothing out, without a word",
        "data/sources.py",
        "if not any(_fits(pattern, name) for name in names):",
        "if not names:",
        ("data/test_patterns.py", "cli/test_sources.py"),
    ),
    Sabotage(
        "choice-of-fit",
        "a fit takes all images of both folders, whatever is to be left out",
        "data/matching.py",
        "choose([Sources.found(hr), Sources.found(lr)], choice)",
        "choose([Sources.found(hr), Sources.found(lr)], ALL)",
        ("data/test_choosing.py",),
    ),
    Sabotage(
        "align-phase",
        "HR lies half a pixel off LR",
        "align/lens_map.py",
        "+ 0.5) / scale - 0.5 + first",
        "+ 1.0) / scale - 0.5 + first",
        ("align/test_lens_map.py::test_points_of_a_finer_grid_have_the_mean_of_their_pixel",),
    ),
    Sabotage(
        "align-local",
        "a local correction is made where nothing local is there",
        "align/local.py",
        "LEAST_GAIN = 0.1",
        "LEAST_GAIN = -9.0",
        ("align/test_pair.py::test_a_local_correction_is_made_only_where_blocks_agree",),
    ),
    Sabotage(
        "align-mask",
        "what differs between two photographs is kept",
        "align/mask.py",
        "TOLERANCE = 2.5",
        "TOLERANCE = 250.0",
        ("align/test_pair.py::test_what_differs_is_left_out",),
    ),
    Sabotage(
        "align-levels",
        "HR keeps the levels of the telephoto",
        "align/levels.py",
        'if self.choice == "none":',
        'if self.choice != "other":',
        ("align/test_pair.py::test_levels_of_hr_are_those_of_lr",),
    ),
    Sabotage(
        "pages-distinct",
        "a page of a stack is overwritten by a file of its name",
        "apply/layouts/names.py",
        "while path.as_posix() in taken:",
        "while False:",
        ("apply/test_names.py::test_a_page_and_a_file_of_its_name_have_stems_of_their_own",),
    ),
    Sabotage(
        "failed-set",
        "a data set whose images were moved away is removed without a word",
        "apply/dataset_folder.py",
        'return all(row.status == "failed" for row in Manifest(out).read())',
        "return True",
        ("apply/test_apply.py::test_a_run_in_which_every_image_failed_is_in_nobodys_way",),
    ),
    Sabotage(
        "stack-beside-file",
        "a damaged stack is a file without a partner",
        "data/matching.py",
        "_check_stacks([found.hr, found.lr], found.unmatched())",
        "_check_stacks([found.hr, found.lr], [])",
        ("data/test_members.py::test_a_stack_beside_a_file_of_one_image",),
    ),
    Sabotage(
        "page-number",
        "a fit reads the first page of a stack in place of the one that is named",
        "data/images.py",
        "number = 0 if page is None else page.number",
        "number = 0",
        ("data/test_members.py::test_an_image_of_a_stack_is_read_by_its_number",),
    ),
    Sabotage(
        "pages-below",
        "images of two stacks are matched by the names of the stacks",
        "data/members.py",
        "page.file.as_posix() == asked.name",
        "page.file.as_posix() == asked",
        ("data/test_members.py::test_pairs_are_matched_by_number",),
    ),
    Sabotage(
        "hr-before-jpeg",
        "LR is made of HR as it was before it was written as a JPEG file",
        "apply/layouts/hr_image.py",
        "compressed(before.pixels, FINEST)",
        "before.pixels",
        ("apply/test_meaning.py::test_hr_that_is_written_anew_is_a_file_of_the_same_kind",),
    ),
    Sabotage(
        "hr-kind",
        "HR of a JPEG that must be written anew is a PNG in the middle of a JPEG set",
        "apply/layouts/hr_image.py",
        "return path.suffix if held else",
        "return path.suffix if not held else",
        ("apply/test_meaning.py::test_hr_that_is_written_anew_is_a_file_of_the_same_kind",),
    ),
    Sabotage(
        "table-of-sr",
        "a comparison takes finished trainings for those on other pairs of a table",
        "sr/compare.py",
        "parts.append(fingerprint((pair.name, path) for pair in found for path in (pair.hr, pair.lr)))",
        "parts.append(str(len(str(found)) > 0))",
        ("cli/test_sr.py::test_tables_of_pairs_are_compared_with",),
    ),
    Sabotage(
        "glob-root",
        "images that a pattern names get other names, and so random numbers, than in a run over the folder",
        "data/globs.py",
        'Glob(Path(*path.parts[:first]), "/".join(path.parts[first:]))',
        'Glob(Path(*path.parts[: first - 1]), "/".join(path.parts[first - 1 :]))',
        ("data/test_sources.py",),
    ),
    Sabotage(
        "home-groups",
        "commands of groups take ~ for the name of a folder",
        "cli/home.py",
        "if group.typer_instance is not None:",
        "if group.typer_instance is None:",
        ("cli/test_sources.py::test_every_command_knows_the_home_folder",),
    ),
    Sabotage(
        "packed-white",
        "white of a TIFF of 12 bits is 65535, so that noise of σ 5 has 16 times that",
        "data/ranges.py",
        "if bits and data_range in (None, WHOLE_16_BITS):",
        "if bits and data_range == WHOLE_16_BITS:",
        ("data/test_packed.py",),
    ),
    Sabotage(
        "packed-spread",
        "a TIFF of 4 bits is nearly black",
        "data/tiff.py",
        "SPREAD = {1: 255, 2: 85, 4: 17}",
        "SPREAD = {1: 255, 2: 85, 4: 1}",
        ("data/test_packed.py",),
    ),
    Sabotage(
        "stack-order",
        "planes of an OME stack get the names of other channels",
        "data/stacks.py",
        'order = [(axis, sizes[axis]) for axis in pixels.get("DimensionOrder", "XYZCT")[2:]]',
        'order = [(axis, sizes[axis]) for axis in "ZCT"]',
        ("data/test_stacks.py",),
    ),
    Sabotage(
        "stack-size",
        "the size of a pixel of an ImageJ stack is lost",
        "data/tiff.py",
        "density=said.density or density,",
        "density=density,",
        ("data/test_stacks.py",),
    ),
    Sabotage(
        "srgb-table",
        "16-bit colours that are converted to sRGB are wrong by up to 19 levels of 8 bits",
        "data/srgb.py",
        "flags=FINE_GRID if pixels.dtype == np.uint8 else EXACT,",
        "flags=FINE_GRID,",
        ("data/test_srgb.py::test_colours_are_those_of_the_standards",),
    ),
    Sabotage(
        "srgb-carried",
        "an image that was converted to sRGB still has its old profile",
        "data/srgb.py",
        'carried = replace(picture.meaning.carried, icc=b"", chunks=())',
        "carried = picture.meaning.carried",
        ("data/test_srgb.py", "apply/test_to_srgb.py::test_both_sides_are_in_srgb"),
    ),
    Sabotage(
        "hdf5-axes",
        "three gray images of an HDF5 file are taken for one in colours",
        "data/hdf5_images.py",
        'return ["NHW", *of_channels] if "CHW" in of_channels else of_channels or ["NHW"]',
        'return of_channels or ["NHW"]',
        ("data/test_hdf5_images.py::test_axes_that_are_not_clear",),
    ),
    Sabotage(
        "hdf5-unsuitable",
        "a data set that cannot be read makes those beside it unreadable, too",
        "data/sources.py",
        "for name in self.names:\n            if (error",
        "for name in self.unsuitable:\n            if (error",
        ("data/test_hdf5_images.py::test_an_unsuitable_data_set_of_a_group_can_be_left_out",),
    ),
    Sabotage(
        "hdf5-unwritten",
        "an image of which a part was never written is black there, without a word",
        "data/hdf5_images.py",
        "if chunk.byte_offset is None:",
        "if node.id.get_storage_size() == 0:",
        ("data/test_hdf5_images.py::test_damaged_and_lying_files",),
    ),
    Sabotage(
        "hdf5-stale",
        "a file that was replaced while it was open gives the old images",
        "data/hdf5_images.py",
        "if self.store is None or identity != self.identity:",
        "if self.store is None or identity[0] != self.identity[0]:",
        ("data/test_hdf5_images.py::test_a_file_that_was_changed_is_opened_anew",),
    ),
    Sabotage(
        "heic-depth",
        "HEIC of 10 bits is taken for one of 8",
        "data/heif.py",
        "if mode not in MODES or bits != 8:",
        "if False:",
        ("data/test_heif.py::test_damaged_and_deep_heic",),
    ),
    Sabotage(
        "videos-silent",
        "videos in the folders of a fit are passed over without a word",
        "data/opening.py",
        "films = listing.videos(listing.find(folder)[1]) if",
        "films = listing.videos(listing.find(folder)[0]) if",
        ("data/test_sources.py::test_folders_of_a_fit_with_videos",),
    ),
    # --- geometry ---
    Sabotage(
        "tile-halo",
        "tiles read one LR pixel too few at their left and top",
        "model/tiling.py",
        "(start - halo) // step * step",
        "(start - halo + 1) // step * step",
        ("model/test_tiling.py",),
    ),
    Sabotage(
        "tile-origin",
        "windows of tiles do not begin on the grid of pooling",
        "model/tiling.py",
        "max(0, (start - halo) // step * step)",
        "max(0, start - halo)",
        ("model/test_tiling.py",),
    ),
    Sabotage(
        "noise-halo",
        "tiles forget how far the noise reads",
        "model/degradation.py",
        "self.model.spec.clean_halo + self.model.spec.scale * self.noise_model.spec.noise_halo",
        "self.model.spec.clean_halo",
        ("model/test_render.py::test_tiles_reach_as_far_as_the_noise",),
    ),
    Sabotage(
        "spec-halo",
        "a fitted kernel declares half of its halo",
        "methods/linear.py",
        "clean_halo=self.half_width,",
        "clean_halo=self.half_width // 2,",
        ("methods/test_contract.py::test_fitted_exported_and_proved[linear-2]",),
    ),
    Sabotage(
        "decimation-phase",
        "LR is shifted by one HR pixel",
        "ops/blur.py",
        "[pad, pad + right, pad, pad + down]",
        "[pad - 1, pad + 1 + right, pad - 1, pad + 1 + down]",
        ("ops/test_blur.py::test_a_ramp_keeps_its_phase",),
    ),
    Sabotage(
        "kernel-flip",
        "kernels are applied turned by 180°",
        "ops/blur.py",
        "blurred = convolved(planes, kernels, scale)",
        "blurred = convolved(planes, kernels.flip(1, 2), scale)",
        ("ops/test_blur.py::test_equals_the_definition",),
    ),
    Sabotage(
        "network-reach",
        "a network forgets how far its last convolution reads",
        "nets/encoder_decoder.py",
        "_reach(encoder, decoder) + last // 2",
        "_reach(encoder, decoder)",
        ("nets/test_encoder_decoder.py::test_reach",),
    ),
    # --- images and pairs ---
    Sabotage(
        "quantise-floor",
        "values are cut off instead of rounded when files are written",
        "data/images.py",
        ".clamp_(min=0.0).round_()",
        ".clamp_(min=0.0).floor_()",
        ("data/test_images.py::test_clamp_then_round_to_nearest",),
    ),
    Sabotage(
        "range-black",
        "the black of a data range is ignored when files are read",
        "data/images.py",
        "tensor.sub_(black)",
        "tensor.sub_(0.0)",
        ("data/test_images.py",),
    ),
    Sabotage(
        "alpha",
        "alpha of LR is picked from single pixels, not averaged",
        "apply/layouts/pairs.py",
        "area(images.to_tensor(alpha[..., None])[None], self.scale)[0]",
        "images.to_tensor(alpha[:: self.scale, :: self.scale, None])",
        ("apply/test_apply.py::test_hostile_folder",),
    ),
    Sabotage(
        "exif-orientation",
        "photographs of orientation 5 are not transposed",
        "data/exif.py",
        "if orientation >= 5:",
        "if orientation > 5:",
        ("data/test_exif.py",),
    ),
    Sabotage(
        "pair-matching",
        "files of one name in different folders are taken for one scene",
        "data/matching.py",
        'return PurePosixPath(name).with_suffix("").as_posix()',
        "return PurePosixPath(name).stem",
        ("data/test_matching.py",),
    ),
    Sabotage(
        "registration-sign",
        "registration moves HR in the wrong direction",
        "data/pairs.py",
        "[-self.scale * pair.shift[0], -self.scale * pair.shift[1]]",
        "[self.scale * pair.shift[0], self.scale * pair.shift[1]]",
        ("data/test_pairs.py::test_registration_undoes_the_shift",),
    ),
    Sabotage(
        "held-out-split",
        "a fit sees what it is scored on",
        "data/split.py",
        "return Split(members(sizes.keys() - set(ranked)), ",
        "return Split(members(set(sizes)), ",
        ("data/test_pairs.py::test_held_out_pairs_are_never_fitted",),
    ),
    Sabotage(
        "held-out-images",
        "an unpaired fit sees what it is scored on",
        "data/split.py",
        "return sorted(ranked[count:]), ",
        "return sorted(ranked), ",
        ("data/test_split.py",),
    ),
    Sabotage(
        "scenes-ignored",
        "sub-images of one scene are on both sides",
        "fit/sources/pairs.py",
        "self.pairs.split(names, ",
        "self.pairs.split([pair.name for pair in self.pairs.pairs], ",
        ("fit/test_scenes.py::test_no_scene_is_in_two_parts",),
    ),
    Sabotage(
        "reported-chooses",
        "the weights are chosen on the pairs that are reported",
        "fit/sources/pairs.py",
        "choosing = self.source.parts.choosing",
        "choosing = self.source.parts.reported",
        ("fit/test_scenes.py::test_what_is_reported_does_not_enter",),
    ),
    Sabotage(
        "split-not-compared",
        "a run is resumed with another split",
        "fit/resuming.py",
        'if contents.get("split", "") != split:',
        'if contents.get("split", split) != split:',
        ("fit/test_scenes.py::test_a_run_with_another_split_is_not_resumed_but_exported",),
    ),
    Sabotage(
        "counter-is-a-part",
        "the photographs that a camera counts are taken for parts of one scene",
        "data/scenes.py",
        "(?: _s[0-9]{{3,}} ",
        "(?: _s?[0-9]{{3,}} ",
        ("data/test_scenes.py",),
    ),
    Sabotage(
        "cache-budget",
        "the cache counts values, not bytes",
        "data/cache.py",
        "getsizeof=lambda entry: entry[1]",
        "getsizeof=lambda entry: 1",
        ("data/test_cache.py",),
    ),
    # --- data sets ---
    Sabotage(
        "manifest-torn-line",
        "a last line that a crash cut short is an error",
        "apply/manifest.py",
        "elif not last:",
        "else:",
        ("apply/test_manifest.py",),
    ),
    Sabotage(
        "resume-checksum",
        "a resumed run keeps damaged LR files",
        "apply/verification.py",
        "self._hash(row.lr) == row.lr_sha256",
        "self.root.stat(row.lr)",
        ("apply/test_apply.py::test_resume_redoes_what_is_damaged_or_another_image",),
    ),
    Sabotage(
        "names-casefold",
        "outputs whose names differ in case alone overwrite each other on some systems",
        "apply/layouts/names.py",
        "if plain[name].casefold() in taken:",
        "if plain[name] in taken:",
        ("apply/test_names.py",),
    ),
    Sabotage(
        "link-copy",
        "HR files are linked where a copy was asked for",
        "apply/dataset_folder.py",
        'if how == "hard":',
        'if how in ("hard", "copy"):',
        ("apply/test_apply.py::test_hr_is_kept_not_encoded_again",),
    ),
    Sabotage(
        "names-traversal",
        "names in a manifest lead out of the data set",
        "files.py",
        'part in ("", ".", "..")',
        'part in ("", ".")',
        ("apply/test_hostile_folder.py",),
    ),
    Sabotage(
        "links-followed",
        "a link in place of a folder of the data set is written through",
        "apply/root.py",
        "try:\n            return os.open(name, FOLDER | NOFOLLOW, dir_fd=parent)",
        "try:\n            return os.open(name, FOLDER, dir_fd=parent)",
        ("apply/test_hostile_folder.py",),
    ),
    Sabotage(
        "source-replaced",
        "a source of equal size that was replaced counts as the same image",
        "apply/verification.py",
        "return not modified and not replaced",
        "return True",
        ("apply/test_hostile_folder.py",),
    ),
    Sabotage(
        "verify-sha256",
        "verify takes changed files for sound",
        "apply/audit.py",
        'return "" if file_digest(file) == sha256 else',
        'return "" if sha256 else',
        ("apply/test_audit.py",),
    ),
    Sabotage(
        "verify-partner",
        "verify does not name a file whose partner is missing",
        "apply/audit.py",
        "elif partner is not None and not there[partner]:",
        "elif partner is None:",
        ("apply/test_audit.py",),
    ),
    Sabotage(
        "replay-differences",
        "a replay does not notice other bytes",
        "apply/replay.py",
        "elif row.lr_sha256 != before.lr_sha256:",
        "elif False:",
        ("apply/test_replay.py",),
    ),
    Sabotage(
        "forecast-finished",
        "a forecast of a resumed run counts what is finished already",
        "apply/dataset_folder.py",
        "return _compared(root, sources.root, check)[0]",
        "return []",
        ("apply/test_trials.py",),
    ),
    Sabotage(
        "forecast-unchecked",
        "a forecast passes over what a run refuses",
        "apply/dataset_folder.py",
        "        _check_settings(root, description)\n        return",
        "        return",
        ("apply/test_trials.py",),
    ),
    Sabotage(
        "settings-fewer",
        "a data set is resumed without an option that it was made with",
        "apply/dataset_folder.py",
        "[*made_by, *(name for name in before.made_by if name not in made_by)]",
        "made_by",
        ("apply/test_trials.py",),
    ),
    Sabotage(
        "preview-place",
        "a preview shows LR of another place than HR",
        "apply/preview.py",
        "tuple(image[:, top:bottom, left:right] for image in low)",
        "tuple(image[:, :side, :side] for image in low)",
        ("apply/test_trials.py",),
    ),
    Sabotage(
        "mixture-draws",
        "all LR images of a mixture have the same model",
        "model/mixture.py",
        'uniform(identity.seed("model"), 0.0, sum(self.weights))',
        "0.0",
        ("apply/test_mixture.py",),
    ),
    Sabotage(
        "mixture-order",
        "the order in which models are given decides which one makes an image",
        "model/mixture.py",
        "sorted(zip(models, shares, strict=True), key=lambda pair: pair[0].sha256)",
        "list(zip(models, shares, strict=True))",
        ("apply/test_mixture.py",),
    ),
    Sabotage(
        "mixture-replayed",
        "a mixture is replayed with other weights",
        "apply/replay.py",
        "if given != [(model.sha256, model.weight) for model in recorded]:",
        "if len(given) != len(recorded):",
        ("apply/test_mixture.py",),
    ),
    Sabotage(
        "crop-border",
        "the last crop is not moved inwards, so the border of an image is left out",
        "apply/layouts/crops.py",
        "[*range(0, last, step), last] if last >= 0",
        "[*range(0, last + 1, step)] if last >= 0",
        ("apply/test_crops.py",),
    ),
    Sabotage(
        "crop-place",
        "the LR image of a crop is of another place",
        "apply/layouts/pairs.py",
        "whole.window(top, top + side, left, left + side)",
        "whole.window(left, left + side, top, top + side)",
        ("apply/test_crops.py",),
    ),
    Sabotage(
        "crop-key",
        "crops of one image take each other's row",
        "apply/manifest.py",
        "return self.source, self.page, self.draw, self.crop or ()",
        "return self.source, self.page, self.draw, ()",
        ("apply/test_crops.py",),
    ),
    Sabotage(
        "layout-dots",
        "names in layouts have dots, at which WebDataset and LMDB cut them",
        "apply/layouts/names.py",
        "[^A-Za-z0-9_-]+",
        "[^A-Za-z0-9_.-]+",
        ("apply/test_layouts.py",),
    ),
    Sabotage(
        "layout-profile",
        "HR has a colour profile, and LR has none",
        "apply/layouts/pairs.py",
        "of_lr = replace(meaning, carried=meaning.carried.decimated(self.scale))",
        "of_lr = images.Meaning(meaning.others, meaning.premultiplied)",
        ("apply/test_layouts.py",),
    ),
    Sabotage(
        "alpha-hidden",
        "hidden colours bleed into LR pixels that are seen",
        "apply/layouts/pairs.py",
        "if bool((alpha < 1.0).any()):",
        "if False:",
        ("apply/test_meaning.py::test_hidden_colours_do_not_bleed",),
    ),
    Sabotage(
        "black-clipped",
        "noise around black is cut off",
        "data/images.py",
        "0.0 if pixels.dtype == np.float32 else None, 1.0",
        "0.0, 1.0",
        ("apply/test_meaning.py::test_noise_around_black_keeps_its_mean",),
    ),
    Sabotage(
        "seeds-32-bits",
        "only the lower half of a seed decides",
        "ops/noise.py",
        "rotation(seed >> 32)",
        "rotation(0)",
        ("ops/test_noise.py::test_every_bit_of_a_seed_matters",),
    ),
    Sabotage(
        "georeference-area",
        "LR pixels of GeoTIFF lie half an HR pixel off where pixels are points",
        "data/georeference.py",
        "offset = 0.5 * (scale - 1) if _are_points(tags) else 0.0",
        "offset = 0.0",
        ("data/test_georeference.py",),
    ),
    Sabotage(
        "stack-seeds",
        "all planes of a stack have the same noise",
        "apply/layouts/pairs.py",
        "Identity(self.options.seed, first.source, first.page, first.draw)",
        "Identity(self.options.seed, first.source, 0, first.draw)",
        ("apply/test_stacks.py::test_planes_have_different_noise",),
    ),
    Sabotage(
        "stack-cut-off",
        "a stack that was cut off is a shorter stack",
        "data/tiff_pages.py",
        "if following and following not in {page.offset for page in pages}:",
        "if False:",
        ("apply/test_stacks.py::test_one_bad_page_fails_the_file",),
    ),
    Sabotage(
        "layout-outdated",
        "a layout stays as it is when the data set grows",
        "apply/layouts/build.py",
        "before.made_of == made_of and ",
        "",
        ("apply/test_layouts.py",),
    ),
    Sabotage(
        "layout-foreign-files",
        "files that others put into a layout are removed with it",
        "apply/layouts/record.py",
        "    if others:\n",
        "    if False:\n",
        ("apply/test_layouts.py",),
    ),
    Sabotage(
        "fifo-opened",
        "a FIFO with the name of an image is opened",
        "files.py",
        "if not stat.S_ISREG(mode):",
        "if stat.S_ISDIR(mode):",
        ("data/test_regular.py",),
    ),
    Sabotage(
        "size-unchecked",
        "an image that declares more pixels than the limit is decoded",
        "data/headers.py",
        "if pixels > max_pixels:",
        "if pixels > 2 * max_pixels:",
        ("data/test_limits.py",),
    ),
    Sabotage(
        "jpeg-warnings",
        "what the decoder warns of in a damaged JPEG is passed over",
        "data/jpeg.py",
        "strict=True",
        "strict=False",
        ("data/test_jpeg.py",),
    ),
    # --- degradation ---
    Sabotage(
        "awgn-unit",
        "σ of AWGN is divided by 256",
        "model/degradation.py",
        "SIGMA_UNIT = 255.0",
        "SIGMA_UNIT = 256.0",
        ("model/test_render.py::test_awgn_is_its_field_times_sigma",),
    ),
    Sabotage(
        "shot-unit",
        "the variance of shot noise grows with the level from 0 to 1, not to 255",
        "model/render.py",
        "shot / SIGMA_UNIT * band",
        "shot / SIGMA_UNIT**2 * band",
        ("model/test_render.py",),
    ),
    Sabotage(
        "shot-unreplayed",
        "shot noise is left out of a replay",
        "apply/replay.py",
        "None if shot_read is None else ShotRead",
        "None if True else ShotRead",
        ("apply/test_replay.py",),
    ),
    Sabotage(
        "factor-column",
        "the hardware factor is written into the first column of the code",
        "model/degradation.py",
        "code[:, known.entry] = factor",
        "code[:, 0] = factor",
        ("evaluation/test_hardware_factor.py::test_a_factor_for_each_image",),
    ),
    Sabotage(
        "checkpoint-sums",
        "a checkpoint with a replaced member is loaded",
        "model/archive.py",
        'if sums.decode("utf-8", "replace") != _listed(found):',
        "if not sums:",
        ("model/test_hostile_code.py::test_a_member_that_was_replaced_with_its_checksum_is_noticed",),
    ),
    Sabotage(
        "checkpoint-operators",
        "the code of a checkpoint may write files",
        "model/operators.py",
        "if not allowed(node.kind(), _schema(node)) or",
        'if node.kind() == "prim::Print" or',
        ("model/test_hostile_code.py", "model/test_forged_archives.py::test_no_command_runs_code_that_writes"),
    ),
    Sabotage(
        "checkpoint-storage",
        "a checkpoint reads memory beyond its numbers",
        "model/pickles.py",
        'or not 0 <= numel * size <= len(self._members[f"data/{key}"]):',
        "or numel * size < 0:",
        ("model/test_forged_archives.py::test_a_tensor_lies_in_its_storage",),
    ),
    Sabotage(
        "checkpoint-tensor",
        "a small checkpoint declares a tensor of any size",
        "model/pickles.py",
        "if 0 not in shape and last >= storage.numel:",
        "if not shape and last >= storage.numel:",
        ("model/test_forged_archives.py::test_a_tensor_lies_in_its_storage",),
    ),
    # --- kernel pools ---
    Sabotage(
        "enlargement-kept",
        "kernels keep the blur of the enlargement of the photographs",
        "kernel_pool/estimate.py",
        '    if config.interpolation == "removed":\n',
        "    if False:\n",
        ("kernel_pool/test_estimating.py::test_the_blur_of_the_enlargement_is_taken_off",),
    ),
    Sabotage(
        "enlargement-of-another-scale",
        "the interpolation is taken for one by another scale",
        "ops/enlargement.py",
        "    passed = bicubic(frequency, scale)\n",
        "    passed = bicubic(frequency, scale + 1)\n",
        ("ops/test_enlargement.py::test_the_kernel_of_the_camera_comes_out",),
    ),
    Sabotage(
        "kmsr-levels",
        "kmsr blurs levels instead of light",
        "fit/sources/photos.py",
        "        self.tone = source.assumed_tone(options, self.dtype, self.notes)\n",
        "",
        ("methods/test_kmsr.py::test_fitted_from_a_pool_exported_and_generated_from",),
    ),
    Sabotage(
        "names-of-wide-spaces",
        "images whose names have spaces of other widths are left out",
        "errors.py",
        "    return name.isprintable() or not any(map(steers, name))\n",
        "    return name.isprintable()\n",
        ("data/test_images.py::test_names_that_are_shown_are_names",),
    ),
    Sabotage(
        "pool-text-length",
        "a flipped bit in a pool allocates gigabytes",
        "hdf5.py",
        'if (length := int(pointer["length"][0])) > LONGEST_RECORD:',
        'if (length := int(pointer["length"][0])) < 0:',
        ("kernel_pool/test_pool_limits.py::test_the_length_of_a_text_is_not_believed",),
    ),
    Sabotage(
        "pool-flags",
        "images are blurred by flagged kernels",
        "model/pool_model.py",
        "PoolOptics(pool.kernels, scale, torch.tensor(usable))",
        "PoolOptics(pool.kernels, scale)",
        ("model/test_pool_optics.py", "kernel_pool/test_pool_file.py"),
    ),
    Sabotage(
        "pool-outliers",
        "kernels that are far too narrow are not flagged",
        "kernel_pool/outliers.py",
        "(logs - median).abs() > FARTHEST",
        "(logs - median) > FARTHEST",
        ("kernel_pool/test_pool_file.py::test_unusual_kernels_are_flagged",),
    ),
    Sabotage(
        "pool-journal",
        "a resumed estimation keeps its kernels in the order in which they were made",
        "kernel_pool/journal.py",
        "for key in sorted(self.estimates)",
        "for key in self.estimates",
        ("kernel_pool/test_estimating.py::test_estimates_are_in_order_whichever_was_made_first",),
    ),
    # --- measuring and scoring ---
    Sabotage(
        "ridge",
        "the ridge grows with the brightness of images",
        "ops/least_squares.py",
        "equations.gram.diagonal()[:-1] - equations.gram[:-1, -1] ** 2 / equations.count",
        "equations.gram.diagonal()[:-1]",
        ("ops/test_least_squares.py::test_the_ridge_does_not_depend_on_the_brightness",),
    ),
    Sabotage(
        "overhanging-below",
        "windows that hang over the lower edge are counted once, however far they do",
        "ops/least_squares.py",
        "products[line, :, :, :-1] += products[line + 1, :, :, 1:]",
        "pass",
        ("ops/test_least_squares.py",),
    ),
    Sabotage(
        "least-squares-border",
        "the border that least squares should leave out is used",
        "ops/least_squares.py",
        "max(border, -(-self.half_width // scale))",
        "-(-self.half_width // scale)",
        ("ops/test_least_squares.py",),
    ),
    Sabotage(
        "edges-chessboard",
        "noise along diagonals reaches every second pixel only",
        "ops/edge_noise.py",
        "if down * right == 0:",
        "if True:",
        ("ops/test_edge_noise.py::test_pixels_are_alike_along_an_edge_and_not_across",),
    ),
    Sabotage(
        "edges-crossed",
        "noise runs across edges",
        "ops/edge_noise.py",
        "torch.cat([straight, -straight, slanted, -slanted], 1)",
        "torch.cat([-straight, straight, slanted, -slanted], 1)",
        ("ops/test_edge_noise.py::test_a_ramp_gets_one_plane_alone",),
    ),
    Sabotage(
        "edges-added",
        "noise along edges is added to isotropic noise of full strength",
        "ops/residual_noise.py",
        "return at_edges.sqrt() * edges, rest.sqrt()",
        "return at_edges.sqrt() * edges, torch.ones_like(rest)",
        ("ops/test_residual_noise.py::test_it_is_the_formula",),
    ),
    Sabotage(
        "edges-in-grain",
        "the isotropic part gets the correlation of the noise along edges, too",
        "ops/residual_measurement.py",
        "_at_unit_variance(products - along, isotropic)",
        "_at_unit_variance(products, isotropic)",
        ("ops/test_residual_noise.py::test_the_rest_of_noise_along_edges_is_as_white_as_it_was_put_in",),
    ),
    Sabotage(
        "edges-colour",
        "noise along edges takes colour away from the rest",
        "ops/residual_measurement.py",
        "(covariance - part * torch.outer(tint, tint)) / (1.0 - part)",
        "covariance",
        ("ops/test_residual_noise.py::test_drawn_noise_along_edges_is_like_the_measured_one",),
    ),
    Sabotage(
        "straight-line-bent",
        "a straight line between levels and light is x + x²",
        "ops/tone.py",
        "if levels.requires_grad or len(factors) == 1:",
        "if levels.requires_grad:",
        ("ops/test_tone.py::test_light_is_the_polynomial",),
    ),
    Sabotage(
        "numbers-without-bound",
        "a search for a kernel runs away into numbers that are not finite",
        "ops/blind_kernel.py",
        "numbers = z[1:].clamp(-LARGEST_NUMBER, LARGEST_NUMBER)",
        "numbers = z[1:]",
        ("ops/test_blind_kernel.py::test_a_search_turns_back_from_numbers_beyond_all_reason",),
    ),
    Sabotage(
        "light-spectra",
        "unpaired methods compare spectra of levels, though their models blur light",
        "methods/shared/unpaired_sets.py",
        "gray = luma(tone.to_light(image))",
        "gray = luma(image)",
        ("fit/test_assumed_tone.py::test_spectra_are_those_of_light",),
    ),
    Sabotage(
        "light-noise",
        "the noise of LR photographs is measured in light, though it is added to levels",
        "methods/shared/measured_noise.py",
        "measure(images.lr, images.level_step, images.jpeg)",
        "measure(images.in_light()[1], images.level_step, images.jpeg)",
        ("fit/test_assumed_tone.py::test_noise_is_that_of_levels[spectral]",),
    ),
    Sabotage(
        "light-reader",
        "pdm learns to read blur from images in light, and reads it in levels",
        "methods/pdm/estimate.py",
        "lr = self.tone.to_levels(light)",
        "lr = light",
        ("fit/test_assumed_tone.py::test_images_of_known_blur_are_saved_in_levels",),
    ),
    Sabotage(
        "light-training",
        "adversarial training adds the noise of levels to light",
        "methods/shared/adversarial.py",
        "return tone.to_light(tone.to_levels(lr) + noise)",
        "return lr + noise",
        ("fit/test_assumed_tone.py::test_training_of_adl_adds_noise_to_levels",),
    ),
    Sabotage(
        "over-fit",
        "the residual of pairs that a flexible model was fitted to counts as it is",
        "evaluation/residual.py",
        "return max(1.0, float((ratios[0] - ratios[1]).exp().sqrt()))",
        "return 1.0",
        ("fit/test_residual.py::test_the_residual_of_fitted_pairs_is_enlarged_by_the_over_fit",),
    ),
    Sabotage(
        "gap-sub-images",
        "sub-images of one photograph lie in both halves of a gap",
        "evaluation/gap/splits.py",
        "scenes = [[scene_of(stem) for stem in side] for side in stems]",
        "scenes = stems",
        ("evaluation/test_gap.py::test_sub_images_of_a_scene_stay_in_one_half",),
    ),
    Sabotage(
        "grain-level",
        "noise does not follow the brightness",
        "ops/grain.py",
        "return at_levels(sigma, lr) *",
        "return at_levels(sigma, torch.full_like(lr, 0.5)) *",
        ("ops/test_grain.py::test_measured_noise_is_drawn",),
    ),
    Sabotage(
        "spectra-floor",
        "spectra are compared without the noise of the LR images",
        "ops/spectra.py",
        "torch.log(spectrum + floor)",
        "torch.log(spectrum)",
        ("ops/test_spectra.py",),
    ),
    Sabotage(
        "noise-excess",
        "the noise of HR is forgotten when that of LR is learnt",
        "ops/noise_level.py",
        "_positive(lr - float(kernel.square().sum()) * hr)",
        "_positive(lr)",
        ("ops/test_noise_level.py",),
    ),
    Sabotage(
        "psnr-border",
        "scores include the border of images",
        "evaluation/metrics.py",
        "slice(border, height - border), slice(border, width - border)",
        "slice(0, height), slice(0, width)",
        ("evaluation/test_paired.py::test_the_border_is_left_out",),
    ),
    Sabotage(
        "held-out-place",
        "a model that goes by place is scored as if parts were whole images",
        "evaluation/held_out.py",
        "degrader.field(0, y, x, height, width, channels)",
        "degrader.field(0, 0, 0, height, width, channels)",
        ("fit/test_loop.py::test_a_model_that_goes_by_place_is_scored_where_it_is",),
    ),
    Sabotage(
        "selftest-level",
        "the self-test lets levels change by 5/255",
        "evaluation/selftest.py",
        "MEAN_LEVEL = 0.05 / 255",
        "MEAN_LEVEL = 5.0 / 255",
        ("evaluation/test_selftest.py::test_sabotage_is_caught",),
    ),
    Sabotage(
        "selftest-phase",
        "the self-test lets kernels lie half a pixel off",
        "evaluation/selftest.py",
        "CENTROID_PX = 0.02",
        "CENTROID_PX = 0.6",
        ("evaluation/test_selftest.py::test_sabotage_is_caught",),
    ),
    # --- super-resolution ---
    Sabotage(
        "sr-turned",
        "the two sides of a pair are turned in different ways",
        "sr/sources.py",
        "patches.append(dihedral(in_colours(image, self.training.colours), turned))",
        "patches.append(dihedral(in_colours(image, self.training.colours), turned * (image.shape[1] > self.side)))",
        ("sr/test_training.py::test_both_sides_are_turned_together",),
    ),
    Sabotage(
        "sr-one-draw",
        "a model's LR is the same each time an image is used",
        "sr/sources.py",
        "Identity(self.seed, name, 0, draw)",
        "Identity(self.seed, name, 0, 0)",
        ("sr/test_training.py::test_a_model_draws_anew_and_writes_levels_of_files",),
    ),
    Sabotage(
        "sr-mixture",
        "a mixture has patches of one side alone",
        "sr/sources.py",
        "self.sources[number % len(self.sources)]",
        "self.sources[0]",
        ("sr/test_training.py::test_a_mixture_fills_half_of_every_batch",),
    ),
    Sabotage(
        "sr-resume",
        "a resumed training forgets its optimiser",
        "sr/training.py",
        'self.optimizer.load_state_dict(contents["optimizer"])',
        "pass",
        ("sr/test_training.py::test_a_resumed_training_ends_as_an_uninterrupted_one",),
    ),
    Sabotage(
        "sr-halo",
        "tiles of super-resolved images show their seams",
        "sr/enlarging.py",
        "network.record.scale, network.record.halo\n",
        "network.record.scale, network.record.halo // 4\n",
        ("sr/test_training.py::test_tiles_equal_the_whole",),
    ),
    Sabotage(
        "sr-studio",
        "studio-range luma is full-range luma",
        "sr/scores.py",
        "np.array([65.481, 128.553, 24.966])",
        "np.array([76.245, 149.685, 29.07])",
        ("sr/test_scores.py",),
    ),
    Sabotage(
        "sr-shift",
        "the shift-tolerant PSNR tolerates no shift",
        "sr/scores.py",
        "part = truth[y : y + inner.shape[0], x : x + inner.shape[1]]",
        "part = truth[shift : height - shift, shift : width - shift]",
        ("sr/test_scores.py",),
    ),
    Sabotage(
        "sr-share",
        "the share of the way does not begin at bicubic LR",
        "sr/compare.py",
        '(means[row["train"]] - low) / (high - low)',
        'means[row["train"]] / high',
        ("sr/test_compare.py::test_shares_are_of_the_way_from_bicubic_to_real",),
    ),
    Sabotage(
        "sr-kept",
        "a training is taken for that of other images",
        "sr/compare.py",
        'parts.append(contents[folder] if folder else "")',
        'parts.append("")',
        ("sr/test_compare.py::test_changed_images_are_trained_on_anew",),
    ),
    Sabotage(
        "evaluate-rounds",
        "LR is scored with more levels than its file would have",
        "evaluation/paired.py",
        "return images.to_tensor(images.quantise(lr, dtype, data_range), data_range)",
        "return lr.clamp(0.0, 1.0)",
        ("evaluation/test_paired.py::test_lr_is_scored_as_it_would_be_written",),
    ),
    # --- methods and fits ---
    Sabotage(
        "dml-one-sided",
        "weights of dml are never negative, so the whole basis becomes one change that is turned on or off",
        "methods/dml.py",
        "else torch.sigmoid(raw)) - self.middle",
        "else torch.sigmoid(raw))",
        ("methods/test_dml.py::test_weights_are_bounded",),
    ),
    Sabotage(
        "dml-dead-features",
        "features of the networks of dml and its relatives stay 0 once they are",
        "nets/encoder_decoder.py",
        "nn.LeakyReLU(slope) if slope else nn.ReLU()",
        "nn.ReLU()",
        ("nets/test_encoder_decoder.py",),
    ),
    Sabotage(
        "snapshot-of-old-weights",
        "a fit goes on from weights that meant something else",
        "fit/loop.py",
        'contents.get("weights_version", 1) != state.method.weights_version',
        "False",
        ("fit/test_hostile_runs.py",),
    ),
    Sabotage(
        "dml-level",
        "basis kernels of dml change the level",
        "methods/dml.py",
        "change = self.basis - self.basis.sum([1, 2], keepdim=True) * self.base",
        "change = self.basis",
        ("methods/test_dml.py::test_every_kernel_sums_to_one_and_keeps_its_place",),
    ),
    Sabotage(
        "dml-centring",
        "basis kernels of dml move pixels",
        "methods/dml.py",
        'change = change - torch.einsum("mi,iyx->myx", moments, self.movers)',
        "change = change - 0 * moments.sum()",
        ("methods/test_dml.py::test_every_kernel_sums_to_one_and_keeps_its_place",),
    ),
    Sabotage(
        "softmax-tilt",
        "generated kernels are not centred",
        "nets/centred_softmax.py",
        "torch.softmax(logits + tilt @ self.places.T, -1)",
        "torch.softmax(logits, -1)",
        ("nets/test_generators.py::test_kernels_are_centred_and_of_sum_one_whatever_the_weights",),
    ),
    Sabotage(
        "running-mean",
        "the running mean of weights forgets what it should keep",
        "fit/loop.py",
        "mean.lerp_(now, 1 - decay)",
        "mean.lerp_(now, decay)",
        ("fit/test_loop.py::test_the_running_mean",),
    ),
    Sabotage(
        "best-score-sign",
        "where less is better, the worst weights are exported",
        "fit/loop.py",
        "sign * score > sign * self.best_score",
        "score > self.best_score",
        ("fit/test_loop.py::test_the_best_score_is_the_lowest_where_less_is_better",),
    ),
    Sabotage(
        "clear-lead",
        "what is learnt without pairs replaces its start by chance",
        "fit/loop.py",
        "lead.confidence > CLEAR_LEAD",
        "lead.confidence > 0.5",
        ("fit/test_loop.py::test_a_judged_start_is_kept_unless_what_is_learnt_is_clearly_better",),
    ),
    Sabotage(
        "judged-by-its-own-images",
        "the scatter along a direction is measured on the images that the direction came from",
        "ops/spectral_lead.py",
        "inside.append((rows[mask] - others.mean(0))",
        "inside.append((others - others.mean(0))",
        ("ops/test_spectral_lead.py::test_t_scatters_by_one",),
    ),
    Sabotage(
        "resume-fingerprint",
        "a fit goes on with other images than it was begun with",
        "fit/resuming.py",
        'if contents.get("data_fingerprint") != fingerprint:',
        'if contents.get("data_fingerprint") is None:',
        ("fit/test_fit.py::test_resuming_needs_the_same_pairs_and_options",),
    ),
    Sabotage(
        "snapshot-checksum",
        "a fit goes on from a damaged snapshot",
        "fit/run_directory.py",
        "if archive.testzip():",
        "if not archive.namelist():",
        ("fit/test_loop.py::test_damaged_snapshots_are_refused_by_name",),
    ),
    # --- options, messages, rooms ---
    Sabotage(
        "flags-table",
        "messages of the command line name an option that does not exist",
        "cli/flags.py",
        '"bad_pairs": "--bad-pairs",',
        "",
        ("cli/test_flags.py",),
    ),
    Sabotage(
        "exit-code",
        "bad input ends with exit code 1",
        "errors.py",
        "exit_code = 2",
        "exit_code = 1",
        ("cli/test_kernel_pool.py::test_bad_usage_is_reported_before_anything_is_written",),
    ),
    Sabotage(
        "unknown-option",
        "an unknown option of a method does not name the nearest one",
        "config.py",
        "if key not in known:",
        "if not key:",
        ("methods/test_contract.py::test_unknown_option_names_the_nearest",),
    ),
    Sabotage(
        "fingerprint-names",
        "a renamed image is not noticed",
        "data/fingerprints.py",
        'whole.update(f"{name}:',
        'whole.update(f"',
        ("data/test_pairs.py::test_fingerprint_follows_names_and_bytes",),
    ),
    Sabotage(
        "parallel-bound",
        "all images are taken up at once, however many they are",
        "parallel.py",
        "len(running) < 2 * workers",
        "len(running) < 200 * workers",
        ("test_parallel.py::test_no_more_is_held_than_the_queues_allow",),
    ),
    Sabotage(
        "demo-camera",
        "the demo's blur does not vary over the image",
        "demo.py",
        "camera_kernel(column / (COLUMNS - 1))",
        "camera_kernel(0.5)",
        ("test_demo.py::test_the_blur_varies_from_left_to_right",),
    ),
    Sabotage(
        "import-direction",
        "a plain operation imports the model",
        "ops/spread.py",
        "from __future__ import annotations\n",
        "from __future__ import annotations\n\nfrom degsynth.model.spec import Spec\n",
        ("test_structure.py::test_the_direction_of_imports",),
    ),
    # --- the gap between two folders ---
    Sabotage(
        "gap-common-scenes",
        "figures compare a scene with itself where both folders have it",
        "evaluation/gap/splits.py",
        "place = {name: index % 2 for index, name in enumerate(common)}",
        "place = {}",
        ("evaluation/test_gap.py::test_halves_keep_scenes_apart",),
    ),
    Sabotage(
        "gap-judges-learnt",
        "networks judge the images from which they learnt",
        "evaluation/gap/two_sample.py",
        "(sides[0][1 - half], sides[1][1 - half])",
        "(sides[0][half], sides[1][half])",
        ("evaluation/test_gap.py::test_no_network_judges_an_image_of_which_it_learnt",),
    ),
    Sabotage(
        "gap-floor",
        "the floor is the gap itself, so that nothing is above it",
        "evaluation/gap/measurement.py",
        "floors += difference(real[0], real[1])",
        "floors += difference(made[0], real[1])",
        ("evaluation/test_gap.py::test_each_change_is_seen_by_its_figures",),
    ),
    Sabotage(
        "gap-bootstrap",
        "the interval of the accuracy draws one scene only",
        "evaluation/gap/two_sample.py",
        "chosen = torch.randint(len(count), (RESAMPLES, len(count)), generator=generator)",
        "chosen = torch.randint(len(count), (RESAMPLES, 1), generator=generator)",
        ("evaluation/test_gap.py::test_the_interval_counts_images_not_patches",),
    ),
    Sabotage(
        "gap-scenes",
        "the interval of the accuracy draws images, though parts of one photograph are alike",
        "evaluation/gap/two_sample.py",
        "np.unique([names[index] for index in images], return_inverse=True)",
        "np.unique([str(index) for index in images], return_inverse=True)",
        ("evaluation/test_gap.py::test_the_interval_counts_scenes_not_images",),
    ),
    Sabotage(
        "gap-flat-blocks",
        "noise is measured in all blocks rather than in the flattest",
        "evaluation/gap/summary.py",
        "[: math.ceil(2 * FLAT_SHARE * len(usable))]",
        "",
        ("evaluation/test_gap.py::test_noise_is_measured_in_flat_places",),
    ),
    Sabotage(
        "gap-data-range",
        "folders of different ranges are compared",
        "evaluation/gap/folders.py",
        "if asked is None and max(largest) > OTHER_RANGE * min(largest):",
        "if asked is None and max(largest) > 99 * min(largest):",
        ("evaluation/test_gap.py::test_errors_name_the_folder_and_the_way_out",),
    ),
)


def fault(sabotage: Sabotage) -> str:
    """Return why a sabotage cannot be put in: its text is not there once. Empty if it can."""
    count = (ROOT / "degsynth" / sabotage.file).read_text(encoding="utf-8").count(sabotage.old)
    return "" if count == 1 else f"degsynth/{sabotage.file} has {sabotage.old!r} {count} times, not once"


def copy_repository(folder: Path) -> None:
    """Copy what the tests need into an empty folder; raise RuntimeError where Python would not import that copy."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    code = "import degsynth; print(degsynth.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(folder), capture_output=True, text=True, check=True
    )
    if not Path(found.stdout.strip()).resolve().is_relative_to(folder.resolve()):
        raise RuntimeError(f"degsynth is imported from {found.stdout.strip()}, not from the copy in {folder}")


def environment(folder: Path) -> dict[str, str]:
    """Return the environment in which the copy in a folder is imported, and one thread computes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def run_tests(folder: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests in a copy until the first one fails; return the exit code of pytest and the end of what it printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command += [f"--basetemp={folder / 'temporary'}", *(f"tests/{test}" for test in tests)]
    result = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False, timeout=1800
    )
    return result.returncode, (result.stdout + result.stderr)[-3000:]


def outcome(sabotage: Sabotage) -> tuple[bool, str]:
    """Put one sabotage in and run its tests; tell whether it was caught, and say so in a line."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sabotage-") as name:
        folder = Path(name)
        copy_repository(folder)
        path = folder / "degsynth" / sabotage.file
        path.write_text(path.read_text(encoding="utf-8").replace(sabotage.old, sabotage.new), encoding="utf-8")
        code, output = run_tests(folder, sabotage.tests)
    noticed = re.search(r"^(?:FAILED|ERROR) \S*?::(.+?)(?: - .*)?$", output, re.MULTILINE)
    caught = code == 1 and noticed is not None
    word = "caught" if caught else "MISSED" if code == 0 else f"BROKEN (pytest ends with {code})"
    by = f"by {noticed[1]}" if noticed and caught else f"({sabotage.breaks})"
    return caught, f"{word}  {sabotage.name:20} {time.monotonic() - begun:4.0f} s  {by}"


def without_sabotage(sabotages: Sequence[Sabotage]) -> str:
    """Run the tests of all sabotages in a copy without a bug; return the output where one fails, else an empty text."""
    with tempfile.TemporaryDirectory(prefix="sabotage-") as name:
        copy_repository(Path(name))
        code, output = run_tests(Path(name), sorted({test for sabotage in sabotages for test in sabotage.tests}))
    return output if code else ""


def main() -> int:
    """Run the sabotages that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sabotages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="sabotages to put in (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="number of sabotages at a time (default: 2)")
    asked = parser.parse_args()
    known = {sabotage.name: sabotage for sabotage in SABOTAGES}
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"no sabotage {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[name] for name in asked.names] or list(SABOTAGES)
    if faults := [f"{sabotage.name}: {text}" for sabotage in chosen if (text := fault(sabotage))]:
        print(*faults, sep="\n")
        return 1
    if output := without_sabotage(chosen):
        print(f"without any sabotage the tests fail:\n{output}")
        return 1
    caught = 0
    with ThreadPoolExecutor(asked.jobs) as pool:
        for noticed, line in pool.map(outcome, chosen):
            caught += noticed
            print(line, flush=True)
    print(f"{caught} of {len(chosen)} sabotages were caught")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
