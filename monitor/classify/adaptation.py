"""One model fed from the clips that were sampled for another: which of their frames it gets, and where that cannot be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from monitor.classify.port import Classifier
from monitor.video.clip import Clip, ClipSpec

_SPACING_TOLERANCE = 0.35
"""As far off as sampling itself may be; see `Clip.spacing_honoured`."""


@dataclass(slots=True, eq=False)
class FedFrom(Classifier):
    """A model that is given another's clips. Not thread-safe: one thread calls it.

    Attributes:
        model: The model; see `why_clips_do_not_do` for those that can be fed so.
        source: What sampling delivers for the other.
    """

    model: Classifier
    source: ClipSpec

    @property
    @override
    def name(self) -> str:
        """The model's ``name@version``."""
        return self.model.name

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        """The model's labels."""
        return self.model.labels

    @property
    @override
    def clip_spec(self) -> ClipSpec:
        """The clips of the other."""
        return self.source

    @override
    def classify(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Score `clips`; returns and raises what the model does."""
        return self.model.classify([adapted(clip, self.source, self.model.clip_spec) for clip in clips])


def why_clips_do_not_do(name: str, wanted: ClipSpec, source: ClipSpec) -> str:
    """Return why clips as `source` says cannot be made into clips as `wanted` says, for people; empty if they can.

    Args:
        name: The model that wants them.
        wanted: What it wants.
        source: What there is.
    """
    if stride_of(wanted, source) == 0:
        return (
            f"{name} wants {wanted.frames} frames {wanted.spacing_s:g} s apart, which clips of "
            f"{source.frames} frames {source.spacing_s:g} s apart do not hold"
        )
    if source.fit != wanted.fit:
        return f"{name} wants pictures brought to size by {wanted.fit}, and the clips are by {source.fit}"
    if wanted.width > source.width or wanted.height > source.height:
        return f"{name} wants larger pictures than clips of {source.width}x{source.height} hold"
    return ""


def adapted(clip: Clip, source: ClipSpec, wanted: ClipSpec) -> Clip:
    """Return the newest of a clip's frames, at the wanted spacing and size (area averaging)."""
    stride = stride_of(wanted, source)
    first = len(clip.frames) - 1 - (wanted.frames - 1) * stride
    if (first, stride) == (0, 1) and clip.frames.shape[1:3] == (wanted.height, wanted.width):
        return clip
    frames = clip.frames[first::stride]
    if frames.shape[1:3] != (wanted.height, wanted.width):
        # Who never needs it has no use for 30 MiB of library.
        import cv2  # noqa: PLC0415 - see above

        size = (wanted.width, wanted.height)
        frames = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    return replace(clip, frames=frames, times_s=clip.times_s[first::stride])


def stride_of(wanted: ClipSpec, source: ClipSpec) -> int:
    """Return how many frames of the one clip make one step of the other; 0 if none fits."""
    if wanted.frames == 1:
        return 1
    for stride in range(1, (source.frames - 1) // (wanted.frames - 1) + 1):
        if abs(stride * source.spacing_s - wanted.spacing_s) <= _SPACING_TOLERANCE * wanted.spacing_s:
            return stride
    return 0
