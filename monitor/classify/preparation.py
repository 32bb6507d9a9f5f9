"""What OpenCV prepares from a clip for a model's inputs: grey pixels, optical flow, and their layouts. Pixel work only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from monitor.classify.manifest import InputPart, Manifest
from monitor.video.clip import Clip

if TYPE_CHECKING:
    import cv2

AXES = "NTHWC"


@cache
def _opencv() -> Any:
    """Import OpenCV when first needed: it costs 100 ms and 30 MiB that no other part of the daemon has use for."""
    import cv2  # noqa: PLC0415 - see above

    # One inference thread per watcher: OpenCV's own pool would take cores from decoding.
    cv2.setNumThreads(1)
    return cv2


def luma(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey pixels, uint8 ``(T, H, W)``, of RGB frames, uint8 ``(T, H, W, 3)``."""
    cv = _opencv()
    return np.stack([cv.cvtColor(frame, cv.COLOR_RGB2GRAY) for frame in frames])


def dis_flow(grey: NDArray[np.uint8], preset: Literal["ultrafast", "fast"]) -> NDArray[np.float32]:
    """Return the optical flow between neighbouring pictures.

    Args:
        grey: uint8, ``(T, H, W)``, T at least 2.
        preset: OpenCV's preset for DIS (dense inverse search) flow.

    Returns:
        float32, ``(T - 1, H, W, 2)``: pixels that each point moves by, x then y.
    """
    method = _flow_of(preset, grey.shape[1:])
    # A flow handed in would be taken as a first guess, so none is.
    pairs = [method.calc(before, after, None) for before, after in pairwise(np.ascontiguousarray(grey))]  # type: ignore[call-overload] # None is allowed
    return np.stack(pairs)


@cache
def _flow_of(preset: Literal["ultrafast", "fast"], shape: tuple[int, ...]) -> cv2.DISOpticalFlow:
    # One for each size: OpenCV adapts its settings to a small picture and keeps them so for larger ones after it.
    del shape
    cv = _opencv()
    presets = {"ultrafast": cv.DISOPTICAL_FLOW_PRESET_ULTRAFAST, "fast": cv.DISOPTICAL_FLOW_PRESET_FAST}
    flow: cv2.DISOpticalFlow = cv.DISOpticalFlow.create(presets[preset])
    return flow


def farneback_flow(grey: NDArray[np.uint8], window_px: int) -> NDArray[np.float32]:
    """Return Farneback's optical flow between neighbouring pictures.

    Coarser than DIS, but where nothing can be matched (blur, occlusion, sudden change) it tends to zero.

    Args:
        grey: uint8, ``(T, H, W)``, T at least 2.
        window_px: Side of the averaging window in pixels.

    Returns:
        float32, ``(T - 1, H, W, 2)``: pixels that each point moves by, x then y.
    """
    cv = _opencv()
    # Halved pictures down to 32 pixels, two iterations, polynomials over 5 pixels, as OpenCV's manual suggests for 5.
    pairs = [
        cv.calcOpticalFlowFarneback(before, after, None, 0.5, 3, window_px, 2, 5, 1.1, 0)
        for before, after in pairwise(grey)
    ]
    return np.stack(pairs)


def feeds_of(manifest: Manifest, clips: Sequence[Clip]) -> dict[str, NDArray[Any]]:
    """Return the arrays to feed, by input name, for at least one clip.

    Their first axis counts clips, or all clips' frames where the graph scores each frame by itself.
    """
    if manifest.clip.combine is not None:
        clips = [
            replace(clip, frames=clip.frames[index : index + 1], times_s=clip.times_s[index : index + 1])
            for clip in clips
            for index in range(len(clip.frames))
        ]
    return prepare(manifest.inputs, clips)


def prepare(inputs: Sequence[InputPart], clips: Sequence[Clip]) -> dict[str, NDArray[Any]]:
    """Return the arrays to feed, by input name, for at least one clip; all clips have the same shape."""
    return {part.name: _one_input(part, clips) for part in inputs}


def _one_input(part: InputPart, clips: Sequence[Clip]) -> NDArray[Any]:
    dtype: DTypeLike = np.dtype(part.dtype)
    if part.kind == "spacing":
        gaps = np.stack([np.diff(clip.times_s) for clip in clips])
        return np.asarray(gaps if part.layout == "NT" else gaps.mean(axis=1), dtype)
    batch = np.stack([_pictures(part, clip) for clip in clips])
    if part.scaling is not None:
        mean, std = (np.array(values, np.float32) for values in (part.scaling.mean, part.scaling.std))
        batch = (batch / np.float32(part.scaling.divide_by) - mean) / std
    return np.ascontiguousarray(_arranged(batch, part.layout), dtype)


def _pictures(part: InputPart, clip: Clip) -> NDArray[Any]:
    """Return one clip's pictures or flow as ``(T, H, W, C)``."""
    frames = clip.frames
    if part.size is not None and (part.size.height, part.size.width) != frames.shape[1:3]:
        cv = _opencv()
        size = (part.size.width, part.size.height)
        frames = np.stack([cv.resize(frame, size, interpolation=cv.INTER_AREA) for frame in frames])
    match part.kind:
        case "frames":
            return frames if part.colour == "rgb" else frames[..., ::-1]
        case "luma":
            return luma(frames)[..., None]
        case "dis_flow":
            return dis_flow(luma(frames), part.preset)
        case "farneback_flow":
            return farneback_flow(luma(frames), part.window_px)
        case "spacing":
            message = "spacing has no pictures"
            raise AssertionError(message)


def _arranged(batch: NDArray[Any], layout: str) -> NDArray[Any]:
    absent = tuple(axis for axis, letter in enumerate(AXES) if letter not in layout)
    present = [letter for letter in AXES if letter in layout]
    return batch.squeeze(absent).transpose([present.index(letter) for letter in layout])
