"""What the code of a checkpoint may do, archives that were forged, and snapshots that are damaged."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from degsynth.model import archive, checkpoint, operators
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.spec import SPEC_NAME, Spec
from tests.doubles import linear_double
from tests.model.test_hostile_files import refused


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "m.pt"
    linear_double(path, 2)
    return path


def rebuilt(good: Path, path: Path, **changes: bytes | None) -> Path:
    """Write an archive with some members changed (None: left out), checksums and all; it has no list of sums."""
    found = archive.read(good.read_bytes(), good)
    members: dict[str, bytes | None] = {**found.members, f"extra/{archive.SUMS_NAME}": None, **changes}
    kept = {name: content for name, content in members.items() if content is not None}
    path.write_bytes(archive.Archive(kept).rewritten())
    return path


# --- the archive ----------------------------------------------------------------------------------------------------


def test_checkpoints_without_sums_still_load(good: Path, tmp_path: Path) -> None:
    old = checkpoint.load(rebuilt(good, tmp_path / "old.pt"))
    hr = torch.rand(1, 3, 24, 24)
    assert torch.equal(old.degrader.degrade(hr, 0), checkpoint.load(good).degrader.degrade(hr, 0))


def test_a_stranger_can_load_a_checkpoint_with_sums(good: Path) -> None:
    with checkpoint._quiet_jit():
        module = torch.jit.load(str(good))
    hr = torch.rand(1, 3, 24, 24)
    assert torch.equal(module.degrade(hr, 0), checkpoint.load(good).degrader.degrade(hr, 0))


def test_a_member_that_was_replaced_with_its_checksum_is_noticed(good: Path, tmp_path: Path) -> None:
    sums = archive.read(good.read_bytes(), good).extra(archive.SUMS_NAME)
    changed = {"version": b"4\n", f"extra/{archive.SUMS_NAME}": sums}
    refused(rebuilt(good, tmp_path / "m.pt", **changed), "damaged.*SHA-256")


@pytest.mark.parametrize("name", ["version", "constants.pkl", "data.pkl"])
def test_a_member_that_is_missing_is_noticed(name: str, good: Path, tmp_path: Path) -> None:
    refused(rebuilt(good, tmp_path / "m.pt", **{name: None}), "no degsynth checkpoint")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.pkl", b""),
        ("data.pkl", b"\x80\x02."),
        ("data.pkl", b"\x80\x02N."),
        ("data.pkl", b"garbage"),
        ("constants.pkl", b"garbage"),
        ("version", b"999999999999999999999"),
        ("version", b"x"),
    ],
)
def test_a_forged_member_is_refused(name: str, content: bytes, good: Path, tmp_path: Path) -> None:
    refused(rebuilt(good, tmp_path / "m.pt", **{name: content}))


def test_a_bomb_among_good_members_is_refused_unopened(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LARGEST_UNPACKED", 2**18)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, content in archive.read(good.read_bytes(), good).members.items():
            bomb.writestr(f"m/{name}", content)
        bomb.writestr("m/data/99", bytes(2**20))
    monkeypatch.setattr(archive, "_member", lambda *_: pytest.fail("it is unpacked"))
    refused(tmp_path / "bomb.pt", "declares")


def test_members_on_top_of_each_other_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as stored:
        stored.writestr("m/data/0", bytes(2**16))
        stored.filelist += stored.filelist * 4
    (tmp_path / "bomb.pt").write_bytes(buffer.getvalue())
    refused(tmp_path / "bomb.pt", "declared larger")


def test_a_table_of_contents_that_is_cut_short_is_noticed(good: Path, tmp_path: Path) -> None:
    """A flipped bit in the length of the table hides members; zipfile does not compare their number."""
    content = bytearray(good.read_bytes())
    content[-12:-10] = (int.from_bytes(content[-12:-10], "little") - 1).to_bytes(2, "little")
    (tmp_path / "m.pt").write_bytes(content)
    refused(tmp_path / "m.pt", "table of contents")


def test_a_module_that_is_not_what_its_record_says(good: Path, tmp_path: Path) -> None:
    record = json.loads(archive.read(good.read_bytes(), good).members[f"extra/{SPEC_NAME}"])
    changed = json.dumps({**record, "scale": 3}).encode()
    refused(rebuilt(good, tmp_path / "m.pt", **{f"extra/{SPEC_NAME}": changed}), "is of scale 2, not 3")
    plain = io.BytesIO()
    with checkpoint._quiet_jit():
        torch.jit.save(torch.jit.script(torch.nn.Identity()), plain, _extra_files={SPEC_NAME: json.dumps(record)})
    (tmp_path / "plain.pt").write_bytes(plain.getvalue())
    refused(tmp_path / "plain.pt", "has no optics")


# --- what the code may do -------------------------------------------------------------------------------------------


class Saving(Optics):
    """Overwrites a file where it is run."""

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        if hr.shape[0] > 9:
            torch.save(hr, "victim")
        return hr[:, :, ::2, ::2]


class Reading(Optics):
    """Reads a file into an image."""

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return torch.from_file("victim", False, hr.numel() // 4).reshape(hr[:, :, ::2, ::2].shape)


class Printing(Optics):
    """Writes to stdout, where the data of a pipeline go."""

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        print(hr.shape)  # noqa: T201
        return hr[:, :, ::2, ::2]


class Commanding(Optics):
    """Warns with a text that commands the terminal."""

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        warnings.warn("\x1b[2J", stacklevel=1)
        return hr[:, :, ::2, ::2]


class Composing(Optics):
    """Warns with a text that is put together where it runs."""

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        warnings.warn(f"{hr.shape}", stacklevel=1)
        return hr[:, :, ::2, ::2]


class Explaining(Optics):
    """Warns with a plain text, as functions of torch.nn do."""

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        if hr.shape[0] > 9:
            warnings.warn("many images", stacklevel=1)
        return hr[:, :, ::2, ::2]


class Helper:
    """A class that is no module."""

    def __init__(self) -> None:
        self.name = "victim"

    def work(self, hr: Tensor) -> None:
        torch.save(hr, self.name)


class Indirect(Optics):
    """Calls a class that writes."""

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:
        Helper().work(torch.zeros(1))
        return torch.zeros(1, 0)

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return hr[:, :, ::2, ::2]


class Nested(Optics):
    """Has a part that writes, in a method that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.part = Saving()

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return hr[:, :, ::2, ::2]


class AtLoad(Optics):
    """Runs code while it is loaded."""

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return 0, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        torch.save(torch.zeros(1), "victim")
        self.training = state[1]

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        return hr[:, :, ::2, ::2]


@pytest.mark.parametrize(
    ("optics", "what"),
    [
        (Saving(), "aten::save"),
        (Reading(), "aten::from_file"),
        (Printing(), "prim::Print"),
        (Indirect(), "aten::save"),
        (Nested(), "aten::save"),
        (AtLoad(), "__setstate__"),
        (Commanding(), "aten::warn"),
        (Composing(), "aten::warn"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Optics) else "",
)
def test_code_that_reaches_outside_is_refused_unrun(
    optics: Optics, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "victim").write_text("precious")
    spec = Spec(degsynth_version="t", method="m", scale=2, clean_halo=0, halo=0, multiple_of=2)
    checkpoint.write(Degrader(optics, 2), spec, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", what)
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_plain_warning_is_allowed(tmp_path: Path) -> None:
    spec = Spec(degsynth_version="t", method="m", scale=2, clean_halo=0, halo=0, multiple_of=2)
    checkpoint.write(Degrader(Explaining(), 2), spec, tmp_path / "m.pt")
    checkpoint.load(tmp_path / "m.pt")


@pytest.mark.parametrize(
    "call",
    ['torch.save(1, "victim")', 'getattr(torch, "save")(1, "victim")', 'ops.aten.save(1, "victim")', '(1).save("v")'],
)
def test_however_an_operator_is_spelt(call: str, good: Path, tmp_path: Path) -> None:
    """The code is examined as it was compiled. What torch itself cannot compile is refused, too."""
    members = archive.read(good.read_bytes(), good).members
    name = next(name for name in members if name.endswith(".py") and b"class Degrader(" in members[name])
    hidden = members[name].decode().replace("    return ", f"    {call}\n    return ", 1)
    assert call in hidden
    message = refused(rebuilt(good, tmp_path / "m.pt", **{name: hidden.encode()}))
    assert "aten::save" in message or (call[0] == "(" and "not TorchScript" in message)


def test_operators_that_are_new_or_unknown_are_refused() -> None:
    assert operators.allowed("aten::conv2d", "aten::conv2d(Tensor input, Tensor weight) -> Tensor")
    assert operators.allowed("aten::anything", "aten::anything(Tensor self, int dim) -> Tensor")
    for kind, schema in (
        ("aten::anything", "aten::anything(Tensor self, str name) -> Tensor"),
        ("aten::anything", "aten::anything(Tensor self, Storage source) -> Tensor"),
        ("aten::_anything", "aten::_anything(Tensor self) -> Tensor"),
        ("aten::anything", ""),
        ("aten::fbgemm_linear_fp16_weight", "aten::fbgemm_linear_fp16_weight(Tensor input, Tensor packed) -> Tensor"),
        ("aten::quantized_lstm", "aten::quantized_lstm(Tensor input, Tensor[] hx) -> Tensor"),
        ("aten::anything_backward", "aten::anything_backward(Tensor grad) -> Tensor"),
        ("other::conv2d", "other::conv2d(Tensor input) -> Tensor"),
        ("prim::rpc_async", ""),
        ("prim::PythonOp", ""),
        ("^Python", ""),
    ):
        assert not operators.allowed(kind, schema)
