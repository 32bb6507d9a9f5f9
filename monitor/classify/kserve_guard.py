"""What a watcher asks for scores when the model is remote: the server while it answers, the fallback while it does not."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from typing_extensions import override

from monitor.classify.kserve import RemoteError
from monitor.classify.kserve_classifier import KServeClassifier
from monitor.classify.package import ModelPackage, find_package, load_package
from monitor.classify.port import Classifier
from monitor.classify.remote import RemoteSettings
from monitor.classify.stand_in import StandIn
from monitor.errors import LivecordonError
from monitor.video.clip import Clip, ClipSpec

log = structlog.get_logger()


class GuardedClassifier(Classifier):
    """A remote classifier behind a circuit breaker.

    Closed: every batch goes to the server. After so many failures in a row it opens: the server is left alone, the
    fallback scores, and a thread tries now and then whether the server is ready, has the right model and passes the
    self-test. If so, it is half open: batches go there again, and one failure opens it again at once.

    `classify` is called by one thread; `trouble` and `serving` may be read by any.
    """

    def __init__(self, remote: KServeClassifier, fallback: Classifier | None, settings: RemoteSettings) -> None:
        """Try the server once, and begin with the fallback where that fails.

        Args:
            remote: The remote classifier.
            fallback: Scores while the server does not; gives the same labels for the same clips.
            settings: When the breaker opens, and how often the server is tried then.

        Raises:
            RemoteError: the server does not answer, and there is no fallback.
            ModelPackageError: the server has another model, and there is no fallback.
        """
        self._remote = remote
        self._fallback = fallback
        self._settings = settings
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._failures = 0
        self._trouble = ""
        self.clips_stood_in = 0
        try:
            remote.verify()
        except LivecordonError as error:
            if fallback is None:
                raise
            self._open(error)

    @property
    @override
    def name(self) -> str:
        """The remote model's ``name@version``; see `serving` for what scores now."""
        return self._remote.name

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        """The remote model's labels."""
        return self._remote.labels

    @property
    @override
    def clip_spec(self) -> ClipSpec:
        """What sampling must deliver for the remote model."""
        return self._remote.clip_spec

    @property
    def provider(self) -> str:
        """Where the remote model runs."""
        return self._remote.provider

    @property
    def trouble(self) -> str:
        """Why the server is being left alone, a static word; empty while it is asked."""
        return self._trouble

    @property
    def serving(self) -> str:
        """``name@version`` of the model that scores now; empty if none does."""
        if not self._trouble:
            return self._remote.name
        return "" if self._fallback is None else self._fallback.name

    @override
    def classify(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Score `clips` with the server, or else with the fallback.

        Returns:
            float32, shape ``(len(clips), len(labels))``, each in [0, 1].

        Raises:
            RemoteError: the server does not answer, and there is no fallback. The clips stay without scores, and later
                ones may have better luck.
            ClassifierError: a clip has the wrong shape, or the fallback failed.
        """
        failure = RemoteError("the inference server is being left alone for a while", reason=self._trouble or None)
        if not self._trouble:
            try:
                scores = self._remote.classify(clips)
            except RemoteError as error:
                failure = error
                self._count(error)
            else:
                self._failures = 0
                return scores
        if self._fallback is None:
            raise failure
        self.clips_stood_in += len(clips)
        return self._fallback.classify(clips)

    def close(self) -> None:
        """Stop trying whether the server is back."""
        self._closing.set()

    def _count(self, error: RemoteError) -> None:
        self._failures += 1
        if self._failures >= self._settings.failures:
            self._open(error)
        else:
            log.warning("remote_classifier_failed", reason=error.reason, in_a_row=self._failures)

    def _open(self, error: LivecordonError) -> None:
        with self._lock:
            self._trouble = error.reason
            log.error(
                "remote_classifier_lost",
                model=self._remote.name,
                reason=error.reason,
                serving=self.serving or "none",
                detail=str(error).partition("\n")[0][:300],
            )
            threading.Thread(target=self._await_return, name="remote-probe", daemon=True).start()

    def _await_return(self) -> None:
        while not self._closing.wait(self._settings.retry_s):
            try:
                self._remote.verify()
            except LivecordonError as error:
                self._trouble = error.reason
                log.info("remote_classifier_still_lost", reason=error.reason)
            except Exception as error:
                # This thread is the only way back.
                log.exception("remote_probe_broke", error=type(error).__name__)
            else:
                self._failures = self._settings.failures - 1
                self._trouble = ""
                log.warning("remote_classifier_back", model=self._remote.name)
                return


def remote_classifier(
    package: ModelPackage, settings: RemoteSettings, provider: str = "cpu", models_dir: Path | None = None
) -> GuardedClassifier:
    """Return the classifier of a remote package, with the fallback that the settings name.

    Args:
        package: A package with `remote`.
        settings: Where the model is.
        provider: ONNX Runtime provider of the fallback.
        models_dir: Where the fallback is looked for.

    Raises:
        ModelPackageError: the fallback cannot be used, cannot stand in for this model, or, where there is none, the
            server has another model.
        ClassifierError: the fallback or, where there is none, the server does not run.
    """
    fallback = None
    if settings.fallback is not None:
        fallback = StandIn(load_package(find_package(settings.fallback, models_dir)), package, provider)
    return GuardedClassifier(KServeClassifier(package, settings), fallback, settings)
