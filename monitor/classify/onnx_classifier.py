"""A model package run by ONNX Runtime: one thread, the provider that was asked for and no other, tested on every load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnxruntime as ort
import structlog
from numpy.typing import NDArray
from typing_extensions import override

from monitor.classify.package import ModelPackage
from monitor.classify.port import Classifier
from monitor.classify.preparation import feeds_of
from monitor.classify.scores import check_clips, scores_of
from monitor.classify.self_test import run_self_test
from monitor.errors import ClassifierError
from monitor.video.clip import Clip, ClipSpec

PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
"""Names that people write, and ONNX Runtime's own."""

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
        run_self_test(self, package)
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
        check_clips(self, clips)
        feeds = feeds_of(self._manifest, clips)
        names = [output.name for output in self._manifest.outputs]
        try:
            results = self._session.run(names, feeds)
        except Exception as error:  # ONNX Runtime's errors share no base class
            first_line = str(error).partition("\n")[0][:300]
            raise ClassifierError(f"inference with {self.name} failed: {first_line}") from error
        return scores_of(self._manifest, results, len(clips), self.name)


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
