"""Archives whose checksums are right, but whose pickles or code would end the process, or take its memory, in torch."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from degsynth.model import archive, checkpoint, pickles, sources
from degsynth.model.degrader import Degrader
from degsynth.model.optics import Optics
from degsynth.model.spec import Spec
from tests.conftest import Run, save_png
from tests.doubles import linear_double
from tests.model.test_hostile_code import rebuilt
from tests.model.test_hostile_files import refused

HEAD = b"\x80\x02"


def of_global(module: bytes, name: bytes) -> bytes:
    return HEAD + b"c" + module + b"\n" + name + b"\n)\x81."


PICKLES = {
    "tuples in tuples": HEAD + b")" + b"\x85" * 10**5 + b".",
    "lists in lists": HEAD + b"]" * 10**5 + b"a" * (10**5 - 1) + b"\x85.",
    "lists that are fetched again": HEAD + b"]q\0" + b"]h\0aq\0" * 10**4 + b"\x85.",
    "a list in itself": HEAD + b"]q\0h\0a\x85.",
    "a text of 2 GiB": HEAD + b"X\xff\xff\xff\x7fabc\x85.",
    "a value of number 2 billion": HEAD + b")r\xff\xff\xff\x7f\x85.",
    "a name that reaches outside": of_global(b"os", b"system"),
    "a class written in C++": of_global(b"__torch__.torch.classes.quantized", b"LinearPackedParamsBase"),
    "a class written in C++, cut elsewhere": of_global(b"__torch__.torch", b"classes.quantized.Conv2dPackedParamsBase"),
    "an instruction that torch does not write": pickle.dumps((1, {2}), protocol=4),
    "a call of a text": HEAD + b"X\x01\0\0\0a)R.",
    "nothing on the stack": HEAD + b"a.",
    "a mark that is missing": HEAD + b"e.",
    "a tuple below its mark": HEAD + b")(\x85.",
    "nothing": b"",
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "m.pt"
    linear_double(path, 2)
    return path


def members_of(good: Path) -> dict[str, bytes]:
    return dict(archive.read(good.read_bytes(), good).members)


@pytest.mark.parametrize("member", archive.PICKLES)
@pytest.mark.parametrize("case", PICKLES)
def test_a_forged_pickle_is_refused_before_torch_reads_it(case: str, member: str, good: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        pickles.check(PICKLES[case], members_of(good))
    refused(rebuilt(good, tmp_path / "m.pt", **{member: PICKLES[case]}), "no degsynth checkpoint")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b"K\x90t", b"J\x00\x00\x00\x10t", "storage 0 is declared larger"),  # numbers behind the member's end
        (b"K\x0cK\x0ct", b"J\xff\xff\xff\x0fK\x0ct", "tensor is declared larger"),  # torch would make room for them
        (b"K\x0cK\x01t", b"J\xff\xff\xff\x0fK\x01t", "tensor is declared larger"),
        (b"K\x90K\x0cK\x01t", b"J\xff\xff\xff\xffK\x0cK\x01t", "impossible shape"),
        (b"X\x01\x00\x00\x000q", b"X\x01\x00\x00\x00xq", "damaged"),
    ],
)
def test_a_tensor_lies_in_its_storage(old: bytes, new: bytes, what: str, good: Path, tmp_path: Path) -> None:
    content = members_of(good)["data.pkl"]
    assert old in content
    refused(rebuilt(good, tmp_path / "m.pt", **{"data.pkl": content.replace(old, new, 1)}), what)


DEEP = 10**4
LINES = {
    "parentheses": f"x = {'(' * DEEP}1{')' * DEEP}",
    "a sum": f"x = 1{' + 1' * DEEP}",
    "signs": f"x = {'- ' * DEEP}1",
    "types": f"x = annotate({'List[' * DEEP}int{']' * DEEP}, [])",
    "comparisons": f"x = 1{' < 1' * DEEP}",
    "conditions": f"x = 1{' and 1' * DEEP}",
    "calls": f"x = x{'(1)' * DEEP}",
    "a type in a comment": f"x = 1  # type: {'List[' * DEEP}int{']' * DEEP}",
    "blocks": "\n".join(f"{' ' * depth}if True:" for depth in range(4, 150)) + f"\n{' ' * 150}x = 1",
    "a class written in C++": "x = __torch__ . torch . classes . quantized.Conv2dPackedParamsBase()",
    "a hook": '__forward_hooks__ = ["a"]',
    "a null byte": "x = '\0'",
    "no code": "x = = 1",
    "more than there can be": "x = 1\n    " * (sources.LONGEST // 9),
}


@pytest.mark.parametrize("case", LINES)
def test_code_that_torch_must_not_parse(case: str, good: Path, tmp_path: Path) -> None:
    members = members_of(good)
    name = next(name for name in members if name.endswith(".py") and b"class Degrader(" in members[name])
    hidden = members[name].decode().replace("    return ", f"    {LINES[case]}\n    return ", 1)
    with pytest.raises(ValueError, match="its code"):
        sources.check(hidden)
    refused(rebuilt(good, tmp_path / "m.pt", **{name: hidden.encode()}), "no degsynth checkpoint: its code")


def test_code_is_found_whatever_the_case_of_its_name(good: Path, tmp_path: Path) -> None:
    """Torch finds members so. A name that differs in nothing else is another member of the same name."""
    code = {"CODE/__torch__/Hidden.PY": b"def __setstate__(self): pass\n"}
    refused(rebuilt(good, tmp_path / "m.pt", **code), "__setstate__")
    refused(rebuilt(good, tmp_path / "m.pt", **{"DATA.pkl": b""}), "each once")


def test_torch_is_not_given_what_says_where_code_stood(good: Path, tmp_path: Path) -> None:
    places = {name: b"garbage" for name in members_of(good) if name.endswith(archive.PLACES)}
    assert places
    members = members_of(rebuilt(good, tmp_path / "m.pt", **places))
    assert not any(name.endswith(archive.PLACES) for name in members)


# --- every command that takes a model ---------------------------------------------------------------------------------


class Overwriting(Optics):
    """Overwrites a file where it is run."""

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        torch.save(hr, "victim")
        return hr[:, :, ::2, ::2]


COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "apply": lambda bad: ["apply", f"{bad}", "hr", "out"],
    "noise": lambda bad: ["apply", "good.pt", "hr", "out", "--noise", f"{bad}"],
    "a run": lambda _: ["apply", "run", "hr", "out"],
    "selftest": lambda bad: ["selftest", f"{bad}"],
    "inspect": lambda bad: ["inspect", f"{bad}", "--html", "page.html"],
    "evaluate": lambda bad: ["evaluate", f"{bad}", "--hr", "hr", "--lr", "hr"],
    "calibrate": lambda bad: ["calibrate", f"{bad}", "--hr", "hr", "--lr", "hr"],
    "export": lambda bad: ["export", f"{bad}", "-o", "new.pt"],
    "export of a run": lambda _: ["export", "run", "-o", "new.pt"],
}


@pytest.fixture(scope="module")
def scene(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good model, a hostile one, a run of it, and an image."""
    folder = tmp_path_factory.mktemp("scene")
    spec = Spec(degsynth_version="t", method="m", scale=2, clean_halo=0, halo=0, multiple_of=2)
    checkpoint.write(Degrader(Overwriting(), 2), spec, folder / "bad.pt")
    shutil.copy(good, folder / "good.pt")
    (folder / "run").mkdir()
    shutil.copy(folder / "bad.pt", folder / "run" / "checkpoint.pt")
    (folder / "run" / "config.toml").write_text("[fit]\n[method]\n")
    (folder / "run" / "fit.json").write_text("{}")
    save_png(folder / "hr" / "a.png", torch.rand(3, 24, 24))
    return folder


@pytest.mark.parametrize("case", COMMANDS)
def test_no_command_runs_code_that_writes(case: str, scene: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene)
    before = sorted(scene.rglob("*"))
    code, out, err = cli(*COMMANDS[case](Path("bad.pt")))
    assert (code, out) == (2, "")
    assert "aten::save" in err
    assert err.count("\n") == 1
    assert sorted(scene.rglob("*")) == before
