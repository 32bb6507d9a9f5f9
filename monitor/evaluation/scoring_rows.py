"""Every listed clip scored, on several cores: each file in a process that may die of it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import load_package
from monitor.classify.port import Classifier
from monitor.errors import ClassifierError, LivecordonError, SourceError
from monitor.evaluation.listing import ClipRow, Skipped
from monitor.evaluation.scoring import ScoredFile, score_file
from monitor.logs import configure_logging
from monitor.vocabulary import Posture


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model package scores, and how.

    Attributes:
        folder: The package's.
        variant: Name of one of its variants; None for its main file.
        provider: ONNX Runtime's execution provider, as `OnnxClassifier` takes it.
    """

    folder: Path
    variant: str | None = None
    provider: str = "cpu"

    def build(self) -> Classifier:
        """Load the package and run its self-test.

        Raises:
            ModelPackageError, ClassifierError: it cannot be used, or runs on a server and not here.
        """
        package = load_package(self.folder, self.variant)
        if package.manifest.remote is not None:
            raise ClassifierError(
                f"{package.name} runs on an inference server; evaluate a package that holds its model"
            )
        return OnnxClassifier(package, self.provider)


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    what: str


_Keep = Callable[[int, ScoredFile | _Failure], None]

_classifier: Classifier | None = None
"""Of this worker process."""


def score_rows(
    rows: Sequence[ClipRow],
    model: ModelChoice,
    postures: Sequence[Posture],
    *,
    jobs: int,
    on_done: Callable[[int], None] = lambda _done: None,
) -> tuple[list[tuple[ClipRow, ScoredFile]], list[Skipped]]:
    """Score the files of `rows`; how many processes do it changes nothing but the time.

    Args:
        rows: What to score.
        model: The model; each process loads and tests it.
        postures: In which to sample.
        jobs: Processes at work; with 1, it is done in this one.
        on_done: Called with how many rows are done.

    Returns:
        In the order of `rows`: those that were scored, and those that were not. A file that ends its process is among the
        latter, as ``crashed``.

    Raises:
        ModelPackageError, ClassifierError: the model cannot be used, or failed on a clip.
    """
    done: dict[int, ScoredFile | _Failure] = {}

    def keep(number: int, found: ScoredFile | _Failure) -> None:
        done[number] = found
        on_done(len(done))

    # Here in any case: a model that cannot be used has to fail with its own words, not as a pool that broke.
    classifier = model.build()
    if jobs == 1 or len(rows) < 2:
        for number, row in enumerate(rows):
            keep(number, _scored(row.file, classifier, postures))
    else:
        _score_in_processes(rows, model, postures, jobs, keep)
        # Whatever a dead process took with it is tried again alone, which shows who killed it.
        for number, row in enumerate(rows):
            if number not in done:
                _score_in_processes([row], model, postures, 1, partial(_keep_at, keep, number))
                if number not in done:
                    keep(number, _Failure("crashed", "the process that decoded it died"))
    scored, skipped = [], []
    for number, row in enumerate(rows):
        found = done[number]
        if isinstance(found, ScoredFile):
            scored.append((row, found))
        else:
            skipped.append(Skipped(row.line, row.path, row.dataset, found.reason, found.what))
    return scored, skipped


def _score_in_processes(
    rows: Sequence[ClipRow],
    model: ModelChoice,
    postures: Sequence[Posture],
    jobs: int,
    keep: _Keep,
) -> None:
    """Score until all is done or a process has died."""
    pool = ProcessPoolExecutor(
        min(jobs, len(rows)), multiprocessing.get_context("spawn"), initializer=_begin, initargs=(model,)
    )
    numbers: dict[Future[ScoredFile | _Failure], int] = {}
    try:
        for number, row in enumerate(rows):
            numbers[pool.submit(_score_here, row.file, tuple(postures))] = number
        for future in as_completed(numbers):
            keep(numbers[future], future.result())
    except BrokenProcessPool:
        return
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _keep_at(keep: _Keep, number: int, _place: int, found: ScoredFile | _Failure) -> None:
    keep(number, found)


def _begin(model: ModelChoice) -> None:
    global _classifier  # noqa: PLW0603 - a pool's processes have no other place for what they keep
    # Ctrl-C reaches the whole group; that this process ends then is the pool's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging("error")
    _classifier = model.build()


def _score_here(file: Path, postures: Sequence[Posture]) -> ScoredFile | _Failure:
    if _classifier is None:
        raise LivecordonError("this process has no classifier")
    return _scored(file, _classifier, postures)


def _scored(file: Path, classifier: Classifier, postures: Sequence[Posture]) -> ScoredFile | _Failure:
    try:
        return score_file(file, classifier, postures)
    except SourceError as error:
        return _Failure(error.reason, str(error))
