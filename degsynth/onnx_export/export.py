"""From a checkpoint to an ONNX file that was compared with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from onnx import helper
from torch import Tensor

import degsynth
from degsynth.errors import CheckpointError, os_reason, shortened
from degsynth.files import write_atomic
from degsynth.model import checkpoint
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.inference import inference
from degsynth.model.spec import SPEC_NAME
from degsynth.onnx_export.graph import TYPES, Graph, Value
from degsynth.onnx_export.program import BatchError, Program, UntranslatableError
from degsynth.onnx_export.sizes import BATCH, Size, is_formula, symbol

OPSET, IR_VERSION = 18, 8
"""Versions of the operators and of the format. TensorRT 9, onnxruntime 1.14 and later ones read them."""
TOLERANCE = 1e-5
"""Largest difference from the checkpoint that is allowed, in [0, 1] levels."""
EXAMPLE = (13, 11)
"""Height and width (LR px) of the example, where a branch is decided by one: no multiples of anything."""
CHECKED = ((24, 32), (37, 29), (50, 41))
"""Heights and widths (LR px) of the images on which file and checkpoint are compared."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    difference: float
    """Largest difference from the checkpoint that was found, in [0, 1] levels."""
    batch: bool
    """Whether the graph takes several images at a time."""


def write(model: Checkpoint, path: Path, overwrite: bool = False) -> Exported:
    """Translate a model, compare it with the checkpoint under onnxruntime, and write it in one move.

    CheckpointError, with nothing written, where an operator has no translation, where file and checkpoint differ by
    more than `TOLERANCE`, or where ``path`` must not be written to.
    """
    checkpoint.check_target(path, overwrite, ".onnx")
    way_out = "use the TorchScript file, -o MODEL.pt"
    try:
        try:
            content, batch = _translated(model, several=True), True
        except BatchError:
            content, batch = _translated(model, several=False), False
        difference = max(_differences(model, content))
    except UntranslatableError as error:
        reason = f"the operator {error.operator} cannot be exported to ONNX ({shortened(error.reason)})"
        raise CheckpointError(f"{model.path}: {reason}", way_out) from None
    except Exception as error:  # those of onnx and onnxruntime have no class of their own
        reason = f"onnxruntime cannot run its ONNX graph ({shortened(str(error))})"
        raise CheckpointError(f"{model.path}: {reason}", way_out) from None
    if not difference <= TOLERANCE:  # NaN must fail, too
        reason = f"its ONNX graph differs from it by {difference:.2g}, more than {TOLERANCE:g}"
        raise CheckpointError(f"{model.path}: {reason}", way_out)
    try:
        write_atomic(path, content)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {os_reason(error)}") from None
    return Exported(difference, batch)


# --- the graph --------------------------------------------------------------------------------------------------


def _translated(model: Checkpoint, several: bool) -> bytes:
    """Return the file: one graph with the outputs ``clean`` and, where the model has noise, ``noise``.

    The part that makes noise takes the sizes of its images from the tensor ``lr``, the clamped ``clean``. So it can be
    cut out, for LR images from elsewhere.
    """
    scale, channels, graph = model.spec.scale, model.spec.usual_channels(), Graph()
    numbers, planes = _random_counts(model)

    def inputs(image: str, scale: int) -> list[Value]:
        batch, height, width = _sizes(graph, image, scale, several)
        shapes = {
            image: (channels, scale * height, scale * width),
            "code": (numbers,),
            "field": (planes, height, width),
        }
        return [Value(name, (batch, *shape), torch.float32) for name, shape in shapes.items()]

    taken = inputs("hr", scale)
    clean = Program(model.degrader, graph).run(checkpoint.compiled(model, "clean"), *taken)
    outputs = [_named(graph, clean, "clean")]
    if model.spec.has_noise:
        _named(graph, graph.emit("Clip", ["clean", graph.name(0.0), graph.name(1.0)], clean.shape, clean.dtype), "lr")
        noise = Program(model.degrader, graph).run(checkpoint.compiled(model, "noise"), *inputs("lr", 1))
        outputs.append(_named(graph, noise, "noise"))
    return _file(model, graph, taken, outputs)


def _random_counts(model: Checkpoint) -> tuple[int, int]:
    """Return how many numbers a code has, and how many planes a field."""
    channels = model.spec.usual_channels()
    return model.degrader.draw(0, 8, 8).shape[1], model.degrader.field(0, 0, 0, 8, 8, channels).shape[1]


def _sizes(graph: Graph, image: str, scale: int, several: bool) -> list[Size]:
    """Return the batch, height and width, in LR px, of an image of the graph: symbols, or 1 for a single image."""

    def bound(word: str, axis: int, example: int, scale: int) -> Size:
        def source() -> str:
            length = graph.length(Value(image, (), torch.float32), axis)
            inputs = [length, graph.integers([scale])]
            return length if scale == 1 else graph.emit("Div", inputs, (1,), torch.int64).name

        return graph.bind(symbol(f"{image}_{word}"), example, source)

    batch = bound(BATCH, 0, 2, 1) if several else 1
    return [batch, bound("height", 2, EXAMPLE[0], scale), bound("width", 3, EXAMPLE[1], scale)]


def _named(graph: Graph, value: Value, name: str) -> Value:
    graph.nodes.append(helper.make_node("Identity", [graph.name(value)], [name], name))
    return Value(name, value.shape, value.dtype)


def _file(model: Checkpoint, graph: Graph, inputs: list[Value], outputs: list[Value]) -> bytes:
    used = {name for node in graph.nodes for name in node.input}
    sides = {"hr": ("hr_height", "hr_width")} if model.spec.scale > 1 else {}

    def described(value: Value) -> onnx.ValueInfoProto:
        batch = "batch" if is_formula(value.shape[0]) else 1
        rest = sides.get(value.name, ("height", "width"))[: len(value.shape) - 2]
        return helper.make_tensor_value_info(value.name, TYPES[value.dtype], [batch, value.shape[1], *rest])

    whole = helper.make_graph(
        graph.nodes,
        "degsynth",
        [described(one) for one in inputs if one.name in used],
        [described(one) for one in outputs],
        list(graph.constants.values()),
    )
    file = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    file.producer_name, file.producer_version = "degsynth", degsynth.__version__
    helper.set_model_props(file, record(model))
    onnx.checker.check_model(file, full_check=True)
    content: bytes = file.SerializeToString()
    return content


def record(model: Checkpoint) -> dict[str, str]:
    """Return what the file says of the model, all of it as text; the values that are no words are JSON."""
    spec = model.spec
    numbers, planes = _random_counts(model)
    code, field = (["standard normal number"] * count for count in (numbers, planes))
    if spec.pool:
        code[0] = f"number of the kernel, 0 to {spec.pool - 1}"
    if spec.hardware_factor is not None:
        low, high = spec.hardware_factor.range
        code[spec.hardware_factor.entry] = (
            f"hardware factor, {low:g} to {high:g}; {spec.hardware_factor.default:g} by default"
        )
    if getattr(model.degrader, "placed", False):
        code[-2:] = ["height of the whole LR image, px", "width of the whole LR image, px"]
        field[-2:] = [f"{axis} of the pixel's centre in the whole LR image, px (first pixel: 0.5)" for axis in "yx"]
    values: dict[str, Any] = {"scale": spec.scale, "channels": spec.usual_channels(), "halo": spec.halo}
    values |= {"multiple_of": spec.multiple_of, "phase": spec.phase, "data_range": spec.data_range}
    words = {"method": spec.method, "tiling": spec.tiling, "licence": spec.licence, "checkpoint_sha256": model.sha256}
    values |= {"code": code, "field": field}
    return {**words, **{name: json.dumps(value) for name, value in values.items()}, SPEC_NAME: spec.model_dump_json()}


# --- the comparison ---------------------------------------------------------------------------------------------


def _differences(model: Checkpoint, content: bytes) -> Iterator[float]:
    """Yield the largest difference between the file and the checkpoint, for images of several sizes and seeds.

    The noise is compared for the LR image that the file itself makes: a difference in its last digit is not counted
    twice.
    """
    session = _session(content)
    several = session.get_inputs()[0].shape[0] == "batch"
    for seed, (height, width) in enumerate(CHECKED):
        inputs = example(model, height, width, 10 * seed, 1 + seed % 2 if several else 1)
        outputs = run(session, inputs)
        hr, code, field = inputs.values()
        with inference():
            expected = model.degrader.clean(hr, code, field)
            yield float((outputs["clean"] - expected).abs().max())
            if "noise" in outputs:
                expected = model.degrader.noise(outputs["clean"].clamp(0.0, 1.0), code, field)
                yield float((outputs["noise"] - expected).abs().max())


def example(model: Checkpoint, height: int, width: int, seed: int, batch: int = 1) -> dict[str, Tensor]:
    """Return inputs for an LR image of this size: half of the image is noise and half of it smooth.

    The hardware factor, where the model has one, is between half of that of the fit and twice as much.
    """
    spec, channels = model.spec, model.spec.usual_channels()
    generator = torch.Generator().manual_seed(seed)
    hr = torch.rand(batch, channels, spec.scale * height, spec.scale * width, generator=generator)
    half = hr.shape[3] // 2
    hr[..., :half] = 0.2 + 0.5 * torch.linspace(0, 1, half) * torch.rand(batch, channels, 1, 1, generator=generator)
    seeds = range(seed, seed + batch)
    code = torch.cat([model.degrader.draw(number, height, width) for number in seeds])
    field = torch.cat([model.degrader.field(number, 0, 0, height, width, channels) for number in seeds])
    if (known := spec.hardware_factor) is not None:
        factors = known.trained * 2 ** (2 * torch.rand(batch, generator=generator) - 1)
        code[:, known.entry] = factors.clamp(*known.range)
    return {"hr": hr, "code": code, "field": field}


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the outputs of a graph by their names; inputs that the graph has not are left out."""
    asked = {one.name: inputs[one.name].numpy() for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    return {name: torch.from_numpy(array) for name, array in zip(names, session.run(names, asked), strict=True)}
