"""A model package run by ONNX Runtime: one thread, the provider that was asked for and no other, tested on every load."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from typing_extensions import override

from monitor.classify.package import ModelPackage
from monitor.classify.port import Classifier
from monitor.classify.preparation import feeds_of
from monitor.classify.provider import check_profile, open_session
from monitor.classify.scores import check_clips, scores_of
from monitor.classify.self_test import run_self_test
from monitor.errors import ClassifierError
from monitor.video.clip import Clip, ClipSpec

_log = structlog.get_logger()


class OnnxClassifier(Classifier):
    """Scores clips with a model package. Not thread-safe: one thread calls it."""

    def __init__(self, package: ModelPackage, provider: str = "cpu") -> None:
        """Create the session, verify its provider and run the package's self-test.

        Args:
            package: As `load_package` returns it.
            provider: A key of `monitor.classify.provider.PROVIDERS`.

        Raises:
            ClassifierError: the provider is unknown or not installed, or ONNX Runtime fell back to another one, for the
                whole model or by leaving all of it to the CPU.
            ModelPackageError: the self-test's vectors cannot be read, or give other scores than stored.
        """
        if provider == "cpu":
            self._prepare(package, provider)
            run_self_test(self, package)
            share = 1.0
        else:
            with tempfile.TemporaryDirectory(prefix="livecordon-") as folder:
                self._prepare(package, provider, Path(folder) / "self-test")
                run_self_test(self, package)
                share = check_profile(self._session, provider)
        _log.info("classifier_ready", model=self.name, provider=provider, provider_share=round(share, 3))

    @classmethod
    def untested(cls, package: ModelPackage, provider: str = "cpu") -> OnnxClassifier:
        """Return a classifier that has not run its self-test: for those who write a package and its vectors.

        Raises:
            ClassifierError: as when created.
        """
        classifier = cls.__new__(cls)
        classifier._prepare(package, provider)  # noqa: SLF001 - its own class
        return classifier

    def _prepare(self, package: ModelPackage, provider: str, profile: Path | None = None) -> None:
        self._package = package
        self._manifest = package.manifest
        self._provider = provider
        self._session = open_session(package, provider, profile)

    @property
    @override
    def name(self) -> str:
        """``name@version``, and ``+variant`` where there is one."""
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
        return self.score_prepared(feeds_of(self._manifest, clips), len(clips))

    def score_prepared(self, feeds: dict[str, NDArray[Any]], clips: int) -> NDArray[np.float32]:
        """Score clips of which `feeds_of` has prepared the arrays; returns and raises what `classify` does.

        Args:
            feeds: An array for each input, as `feeds_of` returns them.
            clips: How many clips they hold.
        """
        names = [output.name for output in self._manifest.outputs]
        try:
            results = self._session.run(names, feeds)
        except Exception as error:  # ONNX Runtime's errors share no base class
            first_line = str(error).partition("\n")[0][:300]
            raise ClassifierError(f"inference with {self.name} failed: {first_line}") from error
        return scores_of(self._manifest, results, clips, self.name)
