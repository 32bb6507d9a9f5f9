"""The port behind which every classifier stands, local or remote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.video.clip import Clip, ClipSpec


class Classifier(Protocol):
    """Turns clips into one score in [0, 1] per label. Not thread-safe: one thread calls it."""

    @property
    def name(self) -> str:
        """Model name and version, ``name@version``."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the score columns."""
        ...

    @property
    def clip_spec(self) -> ClipSpec:
        """What sampling must deliver."""
        ...

    def classify(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Score `clips`.

        Returns:
            float32, shape ``(len(clips), len(labels))``, each in [0, 1].

        Raises:
            ClassifierError: inference failed, or gave NaN or values outside [0, 1].
        """
        ...
