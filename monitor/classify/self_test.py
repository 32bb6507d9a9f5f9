"""A package's self-test: stored clips, and the scores that they must give wherever the model runs."""

from __future__ import annotations

import zipfile

import numpy as np
from numpy.typing import NDArray

from monitor.classify.package import ModelPackage
from monitor.classify.port import Classifier
from monitor.errors import ClassifierError, ModelPackageError, Problem
from monitor.video.clip import Clip
from monitor.vocabulary import Posture


def run_self_test(classifier: Classifier, package: ModelPackage) -> None:
    """Have `classifier` score the package's stored clips.

    Raises:
        ModelPackageError: the stored clips cannot be read, or give other scores than stored.
        ClassifierError: trying again can help, and nothing is known about the model: its server does not answer.
    """
    clips, wanted = stored_clips(package)
    try:
        # All at once and one by one: a graph that mixes the clips of a batch fails here, not in service.
        together = classifier.classify(clips)
        apart = np.concatenate([classifier.classify([clip]) for clip in clips])
    except ClassifierError as error:
        if error.retryable:
            raise
        raise _complaint(package, f"the self-test failed: {error}", "export the model again") from error
    for scores in (together, apart):
        off_by = float(np.abs(scores - wanted).max())
        if not off_by <= package.tolerance:
            what = f"the self-test's scores are off by {off_by:.4f}, more than {package.tolerance}"
            raise _complaint(package, what, "the model, its inputs or this machine's arithmetic are not as they were")


def stored_clips(package: ModelPackage) -> tuple[list[Clip], NDArray[np.float32]]:
    """Return the stored clips, and their scores: float32, shape ``(clips, labels)``.

    Raises:
        ModelPackageError: the file cannot be read, or does not fit the manifest.
    """
    path = package.folder / package.manifest.self_test.file
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as vectors:
            frames, times_s, scores = vectors["frames"], vectors["times_s"], vectors["scores"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _complaint(package, f"{path.name} is no .npz with frames, times_s and scores", "make it again") from error
    spec = package.clip_spec
    count = len(frames)
    if (
        count == 0
        or frames.shape != (count, spec.frames, spec.height, spec.width, 3)
        or frames.dtype != np.uint8
        or times_s.shape != (count, spec.frames)
        or scores.shape != (count, len(package.manifest.labels))
    ):
        raise _complaint(package, f"{path.name} does not fit the manifest's clip and labels", "make it again")
    clips = [
        Clip(
            frames=clip_frames,
            times_s=tuple(float(time_s) for time_s in clip_times_s),
            arrived_at=0.0,
            posture=Posture.CALM,
            spacing_honoured=True,
        )
        for clip_frames, clip_times_s in zip(frames, times_s, strict=True)
    ]
    return clips, scores


def _complaint(package: ModelPackage, what: str, mend: str) -> ModelPackageError:
    return ModelPackageError([Problem(str(package.folder / "manifest.yaml"), "self_test", what, mend)])
