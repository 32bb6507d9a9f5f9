"""The port behind which every classifier stands, local or remote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class Degradable(Protocol):
    """A classifier that goes on with something lesser when what it should use fails. Any thread may ask."""

    @property
    def trouble(self) -> str:
        """Why it cannot use what it should, a static snake_case word; empty if it can."""
        ...

    @property
    def serving(self) -> str:
        """``name@version`` of the model that scores now; empty if none does."""
        ...

    @property
    def clips_stood_in(self) -> int:
        """How many clips something lesser has scored so far."""
        ...
