"""Drafts a manifest from nothing but an ONNX graph: guesses what it can, and marks what a person must decide."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from monitor.classify.manifest import CHANNELS, InputKind
from monitor.classify.onnx_file import read_onnx
from monitor.errors import ModelPackageError, Problem
from monitor.video.clip import ClipSpec

Activation = Literal["none", "sigmoid", "softmax"]

HARMLESS: Final = frozenset(
    {
        "normal",
        "safe",
        "none",
        "neutral",
        "negative",
        "background",
        "other",
        "nonviolence",
        "non-violence",
        "no-violence",
    }
)
"""Labels that nobody wants to be alerted about."""

_DTYPES: Final = {"tensor(uint8)": "uint8", "tensor(float16)": "float16", "tensor(float)": "float32"}
_MOST_REPORTED: Final = 8
_DEFAULT_SIDE: Final = 224
_DEFAULT_FRAMES: Final = 16
_SIDES: Final = range(16, 1025)

# Axes behind the first, with what stands at the colours' place; the first that fits is taken.
_LAYOUTS: Final[dict[int, tuple[tuple[str, InputKind], ...]]] = {
    5: (
        ("NCTHW", "frames"),
        ("NTCHW", "frames"),
        ("NTHWC", "frames"),
        ("NCTHW", "dis_flow"),
        ("NTCHW", "dis_flow"),
        ("NTHWC", "dis_flow"),
        ("NCTHW", "luma"),
        ("NTCHW", "luma"),
        ("NTHWC", "luma"),
    ),
    4: (
        ("NCHW", "frames"),
        ("NHWC", "frames"),
        ("NCHW", "luma"),
        ("NHWC", "luma"),
        ("NCHW", "dis_flow"),
        ("NTHW", "luma"),
    ),
    3: (("NHW", "luma"),),
    2: (("NT", "spacing"),),
    1: (("N", "spacing"),),
}


@dataclass(frozen=True, slots=True)
class DraftInput:
    """One input as guessed; sizes that the graph leaves open are None."""

    name: str
    kind: InputKind
    layout: str
    dtype: str
    sizes: Mapping[str, int | None]

    @property
    def frames(self) -> int | None:
        """Frames that a clip needs for it, if the graph tells."""
        steps = self.sizes.get("T")
        return None if steps is None else steps + (self.kind in {"dis_flow", "farneback_flow", "spacing"})


@dataclass(frozen=True, slots=True)
class DraftOutput:
    """One output as guessed."""

    name: str
    labels: tuple[str, ...]
    activation: Activation
    why: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A manifest to be.

    Attributes:
        open_sizes: What the graph leaves open, and a person must decide.
        ignored: Outputs that are no scores.
    """

    name: str
    file: str
    sha256: str
    frames: int
    width: int
    height: int
    inputs: tuple[DraftInput, ...]
    outputs: tuple[DraftOutput, ...]
    open_sizes: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def reported(self) -> tuple[str, ...]:
        """Labels that get operating points."""
        labels = [label for output in self.outputs for label in output.labels]
        interesting = [label for label in labels if label not in HARMLESS] or labels
        return tuple(interesting if len(interesting) <= _MOST_REPORTED else interesting[:1])


def draft_of(model: Path, name: str, labels: Sequence[str] = ()) -> Draft:
    """Guess a manifest for an ONNX file.

    Args:
        model: The file.
        name: Name of the package.
        labels: What the columns of the (first) output mean; else what the file says, or numbers.

    Raises:
        ModelPackageError: the file cannot be read or loaded, or no manifest can describe its inputs and outputs; one
            problem for each.
    """
    try:
        content = model.read_bytes()
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except OSError as error:
        what = f"it cannot be read: {error.strerror}"
        raise ModelPackageError([Problem(str(model), "", what, "check the path")]) from None
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        what = f"this is no ONNX graph that can be loaded: {str(error).partition(chr(10))[0][:300]}"
        mend = "export it again, as one file without external data"
        raise ModelPackageError([Problem(str(model), "", what, mend)]) from None
    problems: list[Problem] = []
    inputs = [_drafted(node, str(model), problems) for node in session.get_inputs()]
    outputs, ignored = _outputs(session, content, labels, str(model), problems)
    if problems:
        raise ModelPackageError(problems)
    found = [part for part in inputs if part is not None]
    draft = Draft(
        name=name,
        file="model.onnx",
        sha256=hashlib.sha256(content).hexdigest(),
        frames=_first((part.frames for part in found), 1 if all("T" not in part.layout for part in found) else None)
        or _DEFAULT_FRAMES,
        width=_first((part.sizes.get("W") for part in found), None) or _DEFAULT_SIDE,
        height=_first((part.sizes.get("H") for part in found), None) or _DEFAULT_SIDE,
        inputs=tuple(found),
        outputs=outputs,
        open_sizes=tuple(
            dict.fromkeys(
                letter for part in found for letter in "THW" if letter in part.sizes and not part.sizes[letter]
            )
        ),
        ignored=ignored,
    )
    return _with_tried_activations(draft, session)


def golden_clips(spec: ClipSpec) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return three made-up clips, ``(3, T, H, W, 3)``, and their times, ``(3, T)``: dark and still, bright and panning, noise."""
    rng = np.random.default_rng(7)
    frames, height, width = spec.frames, spec.height, spec.width
    coarse = rng.integers(0, 256, (2 + height // 8, 2 + (width + frames * 4) // 8, 3), np.uint8)
    texture = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    still = [texture[:height, :width] // 4] * frames
    pan = [255 - texture[:height, step * 4 : step * 4 + width] // 4 for step in range(frames)]
    noise = list(rng.integers(0, 256, (frames, height, width, 3), np.uint8))
    clips = np.stack([np.stack(clip) for clip in (still, pan, noise)])
    times_s = np.arange(frames) * spec.spacing_s
    return clips, np.stack([times_s, times_s, times_s * 1.2])


def _drafted(node: Any, file: str, problems: list[Problem]) -> DraftInput | None:
    shape, where = list(node.shape), f"input {node.name}"
    dtype = _DTYPES.get(node.type)
    mistakes = []
    if dtype is None:
        mistakes.append((f"it is {node.type}", "export the graph with uint8, float16 or float32 inputs"))
    if shape and isinstance(shape[0], int):
        mend = (
            f"export it with a dynamic first axis (torch.onnx.export: dynamic_axes={{'{node.name}': {{0: 'batch'}}}})"
        )
        mistakes.append((f"it takes batches of {shape[0]} only", mend))
    guess = _layout(shape, node.type == "tensor(uint8)")
    if guess is None:
        what = f"no clip can be brought into its shape {shape}"
        mistakes.append((what, "see the layouts in docs/models.md; put a reshape into the graph"))
    problems += [Problem(file, where, what, mend) for what, mend in mistakes]
    if mistakes or guess is None or dtype is None:
        return None
    layout, kind = guess
    sizes = {letter: extent if isinstance(extent, int) else None for letter, extent in zip(layout, shape, strict=True)}
    return DraftInput(node.name, kind, layout, dtype, sizes)


def _layout(shape: Sequence[Any], is_uint8: bool) -> tuple[str, InputKind] | None:
    known = [extent if isinstance(extent, int) else None for extent in shape]
    for layout, kind in _LAYOUTS.get(len(shape), ()):
        extents = dict(zip(layout, known, strict=True))
        if is_uint8 and kind not in {"frames", "luma"}:
            continue
        colours = extents.get("C", CHANNELS[kind])
        sides = [extents[letter] for letter in "HW" if letter in extents]
        if colours == CHANNELS[kind] and all(side is None or side in _SIDES for side in sides):
            return layout, kind
    return None


def _outputs(
    session: ort.InferenceSession, content: bytes, labels: Sequence[str], file: str, problems: list[Problem]
) -> tuple[tuple[DraftOutput, ...], tuple[str, ...]]:
    nodes = session.get_outputs()
    last = read_onnx(content, [node.name for node in nodes]).last_operators
    told = tuple(labels) or _told_labels(session.get_modelmeta().custom_metadata_map)
    drafts: list[DraftOutput] = []
    ignored = []
    for node in nodes:
        if node.type not in {"tensor(float)", "tensor(float16)"} or len(node.shape) not in {1, 2}:
            ignored.append(node.name)
            continue
        count = 1 if len(node.shape) == 1 else node.shape[1]
        own = told if not drafts else ()
        if not isinstance(count, int):
            count = len(own)
        if count == 0 or (own and len(own) != count):
            what = f"it has {count} columns, and there are {len(own)} labels" if count else "its width is open"
            problems.append(Problem(file, f"output {node.name}", what, "name them all: --labels normal,violence"))
            continue
        prefix = "class" if not drafts else f"output-{len(drafts) + 1}-class"
        names = own or (("violence",) if count == 1 and not drafts else tuple(f"{prefix}-{i}" for i in range(count)))
        drafts.append(DraftOutput(node.name, names, *_activation(last[node.name], count)))
    if not drafts and not problems:
        what = "none of its outputs is a row of scores per clip"
        mend = "put what turns them into scores (a box count, a mean) into the graph"
        problems.append(Problem(file, "outputs", what, mend))
    return tuple(drafts), tuple(ignored)


def _told_labels(metadata: Mapping[str, str]) -> tuple[str, ...]:
    for key in ("names", "labels", "classes", "class_names"):
        try:
            value = ast.literal_eval(metadata[key])
        except (KeyError, ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        names = list(value.values()) if isinstance(value, dict) else value
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            words = [re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63] for name in names]
            if all(words) and len(set(words)) == len(words):
                return tuple(words)
    return ()


def _activation(operator: str, count: int) -> tuple[Activation, str]:
    if operator in {"Softmax", "Sigmoid", "HardSigmoid"}:
        return "none", f"the graph ends with {operator}"
    if operator == "LogSoftmax":
        return "softmax", "the graph ends with LogSoftmax, which softmax turns into probabilities"
    if count == 1:
        return "sigmoid", "a single column of logits, as it seems"
    return "softmax", "logits, as it seems; take sigmoid if several labels can be right at once"


def _with_tried_activations(draft: Draft, session: ort.InferenceSession) -> Draft:
    """Run the graph once and see whether what comes out is probabilities already."""
    rng = np.random.default_rng(3)
    feeds = {}
    for part in draft.inputs:
        steps = draft.frames - (part.kind in {"dis_flow", "spacing"})
        extents = {"N": 4, "T": steps, "H": draft.height, "W": draft.width, "C": CHANNELS[part.kind]}
        values = rng.random([part.sizes[letter] or extents[letter] for letter in part.layout])
        feeds[part.name] = (values * 255 if part.dtype == "uint8" else values).astype(part.dtype)
    try:
        results = session.run([output.name for output in draft.outputs], feeds)
    except Exception:  # noqa: BLE001 - a graph that does not run is for the check to complain about
        return draft
    outputs = []
    for output, result in zip(draft.outputs, results, strict=True):
        values = np.asarray(result, np.float64).reshape(4, -1)
        sums_to_one = values.shape[1] > 1 and bool(np.allclose(values.sum(axis=1), 1, atol=1e-3))
        if output.activation != "none" and sums_to_one and bool(np.all((values >= 0) & (values <= 1))):
            outputs.append(
                replace(output, activation="none", why="its columns are probabilities that sum to 1 already")
            )
        else:
            outputs.append(output)
    return replace(draft, outputs=tuple(outputs))


def _first(values: Any, otherwise: int | None) -> int | None:
    return next((value for value in values if value is not None), otherwise)
