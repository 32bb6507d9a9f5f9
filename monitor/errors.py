"""Every error that Livecordon raises on purpose.

LivecordonError
├── ProblemsError               configuration, protocol or model files with mistakes; exit code 2
│   ├── ConfigError
│   ├── ProtocolDefinitionError
│   └── ModelPackageError
├── SourceError                 a live stream or file that cannot be watched
│   ├── SourceOpenError
│   ├── NoVideoError
│   ├── SourceStalledError      (also TimeoutError)
│   └── SourceLimitError        outside the budget: size, codec, memory
├── ClassifierError             inference failed or gave nonsense
├── WatcherError                a watcher process broke the seam's rules or died
├── MediaServerError
│   ├── MediaServerUnreachable  (also ConnectionError)
│   ├── MediaServerRefused      it answered, and said no
│   └── UnsafeCallRefused       the call could have hit more than the one stream meant
├── GateRequestError            a publish-gate request that cannot be understood
├── StoreError
├── EffectError                 an effect could not be carried out
└── DeliveryError               a receiver did not take an alert

Each carries `reason`, a static snake_case word fit for a metric label, and `retryable`.
Messages never hold stream keys, query strings, passwords or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file, and how to mend it.

    Printed as ``file:line: where: what: mend``; `line` counts from 1 and is left out when unknown.
    """

    file: str
    where: str
    what: str
    mend: str
    line: int | None = None

    @override
    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.where, self.what, self.mend) if part)


class LivecordonError(Exception):
    """Root of the tree; `reason` is a closed, static word, `retryable` says whether trying again can help."""

    reason: str = "error"
    retryable: bool = False

    def __init__(self, message: str, *, reason: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        if retryable is not None:
            self.retryable = retryable


class ProblemsError(LivecordonError):
    """One or more mistakes in files that an operator wrote; never retryable."""

    reason = "invalid_files"

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            message = "a ProblemsError needs at least one problem"
            raise ValueError(message)
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConfigError(ProblemsError):
    """The configuration cannot be used."""

    reason = "invalid_config"


class ProtocolDefinitionError(ProblemsError):
    """A protocol file is refused."""

    reason = "invalid_protocol"


class ModelPackageError(ProblemsError):
    """A model package is refused: manifest, graph, digest or self-test do not agree."""

    reason = "invalid_model_package"


class SourceError(LivecordonError):
    """A live stream or file cannot be watched."""

    reason = "source_failed"
    retryable = True


class SourceOpenError(SourceError):
    """The source could not be opened."""

    reason = "open_failed"


class NoVideoError(SourceError):
    """The source opened but carries no video."""

    reason = "no_video"


class SourceStalledError(SourceError, TimeoutError):
    """No packet came within the read deadline; the stream may still be live."""

    reason = "stalled"


class SourceLimitError(SourceError):
    """The source asks for more memory, time or pixels than its budget allows."""

    reason = "over_budget"
    retryable = False


class ClassifierError(LivecordonError):
    """Inference failed or returned something that is no score."""

    reason = "classifier_failed"


class WatcherError(LivecordonError):
    """A watcher process died or sent what the seam does not allow."""

    reason = "watcher_failed"
    retryable = True


class MediaServerError(LivecordonError):
    """A media server did not do what it was asked."""

    reason = "media_server_failed"
    retryable = True


class MediaServerUnreachable(MediaServerError, ConnectionError):
    """No answer from the media server's control interface."""

    reason = "unreachable"


class MediaServerRefused(MediaServerError):
    """The media server answered with a refusal or with something that is not its documented reply."""

    reason = "refused"


class UnsafeCallRefused(MediaServerError):
    """The adapter will not send a call that could hit more than the one stream that is meant."""

    reason = "unsafe_call"
    retryable = False


class GateRequestError(LivecordonError):
    """A publish-gate request that is malformed or incomplete."""

    reason = "bad_gate_request"


class StoreError(LivecordonError):
    """The store cannot be read or written."""

    reason = "store_failed"
    retryable = True


class EffectError(LivecordonError):
    """An effect could not be carried out."""

    reason = "effect_failed"
    retryable = True


class DeliveryError(LivecordonError):
    """A receiver did not accept an alert."""

    reason = "delivery_failed"
    retryable = True
