"""A model package run by ONNX Runtime: one thread, the provider that was asked for and no other, tested on every load."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnxruntime as ort
import structlog
from numpy.typing import NDArray
from typing_extensions import override

from monitor.classify.manifest import OutputPart
from monitor.classify.package import ModelPackage
from monitor.classify.port import Classifier
from monitor.classify.preparation import prepare
from monitor.errors import ClassifierError, ModelPackageError, Problem
from monitor.video.clip import Clip, ClipSpec
from monitor.vocabulary import Posture

PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
"""Names that people write, and ONNX Runtime's own."""

_ROUNDING: Final = 1e-4
"""How far outside [0, 1] a probability may lie through rounding; it is then clipped."""

_log = structlog.get_logger()


class OnnxClassifier(Classifier):
    """Scores clips with a model package. Not thread-safe: one thread calls it."""

    def __init__(self, package: ModelPackage, provider: str = "cpu") -> None:
        """Create the session, verify its provider and run the package's self-test.

        Args:
            package: As `load_package` returns it.
            provider: A key of `PROVIDERS`.

        Raises:
            ClassifierError: the provider is unknown or not installed, or ONNX Runtime fell back to another one.
            ModelPackageError: the self-test's vectors cannot be read, or give other scores than stored.
        """
        self._prepare(package, provider)
        self._self_test()
        _log.info("classifier_ready", model=self.name, provider=provider)

    @classmethod
    def untested(cls, package: ModelPackage, provider: str = "cpu") -> OnnxClassifier:
        """Return a classifier that has not run its self-test: for those who write a package and its vectors.

        Raises:
            ClassifierError: as when created.
        """
        classifier = cls.__new__(cls)
        classifier._prepare(package, provider)  # noqa: SLF001 - its own class
        return classifier

    def _prepare(self, package: ModelPackage, provider: str) -> None:
        self._package = package
        self._manifest = package.manifest
        self._provider = provider
        self._session = _session(package, provider)
        self._columns = [
            index
            for index, label in enumerate(label for output in self._manifest.outputs for label in output.labels)
            if label in self._manifest.operating_points
        ]

    @property
    @override
    def name(self) -> str:
        """``name@version``."""
        return self._package.name

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        """The labels that have operating points, in the order of the score columns."""
        return self._manifest.labels

    @property
    @override
    def clip_spec(self) -> ClipSpec:
        """What sampling must deliver."""
        return self._package.clip_spec

    @property
    def provider(self) -> str:
        """The provider in use, as it was asked for."""
        return self._provider

    @override
    def classify(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Score `clips`.

        Returns:
            float32, shape ``(len(clips), len(labels))``, each in [0, 1].

        Raises:
            ClassifierError: a clip has the wrong shape, inference failed, or gave NaN or values outside [0, 1].
        """
        if not clips:
            return np.zeros((0, len(self.labels)), np.float32)
        for clip in clips:
            self._check_shape(clip)
        feeds = prepare(self._manifest.inputs, clips)
        names = [output.name for output in self._manifest.outputs]
        try:
            results = self._session.run(names, feeds)
        except Exception as error:  # ONNX Runtime's errors share no base class
            first_line = str(error).partition("\n")[0][:300]
            raise ClassifierError(f"inference with {self.name} failed: {first_line}") from error
        columns = [_probabilities(output, raw) for output, raw in zip(self._manifest.outputs, results, strict=True)]
        scores = np.concatenate(columns, axis=1)[:, self._columns]
        if scores.shape[0] != len(clips):
            raise ClassifierError(f"{self.name} gave {scores.shape[0]} rows for {len(clips)} clips")
        # Written so that NaN, which compares false to everything, fails as well.
        if not np.all((scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING)):
            raise ClassifierError(f"{self.name} gave a score that is no probability")
        return np.clip(scores, 0, 1)

    def _check_shape(self, clip: Clip) -> None:
        spec = self.clip_spec
        wanted = (spec.frames, spec.height, spec.width, 3)
        if clip.frames.shape != wanted or clip.frames.dtype != np.uint8 or len(clip.times_s) != spec.frames:
            raise ClassifierError(f"{self.name} wants frames of shape {wanted}, uint8; got {clip.frames.shape}")

    def _self_test(self) -> None:
        test = self._manifest.self_test
        clips, wanted = self._stored_clips()
        try:
            # All at once and one by one: a graph that mixes the clips of a batch fails here, not in service.
            together = self.classify(clips)
            apart = np.concatenate([self.classify([clip]) for clip in clips])
        except ClassifierError as error:
            raise self._complaint(f"the self-test failed: {error}", "export the model again") from error
        for scores in (together, apart):
            off_by = float(np.abs(scores - wanted).max())
            if off_by > test.tolerance:
                what = f"the self-test's scores are off by {off_by:.4f}, more than {test.tolerance}"
                raise self._complaint(what, "the model, its inputs or this machine's arithmetic are not as they were")

    def _stored_clips(self) -> tuple[list[Clip], NDArray[np.float32]]:
        path = self._package.folder / self._manifest.self_test.file
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as vectors:
                frames, times_s, scores = vectors["frames"], vectors["times_s"], vectors["scores"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            what = f"{path.name} is no .npz with frames, times_s and scores"
            raise self._complaint(what, "make it again") from error
        spec = self.clip_spec
        count = len(frames)
        if (
            count == 0
            or frames.shape != (count, spec.frames, spec.height, spec.width, 3)
            or frames.dtype != np.uint8
            or times_s.shape != (count, spec.frames)
            or scores.shape != (count, len(self.labels))
        ):
            what = f"{path.name} does not fit the manifest's clip and labels"
            raise self._complaint(what, "make it again")
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

    def _complaint(self, what: str, mend: str) -> ModelPackageError:
        return ModelPackageError([Problem(str(self._package.folder / "manifest.yaml"), "self_test", what, mend)])


def _session(package: ModelPackage, provider: str) -> ort.InferenceSession:
    wanted = PROVIDERS.get(provider)
    if wanted is None:
        raise ClassifierError(f"unknown provider {provider}: use one of {', '.join(PROVIDERS)}")
    available = ort.get_available_providers()
    if wanted not in available:
        known = [name for name, own in PROVIDERS.items() if own in available]
        raise ClassifierError(f"this ONNX Runtime has no provider {provider}: it has {', '.join(known)}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(package.model, options, providers=[wanted])
    except Exception as error:  # ONNX Runtime's errors share no base class
        first_line = str(error).partition("\n")[0][:300]
        raise ClassifierError(f"no session with provider {provider}: {first_line}") from error
    # ONNX Runtime warns and goes on with the CPU where a provider cannot start.
    session.disable_fallback()
    if session.get_providers()[0] != wanted:
        raise ClassifierError(f"asked for provider {provider}, got {session.get_providers()[0]}")
    return session


def _probabilities(output: OutputPart, raw: Any) -> NDArray[np.float32]:
    values = np.asarray(raw, np.float32)
    if values.ndim != 2 or values.shape[1] != len(output.labels):
        raise ClassifierError(f"output {output.name} has shape {values.shape}, not one column per label")
    match output.activation:
        case "none":
            return values
        case "sigmoid":
            # This form does not overflow for large negative values.
            return np.asarray(0.5 * (1 + np.tanh(values / 2)), np.float32)
        case "softmax":
            exponentials = np.exp(values - values.max(axis=1, keepdims=True))
            return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)
