"""The loop, driven by a method so small that every number can be followed."""

from __future__ import annotations

import contextlib
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from degsynth.config import Events
from degsynth.data import matching
from degsynth.data import pairs as pairing
from degsynth.data.patches import Patches, PatchOptions
from degsynth.errors import ConfigError, FitError, FitStoppedError
from degsynth.evaluation.effective_kernel import texture
from degsynth.evaluation.held_out import HeldOut, by_degrader
from degsynth.fit import loop
from degsynth.fit.run_directory import RunDirectory
from degsynth.methods.linear import LinearOptics
from degsynth.methods.protocol import Learned, Training
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.spec import MethodSpec
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from degsynth.ops.position import relative_position
from degsynth.ops.resample import area
from degsynth.ops.spectral_lead import Lead
from tests.conftest import save_png

Folders = Callable[..., tuple[Path, Path]]


class OneKernel(Learned):
    """Learns a kernel by descent; the loss can be made to fail at a step."""

    data = "paired"
    patch, least_patch, multiple_of = 32, 8, 2

    def __init__(self, fail_at: int = -1, **values: Any) -> None:
        self.config = Training(**{"steps": 40, "batch": 2, "learning_rate": 0.02, "warmup": 5, **values})
        self.fail_at, self.rates, self.randoms = fail_at, [], []
        start = gaussian(6, 2.0, 2.0)
        self.optics = LinearOptics(start[None], torch.ones(1), torch.zeros(1), 2)
        self.optics.kernels = nn.Parameter(start[None].float())
        self.modules: dict[str, nn.Module] = {"optics": self.optics}
        self.optimizers = {"adam": torch.optim.Adam(self.optics.parameters(), lr=self.config.learning_rate)}

    def prepare(self, images: Any) -> None: ...

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        self.randoms.append(float(torch.rand(1, generator=rng)))
        self.rates.append(self.optimizers["adam"].param_groups[0]["lr"])
        error = (blur_decimate(batch["hr"], self.optics.kernels, 2) - batch["lr"])[..., 3:-3, 3:-3]
        loss = error.square().mean() * (math.nan if step == self.fail_at else 1.0)
        self.optimizers["adam"].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers["adam"].step()
        return {"l2": loss.detach()}

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        return Degrader(optics or self.optics, 2)

    def spec(self) -> MethodSpec:
        return MethodSpec(clean_halo=2, multiple_of=2)


@pytest.fixture
def pair_set(pair_folders: Folders) -> pairing.PairSet:
    hr, lr = pair_folders(gaussian(6, 0.8, 0.8), 2, side=96)
    return pairing.PairSet(matching.match(hr, lr)[0], 2, 3)


def drive(
    method: OneKernel,
    pair_set: pairing.PairSet,
    out: Path,
    resume: bool = False,
    stop_at: int | None = None,
    seed: int = 5,
) -> loop.State:
    """Train as `fit` does; ``stop_at`` is the step after which somebody wants it to stop."""
    folder = RunDirectory(out)
    state = loop.State(method)
    if resume:
        state.restore(folder.load_snapshot())
    else:
        folder.make()
    patches = Patches(pair_set.subset([0, 1, 2]), seed, PatchOptions(method.config.batch, method.patch, grid=2))
    held_out = HeldOut(pair_set.subset([3]), 4, 2)

    @contextlib.contextmanager
    def deferred_stop() -> Iterator[Callable[[], bool]]:
        yield lambda: state.step == stop_at

    def draw_preview(degrader: Degrader, name: str) -> None:
        (folder.previews / name).touch()

    course = loop.Course(patches.batch, held_out, {"linear": 30.0}, folder, {"fact": 1}, seed, draw_preview)
    loop.train(state, course, Events(deferred_stop=deferred_stop))
    return state


def test_it_learns_and_leaves_what_a_run_leaves(pair_set: pairing.PairSet, tmp_path: Path) -> None:
    state = drive(OneKernel(steps=400), pair_set, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert len(rows) == loop.LOG_ROWS
    scored = [row for row in rows if "held_out_psnr_y" in row]
    assert len(scored) == loop.VALIDATIONS
    assert rows[-1]["l2"] < 0.3 * rows[0]["l2"]
    assert scored[-1]["held_out_psnr_y"]["model"] > scored[0]["held_out_psnr_y"]["model"] + 3
    assert scored[0]["held_out_psnr_y"]["linear"] == 30.0
    assert state.best_score == max(row["held_out_psnr_y"]["model"] for row in scored)
    assert [p.name for p in sorted((tmp_path / "run/previews").iterdir())] == [
        "step_0000100", "step_0000200", "step_0000300",
    ]  # fmt: skip
    assert RunDirectory(tmp_path / "run").steps() == [320, 340, 360, 380, 400]
    assert RunDirectory(tmp_path / "run").load_snapshot(340)["fact"] == 1


def test_the_random_numbers_of_a_step_follow_from_seed_and_step(pair_set: pairing.PairSet, tmp_path: Path) -> None:
    """A resumed fit draws what an uninterrupted one does; another seed draws something else at every step."""
    straight, stopped, resumed, other = OneKernel(), OneKernel(), OneKernel(), OneKernel()
    drive(straight, pair_set, tmp_path / "straight")
    with pytest.raises(FitStoppedError):
        drive(stopped, pair_set, tmp_path / "stopped", stop_at=17)
    drive(resumed, pair_set, tmp_path / "stopped", resume=True)
    drive(other, pair_set, tmp_path / "other", seed=6)
    assert stopped.randoms + resumed.randoms == straight.randoms
    assert not set(other.randoms) & set(straight.randoms)
    assert len(set(straight.randoms)) == len(straight.randoms)


@pytest.mark.parametrize("stop_at", [1, 17, 39])
def test_stopped_and_resumed_is_as_if_undisturbed(pair_set: pairing.PairSet, tmp_path: Path, stop_at: int) -> None:
    """The same weights, running mean and best, bit for bit."""
    straight = drive(OneKernel(), pair_set, tmp_path / "straight")
    with pytest.raises(FitStoppedError, match=f"step {stop_at};"):
        drive(OneKernel(), pair_set, tmp_path / "stopped", stop_at=stop_at)
    resumed = drive(OneKernel(), pair_set, tmp_path / "stopped", resume=True)
    assert torch.equal(resumed.method.modules["optics"].kernels, straight.method.modules["optics"].kernels)  # type: ignore[arg-type]
    assert torch.equal(resumed.learnt().kernels, straight.learnt().kernels)  # type: ignore[arg-type]
    assert resumed.best_step == straight.best_step
    assert all(torch.equal(resumed.best[name], value) for name, value in straight.best.items())


def test_a_loss_that_is_not_finite_stops_it(pair_set: pairing.PairSet, tmp_path: Path) -> None:
    """By step and name; no snapshot holds what it spoilt."""
    with pytest.raises(FitError, match="step 23: the loss term 'l2' is nan"):
        drive(OneKernel(fail_at=23), pair_set, tmp_path / "run")
    folder = RunDirectory(tmp_path / "run")
    assert max(folder.steps()) <= 23
    assert bool(torch.isfinite(folder.load_snapshot()["modules"]["optics"]["kernels"]).all())


def test_the_rate_rises_and_falls(pair_set: pairing.PairSet, tmp_path: Path) -> None:
    method = OneKernel(steps=100, warmup=10)
    drive(method, pair_set, tmp_path / "run")
    assert method.rates[:3] == pytest.approx([0.002, 0.004, 0.006], rel=0.01)
    assert max(method.rates) == pytest.approx(0.02, rel=0.05)
    assert method.rates[50] == pytest.approx(0.01)
    assert method.rates[-1] < 1e-4
    constant = OneKernel(steps=20, warmup=0, schedule="constant")
    drive(constant, pair_set, tmp_path / "constant")
    assert set(constant.rates) == {0.02}


def test_minutes_end_it_too(pair_set: pairing.PairSet, tmp_path: Path) -> None:
    """The rate has fallen to nothing by then, and held-out pairs were scored on the way."""
    method = OneKernel(steps=10**9, minutes=0.02)
    state = drive(method, pair_set, tmp_path / "run")
    assert 1.2 <= state.seconds < 60
    assert method.rates[-1] < 0.2 * max(method.rates)
    assert state.best_step > 0


def test_the_running_mean(pair_set: pairing.PairSet, tmp_path: Path) -> None:
    """Its definition, step by step; 0 means the weights themselves."""
    method = OneKernel(average=0.9)
    state = loop.State(method)
    expected = method.optics.kernels.detach().clone()
    for step in range(1, 31):
        with torch.no_grad():
            method.optics.kernels += 0.01
        state.step = step
        state.update_average()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * method.optics.kernels.detach()
    assert torch.allclose(state.learnt().kernels, expected)  # type: ignore[arg-type]
    bare = OneKernel(average=0.0)
    assert loop.State(bare).learnt() is bare.optics


def test_what_is_exported_is_the_best_not_the_last(pair_set: pairing.PairSet, tmp_path: Path) -> None:
    method = OneKernel(steps=40, average=0.0, warmup=0, schedule="constant", learning_rate=0.3)
    state = drive(method, pair_set, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    scores = {row["step"]: row["held_out_psnr_y"]["model"] for row in rows if "held_out_psnr_y" in row}
    assert state.best_step == max(scores, key=lambda step: scores[step])
    method.optics.load_state_dict(state.best)
    held_out = HeldOut(pair_set.subset([3]), 4, 2)
    assert held_out.psnr(by_degrader(method.degrader())) == pytest.approx(state.best_score, abs=1e-4)


def test_held_out_middles(pair_set: pairing.PairSet) -> None:
    """At most 16 pairs, cut on the grid; the score is the metric's own."""
    held_out = HeldOut(pair_set, 4, 8)
    assert len(held_out.parts) == 4
    assert held_out.psnr(lambda part: part.lr[None]) == 100.0
    assert held_out.psnr(lambda part: part.lr[None] + 0.1) < 21


class Vignette(Optics):
    """Darkens from left to right: what it does depends on nothing but the place."""

    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return area(hr, 2) * (0.6 - 0.3 * relative_position(field, code)[:, 1:2])


def test_a_model_that_goes_by_place_is_scored_where_it_is(tmp_path: Path) -> None:
    """The middle of an oblong image, as the model makes it in the whole image: not as if it were a frame of its own."""
    degrader = Degrader(Vignette(), 2, placed=True)
    for number in range(2):
        hr = texture(1, 80, 400, seed=number)
        lr = degrader.degrade(hr[None], 0)[0]
        save_png(tmp_path / f"HR/{number}.png", hr, np.uint16)
        save_png(tmp_path / f"LR/{number}.png", lr, np.uint16)
    whole = pairing.PairSet(matching.match(tmp_path / "HR", tmp_path / "LR")[0], 2, 1)
    assert HeldOut(whole, 8, 8).psnr(by_degrader(degrader)) > 90
    assert HeldOut(whole, 8, 8).psnr(lambda part: degrader.degrade(part.hr[None], 0)) < 40


def test_weights_that_are_not_finite_reach_no_snapshot(pair_set: pairing.PairSet, tmp_path: Path) -> None:
    """A finite loss can have a gradient that is none; with a snapshot at every step it is caught at once."""
    method = OneKernel(steps=10, average=0.0)
    learn = method.training_step

    def spoilt(batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        terms = learn(batch, step, rng)
        if step == 6:
            with torch.no_grad():
                method.optics.kernels.fill_(math.nan)
        return terms

    method.training_step = spoilt  # type: ignore[method-assign]
    with pytest.raises(FitError, match="step 7: weights of 'optics' are not finite"):
        drive(method, pair_set, tmp_path / "run")
    folder = RunDirectory(tmp_path / "run")
    assert max(folder.steps()) == 6
    assert math.isfinite(folder.load_snapshot()["best_score"])


def test_a_budget_that_is_used_up_already_is_scored(pair_set: pairing.PairSet, tmp_path: Path) -> None:
    with pytest.raises(FitStoppedError):
        drive(OneKernel(steps=400), pair_set, tmp_path / "run", stop_at=3)
    state = drive(OneKernel(steps=3), pair_set, tmp_path / "run", resume=True)
    assert (state.step, state.best_step) == (3, 3)
    assert state.best


@pytest.mark.parametrize("damage", ["zeros", "empty", "text", "short", "bit"])
def test_damaged_snapshots_are_refused_by_name(pair_set: pairing.PairSet, tmp_path: Path, damage: str) -> None:
    drive(OneKernel(steps=20), pair_set, tmp_path / "run")
    path = sorted((tmp_path / "run/snapshots").iterdir())[-1]
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        at = content.index(archive.read(largest)) + largest.file_size // 2
    path.write_bytes(
        {
            "zeros": bytes(len(content)),
            "empty": b"",
            "text": b"nothing that torch wrote",
            "short": content[:at],
            "bit": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
        }[damage]
    )
    with pytest.raises(ConfigError, match=f"{path.name} cannot be read"):
        RunDirectory(tmp_path / "run").load_snapshot()


def test_a_log_cut_short_by_a_crash_is_mended(tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path / "run")
    folder.make()
    for step in (1, 2, 3):
        folder.log({"step": step})
    folder.log({"step": 2, "exported": {}})
    with (tmp_path / "run/log.jsonl").open("a") as file:
        file.write('{"step": 4, "sec')
    folder.forget_after(2)
    assert (tmp_path / "run/log.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_folder_that_somebody_else_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="cannot be made"):
        RunDirectory(tmp_path / "run").make()


class StartJudge:
    """A judge whose t of what is learnt, and its evidence, are given for every time that it is asked."""

    figure, unit, sign = "distance", "", -1

    def __init__(self, ts: list[float]) -> None:
        self.ts, self.starts = ts, list[Tensor]()

    def measure(self, degrader: Any) -> Tensor:
        return degrader.optics.kernels.detach().clone()

    def score_of(self, measured: Tensor) -> float:
        return 1.0

    def lead(self, measured: Tensor, start: Tensor) -> Lead:
        self.starts.append(start)
        t = self.ts[min(len(self.starts), len(self.ts)) - 1]
        return Lead(t / 4, t, 1000, t * 4)

    def score(self, degrader: Any) -> float:
        raise AssertionError("a judge that compares is not asked for scores alone")

    def bicubic(self) -> float:
        return 2.0


def course_of(judge: StartJudge, method: OneKernel, pair_set: pairing.PairSet, folder: RunDirectory) -> loop.Course:
    patches = Patches(pair_set, 5, PatchOptions(method.config.batch, method.patch, grid=2))
    return loop.Course(patches.batch, judge, {}, folder, {}, 5, lambda degrader, name: None)


@pytest.mark.parametrize(
    ("ts", "best"),
    [
        ([-3.0, 0.0], 0),  # worse than the start, or just as good
        ([0.0, 0.9], 0),  # better, but chance could do that
        ([0.0, 0.0, 1.1, 0.5], 3),
        ([1.5, 4.0, 2.0], 2),  # of several clear ones that with the most evidence
    ],
)
def test_a_judged_start_is_kept_unless_what_is_learnt_is_clearly_better(
    ts: list[float], best: int, pair_set: pairing.PairSet, tmp_path: Path
) -> None:
    method = OneKernel(steps=20)
    folder, state, judge = RunDirectory(tmp_path / "run"), loop.State(method), StartJudge(ts)
    first = judge.measure(state.degrader())
    folder.make()
    loop.train(state, course_of(judge, method, pair_set, folder), Events())
    assert state.best_step == best
    assert state.lead["t"] == (ts[best - 1] if best else ts[-1])
    assert all(torch.equal(start, first) for start in judge.starts)
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [row["lead"]["t"] for row in rows if "lead" in row][: len(ts)] == ts
    assert state.start_score == 1.0
    assert state.contents()["start_score"] == 1.0


def test_a_resumed_fit_compares_with_the_start_of_the_fit(pair_set: pairing.PairSet, tmp_path: Path) -> None:
    """Not with the weights from which it goes on; a snapshot of an earlier version has no start, and begins there."""
    folder = RunDirectory(tmp_path / "run")
    folder.make()
    state, judge = loop.State(OneKernel(steps=20)), StartJudge([3.0])
    loop.train(state, course_of(judge, state.method, pair_set, folder), Events())
    snapshot = folder.load_snapshot()
    for missing, expected in (((), judge.starts[0]), (("start", "lead", "best_evidence"), None)):
        contents = {name: value for name, value in snapshot.items() if name not in missing}
        later, again = loop.State(OneKernel(steps=40)), StartJudge([3.5])
        loop.restore(later, contents, "run")
        here = again.measure(later.degrader())
        assert not torch.equal(here, judge.starts[0])
        loop.train(later, course_of(again, later.method, pair_set, folder), Events())
        assert torch.equal(again.starts[0], here if expected is None else expected)


def test_the_best_score_is_the_lowest_where_less_is_better() -> None:
    state = loop.State(OneKernel())
    for step, score in enumerate((3.0, 1.0, 2.0)):
        state.step = step
        state.keep_if_best(score, -1)
    assert (state.best_step, state.best_score) == (1, 1.0)
