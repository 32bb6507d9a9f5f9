"""manifest.yaml of a model package, as typed models. Every field's docstring is its documentation."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from monitor.errors import ModelPackageError, Problem
from monitor.video.clip import Fit
from monitor.yaml_source import Path as YamlPath
from monitor.yaml_source import YamlDocument, parse_yaml

MANIFEST_NAME = "manifest.yaml"


def _beside_the_manifest(name: str) -> str:
    if PurePosixPath(name).name != name or "\\" in name:
        message = "name a file that lies beside the manifest, without a folder"
        raise ValueError(message)
    return name


FileName = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_beside_the_manifest)]
Probability = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[float, Field(gt=0, lt=1)]
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Text = Annotated[str, Field(min_length=1, max_length=4000)]


class ManifestPart(BaseModel):
    """Base of every part: unknown keys refused, nothing changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)


class ClipPart(ManifestPart):
    """The clip that sampling delivers."""

    frames: int = Field(ge=1, le=64)
    """Frames in one clip; 1 for models that look at single images."""
    spacing_s: float = Field(gt=0, le=10)
    """Wanted time between neighbouring frames, in seconds of stream time."""
    width: int = Field(ge=16, le=1024)
    """Width in pixels to which frames are brought."""
    height: int = Field(ge=16, le=1024)
    """Height in pixels to which frames are brought."""
    fit: Fit = "stretch"
    """How a picture of another shape becomes that size: `stretch` changes its proportions, `crop` keeps its middle,
    `letterbox` keeps all of it between black bars. Take what the model was trained with."""
    combine: Literal["mean", "max"] | None = None
    """For a model of single images and a clip of several frames: the graph scores each frame by itself, and the clip's
    score is their mean or the highest. Without it, the graph takes the whole clip."""
    colour: Literal["rgb"] = "rgb"
    """Order of the colours; sampling delivers RGB. For a model that wants BGR, see the input's `colour`."""


class SizePart(ManifestPart):
    """A size other than the clip's."""

    width: int = Field(ge=16, le=1024)
    """Width in pixels."""
    height: int = Field(ge=16, le=1024)
    """Height in pixels."""


class ScalingPart(ManifestPart):
    """Pixel values become ``(value / divide_by - mean) / std``, channel by channel."""

    divide_by: float = Field(default=255.0, gt=0)
    """255 brings pixel values into [0, 1]."""
    mean: tuple[float, ...] = Field(default=(0.0,), min_length=1, max_length=3)
    """One number, or one per channel, in the order of the input's colours."""
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), min_length=1, max_length=3)
    """One number, or one per channel, in the order of the input's colours."""


InputKind = Literal["frames", "luma", "dis_flow", "farneback_flow", "spacing"]

CHANNELS: dict[InputKind, int] = {"frames": 3, "luma": 1, "dis_flow": 2, "farneback_flow": 2, "spacing": 1}
FLOWS: frozenset[InputKind] = frozenset({"dis_flow", "farneback_flow"})


class InputPart(ManifestPart):
    """One input of the graph, and what it is fed with."""

    name: str = Field(min_length=1, max_length=200)
    """Its name in the graph."""
    kind: InputKind
    """`frames`: RGB pixels. `luma`: grey pixels. `dis_flow`, `farneback_flow`: optical flow of each pair of neighbouring
    frames by that method, in pixels, x then y. `spacing`: seconds between the frames, each gap (layout `NT`) or their mean
    (layout `N`)."""
    layout: str = Field(pattern=r"^N[THWC]{0,4}$")
    """Order of the axes: N clips, T frames (pairs or gaps, one fewer, for flow and spacing), H rows, W columns,
    C channels. T and C may be left out where there is only one."""
    dtype: Literal["uint8", "float16", "float32"]
    """Element type in the graph."""
    colour: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels of `frames`; `bgr` for models that were trained on pictures as OpenCV reads them."""
    scaling: ScalingPart | None = None
    """How pixel values are scaled; left as 0 to 255 without."""
    size: SizePart | None = None
    """Size of the pictures; the clip's own by default."""
    preset: Literal["ultrafast", "fast"] = "fast"
    """OpenCV's preset, for DIS flow."""
    window_px: int = Field(default=7, ge=3, le=31)
    """Size of the averaging window, for Farneback flow; a larger one is smoother and dearer."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        axes = self.layout
        if len(set(axes)) != len(axes):
            message = "layout names an axis twice"
        elif self.kind == "spacing":
            message = "" if axes in {"N", "NT"} else "layout of spacing is N or NT"
        elif not {"H", "W"} <= set(axes):
            message = "layout lacks H or W"
        elif "C" not in axes and CHANNELS[self.kind] > 1:
            message = "layout lacks C"
        else:
            message = ""
        if not message and self.scaling is not None:
            message = self._scaling_mistake()
        if not message and self.colour == "bgr" and self.kind != "frames":
            message = "only frames have an order of colours"
        if not message and self.dtype == "uint8" and self.kind not in {"frames", "luma"}:
            message = "flow and spacing have fractions: use float32 or float16"
        if not message and self.kind == "spacing" and self.size is not None:
            message = "spacing has no size"
        if message:
            raise ValueError(message)
        return self

    def _scaling_mistake(self) -> str:
        assert self.scaling is not None  # noqa: S101 - narrows the type
        if self.kind not in {"frames", "luma"} or self.dtype == "uint8":
            return "scaling is for frames and luma in float32 or float16"
        allowed = {1, CHANNELS[self.kind]}
        if len(self.scaling.mean) not in allowed or len(self.scaling.std) not in allowed:
            return "scaling has one number, or one per channel, for mean and for std"
        return ""


class CalibrationPart(ManifestPart):
    """Platt scaling: a probability p becomes ``sigmoid(slope * logit(p) + offset)``."""

    slope: float = Field(gt=0, le=100)
    """1 leaves the spread as it is."""
    offset: float = Field(default=0.0, ge=-100, le=100)
    """0 leaves the level as it is."""


class OutputPart(ManifestPart):
    """One output of the graph: a score per label. Its shape is `(N, labels)`, or `(N)` for one label."""

    name: str = Field(min_length=1, max_length=200)
    """Its name in the graph."""
    labels: tuple[Word, ...] = Field(min_length=1, max_length=1024)
    """What each column means, all of them, also those that are of no interest here."""
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    """What turns the column into a probability; `none` where the graph has done so."""
    temperature: float = Field(default=1.0, gt=0, le=100)
    """The output is divided by this before `sigmoid` or `softmax`; above 1 makes a model less sure of itself."""
    calibration: dict[Word, CalibrationPart] = {}
    """Labels whose probability is corrected after all that."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            message = "a label is there twice"
            raise ValueError(message)
        if self.activation == "softmax" and len(self.labels) < 2:
            message = "softmax needs two labels or more"
            raise ValueError(message)
        if self.activation == "none" and self.temperature != 1:
            message = "a temperature needs sigmoid or softmax as activation"
            raise ValueError(message)
        if unknown := sorted(set(self.calibration) - set(self.labels)):
            message = f"calibration names labels that this output does not have: {', '.join(unknown)}"
            raise ValueError(message)
        return self


class MeasuredRate(ManifestPart):
    """A rate that was measured, and where."""

    at: Literal["review", "act"]
    """Which operating point."""
    what: Literal["recall", "false_alarms"]
    """`recall`: share of violent clips at or above it. `false_alarms`: share of normal clips at or above it."""
    of: Literal["clips", "videos"] = "clips"
    """What was counted: single clips, or whole videos by their mean score."""
    on: Text
    """The material, and how it was kept apart from training."""
    rate: Probability
    """The measured share."""
    low: Probability
    """Lower end of the 95 % confidence interval."""
    high: Probability
    """Upper end of the 95 % confidence interval."""


class OperatingPoints(ManifestPart):
    """The scores from which a label's clip counts towards each severity."""

    review: Threshold
    """Worth a person's look."""
    act: Threshold
    """Grave enough to act on; not below `review`."""
    rule: Text
    """How the two were chosen."""
    measured: tuple[MeasuredRate, ...] = ()
    """The rates behind them. They hold where they were measured; elsewhere they must be measured anew."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.act < self.review:
            message = "act is below review"
            raise ValueError(message)
        return self


class SelfTestPart(ManifestPart):
    """Stored clips with the scores they must give; run whenever the model is loaded."""

    file: FileName
    """An .npz with `frames` (uint8, clips x T x H x W x 3), `times_s` (float64, clips x T) and `scores` (float32,
    clips x labels, the labels that have operating points, in the outputs' order)."""
    tolerance: float = Field(gt=0, le=0.1)
    """Largest difference that passes."""


class RemotePart(ManifestPart):
    """The model on an inference server. Where that is stands in config.yaml (`watch.remote`)."""

    protocol: Literal["kserve_v2"]
    """`kserve_v2`: the Open Inference Protocol over HTTP with binary tensors (Triton, OpenVINO Model Server, KServe)."""
    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")
    """The model's name there."""
    version: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """The model's version there; without one the server chooses, and a new version passes the self-test or is refused."""


class VariantPart(ManifestPart):
    """The same graph in another form, such as int8 or fp16 weights: same inputs, outputs and operating points."""

    file: FileName
    """The variant's ONNX file."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of that file, in hex."""
    tolerance: float = Field(gt=0, le=0.1)
    """Largest difference from the scores stored in `self_test` that passes; coarser arithmetic needs a larger one."""


class Manifest(ManifestPart):
    """A model package: one ONNX file or a model on a server, what to feed it, what comes out, and what is known of it."""

    manifest_version: Literal[1]
    """Version of this format."""
    name: Word
    """Name of the package; also its folder's."""
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    """Version of the model."""
    summary: Text
    """One sentence: what it sees."""
    file: FileName | None = None
    """The ONNX file, unless the model is `remote`."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the ONNX file, in hex."""
    remote: RemotePart | None = None
    licence: Text
    """Licence of the weights (an SPDX name where there is one)."""
    clip: ClipPart
    """The clip that sampling delivers."""
    inputs: tuple[InputPart, ...] = Field(min_length=1, max_length=8)
    """The graph's inputs, all of them."""
    outputs: tuple[OutputPart, ...] = Field(min_length=1, max_length=8)
    """The outputs that are read."""
    operating_points: dict[Word, OperatingPoints] = Field(min_length=1)
    """Thresholds per label. A label without any, such as `normal` beside a softmax, is not reported."""
    training_data: Text
    """What it was trained on."""
    limits: Text
    """What it cannot do, and must not be used for."""
    self_test: SelfTestPart
    """How it is checked on every load."""
    variants: dict[Word, VariantPart] = Field(default={}, max_length=8)
    """Other forms of the same graph, by name; `watch.model_variant` chooses one. Each is checked like the main file."""

    @property
    def frames_per_row(self) -> int:
        """How many frames of a clip the graph takes together."""
        return 1 if self.clip.combine is not None else self.clip.frames

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that are reported: those with operating points, in the outputs' order."""
        return tuple(label for output in self.outputs for label in output.labels if label in self.operating_points)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [part.name for part in self.inputs]
        labels = [label for output in self.outputs for label in output.labels]
        message = ""
        if len(set(names)) != len(names):
            message = "two inputs have the same name"
        elif len(set(labels)) != len(labels):
            message = "two outputs have the same label"
        elif unknown := sorted(set(self.operating_points) - set(labels)):
            message = f"operating_points name labels that no output has: {', '.join(unknown)}"
        elif self.remote is None and (self.file is None or self.sha256 is None):
            message = "there is no model: name file and sha256, or remote"
        elif self.remote is not None and (self.file is not None or self.sha256 is not None):
            message = "there are two models: name file and sha256, or remote, not both"
        elif self.frames_per_row == 1 and any(part.kind in FLOWS | {"spacing"} for part in self.inputs):
            message = "flow and spacing need clips of two frames or more"
        else:
            for part in self.inputs:
                steps = self.frames_per_row - (part.kind in FLOWS)
                if part.kind != "spacing" and "T" not in part.layout and steps > 1:
                    message = f"input {part.name}: layout lacks T"
        if message:
            raise ValueError(message)
        return self


def parse_manifest(text: str | bytes, file: str) -> tuple[Manifest, YamlDocument]:
    """Return the manifest in `text`, and the document for the lines of later complaints.

    Args:
        text: Content of a manifest.yaml.
        file: The name that complaints print.

    Raises:
        ModelPackageError: it is no YAML, or breaks the format; one problem per mistake.
    """
    document = parse_yaml(text, file, ModelPackageError)
    try:
        return Manifest.model_validate(document.data), document
    except ValidationError as mistakes:
        raise ModelPackageError([_problem(document, dict(mistake)) for mistake in mistakes.errors()]) from None


def _problem(document: YamlDocument, mistake: dict[str, object]) -> Problem:
    location = mistake["loc"]
    path: YamlPath = location if isinstance(location, tuple) else ()
    what = str(mistake["msg"]).removeprefix("Value error, ")
    mend = ""
    if mistake["type"] == "missing":
        what, mend = "this key is missing", "add it"
    elif mistake["type"] == "extra_forbidden":
        what, mend = "unknown key", "remove it or mend its spelling"
    return document.problem(path, what, mend)
