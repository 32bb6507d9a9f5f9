"""A model package whose model runs on an inference server: clips are prepared here, scores are checked here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from monitor.classify.kserve import DATATYPES, KServeClient, RemoteError, TensorInfo
from monitor.classify.manifest import MANIFEST_NAME
from monitor.classify.package import ModelPackage, input_shape
from monitor.classify.port import Classifier
from monitor.classify.preparation import feeds_of
from monitor.classify.remote import RemoteSettings
from monitor.classify.scores import check_clips, scores_of
from monitor.classify.self_test import run_self_test
from monitor.errors import ClassifierError, ModelPackageError, Problem
from monitor.video.clip import Clip, ClipSpec


class KServeClassifier(Classifier):
    """Scores clips with a remote model. Holds no state between calls, so `verify` may run beside `classify`."""

    def __init__(self, package: ModelPackage, settings: RemoteSettings) -> None:
        """Prepare; nothing is sent before `verify` or `classify`.

        Raises:
            ClassifierError: the package is not remote, or the extra `kserve` is not installed.
        """
        remote = package.manifest.remote
        if remote is None:
            raise ClassifierError(f"{package.name} is no remote model")
        self._package = package
        self._manifest = package.manifest
        self._client = KServeClient(settings, remote)

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
        """Where it runs, in the words of `Ready.provider`."""
        return "kserve_v2"

    @override
    def classify(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Score `clips`; blocks for at most about the settings' timeout.

        Returns:
            float32, shape ``(len(clips), len(labels))``, each in [0, 1].

        Raises:
            ClassifierError: a clip has the wrong shape.
            RemoteError: the server did not answer, refused, or answered with something that is no score.
        """
        if not clips:
            return np.zeros((0, len(self.labels)), np.float32)
        check_clips(self, clips)
        names = [output.name for output in self._manifest.outputs]
        results = self._client.infer(feeds_of(self._manifest, clips), names)
        try:
            return scores_of(self._manifest, results, len(clips), self.name)
        except ClassifierError as error:
            raise RemoteError(str(error), reason="classifier_bad_answer") from None

    def verify(self) -> None:
        """Check that the server has this very model: ready, the same inputs and outputs, the stored scores.

        Raises:
            RemoteError: as `classify`, or the model is not ready.
            ModelPackageError: the server's model is another one than the package means.
        """
        self._client.require_ready()
        info = self._client.info()
        problems = [
            *(self._problem(what) for what in self._input_mistakes({tensor.name: tensor for tensor in info.inputs})),
            *(self._problem(what) for what in self._output_mistakes({tensor.name: tensor for tensor in info.outputs})),
        ]
        if problems:
            raise ModelPackageError(problems)
        run_self_test(self, self._package)

    def _input_mistakes(self, there: dict[str, TensorInfo]) -> list[str]:
        mistakes = []
        for part in self._manifest.inputs:
            tensor = there.get(part.name)
            if tensor is None:
                mistakes.append(f"the server's model has no input {part.name}; it has {_names(there)}")
                continue
            wanted = DATATYPES[part.dtype]
            if tensor.datatype != wanted:
                mistakes.append(f"input {part.name} is {_word(tensor.datatype)} on the server, not {wanted}")
            shape = input_shape(self._manifest, part)
            # Servers that batch by themselves may leave the first axis out, and others say -1 for it.
            inner, meant = tensor.shape[len(tensor.shape) - len(shape) + 1 :], shape[1:]
            fits = len(tensor.shape) in {len(shape), len(shape) - 1} and all(
                have in {-1, want} for have, want in zip(inner, meant, strict=False)
            )
            if not fits:
                mistakes.append(
                    f"input {part.name} has shape {list(tensor.shape)} on the server, not batch and {meant}"
                )
            elif len(tensor.shape) == len(shape) and tensor.shape[0] > 0:
                mistakes.append(f"input {part.name} takes batches of {tensor.shape[0]} only on the server")
        known = {part.name for part in self._manifest.inputs}
        if unknown := sorted(set(there) - known):
            mistakes.append(f"the server's model also asks for {_names(unknown)}")
        return mistakes

    def _output_mistakes(self, there: dict[str, TensorInfo]) -> list[str]:
        return [
            f"the server's model has no output {output.name}; it has {_names(there)}"
            for output in self._manifest.outputs
            if output.name not in there
        ]

    def _problem(self, what: str) -> Problem:
        file = str(self._package.folder / MANIFEST_NAME)
        return Problem(file, "remote", what, "make manifest and server agree")


def _names(names: Sequence[str] | dict[str, TensorInfo]) -> str:
    return ", ".join(_word(name) for name in sorted(names)[:8]) or "none"


def _word(text: str) -> str:
    """Return what a server calls something, fit for a message."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:100]
